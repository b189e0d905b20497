"""Bright stars that the fit of the zero point leaves out, without a flag."""

import numpy as np
import pytest

from skyextract.stages.photometry.checks import Verdict
from skyextract.stages.photometry.linearity import with_bright_end

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
    after = with_bright_end(before, residuals, np.concatenate([BRIGHT, fitted]), fitted)
    told = after.weak if weak else after.remarks[0]
    assert bool(after.weak) == weak
    assert told.startswith("4 stars brighter than magnitude 17.0")
    assert f"{np.median(off):.2f} mag too faint" in told
