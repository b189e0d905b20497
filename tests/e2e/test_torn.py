"""Frames resampled by the nearest pixel: stars are torn, their edges no cosmic rays."""

from __future__ import annotations

import numpy as np
import pytest

import skyextract as sky
from skyextract.datamodel.psf import Psf
from tests.stages.pointsources.test_fit import add_stars

SIZE = 420


def frame(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return isolated stars of S/N 20 to 1500, without noise, with their places and fluxes."""
    rng = np.random.default_rng(seed)
    side = 11
    y, x = np.divmod(np.arange(side**2), side)
    step = (SIZE - 40) / side
    x, y = (20 + step * (v + rng.uniform(0.25, 0.75, v.size)) for v in (x, y))
    flux = 10 ** rng.uniform(3.0, 5.2, x.size)
    image = np.zeros((SIZE, SIZE))
    add_stars(image, Psf.gaussian(3.2), x, y, flux)
    rng = np.random.default_rng(seed + 1)
    noisy = image + 300.0 + rng.normal(size=image.shape) * np.sqrt(64.0 + image / 1.5)
    return noisy.astype(np.float32), x, y, flux


def test_stars_that_are_torn_apart_are_a_fallback():
    image, *_ = frame(1)
    y, x = np.indices(image.shape) - SIZE / 2
    cosine, sine = np.cos(np.radians(7.0)), np.sin(np.radians(7.0))
    rows, columns = (
        np.clip(np.rint(v + SIZE / 2), 0, SIZE - 1).astype(int)
        for v in (cosine * y - sine * x, cosine * x + sine * y)
    )
    for pixels, status in ((image, "COMPLETE"), (image[rows, columns], "FALLBACK")):
        sources = sky.process(sky.exposure(pixels, gain=1.5))
        assert sources.status["measure"] == status
    reason = sources.metrics["measure"]["reason"]
    assert "the PSF does not describe" in reason or "repaired cosmic rays" in reason


def test_edges_of_copied_pixels_are_no_cosmic_rays():
    image, x, y, flux = frame(3)
    sources = sky.process(sky.exposure(np.kron(image, np.ones((2, 2), np.float32)), gain=6.0))
    assert sources.status["measure"] == "FALLBACK"
    table = sources.table
    distance = np.hypot(
        np.asarray(table["X_IMAGE"])[:, None] - (2.0 * x + 1.5),
        np.asarray(table["Y_IMAGE"])[:, None] - (2.0 * y + 1.5),
    )
    row = distance.argmin(axis=0)
    bright = (flux > 2e4) & (distance.min(axis=0) < 2.0)
    assert bright.sum() > 30
    ratio = np.asarray(table["FLUX_PSF"])[row[bright]] / (4.0 * flux[bright])
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)
    assert not (np.asarray(table["FLAGS_SKY"]) & 2).any()
