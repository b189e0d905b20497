"""Sums of stars in the core of a cluster are no rows, and stars where it is not dense stay."""

import galsim
import numpy as np
import pytest

from skyextract.stages.crowded import sums
from skyextract.stages.crowded.hidden import Hidden
from skyextract.stages.crowded.rest import LeastFlux
from skyextract.stages.pointsources.sweeps import FittedSources
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
    """Rows that go are none of the stars three times as often as others, and are few."""
    (true, false), (all_true, all_false) = sum(with_and_without("king", 384, k) for k in (31, 32))
    gone_false, gone = all_false - false, all_true + all_false - true - false
    assert gone_false > 3.0 * gone * false / (true + false)
    assert true > 0.95 * all_true


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
    angle = np.arange(60) * 2 * np.pi / 60
    ring = 3.2 * FWHM * np.array([np.cos(angle), np.sin(angle)])
    near = [parameters[:, 1 + k, None] + ring[k] for k in (0, 1)]
    company = FittedSources.at(near[0].ravel(), near[1].ravel())
    company.parameters[:, 0] = 6000.0
    dense = Hidden(
        hidden.sources.append(company), hidden.models, hidden.plane, hidden.psf
    )  # fmt: skip
    bright = sums.sums_of_stars(exposure, dense, 0, least, run)[1]
    share = bright[: len(parameters)].mean()
    assert (share > 0.8) if distance else (share < 0.05)


@pytest.mark.parametrize(
    ("scene", "name", "nothing"),
    [("40", "OF_FAINTER", 0.0), ("king", "OF_FAINTER", 0.0), ("king", "BESIDE", (0.0, 0.0))],
)
def test_light_of_fainter_stars_is_none_of_a_row(scene, name, nothing):
    """Fluxes scatter less about those of the stars, and more rows are stars."""
    fields = [simulate(scene, 256, seed, galsim.Gaussian(fwhm=FWHM)) for seed in (51, 52)]
    found = []
    for share in (getattr(sums, name), nothing):
        right, number, offsets = 0, 0, []
        for field in fields:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sums, name, share)
                rows = measured(field, COLUMNS)
            is_star, offset = matched(field, rows)
            right, number = right + is_star.any(axis=1).sum(), number + rows.n_rows
            brightest = np.where(is_star, field.flux, 0.0).argmax(axis=1)
            offsets.append(offset[np.arange(rows.n_rows), brightest][is_star.any(axis=1)])
        found.append((right, number, np.abs(np.concatenate(offsets)).mean()))
    (more, n, near), (fewer, n_all, far) = found
    assert n == n_all
    assert more > fewer
    assert near < far


def test_share_of_fainter_light():
    """Of half as much as sums have a fifth; what is not known well tells little."""
    spread = np.array([sums.SUM[0] / 2, sums.SUM[0] / 2, -0.01, np.nan, 1.0])
    error = np.array([0.0, sums.SUM[1], 0.0, np.nan, 0.0])
    share = sums.share_of_fainter(spread, error)
    np.testing.assert_allclose(share, [0.2, 0.1, 0.0, 0.0, 0.5])
