"""Sums of stars in the core of a cluster are no rows, and stars where it is not dense stay."""

import galsim
import numpy as np
import pytest

from skyextract.stages.crowded import sums
from skyextract.stages.crowded.hidden import Hidden
from skyextract.stages.crowded.rest import LeastFlux
from skyextract.stages.psf.sweeps import FittedSources
from tests.compare.crowds import matched, measured
from tests.simulate.crowds import FWHM, simulate
from tests.stages.crowded.test_rest import fitted_grid

COLUMNS = "FLUX_PSF XPSF_IMAGE YPSF_IMAGE"


def with_and_without(scene, size, seed):
    """Rows that are stars, other rows, with the test for sums and without."""
    field = simulate(scene, size, seed, galsim.Gaussian(fwhm=FWHM))
    counts = []
    for limit in (sums.DOUBTFUL, np.inf):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sums, "DOUBTFUL", limit)
            right = matched(field, measured(field, COLUMNS))[0].any(axis=1)
        counts.append((right.sum(), (~right).sum()))
    return np.array(counts)


def test_sums_in_the_core_of_a_cluster_are_no_rows():
    """A quarter or more of the rows that no star has go, with less than a tenth of the others."""
    (true, false), (all_true, all_false) = sum(with_and_without("king", 384, k) for k in (31, 32))
    assert false < 0.75 * all_false
    assert true > 0.9 * all_true


def test_broad_faint_rows_of_a_crowd_of_sharp_stars_stay():
    """At 20 stars per 100 FWHM^2 they are stars more than twice as often as not."""
    fwhm = 2.3  # with the pixel
    field = simulate(str(20 * (FWHM / fwhm) ** 2), 256, 41, galsim.Gaussian(fwhm=2.2))
    found = []
    for doubt in (sums.SOME_DOUBT, 0.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sums, "SOME_DOUBT", doubt)
            right = matched(field, measured(field, COLUMNS, fwhm), fwhm)[0].any(axis=1)
        found.append((right.sum(), (~right).sum()))
    (true, false), (fewer_true, fewer_false) = found
    assert true - fewer_true > max(5, 2 * (false - fewer_false))


def test_where_it_is_not_dense_all_stay():
    (true, false), (all_true, all_false) = with_and_without("5", 256, 31)
    assert true == all_true
    assert false == all_false


@pytest.mark.parametrize("distance", [0.0, 0.6])
def test_pairs_are_told_from_stars_by_what_is_about_them(distance):
    """Pairs are sums, and stars are none, in company; alone the same pairs are none."""
    exposure, hidden, run = fitted_grid(6000.0, distance)
    least = LeastFlux(600.0, np.ones((1, 1), np.float32), exposure.shape)
    assert not np.any(sums.sums_of_stars(exposure, hidden, 0, least, run)[1])
    # Stars of the same flux about each of them, far enough to leave their fits as they are.
    parameters = hidden.sources.parameters
    angle = np.arange(40) * 2 * np.pi / 40
    ring = 3.2 * FWHM * np.array([np.cos(angle), np.sin(angle)])
    near = [parameters[:, 1 + k, None] + ring[k] for k in (0, 1)]
    company = FittedSources.at(near[0].ravel(), near[1].ravel())
    company.parameters[:, 0] = 6000.0
    dense = Hidden(
        hidden.sources.append(company), hidden.models, hidden.plane, hidden.psf
    )  # fmt: skip
    _, bright = sums.sums_of_stars(exposure, dense, 0, least, run)
    share = bright[: len(parameters)].mean()
    assert (share > 0.8) if distance else (share < 0.05)
