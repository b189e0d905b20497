"""Galaxies of several kinds are not torn into stars, and blends of stars are not eaten."""

from dataclasses import replace

import galsim
import numpy as np
import pytest

from skyextract.datamodel.flags import FlagsSky
from skyextract.stages.crowded import extended, plain, search
from skyextract.stages.crowded.extended import pieces_of_extended
from skyextract.stages.crowded.plain import PLAIN, distance_of_stars
from tests.compare.crowds import matched, measured
from tests.simulate.crowds import FWHM, GAIN, simulate

COLUMNS = "X_IMAGE Y_IMAGE FLUX_PSF XPSF_IMAGE YPSF_IMAGE"


def torn(field, sources):
    """Number of rows on each galaxy that are no star, beyond its own."""
    star = matched(field, sources)[0].any(axis=1)
    hidden = (sources["FLAGS_SKY"] & FlagsSky.HIDDEN) != 0
    x, y, radius, _ = field.galaxies.T
    distance = np.hypot(sources["X_IMAGE"][:, None] - 1 - x, sources["Y_IMAGE"][:, None] - 1 - y)
    upon = (distance < 1.7 * radius + FWHM) & ~star[:, None]
    return np.minimum((upon & hidden[:, None]).sum(axis=0), np.maximum(upon.sum(axis=0) - 1, 0))


@pytest.fixture(scope="module")
def field():
    return simulate("galaxies", 512, 4, galsim.Gaussian(fwhm=FWHM))


@pytest.fixture(scope="module")
def all_added(field):
    """The same without a test for galaxies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            search,
            "pieces_of_extended",
            lambda _, hidden, *__, **___: np.zeros((2, hidden.x.size), np.bool_),
        )
        patch.setattr(
            search, "plainly_extended",
            lambda _, hidden, *__: (np.zeros(hidden.x.size, np.bool_), np.zeros(0, np.int64), 0),
        )  # fmt: skip
        return measured(field, COLUMNS)


def test_galaxies_are_not_torn(field, all_added):
    sources = measured(field, COLUMNS)
    assert (torn(field, all_added) > 0).mean() > 0.35
    assert (torn(field, sources) > 0).mean() < 0.12


def test_blends_are_not_eaten(field, all_added):
    sources = measured(field, COLUMNS)
    blended = (field.kind > 1) & (field.flux > 1000.0)
    before = matched(field, all_added)[0].any(axis=0)[blended].mean()
    after = matched(field, sources)[0].any(axis=0)[blended].mean()
    assert before > 0.6
    assert after > 0.93 * before


DISC, BULGE = galsim.Exponential, galsim.DeVaucouleurs
SIDE = 384


def rows_upon(galaxies, seed):
    """Rows that are no star within a half-light radius and a FWHM of galaxies among stars.

    Galaxies are (profile, flux, radius, x, y).
    """
    psf = galsim.Gaussian(fwhm=FWHM)
    field = simulate("8", SIDE, seed, psf)
    image = galsim.ImageD(SIDE, SIDE)
    for profile, flux, radius, x, y in galaxies:
        light = profile(half_light_radius=radius).shear(q=0.7, beta=1.0 * galsim.radians)
        galsim.Convolve(psf, light.withFlux(flux)).drawImage(
            image, scale=1, center=galsim.PositionD(x + 1, y + 1), add_to_image=True
        )
    rng = np.random.default_rng(seed)
    noisy = rng.poisson(np.maximum(image.array, 0.0) * GAIN) / GAIN
    field = replace(field, image=(field.image + noisy).astype(np.float32))
    found = measured(field, COLUMNS)
    star = matched(field, found)[0].any(axis=1)
    x, y = found["X_IMAGE"][~star] - 1, found["Y_IMAGE"][~star] - 1
    return [int((np.hypot(x - g[3], y - g[4]) < g[2] + FWHM).sum()) for g in galaxies]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("profile", [DISC, BULGE])
def test_large_galaxies_are_not_torn(profile, seed):
    """Their footprints are larger than any window."""
    assert sum(rows_upon([(profile, 1e6, 14.0, 190.3, 195.8)], seed)) <= 2


@pytest.mark.parametrize("seed", [1, 2])
def test_two_galaxies_in_one_footprint_are_two(seed):
    pair = [(DISC, 1.2e5, 5.0, 190.3, 195.8), (BULGE, 1.2e5, 5.0, 202.3, 201.6)]
    assert sum(rows_upon(pair, seed)) <= 3


def test_stars_are_known_without_a_fit():
    """Not what one profile may be: near twins, faint ones, and what stars do not explain."""
    flux = np.array([[5e3, 2e3, 0.0], [5e3, 2e3, 0.0], [300.0, 150.0, 0.0], [4e3, 3e3, 2e3]])
    x = np.array([[0.0, 5.0, 0.0], [0.0, 1.0, 0.0], [0.0, 5.0, 0.0], [0.0, 4.0, -4.0]])
    y = np.zeros((4, 3))
    sigma2 = 1.5**2
    # the same from pixels
    v, u = np.indices((81, 81)) - 40.0
    expected = []
    for f, px, py in zip(flux, x, y, strict=True):
        squares = (u[..., None] - px) ** 2 + (v[..., None] - py) ** 2
        stars = (np.exp(-0.5 * squares / sigma2) / (2.0 * np.pi * sigma2)) @ f
        mean = (f @ px) / f.sum()
        xx, yy = (f @ (px - mean) ** 2) / f.sum() + sigma2, sigma2
        one = np.exp(-0.5 * ((u - mean) ** 2 / xx + v**2 / yy))
        one *= (stars * one).sum() / (one**2).sum()
        expected.append(((stars - one) ** 2).sum())
    distance = distance_of_stars(flux, x, y, sigma2)
    assert distance == pytest.approx(expected, rel=1e-6)
    assert ((distance > PLAIN * 10.0**2) == [True, False, False, True]).all()


def test_pairs_of_stars_are_no_galaxies_where_there_are_none():
    """A profile with more parameters describes some as well as two stars do; few are one."""
    lost = added = 0

    def judged(exposure, hidden, found, run, **known):
        nonlocal lost, added
        torn, whole = pieces_of_extended(exposure, hidden, found, run, **known)
        near = np.hypot(hidden.x[torn, None] - field.x, hidden.y[torn, None] - field.y) < FWHM / 2
        offset = np.abs(2.5 * np.log10(hidden.flux[torn, None] / field.flux))
        lost += (near & (offset < 0.75)).any(axis=1).sum()
        added += hidden.x.size - found.n
        return torn, whole

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "pieces_of_extended", judged)
        field = simulate("40", 448, 3, galsim.Gaussian(fwhm=FWHM))
        measured(field, COLUMNS)
    assert added > 600
    assert lost < 0.01 * added


def judged_by_pixels(field):
    """Groups that must be fitted, and what is torn: by moments alone, and by their pixels too."""
    fitted, torn = [], []

    def told(*arguments):
        stars = plain.are_stars(*arguments)
        fitted.append(((np.diff(arguments[-1]) > 1) & ~stars).sum())
        return stars

    def judged(*arguments, **known):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(extended, "are_stars", told)
            patch.setattr(plain, "PLAIN_OF_PROFILES", np.inf)
            verdict = pieces_of_extended(*arguments, **known)
            patch.undo()
            patch.setattr(extended, "are_stars", told)
            torn.extend([verdict[0], pieces_of_extended(*arguments, **known)[0]])
        return verdict

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "pieces_of_extended", judged)
        measured(field, COLUMNS)
    return fitted, torn


def test_galaxies_are_fitted(field):
    """No galaxy is taken for stars before it is; on one of them stands a star."""
    _, (before, after) = judged_by_pixels(field)
    assert before.sum() > 30
    assert (after == before).all()


def test_groups_of_any_number_of_stars_are_known_without_a_fit():
    fitted, (before, after) = judged_by_pixels(simulate("king", 320, 1, galsim.Gaussian(fwhm=FWHM)))
    assert fitted[1] < 0.7 * fitted[0]
    assert (after <= before).all()
