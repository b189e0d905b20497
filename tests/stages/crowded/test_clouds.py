"""Stars upon a nebula: what meshes of BACK_SIZE do not follow is sky, and no star."""

from types import SimpleNamespace

import galsim
import numpy as np
import pytest

from skyextract.datamodel.flags import FlagsSky
from skyextract.run import Run
from skyextract.stages.crowded import clouds, knots
from skyextract.stages.detection import structure
from tests.compare.crowds import matched, measured
from tests.compare.lights import measured as measured_light
from tests.compare.lights import places_by_sep
from tests.compare.lights import scores as scores_of_light
from tests.simulate.crowds import FWHM, simulate
from tests.simulate.lights import FWHM as LIGHT_FWHM
from tests.simulate.lights import filaments, make


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


@pytest.fixture(scope="module")
def nebula():
    return simulate("nebula", 384, 5, galsim.Gaussian(fwhm=FWHM))


def test_stars_upon_a_nebula(nebula):
    field = nebula
    found = scores(field)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clouds, "CLOUDS", np.inf)
        # Nor does detection know the noise of each place.
        patch.setattr(structure, "best_means", lambda *_: None)
        without = scores(field)
    assert found["bright"] > 0.98
    assert found["faint"] > max(0.8, without["faint"] + 0.5)
    assert found["purity"] > max(0.95, without["purity"] + 0.1)
    assert found["scatter"] < 0.08
    assert found["scatter"] < 0.5 * without["scatter"]
    assert 0.8 < found["pull"] < 1.3


def test_what_its_errors_leave_too_little_of_is_no_row():
    """Of light of a nebula and noise there are half as many rows, of stars nearly all."""
    fields = [simulate("nebula", 256, seed, galsim.Gaussian(fwhm=FWHM)) for seed in (3, 5)]
    found = []
    for kept in (knots.KEPT, 0.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(knots, "KEPT", kept)
            rows = [measured(field, "FLUX_PSF XPSF_IMAGE YPSF_IMAGE") for field in fields]
        right = [matched(*of)[0].any(axis=1) for of in zip(fields, rows, strict=True)]
        found.append(np.bincount(np.concatenate(right), minlength=2))
    (false, true), (all_false, all_true) = found
    assert false <= 0.6 * all_false
    assert true >= 0.98 * all_true


def test_the_light_beneath_is_taken_from_apertures_once(nebula, monkeypatch):
    """Stars that were found beneath others have the light of a nebula taken off, too.

    By the noise of each place nearly all are detected.
    """
    monkeypatch.setattr(structure, "best_means", lambda *_: None)
    field = nebula
    sources = measured(
        field, "FLUX_APER FLUXERR_APER FLUX_PSF XPSF_IMAGE YPSF_IMAGE FLAGS_SKY SPREAD_MODEL"
    )
    match, _ = matched(field, sources)
    row, star = np.nonzero(match & (field.flux > 1500.0))
    within = 1.0 - 0.5 ** ((2.0 * 2.5 / FWHM) ** 2)  # in 5 pixels, of a Gaussian
    off = sources["FLUX_APER"].reshape(len(sources["FLUX_PSF"]), -1)[row, 0]
    off = (off - within * field.flux[star]) / field.flux[star]
    beneath = (sources["FLAGS_SKY"][row] & int(FlagsSky.HIDDEN)) != 0
    assert np.count_nonzero(beneath) > 15
    assert abs(np.median(off[beneath])) < 0.05
    assert abs(np.median(off[beneath]) - np.median(off[~beneath])) < 0.1


def test_clouds_in_a_part_of_a_frame(monkeypatch):
    """Where sources seem to crowd the noise of that part tells, not the frame's."""
    patch = np.zeros((8, 8), np.bool_)
    patch[2:5, 2:5] = True
    monkeypatch.setattr(clouds, "crowded_patches", lambda *_: [patch])
    monkeypatch.setattr(clouds, "is_crowded", lambda *_: False)

    def told(where, *, around=True):
        noise = np.where(where, np.float32(1.9), np.float32(1.0))
        found = SimpleNamespace(
            around=object() if around else None, full_noise_scale=noise, image_shape=(800, 800)
        )
        return clouds.has_clouds(found, 4.0)

    assert told(patch)
    assert not told(np.roll(patch, 4, axis=1))
    assert not told(patch, around=False)  # the mean about each place does not explain it


def test_filaments_are_no_crowd():
    """Light that runs together over the frame, with structure as fine as stars."""
    found = n_false = n_rows = by_sep = 0
    pulls = []
    for seed in (1, 2):
        frame = make(filaments(15.0), seed, size=400, n=120)
        rows = measured_light(frame).sources
        x, y = rows["X_IMAGE"] - 1.0, rows["Y_IMAGE"] - 1.0
        distance = np.hypot(x[:, None] - frame.x, y[:, None] - frame.y)
        star, off = distance.argmin(axis=1), distance.min(axis=1)
        clean = (rows["FLAGS_SKY"] & FlagsSky.NO_POINT) == 0
        bright = frame.snr > 10.0
        found += int((distance[:, bright] < 0.5 * LIGHT_FWHM).any(axis=0).sum())
        by_sep += scores_of_light(frame, *places_by_sep(frame))[0] * np.count_nonzero(bright)
        n_false += int(np.count_nonzero(clean & (off > 0.7 * LIGHT_FWHM)))
        n_rows += int(np.count_nonzero(clean))
        true = clean & (off < 0.5 * LIGHT_FWHM) & (frame.snr[star] > 8.0)
        pulls.append(((rows["FLUX_PSF"] - frame.flux[star]) / rows["FLUXERR_PSF"])[true])
    assert found > 90  # of 130; 69 as a crowd
    assert found > by_sep + 20
    assert n_false < 0.04 * n_rows
    assert 0.8 < np.diff(np.percentile(np.concatenate(pulls), (16.0, 84.0)))[0] / 2.0 < 1.3


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
