"""One source's fit against numpy's least squares."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.stages.pointsources.fit import psf_photometry
from tests.kernels.psf.test_model import rendered


def test_one_source_is_the_weighted_least_squares_solution():
    """Solve the same normal equations by numpy at the fitted position."""
    psf = Psf.gaussian(3.5)
    n, gain, noise = 41, 3.0, 4.0
    rng = np.random.default_rng(7)
    truth = 5000 * rendered(psf, 20.3, 19.8, n)[0]
    variance = np.full((n, n), noise**2, dtype=np.float32)
    image = (truth + rng.normal(size=(n, n)) * np.sqrt(noise**2 + truth / gain)).astype(np.float32)
    mask = np.zeros((n, n), dtype=np.uint16)
    fit = psf_photometry(
        image, variance, gain, mask, psf, np.array([20.0]), np.array([20.0]), Run()
    )
    p, p_x, p_y = rendered(psf, fit.x[0], fit.y[0], n)
    yy, xx = np.indices((n, n))
    # the region is around the given position, where the first visit starts
    region = (xx - 20) ** 2 + (yy - 20) ** 2 <= (1.5 * 3.5) ** 2
    weight = 1 / (noise**2 + fit.flux[0] * p[region] / gain)
    design = np.stack([p[region], fit.flux[0] * p_x[region], fit.flux[0] * p_y[region]], axis=1)
    residual = image[region] - fit.flux[0] * p[region]
    normal = design.T @ (weight[:, None] * design)
    step = np.linalg.solve(normal, design.T @ (weight * residual))
    assert abs(step[0]) < 0.01 * fit.flux_error[0]
    assert abs(step[1]) < 0.01 * np.sqrt(fit.variance_x[0])
    # the errors are those at the fitted position, whose region differs by a few pixels
    assert fit.flux_error[0] == pytest.approx(np.sqrt(np.linalg.inv(normal)[0, 0]), rel=0.01)
    assert fit.variance_x[0] == pytest.approx(np.linalg.inv(normal)[1, 1], rel=0.05)
    near = np.s_[15:26, 15:26]
    assert fit.residual[near] == pytest.approx((image - fit.flux[0] * p)[near], abs=1e-3)
