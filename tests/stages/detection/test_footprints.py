"""Footprints masked between two passes of background and detection."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.settings.keywords import Background, Extraction
from skyextract.stages.background.estimate import estimate_background
from skyextract.stages.background.interpolate import background_image, subtract_background
from skyextract.stages.detection.detect import detect
from skyextract.stages.detection.filters import builtin_filter
from skyextract.stages.detection.footprints import source_mask

TAPS = builtin_filter("default")


@pytest.fixture(scope="module")
def crowded():
    """Return an image of many stars with wings on a sloping sky, and the sky."""
    rng = np.random.default_rng(1)
    shape = (512, 512)
    v, u = np.indices(shape)
    sky = 1000 + 0.05 * u
    image = sky.copy()
    for _ in range(250):
        x, y = rng.uniform(0, 512, 2)
        flux = 10 ** rng.uniform(3, 5.5)
        alpha = 2.8
        x0, x1 = max(int(x) - 60, 0), int(x) + 60
        y0, y1 = max(int(y) - 60, 0), int(y) + 60
        r2 = (u[y0:y1, x0:x1] - x) ** 2 + (v[y0:y1, x0:x1] - y) ** 2
        image[y0:y1, x0:x1] += flux * 1.5 / np.pi / alpha**2 * (1 + r2 / alpha**2) ** -2.5
    return rng.poisson(image).astype(np.float32), sky


def find(image, sources=None):
    background = estimate_background(image, None, None, Background(), Run(1), sources=sources)
    config = Extraction(detect_minarea=5, detect_thresh=(1.5,))
    data = subtract_background(image, None, background, Run(1))
    return background, detect(data, config, Run(1), sigma=background.sigma, taps=TAPS)


def test_second_pass_removes_the_bias_of_the_sky(crowded):
    image, sky = crowded
    first, found = find(image)
    second, _ = find(image, source_mask(found, first.sigma, Run(2)))
    error = [(background_image(map_, Run(1)) - sky).mean() for map_ in (first, second)]
    assert error[0] > 2.0  # the wings of stars
    assert abs(error[1]) < 0.35 * error[0]


def test_mask_covers_the_wings_but_not_all(crowded):
    background, found = find(crowded[0])
    mask = source_mask(found, background.sigma, Run(2))
    footprint = found.segmentation != 0
    assert mask[footprint].all()
    assert mask.ravel()[found.unclaimed].all()
    assert footprint.sum() < mask.sum() <= 0.5 * mask.size


def test_no_source_no_mask():
    background, found = find(np.zeros((100, 100), np.float32))
    assert found.n == 0
    assert not source_mask(found, background.sigma, Run(2)).any()


def test_segmentation_that_was_let_go_is_drawn_anew(crowded):
    _, found = find(crowded[0])
    assert (found.segmentation < 0).any()  # of detections that were merged, too
    light = found.without_segmentation()
    assert light.labels is None
    np.testing.assert_array_equal(light.segmentation, found.segmentation)
    assert light.without_segmentation() is light
