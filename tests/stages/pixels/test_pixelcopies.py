"""Neighbours of the same value: those that a filter copied, not those that noise makes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, median_filter, zoom

from skyextract.datamodel.exposure import Exposure
from skyextract.run import Run
from skyextract.settings.keywords import Detector as Config
from skyextract.stages.pixels.nodata import check_data
from skyextract.stages.pixels.pixelcopies import about_copies, share_of_copies
from tests.simulate.zeropointfields import simulate_field

IMAGE = simulate_field(1, n_stars=100).image
NOTHING = np.zeros(IMAGE.shape, bool)
GOOD = np.zeros(IMAGE.shape, np.uint16)

COPIED = {
    "median 3 x 3": median_filter(IMAGE, 3),
    "median of integers": median_filter(np.rint(IMAGE), 3),
    "median of three": median_filter(IMAGE, (1, 3)),
    "enlarged": zoom(IMAGE, 1.5, order=0)[:512, :512],
    "doubled": np.repeat(np.repeat(IMAGE, 2, 0), 2, 1)[:512, :512],
}
STARS = gaussian_filter(
    np.where(np.random.default_rng(2).random((512, 512)) < 2e-3, 600.0, 0.0), 1.3
)
OTHERS = {
    "as it is": IMAGE,
    "integers": np.rint(IMAGE),
    "steps of a third of the noise": np.rint(IMAGE / 6),
    "steps of the noise": np.rint(IMAGE / 15),
    "steps of twice the noise": np.rint(IMAGE / 40),
    "half precision": IMAGE.astype(np.float16),
    "smoothed": gaussian_filter(IMAGE, 0.7),
    "bilinear": zoom(IMAGE, 1.5, order=1)[:512, :512],
    "few photons": np.random.default_rng(1).poisson(0.3, (512, 512)),
    "single photons": np.random.default_rng(1).poisson(0.1 + STARS),
    "a photon in every other pixel": np.random.default_rng(1).poisson(0.6 + 10.0 * STARS),
    "some photons": np.random.default_rng(1).poisson(3.0, (512, 512)),
    "black point": np.clip(IMAGE - np.median(IMAGE), 0.0, None),
    "one value": np.full((512, 512), 7.0),
}


@pytest.mark.parametrize("kind", COPIED)
def test_copied_values_are_told(kind):
    image = COPIED[kind].astype(np.float32)
    said = about_copies(share_of_copies(image, NOTHING, GOOD))
    along = [np.mean(np.diff(image, axis=axis) == 0.0) for axis in (0, 1)]
    share = float(said.split("%")[0]) / 100.0
    assert share == pytest.approx(max(along), abs=0.02)
    exposure = Exposure(image, np.zeros(image.shape, np.uint16))
    assert check_data(exposure, Config(), Run()).doubts == (said,)


@pytest.mark.parametrize("kind", OTHERS)
def test_noise_is_no_copy(kind):
    assert about_copies(share_of_copies(OTHERS[kind].astype(np.float32), NOTHING, GOOD)) == ""


def test_pixels_without_data_do_not_count():
    image = IMAGE.copy()
    image[:, :300] = 0.0
    assert about_copies(share_of_copies(image, image == 0.0, GOOD)) == ""
    assert about_copies(share_of_copies(image, np.ones_like(NOTHING), GOOD)) == ""
