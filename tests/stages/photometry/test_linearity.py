"""Bright stars that the fit of the zero point leaves out, without a flag."""

import numpy as np
import pytest

from skyextract.stages.photometry.checks import Verdict
from skyextract.stages.photometry.linearity import with_bright_end, with_dark_corners, with_loss

FITTED = np.linspace(17.2, 20.5, 42)
BRIGHT = np.array([15.2, 15.9, 16.5, 17.0])


@pytest.mark.parametrize(
    ("off", "n_fitted", "weak"),
    [
        (0.04 + 0.08 * (17.2 - BRIGHT), 42, True),  # a stretch: .06 to .2 mag
        (0.02 + 0.03 * (17.2 - BRIGHT), 42, False),  # a detector that loses a few per cent
        (0.02 + 0.03 * (17.2 - BRIGHT), 12, True),  # ... of a quarter of the stars
        (0.02 + 1.00 * (17.2 - BRIGHT), 12, False),  # clipped: the others are what they are
    ],
)
def test_bent_or_clipped(off, n_fitted, weak):
    fitted = FITTED[:n_fitted]
    residuals = np.concatenate([-off, np.zeros(n_fitted)])
    before = Verdict({"step_mag": 0.0}, "", "", 0.003, [])
    mag = np.concatenate([BRIGHT, fitted])
    after = with_bright_end(before, residuals, mag, fitted)
    told = after.weak if weak else after.remarks[0]
    assert bool(after.weak) == weak
    assert told.startswith("4 stars brighter than magnitude 17.0")
    assert f"{np.median(off):.2f} mag too faint" in told


@pytest.mark.parametrize("edge", [260.0, 400.0])
def test_faintness_by_place_is_no_saturation(edge):
    """Stars in dark corners are too faint, whatever their brightness; outliers are anywhere."""
    rng = np.random.default_rng(5)
    mag, distance = rng.uniform(14.4, 20.0, 60), 350.0 * np.sqrt(rng.random(60))
    residuals = rng.normal(0.0, 0.02, 60) - 1.5 * np.clip((distance - edge) / 90.0, 0.0, 1.0)
    residuals[mag < 17.2] -= 0.04
    residuals[:3] -= 0.5
    before, some = Verdict({"step_mag": 0.0}, "", "", 0.003, []), mag > 17.2
    after = with_dark_corners(before, residuals, np.full(60, 0.02), mag, distance)
    assert ("pixels from the middle" in after.weak) == (edge < 350.0)
    again = with_bright_end(after, residuals, mag, mag[some])
    assert (again is after) == (edge < 350.0)


@pytest.mark.parametrize("lost", [0.0, 0.35])
def test_light_that_is_lost_in_proportion(lost):
    """Of photons in one frame time one is counted: half of their mean number is lost."""
    rng = np.random.default_rng(3)
    mag = np.append([14.8, 15.9, 16.1], rng.uniform(16.3, 19.5, 40))
    light = 10.0 ** (0.4 * (14.8 - mag))
    errors = np.full(mag.size, 0.012)
    residuals = rng.normal(0.0, errors) - lost * light
    fitted = mag > 16.2
    residuals -= np.mean(residuals[fitted])
    before = Verdict({"error_of_trend": 0.0}, "", "", 0.003, [])
    after = with_loss(before, residuals, errors, mag, mag[fitted])
    if not lost:
        assert after is before
        return
    assert after.weak.startswith("stars are too faint in proportion to their light")
    assert after.numbers["loss_of_brightest"] == pytest.approx(lost, abs=0.04)
    assert after.error == pytest.approx(lost * np.mean(light[fitted]), rel=0.3)


def test_stars_that_are_clipped_lose_nothing_in_proportion():
    mag = np.append(BRIGHT, FITTED)
    residuals = np.append(BRIGHT - 17.2, 0.02 * np.sin(np.arange(42.0)))
    before = Verdict({"error_of_trend": 0.0}, "", "", 0.003, [])
    assert with_loss(before, residuals, np.full(mag.size, 0.015), mag, FITTED) is before
