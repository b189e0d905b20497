"""Covariances of the first of many parameters against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.psf.groups import first_covariance
from tests.entry import entry


def reference(design, trusted, noise):
    """Return the covariance of all parameters: weighted by one variance, with another noise."""
    weighted = design / trusted
    inverse = np.linalg.inv(weighted @ design.T)
    return inverse @ ((weighted * noise) @ weighted.T) @ inverse


def equations(n, m=400, seed=1):
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(n, m))
    design[1:] += 0.7 * design[:1]
    design *= 10.0 ** rng.uniform(-4, 4, (n, 1))
    return design, rng.uniform(1, 9, m), rng.uniform(1, 5, m)


@pytest.mark.parametrize("n_wanted", [1, 3])
@pytest.mark.parametrize("n", [3, 6, 39])
def test_covariance_of_the_first(n, n_wanted):
    design, trusted, noise = equations(n)
    want = reference(design, trusted, noise)[:n_wanted, :n_wanted]
    out = np.empty((n_wanted, n_wanted))
    assert entry(first_covariance)(design, trusted, noise, n_wanted, 1e10, out)
    unit = np.sqrt(np.diag(want))
    np.testing.assert_allclose(out / np.outer(unit, unit), want / np.outer(unit, unit), atol=1e-9)


@pytest.mark.parametrize("apart", [1e-2, 3e-6])
def test_parameters_that_can_hardly_be_told_apart(apart):
    """The limit is the ratio of the extreme eigenvalues of the matrix with diagonal 1."""
    design, trusted, noise = equations(9)
    design[4] = design[0] + apart * np.abs(design[0]).max() * design[4] / np.abs(design[4]).max()
    root = design / np.sqrt(trusted)
    root /= np.sqrt((root**2).sum(axis=1))[:, None]
    values = np.linalg.eigvalsh(root @ root.T)
    condition = values[-1] / values[0]
    out = np.full((3, 3), 7.0)
    arguments = [(design.copy(), trusted.copy(), noise, 3, limit * condition, out)
                 for limit in (0.8, 1.25)]  # fmt: skip
    assert not entry(first_covariance)(*arguments[0])
    assert (out == 7.0).all()
    assert entry(first_covariance)(*arguments[1])


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_parameter_without_light_or_number(value):
    design, trusted, noise = equations(6)
    design[5] = value
    assert not entry(first_covariance)(design, trusted, noise, 3, 1e10, np.empty((3, 3)))
