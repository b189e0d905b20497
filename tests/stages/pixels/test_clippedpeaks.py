"""Maxima that were clipped to the brightest neighbour, as hot-pixel suppression does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, maximum_filter, zoom

from skyextract.datamodel.exposure import Exposure
from skyextract.run import Run
from skyextract.settings.keywords import Detector as Config
from skyextract.stages.pixels.clippedpeaks import are_clipped
from skyextract.stages.pixels.nodata import check_data
from tests.simulate.zeropointfields import simulate_field

IMAGE = simulate_field(1, n_stars=100).image
RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)


def clipped(image):
    return np.minimum(image, maximum_filter(image, footprint=RING))


def mosaic(image, of_colour=lambda plane: plane):
    """Return an image as through red, green and blue filters, each colour changed by a function."""
    out = np.array(image)
    for (y, x), share in zip(np.ndindex(2, 2), (0.4, 1.0, 1.0, 0.7), strict=True):
        out[y::2, x::2] = of_colour(share * image[y::2, x::2])
    return out


CLIPPED = {
    "as read": clipped(np.rint(IMAGE)),
    "in floats": clipped(IMAGE),
    "flat-fielded": clipped(IMAGE) * np.random.default_rng(1).normal(1.0, 0.002, IMAGE.shape),
    "by colours": mosaic(IMAGE, clipped),
}
OTHERS = {
    "as it is": IMAGE,
    "integers": np.rint(IMAGE),
    "steps of the noise": np.rint(IMAGE / 15),
    "smoothed": gaussian_filter(IMAGE, 0.7),
    "resampled": zoom(IMAGE, 1.5, order=1),
    "mosaic": mosaic(IMAGE),
    "few photons": np.random.default_rng(1).poisson(0.3, (512, 512)),
    "from above": np.minimum(IMAGE, np.median(IMAGE)),
    "from below": np.maximum(IMAGE, np.median(IMAGE)),
    "one value": np.full((512, 512), 7.0),
    "small": IMAGE[:12, :12],
    "a row": IMAGE[:1],
}


@pytest.mark.parametrize("kind", CLIPPED)
def test_clipped_peaks_are_told(kind):
    image = CLIPPED[kind].astype(np.float32)
    without = np.zeros(image.shape, bool)
    assert are_clipped(image, without)
    without[:] = True
    assert not are_clipped(image, without)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_pixels_are_not_called_clipped(kind):
    image = OTHERS[kind].astype(np.float32)
    assert not are_clipped(image, np.zeros(image.shape, bool))


def test_such_a_frame_is_doubtful():
    image = CLIPPED["as read"].astype(np.float32)
    exposure = check_data(Exposure(image, np.zeros(image.shape, np.uint16)), Config(), Run())
    assert any("star eater" in doubt for doubt in exposure.doubts)
    assert "star eater" in exposure.uneven
