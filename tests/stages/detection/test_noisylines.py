"""Columns and rows of more noise: interpolated defects, which share noise with their neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.settings.keywords import Extraction
from skyextract.stages.detection.matched import filter_matched, matched_filter
from skyextract.stages.detection.noisylines import noisy_lines
from skyextract.stages.detection.withpsf import PixelNoise, detect_with_psf

SHAPE = (1200, 700)
PSF = Psf.gaussian(3.0)
COLUMNS = range(80, 680, 100)


def noise_of(seed, columns=()):
    """Return noise of 1, where two columns are the one beside and as noisy as a mean of it makes.

    As SDSS interpolates: neighbours have 0.8 of their noise in common, and 1.3 of it.
    """
    image = np.random.default_rng(seed).normal(size=SHAPE)
    for x in columns:
        image[:, x + 1] = 1.3 * (0.8 * image[:, x] + 0.6 * image[:, x + 1])
        image[:, x + 2] = 1.3 * (0.8 * image[:, x + 1] / 1.3 + 0.6 * image[:, x + 2])
    return image.astype(np.float32)


def found_in(image, claimed):
    psf = matched_filter(PSF, image.shape)
    plane = filter_matched(image, psf, Run(1), sigma=1.0)
    return plane, noisy_lines(plane, claimed, psf.unit(1.0), 1.0 / psf.square, Run(2))


@pytest.mark.parametrize("seed", range(5))
def test_even_noise_has_no_noisy_lines(seed):
    _, lines = found_in(noise_of(seed), np.zeros(SHAPE, np.uint8))
    assert lines is None


@pytest.mark.parametrize("transposed", [False, True])
def test_factors_are_those_of_the_noise(transposed):
    image = noise_of(7, COLUMNS)
    image = np.ascontiguousarray(image.T) if transposed else image
    plane, lines = found_in(image, np.zeros(image.shape, np.uint8))
    if transposed:
        plane, factors, other = plane.T, lines.rows, lines.columns
    else:
        factors, other = lines.columns, lines.rows
    truth = plane[8:-8].std(axis=0) / np.median(plane[8:-8].std(axis=0))
    middle = np.array(COLUMNS) + 1
    assert (truth[middle] > 1.3).all()
    np.testing.assert_allclose(factors[middle], truth[middle], rtol=0.08)
    assert (other == 1.0).all()


def test_bright_stars_make_no_column_noisy():
    rng = np.random.default_rng(2)
    image = noise_of(2)
    v, u = np.indices((31, 31)) - 15
    star = 3000.0 * np.exp(-(u**2 + v**2) / 3.2)
    claimed = np.zeros(SHAPE, np.uint8)
    for y in rng.integers(20, SHAPE[0] - 20, 25):
        image[y - 15 : y + 16, 285:316] += star
        claimed[y - 8 : y + 9, 292:309] = 1
    _, lines = found_in(image, claimed)
    assert lines is None


def test_false_sources_of_interpolated_columns():
    """A threshold of 4 sigma is passed some 60 times as often where the noise is 1.5 of it."""
    psf = matched_filter(PSF, SHAPE)
    inside = np.isin(np.arange(SHAPE[1]), [x + k for x in COLUMNS for k in range(-1, 4)])
    config = Extraction(detect_thresh=(4.0,), detect_minarea=1)
    numbers = np.zeros((2, 2))
    for seed in range(4):
        for bad in (0, 1):
            found = detect_with_psf(
                noise_of(seed, COLUMNS if bad else ()), psf, PixelNoise(1.0, structured=False),
                config, Run(1), claimed=np.zeros(SHAPE, np.uint8),
            )  # fmt: skip
            own = inside[found.xpeak]
            numbers[bad] += own.sum(), (~own).sum()
    assert numbers[0, 0] == pytest.approx(numbers[1, 0], abs=6)  # 226 by the noise of others
    assert numbers[1, 1] == pytest.approx(numbers[0, 1], abs=6)


def test_factors_do_not_depend_on_the_number_of_threads():
    image = noise_of(9, COLUMNS)
    no_sources = np.zeros(SHAPE, np.uint8)
    one, *others = (noisy_lines(image, no_sources, 1.0, 4.0, Run(n)) for n in (1, 2, 3))
    assert one.columns.max() > 1.1
    for other in others:
        np.testing.assert_array_equal(other.columns, one.columns)
