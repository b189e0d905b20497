"""What parts of the stars tell: a flat field that is missing, two surveys in the reference."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.arrays import F8
from skyextract.stages.photometry.mixed import two_zero_points
from skyextract.stages.photometry.parts import Parts, compare_parts
from skyextract.stages.photometry.together import off_together


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


@pytest.mark.parametrize("n", [40, 200])
def test_two_surveys_side_by_side(n: int) -> None:
    """40 % of the stars .08 mag from the others, beside faint ones that do not tell."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        errors = np.where(rng.random(n) < 0.7, 0.012, 0.05)
        values = rng.normal(0.0, errors) + 0.08 * (rng.random(n) < 0.4)
        found.append(two_zero_points(values - np.mean(values), errors, 0.037))
    apart = [abs(mixture.apart) for mixture in found if mixture.apart]
    assert len(apart) >= 18
    assert np.median(apart) == pytest.approx(0.08, abs=0.006)


@pytest.mark.parametrize("kind", ["normal", "standard_t", "exponential", "uniform"])
def test_one_survey_that_scatters_is_not_two(kind: str) -> None:
    n_found = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        more = {
            "normal": rng.normal(0.0, 1.0, 80),
            "standard_t": rng.standard_t(3, 80),
            "exponential": rng.exponential(1.0, 80),
            "uniform": rng.uniform(-1.7, 1.7, 80),
        }[kind]
        values = rng.normal(0.0, 0.012, 80) + 0.03 * (more - more.mean())
        inside = np.abs(values) < 4.0 * 0.032
        mixture = two_zero_points(values[inside], np.full(inside.sum(), 0.012), 0.03)
        n_found += mixture.apart != 0.0
    assert n_found <= 3


def faint_band(seed: int, n: int, width: float, loss: float) -> tuple[F8, F8, F8, F8]:
    """Residuals, errors and places of stars of which those in a band of rows are too faint."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, 500.0, (2, n))
    errors = 0.012 * np.exp(rng.normal(0.4, 0.5, n))
    values = rng.normal(0.0, errors)
    # Some are variable, or blends.
    values[rng.random(n) < 0.06] += 0.3
    values[rng.random(n) < 0.06] -= 0.3
    return values - loss * (np.abs(y - 300.0) < 0.5 * width), errors, x, y


@pytest.mark.parametrize(("n", "loss"), [(60, 0.3), (100, 0.3), (200, 0.1)])
def test_a_band_of_faint_stars_is_told_with_its_place(n: int, loss: float) -> None:
    """As of a cloud, a drift scan, or a shadow in the flat field; along columns, too."""
    for turned in (False, True):
        found = []
        for seed in range(20):
            values, errors, x, y = faint_band(seed, n, 70.0, loss)
            found.append(off_together(values, errors, *((y, x) if turned else (x, y))))
        ends = [one.x if turned else one.y for one in found if one.number]
        assert len(ends) >= 17
        assert np.median(ends, axis=0) == pytest.approx((265.0, 335.0), abs=8.0)
        assert np.median([one.off for one in found if one.number]) == pytest.approx(-loss, abs=0.03)


def test_stars_that_are_off_anywhere_are_not_together() -> None:
    alarms = [
        off_together(*faint_band(seed, n, 0.0, 0.0)).number > 0
        for n in (15, 60, 200)
        for seed in range(50)
    ]
    assert sum(alarms) <= 1
