"""Stars upon galaxies are found, and galaxies that are alone, or have knots, stay whole."""

import galsim
import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import FlagsSky, Mask
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.measure import measure
from skyextract.stages.measurement.sources import MeasureInputs
from tests.simulate.crowds import draw

SIZE, FWHM, SKY, GAIN = 480, 3.5, 300.0, 2.0
STAR, GALAXY = 3e3, 1e5  # a star of S/N 33
WANTED = frozenset("XPSF_IMAGE YPSF_IMAGE FLUX_PSF FLUXERR_PSF".split())
PSF = galsim.Gaussian(fwhm=FWHM)


def disc(rng):
    """A galaxy, in the PSF."""
    profile = galsim.Exponential(scale_radius=rng.uniform(1.5, 4.0), flux=GALAXY)
    profile = profile.shear(q=rng.uniform(0.3, 1.0), beta=rng.uniform(0, np.pi) * galsim.radians)
    return galsim.Convolve(profile, PSF)


def measured(profiles, seed, masked=()):
    """Rows of a frame of (profile, place); `masked`: places without data."""
    image = galsim.ImageD(SIZE, SIZE, init_value=SKY)
    for profile, place in profiles:
        draw(image, profile, *place, 100, "no_pixel")
    noisy = np.random.default_rng(seed).poisson(image.array * GAIN) / GAIN
    mask = np.zeros(noisy.shape, np.uint16)
    for x, y in np.rint(masked).astype(int):
        mask[y - 1 : y + 2, x - 1 : x + 2] = int(Mask.BAD)
    exposure = Exposure(
        image=noisy.astype(np.float32), mask=mask, detector=Detector(gain=GAIN),
        psf=Psf.gaussian(FWHM, PsfSource.FILE),
    )  # fmt: skip
    return measure(exposure, Config(), WANTED, MeasureInputs(), Run()).sources


def scene(seed, n_upon, distance, step=64.0, n_between=0):
    """Galaxies in a grid, stars upon some of them, `distance` FWHM from the centre, and between."""
    rng = np.random.default_rng(seed)
    at = np.arange(0.75 * step, SIZE - 0.5 * step, step)
    centre = np.column_stack([v.ravel() for v in np.meshgrid(at, at)])
    centre = centre + rng.uniform(-4, 4, centre.shape)
    angle = rng.uniform(0.0, 2.0 * np.pi, n_upon)
    away = distance * FWHM * np.column_stack([np.cos(angle), np.sin(angle)])
    profiles = [(disc(rng), place) for place in centre]
    stars = [(PSF.withFlux(STAR), place) for place in centre[:n_upon] + away]
    between = [(PSF.withFlux(3 * STAR), place) for place in centre[:n_between] + 0.5 * step]
    return centre, away, profiles + stars + between


@pytest.mark.parametrize("distance", [2.5, 3.2])
def test_stars_upon_galaxies_are_found(distance):
    centre, away, profiles = scene(1, 12, distance, step=56.0, n_between=64)
    table = measured(profiles, seed=1)
    rows = np.column_stack([np.asarray(table[f"{v}PSF_IMAGE"]) - 1.0 for v in "XY"])
    apart = np.hypot(*(rows[:, None] - (centre[:12] + away)).transpose(2, 0, 1))
    # The light of a galaxy draws fits of stars upon it towards itself.
    assert (apart.min(axis=0) < 0.8 * FWHM).mean() > 0.9
    assert table.n_rows <= len(profiles)
    ratio = table["FLUX_PSF"][apart.argmin(axis=0)] / STAR
    assert np.median(np.abs(2.5 * np.log10(ratio))) < 0.75


def test_galaxies_alone_stay_whole():
    centre, _, profiles = scene(2, 0, 0.0)
    table = measured(profiles, seed=2)
    assert table.n_rows == len(centre)
    assert not (table["FLAGS_SKY"] & FlagsSky.HIDDEN).any()


def test_what_most_galaxies_have_are_their_knots():
    centre, _, profiles = scene(3, 40, 2.5)
    table = measured(profiles, seed=3)
    assert table.n_rows == len(centre)


def test_the_other_side_must_have_data():
    centre, away, profiles = scene(4, 8, 2.5)
    whole = measured(profiles, seed=4)
    table = measured(profiles, seed=4, masked=centre[:8] - away)
    assert whole.n_rows > len(centre) + 5
    assert table.n_rows == len(centre)


def beside_galaxies(seed):
    """Stars 2 FWHM from the centres of wide galaxies, as bright as these, and what both are."""
    rng = np.random.default_rng(seed)
    at = np.arange(40.0, SIZE, 80.0)
    centre = np.column_stack([v.ravel() for v in np.meshgrid(at, at)])
    angle = rng.uniform(0.0, 2.0 * np.pi, len(centre))
    star = centre + 2.0 * FWHM * np.column_stack([np.cos(angle), np.sin(angle)])
    profile = galsim.Convolve(galsim.Exponential(half_light_radius=7.0, flux=4e4), PSF)
    galaxies, stars = [(profile, place) for place in centre], [(PSF.withFlux(3e4), p) for p in star]
    return star, measured(galaxies + stars, seed)


def test_fits_of_stars_beside_galaxies_begin_at_the_peak():
    """Their barycentre is between the two."""
    star, table = beside_galaxies(5)
    place = np.column_stack([np.asarray(table[f"{v}PSF_IMAGE"]) - 1.0 for v in "XY"])
    apart = np.hypot(*(place[:, None] - star).transpose(2, 0, 1))
    assert (apart.min(axis=0) < 0.3 * FWHM).all()
    flags = table["FLAGS_SKY"][apart.argmin(axis=0)]
    assert not (flags & FlagsSky.PSF_NOT_CONVERGED).any()
    # What fits of the PSF leave of a galaxy is in the star's flux.
    assert (flags & FlagsSky.NO_POINT).all()
