"""Few stars among galaxies: the smallest sources that agree on a size, or a doubt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.settings.keywords import Characterize
from skyextract.stages.psf.doubt import doubt_of_stars
from skyextract.stages.starselection.stars import select_stars
from tests.stages.starselection.test_stars import SHAPE, candidates


def high_latitude(n_stars, n_galaxies, seed, fwhm=3.58):
    """Few stars of S/N 30 to 250, and faint galaxies whose own sizes scatter by 0.25 dex."""
    random = np.random.default_rng(seed)
    star_snr = 10.0 ** random.uniform(1.5, 2.4, n_stars)
    snr = np.concatenate([star_snr, random.uniform(20.0, 36.0, n_galaxies)])
    own = 4.8 * 10.0 ** random.normal(0.0, 0.25, n_galaxies)
    size = np.concatenate([np.full(n_stars, fwhm), np.hypot(fwhm, own)])
    size *= random.normal(1.0, np.hypot(1.0 / snr, 0.006))
    tilt = np.concatenate([np.full(n_stars, 0.01), random.rayleigh(0.1, n_galaxies)])
    found = candidates(size, snr, seed, ellipticity=np.hypot(tilt, random.normal(0.0, 1.0 / snr)))
    return replace(found, flux=snr**2)


@pytest.mark.parametrize(
    ("n_stars", "n_galaxies", "most"), [(3, 14, 8), (4, 14, 6), (6, 30, 11), (3, 6, 3)]
)
def test_few_stars_are_the_smallest_sources_that_agree(n_stars, n_galaxies, most):
    right = doubted = believed = 0
    for seed in range(24):
        found = select_stars(high_latitude(n_stars, n_galaxies, seed), Characterize(), SHAPE, 60)
        is_right = found.fwhm == pytest.approx(3.58, rel=0.03)
        right += is_right
        doubted += bool(doubt_of_stars(found))
        believed += not (is_right or doubt_of_stars(found))
    assert right >= 19
    assert believed <= 1
    assert doubted <= most


@pytest.mark.parametrize("n_stars", [0, 2])
def test_what_agrees_by_chance_is_doubted(n_stars):
    """Galaxies alone, and beside two stars, which make no PSF."""
    believed = 0
    for seed in range(24):
        found = select_stars(high_latitude(n_stars, 14, seed), Characterize(), SHAPE, 60)
        is_right = n_stars and found.fwhm == pytest.approx(3.58, rel=0.03)
        believed += found.stars.size >= 3 and not is_right and not doubt_of_stars(found)
    assert believed <= 2


@pytest.mark.parametrize("n_stars", [4, 5, 8, 15])
def test_few_stars_alone_are_not_doubted(n_stars):
    """Of one size, or of sizes that vary by a tenth over the field."""
    for seed in range(10):
        stars = high_latitude(n_stars, 0, seed)
        varied = replace(stars, fwhm=stars.fwhm * (1.0 + 0.1 * (stars.x / SHAPE[1] - 0.5)))
        for sample in (stars, varied):
            found = select_stars(sample, Characterize(), SHAPE, 60)
            assert not doubt_of_stars(found)
            assert found.fwhm == pytest.approx(3.58, rel=0.06)


def test_few_stars_beside_sharper_defects_stay_the_stars():
    """What is left of hot pixels and cosmic rays is of any size below that of stars."""
    for seed in range(10):
        random = np.random.default_rng(seed)
        stars = high_latitude(8, 4, seed)
        rays = candidates(random.uniform(1.0, 2.2, 6), 40.0, seed)
        fwhm, snr, ellipticity = (
            np.concatenate([getattr(stars, name), getattr(rays, name)])
            for name in ("fwhm", "snr", "ellipticity")
        )
        mixed = candidates(fwhm, snr, seed, ellipticity=ellipticity)
        found = select_stars(mixed, Characterize(), SHAPE, 60)
        assert found.fwhm == pytest.approx(3.58, rel=0.04), seed


def test_stars_below_a_hump_of_galaxies_are_found():
    """Nothing is smaller than they are, and the hump is higher: in 12 of 30 it was taken."""
    right = believed = 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        snr = 10.0 ** np.append(random.uniform(1.35, 1.8, 16), random.uniform(1.5, 2.5, 120))
        size = np.append(np.full(16, 6.8), 8.2 * 10.0 ** random.gamma(1.0, 0.05, 120))
        size *= random.normal(1.0, np.hypot(1.0 / snr, 0.012))
        tilt = np.append(np.full(16, 0.01), random.rayleigh(0.05, 120))
        tilt = np.hypot(tilt, random.normal(0.0, 1.0 / snr))
        found = replace(candidates(size, snr, seed, ellipticity=tilt), flux=snr**2)
        selection = select_stars(found, Characterize(), SHAPE, 60)
        is_right = selection.fwhm == pytest.approx(6.8, rel=0.04)
        right += is_right
        believed += not (is_right or doubt_of_stars(selection))
    assert right >= 26
    assert believed <= 1
