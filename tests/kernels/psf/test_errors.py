"""Errors, chi2 and SPREAD_MODEL of fits against design matrices and np.linalg."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.psf.errors import (
    SYSTEMATIC,
    FitQuality,
    _eliminate,
    describe_fits,
    joint_errors,
)
from skyextract.kernels.psf.fit import FROZEN
from skyextract.kernels.psf.model import PsfModel
from skyextract.kernels.psf.records import Fits, Planes, Positions, Tiles
from tests.entry import entry


def test_neighbours_are_eliminated_as_by_one_solution_for_both():
    """Two sources, weights that are not inverse variances: the sandwich of the 6 x 6 system."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 40, 3))
    weight, noise = rng.uniform(0.5, 2.0, (2, 40))
    design = np.concatenate([a, b], axis=1)
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    passes = design.T @ ((weight**2 * noise)[:, None] * design)
    expected = (inverse @ passes @ inverse)[:3, :3]
    cross, cross_noise = (
        np.ascontiguousarray((a * w[:, None]).T @ b) for w in (weight, weight**2 * noise)
    )
    matrix, passed = ((a * w[:, None]).T @ a for w in (weight, weight**2 * noise))
    matrix, passed = np.ascontiguousarray(matrix), np.ascontiguousarray(passed)
    entry(_eliminate)(
        cross, cross_noise, np.linalg.inv((b * weight[:, None]).T @ b),
        np.ascontiguousarray((b * (weight**2 * noise)[:, None]).T @ b), np.empty((3, 3)),
        matrix, passed,
    )  # fmt: skip
    left = np.linalg.inv(matrix)
    assert left @ passed @ left == pytest.approx(expected)


SIDE, BAD, SAMPLING, RADIUS, SPREAD = 48, 4, 0.7, 6.5, 7


def spline(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cubic B-spline and its derivative, by its pieces."""
    r = np.abs(t)
    value = np.where(r < 1, (4 - 6 * r**2 + 3 * r**3) / 6, np.clip(2 - r, 0, None) ** 3 / 6)
    slope = np.where(r < 1, 1.5 * r**2 - 2 * r, -(np.clip(2 - r, 0, None) ** 2) / 2)
    return value, slope * np.sign(t)


def reference_stamps(model: np.ndarray, x: float, y: float) -> np.ndarray:
    """Value and slopes to x, y of a model of unit sum on all pixels of the image."""
    model = model / (model.sum() * SAMPLING**2)

    def axis(centre, n):
        t = (n - 1) / 2 + (np.arange(SIDE) - centre) / SAMPLING
        value, slope = spline(t[:, None] - np.arange(n))
        inside = ((np.floor(t) >= 1) & (np.floor(t) + 2 < n))[:, None]
        return value * inside, -slope * inside / SAMPLING

    (row, d_row), (column, d_column) = axis(y, model.shape[0]), axis(x, model.shape[1])
    pairs = ((row, column), (row, d_column), (d_row, column))
    return np.stack([a @ model @ b.T for a, b in pairs])


@pytest.fixture(scope="module", params=[0.0, 0.11])
def fitted(request):
    """Four overlapping sources, one alone and one without a fit, and what the kernels make.

    One gain for all pixels, and one that follows the weight (WEIGHT_GAIN).
    """
    per_variance = request.param
    rng = np.random.default_rng(11)
    n_y, n_x = 31, 33
    yy, xx = np.indices((n_y, n_x))
    core = np.exp(-((xx - 16.3) ** 2 + (yy - 14.8) ** 2) / 14)
    coefficients = np.stack([core, 0.1 * core * (xx - 16), 0.1 * core * (yy - 15)])
    disk = np.stack([np.exp(-np.hypot(xx - 16, yy - 15) / 3.0), *coefficients[1:]])
    parameters = np.array([
        [900.0, 20.3, 18.9], [300.0, 25.1, 20.2], [150.0, 21.0, 24.4], [70.0, 27.0, 15.5],
        [400.0, 44.6, 2.2], [np.nan, 22.0, 20.0],
    ])  # fmt: skip
    n = len(parameters)
    u, v = np.tile(rng.uniform(-0.5, 0.5, (2, 1)), (1, n))  # neighbours share their PSF
    image = rng.normal(0, 3, (SIDE, SIDE))
    residual = image.copy()
    for flux, x, y in parameters[:-1]:
        local = coefficients[0] + u[0] * coefficients[1] + v[0] * coefficients[2]
        image += flux * reference_stamps(local, x, y)[0]
    variance = rng.uniform(5, 12, (SIDE, SIDE))
    mask = np.zeros((SIDE, SIDE), np.uint16)
    mask[18, 21], mask[19:21, 24], mask[24, 20] = BAD, BAD | 1, 1
    variance[21, 19], variance[17, 22], residual[22, 23] = np.inf, 1e30, np.nan
    planes = Planes(
        image.astype(np.float32), residual.astype(np.float32), variance.astype(np.float32), mask,
        BAD, np.array([0.4, 0.9, per_variance]),
    )  # fmt: skip
    tiles = Tiles(np.array([0, n - 1]), np.arange(n - 1)[::-1].copy(), 1, np.zeros(n, np.int64))
    radius = np.array([RADIUS, RADIUS, 5.0, RADIUS, RADIUS, RADIUS])
    status = np.array([0, 0, 0, FROZEN, 0, 0], np.int32)
    fits = Fits(
        parameters, np.zeros(n, np.int64), radius, np.zeros(n, np.uint8), status,
        np.zeros(n, np.int32),
    )  # fmt: skip
    quality = FitQuality(*np.full((3, n, 3, 3), -1.0), *np.full((4, n), -1.0))
    psf = PsfModel(coefficients, 1, SAMPLING)
    positions = Positions(*parameters[:, 1:].T.copy(), u, v)
    describe_fits(0, n, planes, psf, disk, positions, 9, SPREAD, False, fits, quality)
    alone = FitQuality(*np.full((3, n, 3, 3), -1.0), *np.full((4, n), -1.0))
    describe_fits(0, n, planes, psf, disk, positions, 9, SPREAD, True, fits, alone)
    for ours, theirs in zip(quality[4:6], alone[4:6], strict=True):
        np.testing.assert_array_equal(ours, theirs)  # SPREAD_MODEL by itself is the same
    assert np.isnan(alone.chi2).all()
    joint_errors(0, n, tiles, planes, psf, positions, 9, 1.0, fits, quality)
    return Reference(planes, coefficients, disk, u[0], v[0], parameters, radius), quality


class Reference:
    """The same numbers by design matrices and np.linalg."""

    def __init__(self, planes, coefficients, disk, u, v, parameters, radius):
        image, residual, variance, mask, _, gains = planes
        self.residual = residual.astype(float)
        light = np.clip(image - self.residual, 0, None)
        self.light = image - self.residual
        self.good = ((mask & BAD) == 0) & (variance < 1e29) & np.isfinite(self.residual)
        self.noise = variance + light * gains[0] * (variance * gains[2] if gains[2] else 1.0)
        self.sky = variance
        self.weight = 1 / (variance + light * gains[1])
        self.parameters, self.radius = parameters, radius
        terms = np.array([1.0, u, v])
        self.psf = [reference_stamps(np.tensordot(terms, coefficients, 1), x, y)
                    for _, x, y in parameters]  # fmt: skip
        self.disk = [reference_stamps(np.tensordot(terms, disk, 1), x, y)[0]
                     for _, x, y in parameters]  # fmt: skip

    def region(self, k, radius):
        y, x = np.indices((SIDE, SIDE))
        return self.good & (
            np.hypot(x - self.parameters[k, 1], y - self.parameters[k, 2]) <= radius
        )

    def matrices(self, a, b):
        """Blocks of the normal matrix and of the noise that passes, on the region of a."""
        where = self.region(a, self.radius[a])
        left, right = self.psf[a][:, where], self.psf[b][:, where]
        w = self.weight[where]
        return (left * w) @ right.T, (left * w**2 * self.noise[where]) @ right.T


def test_normal_matrices_and_chi2_are_those_of_the_design_matrices(fitted):
    reference, (normal, noise, _, chi2, *_, misfit) = fitted
    for k in range(5):
        expected, expected_noise = reference.matrices(k, k)
        assert normal[k] == pytest.approx(expected, rel=1e-5, abs=1e-9)
        assert noise[k] == pytest.approx(expected_noise, rel=1e-5, abs=1e-9)
        where = reference.region(k, reference.radius[k])
        total = np.sum(reference.residual[where] ** 2 / reference.noise[where])
        assert chi2[k] == pytest.approx(total / (where.sum() - 3), rel=1e-5)
        wrong = SYSTEMATIC * reference.light[where]
        total = np.sum(reference.residual[where] ** 2 / (reference.noise[where] + wrong**2))
        assert misfit[k] == pytest.approx(total / (where.sum() - 3), rel=1e-5)
    assert not normal[5].any()
    assert np.isnan(chi2[5])


def test_spread_model_is_its_formula(fitted):
    reference, (*_, spread, spread_error, _) = fitted
    for k in range(5):
        where = reference.region(k, SPREAD)
        p, g = reference.psf[k][0][where], reference.disk[k][where]
        d = reference.residual[where] + reference.parameters[k, 0] * p
        w = 1 / reference.sky[where]
        assert spread[k] == pytest.approx((g * w) @ d / ((p * w) @ d) - (g * w) @ p / ((p * w) @ p))
        # the error is that of the first ratio, with the noise of the photons
        slope = w * (g * ((p * w) @ d) - p * ((g * w) @ d)) / ((p * w) @ d) ** 2
        variance = slope**2 @ reference.noise[where]
        assert spread_error[k] == pytest.approx(np.sqrt(variance), rel=1e-5)
    assert np.isnan(spread[5])


def test_joint_errors_are_those_of_source_and_neighbours_together(fitted):
    """The sandwich of the whole system in which neighbours are tied to the source alone."""
    reference, (normal, noise, covariance, *_) = fitted
    position = reference.parameters[:, 1:]
    for k in range(5):
        near = [m for m in range(5) if m != k and np.hypot(*(position[m] - position[k]))
                <= reference.radius[k] + reference.radius[m]]  # fmt: skip
        assert len(near) == (0 if k == 4 else 3)
        system, passes = (np.zeros((3 + 3 * len(near),) * 2) for _ in range(2))
        system[:3, :3], passes[:3, :3] = normal[k], noise[k]
        free = [True] * 3
        for j, m in enumerate(near, start=1):
            own, other = slice(0, 3), slice(3 * j, 3 * j + 3)
            system[own, other], passes[own, other] = reference.matrices(k, m)
            system[other, own], passes[other, own] = system[own, other].T, passes[own, other].T
            system[other, other], passes[other, other] = normal[m], noise[m]
            free += [True, m != 3, m != 3]  # of a frozen neighbour only the flux was fitted
        keep = np.ix_(free, free)
        inverse = np.linalg.inv(system[keep])
        joint = (inverse @ passes[keep] @ inverse)[:3, :3]
        if k == 3:
            # its own position is not fitted either
            keep = np.ix_([0, *range(3, len(free))], [0, *range(3, len(free))])
            inverse = np.linalg.inv(system[keep])
            flux_variance = (inverse @ passes[keep] @ inverse)[0, 0]
            assert covariance[k, 0, 0] == pytest.approx(flux_variance, rel=1e-4)
            assert np.isnan(covariance[k]).sum() == 8
            continue
        units = np.array([1.0, reference.parameters[k, 0], reference.parameters[k, 0]])
        expected = joint / np.outer(units, units)
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        assert covariance[k] / scale == pytest.approx(expected / scale, rel=1e-4, abs=1e-5)
    assert np.isnan(covariance[5]).all()
