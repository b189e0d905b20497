"""Stars with flat tops are not filled with stars, and their neighbours are found."""

from dataclasses import replace
from types import SimpleNamespace

import galsim
import numpy as np
import pytest

from skyextract.stages.crowded import search
from skyextract.stages.crowded.plateau import beside_flat_tops
from tests.compare.crowds import matched, measured
from tests.simulate.crowds import FWHM, GAIN, SKY, simulate

LEVEL = 20_000.0
BRIGHT = np.array([[70.0, 80.0], [300.0, 90.0], [80.0, 310.0], [310.0, 300.0]])
BESIDE = np.array([14.0, 3.0])


@pytest.fixture(scope="module")
def field():
    """A crowd with four stars above a saturation level that nobody knows, and one beside each."""
    crowd = simulate("20", 384, 1, galsim.Gaussian(fwhm=FWHM))
    rng = np.random.default_rng(1)
    light = galsim.ImageD(384, 384)
    for x, y in BRIGHT:
        galsim.Moffat(beta=3.0, fwhm=FWHM, flux=5e6).drawImage(
            light, scale=1, center=galsim.PositionD(x + 1, y + 1), add_to_image=True
        )
        galsim.Gaussian(fwhm=FWHM, flux=6e4).drawImage(
            light, scale=1, add_to_image=True,
            center=galsim.PositionD(x + 1 + BESIDE[0], y + 1 + BESIDE[1]),
        )  # fmt: skip
    image = crowd.image + rng.poisson(np.maximum(light.array, 0.0) * GAIN) / GAIN
    beside = BRIGHT + BESIDE
    return replace(
        crowd, image=np.minimum(image, SKY + LEVEL).astype(np.float32),
        x=np.concatenate([beside[:, 0], crowd.x]), y=np.concatenate([beside[:, 1], crowd.y]),
        flux=np.concatenate([np.full(len(BRIGHT), 6e4), crowd.flux]),
    )  # fmt: skip


def scores(field):
    """Rows about the stars with flat tops that are no star, and how many of those beside exist."""
    sources = measured(field, "FLUX_PSF XPSF_IMAGE YPSF_IMAGE")
    match, _ = matched(field, sources)
    x, y = sources["XPSF_IMAGE"] - 1.0, sources["YPSF_IMAGE"] - 1.0
    distance = np.hypot(x[:, None] - BRIGHT[:, 0], y[:, None] - BRIGHT[:, 1]).min(axis=1)
    return ((distance < 12.0) & ~match.any(axis=1)).sum(), match.any(axis=0)[: len(BRIGHT)].sum()


def test_flat_tops(field):
    rows, beside = scores(field)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "beside_flat_tops", lambda *_: np.zeros(0, np.int64))
        torn, _ = scores(field)
    assert rows <= 2 * len(BRIGHT)
    assert beside == len(BRIGHT)
    assert torn > 3 * len(BRIGHT)


def test_a_footprint_without_light_has_no_top():
    """Of a frame without noise: its brightest pixel may be 0, and numpy has no word to say."""
    found = SimpleNamespace(
        pixel=np.arange(6), first=np.array([0, 3, 6]), filtered=np.ones(6, "f4")
    )
    image = np.array([[5, 9, 4], [0, 0, -1]], "f4")
    with np.errstate(all="raise"):
        assert beside_flat_tops(found, image, FWHM).size == 0
