"""Stars upon a nebula: what meshes of BACK_SIZE do not follow is sky, and no star."""

import galsim
import numpy as np
import pytest

from skyextract.run import Run
from skyextract.stages.crowded import clouds
from tests.compare.crowds import matched, measured
from tests.simulate.crowds import FWHM, simulate


def scores(field):
    """Shares of bright and faint stars that are found, purity, scatter and pulls of fluxes."""
    sources = measured(field, "FLUX_PSF FLUXERR_PSF XPSF_IMAGE YPSF_IMAGE")
    match, offset = matched(field, sources)
    size = field.image.shape[0]
    inside = (np.minimum(field.x, field.y) > 0.0) & (np.maximum(field.x, field.y) < size - 1.0)
    bright = inside & (field.flux > 6000.0)
    faint = inside & (field.flux > 1000.0) & (field.flux < 2500.0)
    row, star = np.nonzero(match & (bright | faint))
    pull = (sources["FLUX_PSF"][row] - field.flux[star]) / sources["FLUXERR_PSF"][row]
    return {
        "bright": match.any(axis=0)[bright].mean(),
        "faint": match.any(axis=0)[faint].mean(),
        "purity": match.any(axis=1).mean(),
        "scatter": offset[match & bright].std(),
        "pull": np.diff(np.percentile(pull, (16.0, 84.0)))[0] / 2.0,
    }


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_stars_upon_a_nebula(seed):
    field = simulate("nebula", 384, seed, galsim.Gaussian(fwhm=FWHM))
    found = scores(field)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clouds, "CLOUDS", np.inf)
        without = scores(field)
    assert found["bright"] > 0.98
    assert found["faint"] > max(0.8, without["faint"] + 0.5)
    assert found["purity"] > max(0.95, without["purity"] + 0.1)
    assert found["scatter"] < 0.08
    assert found["scatter"] < 0.5 * without["scatter"]
    assert 0.8 < found["pull"] < 1.3


@pytest.mark.parametrize(("fwhm", "finest"), [(3.0, 24.0), (3.0, 60.0), (6.0, 60.0)])
def test_width_of_the_sky_is_the_best_of_all(fwhm, finest):
    """Of clouds without stars the width that is chosen leaves about the least error of the sky."""
    rng = np.random.default_rng(7)
    size, noise = 256, 15.0
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    k[0, 0] = 1.0
    waves = np.fft.rfft2(rng.normal(size=(size, size))) * k**-1.5 * (k < 1.0 / finest)
    sky = np.fft.irfft2(waves, s=(size, size))
    sky *= 150.0 / sky.std()
    image = (sky + rng.normal(0.0, noise, sky.shape)).astype(np.float32)
    everything = np.ones(image.shape)
    rest = clouds._Rest(
        image, np.full_like(image, noise**2), everything / noise**2, everything > 0.0,
        max(1, round(0.7 * fwhm)), Run(),
    )  # fmt: skip
    error = {}
    for width in clouds.WIDTHS:
        off = rest.sky(width * fwhm).light(image, Run()) - sky
        error[width] = np.sqrt(np.mean(off**2))
    best = min(clouds.WIDTHS, key=lambda width: rest.score(width * fwhm))
    assert error[best] < 1.15 * min(error.values())
    assert max(error.values()) > 1.5 * min(error.values())
