"""What parts of the stars tell: a flat field that is missing."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.photometry.parts import Parts, compare_parts


def parts_of(seed: int, n: int, corners: float, scatter: float) -> Parts:
    """Return those of stars with errors of .012 mag, which change so to the corners."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, (1200.0, 800.0), (n, 2)).T
    errors = 0.012 * np.exp(rng.normal(0.0, 0.4, n))
    values = rng.normal(0.0, np.hypot(errors, scatter))
    values += 0.5 * corners * ((x / 600.0 - 1.0) ** 2 + (y / 400.0 - 1.0) ** 2)
    values -= np.median(values)
    mag = rng.uniform(16.0, 21.0, n)
    none = np.zeros(0)
    everyone = (values, errors, x, y)
    # A fit takes what it lacks for scatter of the stars.
    intrinsic = float(np.hypot(scatter, 0.21 * corners))
    return compare_parts((values, errors, mag), everyone, (none,) * 3, intrinsic, (800, 1200))


@pytest.mark.parametrize(("n", "scatter"), [(40, 0.0), (80, 0.02)])
def test_a_vignetting_of_six_percent_is_seen(n: int, scatter: float) -> None:
    """With its sign, and in the scatter over the frame: .21 of it, of a square of the distance."""
    for corners in (-0.067, 0.067):
        found = [parts_of(seed, n, corners, scatter) for seed in range(20)]
        change = [parts.corners for parts in found]
        assert np.count_nonzero(change) >= 19
        assert np.median(change) == pytest.approx(corners, rel=0.12)
        assert np.median([parts.surface for parts in found]) == pytest.approx(0.014, abs=0.002)


def test_of_level_fields_one_in_a_hundred_seems_to_have_one() -> None:
    found = [parts_of(seed, 60, 0.0, 0.01).corners for seed in range(200)]
    assert np.count_nonzero(found) <= 4
