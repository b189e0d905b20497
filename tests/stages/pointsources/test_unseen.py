"""Neighbours of stars in what the fits leave, against where they are."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.run import Run
from skyextract.stages.pointsources.unseen import without_neighbours

FWHM, NOISE, SIZE, RADIUS = 3.5, 2.0, 400, 11.0
SIGMA = FWHM / 2.3548


def scene(neighbour, distance=2.0, flux=2e4, seed=1):
    """Stars on a grid, each with a neighbour of so many times the noise; all but these fitted."""
    random = np.random.default_rng(seed)
    y, x = (c.ravel() + 0.0 for c in np.mgrid[25:SIZE:50, 25:SIZE:50])
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]

    def light(a, b, value):
        r2 = (columns - a) ** 2 + (rows - b) ** 2
        return value * np.exp(-0.5 * r2 / SIGMA**2) / (2.0 * np.pi * SIGMA**2)

    angle = random.uniform(0.0, 6.28, x.size)
    px, py = x + distance * FWHM * np.cos(angle), y + distance * FWHM * np.sin(angle)
    value = neighbour * NOISE * np.sqrt(4.0 * np.pi) * SIGMA
    residual = random.normal(0.0, NOISE, (SIZE, SIZE))
    models = np.zeros_like(residual)
    for k in range(x.size):
        residual += light(px[k], py[k], value)
        models += light(x[k], y[k], flux)
    residual = residual.astype(np.float32)
    return (residual + models).astype(np.float32), residual, x, y, px, py


def masked(image, residual, x, y, mask=None, gain=0.0):
    mask = np.zeros(image.shape, np.uint16) if mask is None else mask
    mask.flags.writeable = False  # which spares the memory of one that nobody has written to
    variance = np.full(image.shape, NOISE**2, np.float32)
    before = variance.copy()

    def marked(variance):
        return without_neighbours(
            mask, image, residual, variance, gain, Psf.gaussian(FWHM), x, y, RADIUS, Run(2)
        )

    with marked(variance) as without:
        found = without >= MAX_VARIANCE
    assert np.array_equal(variance, before)
    variance.flags.writeable = False
    with marked(variance) as without:
        assert np.array_equal(without >= MAX_VARIANCE, found)
    assert np.array_equal(variance, before)
    return found


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_neighbours_are_found(sign):
    image, residual, x, y, px, py = scene(sign * 10.0)
    found = masked(image, residual, x, y)
    at = found[np.rint(py).astype(int), np.rint(px).astype(int)]
    assert at.mean() > 0.97
    rows, columns = np.nonzero(found)
    own = np.hypot(columns[:, None] - px, rows[:, None] - py).min(axis=1)
    assert np.mean(own < 2.5 * FWHM) > 0.98
    stars = np.hypot(columns[:, None] - x, rows[:, None] - y).min(axis=1)
    assert stars.min() >= FWHM
    assert stars.max() < RADIUS + 2.0 * FWHM


def test_noise_shifts_no_mean():
    """Four sigma of 64 stars: nearly nothing; where the models are bright it is theirs."""
    image, residual, x, y, *_ = scene(0.0)
    found = masked(image, residual, x, y)
    about = np.pi * RADIUS**2 * x.size
    assert found.sum() < 0.02 * about
    image, residual, x, y, *_ = scene(10.0, distance=1.4, flux=1e6)
    assert (masked(image, residual, x, y)).sum() < 0.02 * about


def test_photons_of_the_star_are_noise():
    image, residual, x, y, *_ = scene(6.0, distance=1.3)
    seen = masked(image, residual, x, y)
    noisy = masked(image, residual, x, y, gain=0.02)
    assert noisy.sum() < 0.3 * seen.sum()


def test_bad_pixels_and_stars_beyond_the_frame():
    image, residual, x, y, *_ = scene(0.0)
    mask = np.zeros(image.shape, np.uint16)
    column, row = int(x[0]) + 8, int(y[0])
    residual[row, column] = np.nan
    image[row, column] = np.nan
    residual[row, column - 2] = 1e6
    mask[row, column - 2] = int(Mask.BAD)
    found = masked(image, residual, np.append(x, -30.0), np.append(y, 900.0), mask)
    near = found[row - 9 : row + 10, column - 9 : column + 10]
    assert not near.any()


def test_wide_stars_are_looked_at_in_blocks():
    """Images that are three times as large, in three times as large pixels."""
    image, residual, x, y, px, py = scene(10.0)
    image, residual = (
        np.repeat(np.repeat(p, 3, axis=0), 3, axis=1) / 9.0 for p in (image, residual)
    )
    variance = np.full(image.shape, NOISE**2 / 9.0, np.float32)
    mask = np.zeros(image.shape, np.uint16)
    place = 3.0 * x + 1.0, 3.0 * y + 1.0
    psf = Psf.gaussian(3.0 * FWHM)
    with without_neighbours(
        mask, image, residual, variance, 0.0, psf, *place, 3.0 * RADIUS, Run()
    ) as marked:
        found = marked >= MAX_VARIANCE
    at = found[np.rint(3.0 * py + 1.0).astype(int), np.rint(3.0 * px + 1.0).astype(int)]
    assert at.mean() > 0.97
    rows, columns = np.nonzero(found)
    stars = np.hypot(columns[:, None] - place[0], rows[:, None] - place[1]).min(axis=1)
    assert stars.min() > 3.0 * FWHM - 3.0
