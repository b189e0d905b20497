"""Stars upon a nebula: what meshes of BACK_SIZE do not follow is sky, and no star."""

import galsim
import numpy as np
import pytest

from skyextract.stages.crowded import clouds
from tests.compare.crowds import matched, measured
from tests.simulate.crowds import FWHM, simulate


def scores(field):
    """Share of stars that are found, purity, and scatter of their fluxes."""
    sources = measured(field, "FLUX_PSF FLUXERR_PSF XPSF_IMAGE YPSF_IMAGE")
    match, offset = matched(field, sources)
    bright = field.flux > 6000.0
    return (
        match.any(axis=0)[bright].mean(),
        match.any(axis=1).mean(),
        offset[match & bright].std(),
    )


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_stars_upon_a_nebula(seed):
    field = simulate("nebula", 384, seed, galsim.Gaussian(fwhm=FWHM))
    found, purity, scatter = scores(field)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clouds, "CLOUDS", np.inf)
        without = scores(field)
    assert found > 0.93
    assert purity > 0.9
    assert scatter < 0.15
    assert found > without[0] + 0.03
    assert purity > without[1] + 0.1
    assert scatter < 0.7 * without[2]
