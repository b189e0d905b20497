"""The core of a cluster: its unresolved light is sky to the stars in it."""

import galsim
import numpy as np
import pytest

from skyextract.stages.crowded import search
from tests.compare.crowds import matched, measured
from tests.simulate.crowds import FWHM, simulate


def scores(field):
    """Share of bright stars that are found, purity, and bias of faint stars' fluxes."""
    sources = measured(field, "FLUX_PSF XPSF_IMAGE YPSF_IMAGE")
    match, offset = matched(field, sources)
    faint = match & (field.flux > 800.0) & (field.flux < 3000.0)
    return (
        match.any(axis=0)[field.flux > 2500.0].mean(),
        match.any(axis=1).mean(),
        -np.median(offset[faint]),
    )


@pytest.fixture(scope="module")
def fields():
    return [simulate("king", 384, seed, galsim.Gaussian(fwhm=FWHM)) for seed in (4, 6)]


def test_stars_of_cores(fields):
    found, purity, bias = np.mean([scores(field) for field in fields], axis=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "SKY_CELL", 100.0)  # that is BACK_SIZE
        with_wide_sky = np.mean([scores(field) for field in fields], axis=0)
    assert found > 0.94
    assert purity > 0.95
    assert abs(bias) < 0.03
    assert with_wide_sky[0] <= found
    assert with_wide_sky[1] < purity - 0.005  # .020 +- .003 of eight fields
    assert with_wide_sky[2] < bias - 0.015  # what is left of it is in the fluxes
