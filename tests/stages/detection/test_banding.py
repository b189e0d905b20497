"""Rows that differ from each other."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from skyextract.run import Run
from skyextract.stages.detection.banding import line_noise, warn_of_banding

SHAPE = (300, 500)


def frame(seed, band=0.0, sigma=10.0):
    """Return noise whose rows differ, with stars."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.0, sigma, SHAPE) + rng.normal(0.0, band, (SHAPE[0], 1))
    for x, y in zip(rng.integers(3, 490, 60), rng.integers(3, 290, 60), strict=True):
        image[y - 2 : y + 3, x - 2 : x + 3] += 10 ** rng.uniform(1, 4)
    return image.astype(np.float32)


def said(image, scale=1.5):
    run = Run()
    warn_of_banding(image, scale, run)
    return " ".join(run.warnings)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("band", [4.0, 10.0, 30.0])
def test_how_much_rows_differ(seed, band):
    image = frame(seed, band)
    excess, _, pixel = line_noise(image)
    assert abs(excess / band - 1.0) < 0.15
    assert abs(pixel / 10.0 - 1.0) < 0.05
    number = re.match(r"rows differ by (\S+), ", said(image))
    assert abs(float(number[1]) / band - 1.0) < 0.15
    assert said(image.T.copy()).startswith("columns differ")
    total = float(re.search(r"is (\S+) times the noise of the pixels", said(image))[1])
    assert abs(total / (1.5 * np.hypot(band, 10.0) / 10.0) - 1.0) < 0.1
    # Where the noise of the filtered image is that of the pixels nothing is looked for.
    assert said(image, 1.1) == ""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_no_banding(seed):
    """Noise, correlated noise, structure of the sky, a few bad rows."""
    image = frame(seed)
    rng = np.random.default_rng(seed + 50)
    correlated = gaussian_filter(rng.normal(0.0, 30.0, SHAPE), 1.0).astype(np.float32)
    structure = image + gaussian_filter(rng.normal(0.0, 300.0, SHAPE), 10.0).astype(np.float32)
    bad = image.copy()
    bad[::60] += 500.0
    spectrum = frame(seed, 300.0)
    for other in (
        image,
        correlated,
        structure,
        bad,
        spectrum,
        image[:20],
        np.zeros(SHAPE, np.float32),
    ):
        assert said(other) == ""


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("width", [1.0, 2.0, 4.0])
def test_smoothing_along_rows_is_no_banding(seed, width):
    """Their levels scatter by the noise of fewer independent pixels; bands beyond it are told."""
    noise = np.random.default_rng(seed).normal(0.0, 30.0, (1024, 1024))
    image = gaussian_filter1d(noise, width, axis=1).astype(np.float32)
    assert said(image) == said(image.T.copy()) == ""
    band = np.random.default_rng(seed + 9).normal(0.0, 0.7 * image.std(), (1024, 1))
    if width <= 2.0:  # more than MAX_PART of what differences of neighbours show
        assert said((image + band).astype(np.float32)).startswith("rows differ")
