"""Zero points of ordinary frames, where most sources are too faint to be found, against truth."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest

pytest.importorskip("galsim")

from tests.simulate.zeropointfields import simulate_field, zero_point_error


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="frames need compiled kernels")
@pytest.mark.parametrize(("n_galaxies", "n"), [(0, 4), (150, 8)])
def test_errors_of_zero_points_are_true(n_galaxies: int, n: int, tmp_path: Path) -> None:
    """With the mode of the sky alone: off by 0.007 and 0.012 mag in the mean, pulls 1.3 and 2.1.

    The rms of eight pulls of a true error is below 1.5 in 98 % of all cases.
    """
    found = [
        zero_point_error(simulate_field(seed, 220, n_galaxies), tmp_path / f"{seed}.fits")
        for seed in range(n)
    ]
    off, error = np.array([one for one in found if one is not None]).T
    assert len(off) == len(found)
    assert abs(off.mean()) < 3.0 * np.sqrt(np.mean(error**2) / len(off))
    assert np.abs(off.mean()) < 0.006
    assert np.sqrt(np.mean((off / error) ** 2)) < 1.5
    assert np.median(error) < 0.01
