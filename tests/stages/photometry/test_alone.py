"""The whole light of stars in a crowd: compared where no other star shines into the aperture."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.psf import Psf
from skyextract.stages.photometry.fluxscale import flux_scale
from skyextract.stages.photometry.stars import Stars


def scale_of(separation: float, n_pairs: int, n_alone: int, n_empty: int = 0) -> float:
    """Pairs of stars whose Kron flux is that of both, and stars alone with a PSF flux 1 % low."""
    place = 40.0 * np.arange(n_pairs + n_alone)
    x = np.concatenate([place, place[:n_pairs] + separation])
    n = len(x)
    flux = np.full(n, 99.0)
    kron = np.where(np.arange(n) < n_pairs, 200.0, 100.0)
    kron[n_pairs + n_alone :] = 200.0
    kron[n - n_empty :] = 0.0
    catalog = Catalog({
        "X_IMAGE": x + 1.0, "Y_IMAGE": np.full(n, 11.0), "FLUX_PSF": flux, "FLUX_AUTO": kron,
    })  # fmt: skip
    plane = np.zeros((20, 20), np.float32)
    exposure = Exposure(plane, plane.astype(np.uint16), psf=Psf.gaussian(3.0))
    rows = np.arange(n)
    stars = Stars(rows, rows, x, np.full(n, 10.0), *(np.zeros(n) for _ in range(4)))
    return flux_scale(catalog, exposure, "FLUX_PSF", stars).above_kron


def test_in_a_crowd_stars_that_stand_alone_tell():
    assert scale_of(4.0, 20, 6) == pytest.approx(2.5 * np.log10(0.99), abs=1e-9)


def test_without_enough_of_them_nothing_is_known():
    assert np.isnan(scale_of(4.0, 20, 2))


def test_elsewhere_all_stars_tell():
    assert scale_of(4.0, 3, 20) == pytest.approx(2.5 * np.log10(0.99), abs=1e-9)
    assert scale_of(15.0, 20, 2) == pytest.approx(2.5 * np.log10(99.0 / 200.0), abs=1e-9)


@pytest.mark.filterwarnings("error")
def test_kron_fluxes_of_0_tell_nothing():
    assert scale_of(15.0, 0, 20, 8) == pytest.approx(2.5 * np.log10(0.99), abs=1e-9)
    assert np.isnan(scale_of(15.0, 0, 20, 20))
    assert np.isnan(scale_of(15.0, 0, 0))
