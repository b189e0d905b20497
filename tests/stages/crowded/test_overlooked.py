"""Stars upon galaxies are found, and galaxies that are alone stay whole."""

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

SIZE, FWHM, SKY, GAIN = 480, 3.5, 300.0, 2.0
STAR, GALAXY = 3e3, 1e5  # a star of S/N 33
WANTED = frozenset("XPSF_IMAGE YPSF_IMAGE FLUX_PSF FLUXERR_PSF".split())


def measured(distance, seed, flux=STAR, length=0.0, masked=False):
    """Return the places of stars upon galaxies, `distance` FWHM from the centre, and the rows.

    Stars become lines where `length` is more than 0; `masked`: the other side has no data.
    """
    rng = np.random.default_rng(seed)
    psf = galsim.Gaussian(fwhm=FWHM)
    image = galsim.ImageD(SIZE, SIZE, init_value=SKY)
    mask = np.zeros((SIZE, SIZE), np.uint16)
    at = np.arange(48, SIZE - 30, 64.0)
    centre = np.column_stack([v.ravel() for v in np.meshgrid(at, at)])
    centre = centre + rng.uniform(-9, 9, centre.shape)
    angle = rng.uniform(0.0, 2.0 * np.pi, len(centre))
    place = centre + distance * FWHM * np.column_stack([np.cos(angle), np.sin(angle)])
    for k in range(len(centre)):
        disc = galsim.Exponential(scale_radius=rng.uniform(1.5, 4.0), flux=GALAXY)
        disc = disc.shear(q=rng.uniform(0.3, 1.0), beta=rng.uniform(0, np.pi) * galsim.radians)
        spot = psf.withFlux(flux)
        if length:
            line = galsim.Box(length, 0.1).rotate((angle[k] + 1.0) * galsim.radians)
            spot = galsim.Convolve(line, spot)
        for profile, where in ((galsim.Convolve(disc, psf), centre[k]), (spot, place[k])):
            profile.drawImage(
                image, center=galsim.PositionD(*(where + 1)), scale=1, add_to_image=True,
                method="no_pixel",
            )  # fmt: skip
        if masked:
            x, y = np.rint(2.0 * centre[k] - place[k]).astype(int)
            mask[y - 1 : y + 2, x - 1 : x + 2] = int(Mask.BAD)
    noisy = (rng.poisson(image.array * GAIN) / GAIN).astype(np.float32)
    exposure = Exposure(
        image=noisy, mask=mask, detector=Detector(gain=GAIN), psf=Psf.gaussian(FWHM, PsfSource.FILE)
    )
    return place, measure(exposure, Config(), WANTED, MeasureInputs(), Run()).sources


def found(place, table):
    """Return the share of the places with a row within half a FWHM, and their rows."""
    rows = np.column_stack([np.asarray(table[f"{v}PSF_IMAGE"]) - 1.0 for v in "XY"])
    distance = np.hypot(*(rows[:, None] - place).transpose(2, 0, 1))
    return (distance.min(axis=0) < 0.5 * FWHM).mean(), distance.argmin(axis=0)


@pytest.mark.parametrize("distance", [2.5, 2.8, 3.2])
def test_stars_upon_galaxies_are_found(distance):
    place, table = measured(distance, seed=1)
    share, row = found(place, table)
    assert share > 0.75  # the light of the galaxy draws some fits away
    assert 1.85 * len(place) < table.n_rows < 2.06 * len(place)
    ratio = table["FLUX_PSF"][row] / STAR
    assert np.median(np.abs(2.5 * np.log10(ratio))) < 0.75  # of which it has a part


def test_galaxies_alone_stay_whole():
    place, table = measured(0.0, seed=2, flux=1.0)
    assert table.n_rows == len(place)
    assert not (table["FLAGS_SKY"] & FlagsSky.HIDDEN).any()


def test_lines_upon_galaxies_are_no_stars():
    place, table = measured(2.7, seed=3, flux=2.0 * STAR, length=6.0 * FWHM)
    hidden = (table["FLAGS_SKY"] & FlagsSky.HIDDEN) != 0
    assert hidden.sum() < 0.3 * len(place)


def test_the_other_side_must_have_data():
    place, table = measured(2.7, seed=4, flux=1.0, masked=True)
    assert table.n_rows == len(place)
