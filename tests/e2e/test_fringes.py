"""Fringes that were not subtracted: measured on the frame itself, or told."""

from __future__ import annotations

import numpy as np
import pytest

import skyextract as sky
from skyextract.datamodel.psf import Psf
from tests.stages.pointsources.test_fit import add_stars

SIZE, SKY = 512, 3000.0


def frame(seed: int, amplitude: float, period: float) -> np.ndarray:
    """Return stars on a sky with fringes, in electrons."""
    return draw(seed, amplitude, period)[0]


def draw(seed: int, amplitude: float, period: float):
    """Return the same with the places and fluxes of the stars."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(10, SIZE - 10, (2, 200))
    image = np.zeros((SIZE, SIZE))
    flux = 10 ** rng.uniform(2.5, 5.0, x.size)
    add_stars(image, Psf.gaussian(3.2), x, y, flux)
    v, u = np.mgrid[:SIZE, :SIZE] / SIZE
    a, b, c, d = rng.uniform(0.0, 2.0 * np.pi, 4)
    bend = np.sin(7.0 * u + a) + np.sin(6.0 * v + b) + np.sin(5.0 * (u - v) + c)
    image += SKY * (1.0 + amplitude * np.sin(2.0 * np.pi * (u * SIZE / period + 0.7 * bend) + d))
    noise = rng.normal(size=image.shape) * np.sqrt(image + 25.0)
    return (image + noise).astype(np.float32), x, y, flux


@pytest.mark.parametrize("amplitude", [0.03, 0.0])
def test_fringes_are_told(amplitude):
    exposure = sky.exposure(frame(1, amplitude, 22.0), gain=1.0)
    found = sky.process(exposure, data_check=False)
    measure = found.metrics["measure"]
    told = "as fine as the stars" in measure.get("reason", "")
    assert told == (amplitude > 0.0), (measure["noise_scale"], measure["detection_scale"])
    assert found.status["measure"] == ("FALLBACK" if told else "COMPLETE")


@pytest.mark.parametrize(("seed", "amplitude", "period"), [(4, 0.05, 12.0), (5, 0.02, 36.0)])
def test_stars_on_fringes_are_as_without(seed, amplitude, period):
    """Rows are stars, bright ones are found, and fluxes are off by their errors."""
    image, x, y, flux = draw(seed, amplitude, period)
    found = sky.process(sky.exposure(image, gain=1.0))
    assert found.status["measure"] == "COMPLETE"
    assert any("fringes" in warning for warning in found.warnings)
    rows = found.table
    apart = np.hypot(
        np.asarray(rows["X_IMAGE"])[:, None] - 1 - x, np.asarray(rows["Y_IMAGE"])[:, None] - 1 - y
    )
    star = apart.argmin(axis=1)
    true = apart.min(axis=1) < 1.6
    assert true.mean() > 0.97
    assert np.isin(np.flatnonzero(flux > 4000.0), star[true]).mean() > 0.96
    use = true & (flux[star] > 4000.0)
    measured, error, light = rows["FLUX_PSF"][use], rows["FLUXERR_PSF"][use], flux[star][use]
    bright = light > 3e4
    # The scale of all fluxes is what a zero point takes up.
    pull = (measured / np.median(measured[bright] / light[bright]) - light) / error
    assert abs(np.median(pull)) < 0.35
    assert 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.3
