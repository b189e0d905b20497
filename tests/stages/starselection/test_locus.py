"""Stars among galaxies: their locus is found, or the PSF is doubted."""

from __future__ import annotations

from dataclasses import replace

import galsim
import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psfshape import effective_fwhm
from skyextract.run import Run
from skyextract.settings.keywords import Characterize, Config
from skyextract.stages.characterize import characterize
from skyextract.stages.psf.doubt import doubt_of_stars
from skyextract.stages.starselection.locus import departures, locus_at
from skyextract.stages.starselection.stars import Selection, select_stars
from tests.simulate.galaxies import GAIN, simulate_galaxies
from tests.simulate.zeropointfields import simulate_field
from tests.stages.starselection.test_stars import SHAPE, candidates

FWHM = 3.6


def true_fwhm():
    star = galsim.Convolve(
        galsim.Moffat(beta=3.0, fwhm=FWHM).shear(g1=0.03, g2=0.01), galsim.Pixel(1.0)
    )
    image = star.drawImage(nx=101, ny=101, scale=0.2, method="no_pixel").array
    return effective_fwhm(image.astype(float) / 0.04, 0.2)


@pytest.mark.parametrize(
    ("stars", "seed"), [(0.5, 11), (0.1, 11), (0.1, 12), (0.03, 11), (0.0, 11), (0.0, 12)]
)
def test_a_psf_among_galaxies_is_that_of_stars_or_doubted(stars, seed):
    frame = simulate_galaxies(300, 512, seed, kind="bulge+disk", fwhm=FWHM, stars=stars)
    run = Run()
    result = characterize(
        Exposure(
            frame.image, np.zeros(frame.image.shape, np.uint16), detector=Detector(gain=GAIN)
        ),
        Config(), run,
    )  # fmt: skip
    if result.status == "COMPLETE":
        assert result.metrics["fwhm_pix"] == pytest.approx(true_fwhm(), rel=0.02)
    else:
        assert stars < 0.5
        assert result.reason
        assert any(result.reason in warning for warning in run.warnings)


@pytest.mark.parametrize(("stars", "seed"), [(0, 3), (20, 4)])
def test_galaxies_that_cover_the_frame_are_no_stars(stars, seed):
    """Too few are isolated to tell a locus; but many are smaller, as none is than a star."""
    frame = simulate_field(seed, n_stars=stars, n_galaxies=1500, size=512)
    result = characterized(frame.image)
    assert result.status == "FALLBACK"
    assert "do not crowd at one" in result.reason or "may not be that of the" in result.reason


@pytest.mark.parametrize("fwhm", [3.5, 6.0])
def test_stars_that_cover_the_frame_are_stars(fwhm):
    frame = simulate_field(1, n_stars=3375, size=384, fwhm=fwhm)
    result = characterized(frame.image)
    assert (result.status, result.reason) == ("COMPLETE", "")


def characterized(image, gain=1.5):
    detector = Detector(gain=gain)
    exposure = Exposure(image, np.zeros(image.shape, np.uint16), detector=detector)
    return characterize(exposure, Config(), Run())


def sources(n_stars, n_galaxies, seed):
    """Sizes of bright stars, and of galaxies that are 4 to 80 % larger."""
    random = np.random.default_rng(seed)
    wider = random.uniform(1.04, 1.8, n_galaxies)
    size = (
        3.0
        * np.concatenate([np.ones(n_stars), wider])
        * random.normal(1, 0.005, n_stars + n_galaxies)
    )
    ellipticity = np.concatenate(
        [np.full(n_stars, 0.03), random.uniform(0.0, 0.25, n_galaxies)]
    ) + random.normal(0, 0.004, n_stars + n_galaxies)
    return candidates(size, 200.0, seed, ellipticity=np.abs(ellipticity))


@pytest.mark.parametrize("seed", range(5))
def test_a_locus_is_told_from_a_part_of_a_hump(seed):
    mixed = sources(15, 150, seed)
    rows = np.arange(mixed.x.size)
    stars = locus_at(mixed, rows, (np.log10(3.0), 0.012), SHAPE, 1.5)
    assert stars.is_compact
    assert stars.is_certain
    assert stars.inside >= 15
    hump = locus_at(mixed, rows, (np.log10(4.2), 0.05), SHAPE, 1.5)
    assert not hump.is_compact
    assert hump.is_broad


def test_sizes_that_vary_over_the_field_are_one_locus():
    stars = sources(100, 0, 3)
    varied = replace(stars, fwhm=stars.fwhm * (1 + 0.3 * (stars.x / SHAPE[1] - 0.5)))
    locus = locus_at(varied, np.arange(100), (np.log10(3.0), 0.05), SHAPE, 1.5)
    assert locus.is_alone
    assert locus.inside > 95


def test_few_stars_that_are_certainly_such_are_not_doubted():
    mixed = sources(15, 150, 1)
    locus = locus_at(mixed, np.arange(mixed.x.size), (np.log10(3.0), 0.012), SHAPE, 1.5)
    selection = Selection(np.arange(15), 3.0, 165, 15 / 165, locus)
    assert not doubt_of_stars(selection)
    assert doubt_of_stars(replace(selection, locus=None))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_galaxies", [250, 350])
def test_few_stars_that_are_alike_stand_out_of_many_galaxies(n_galaxies, seed):
    mixed = sources(15, n_galaxies, seed)
    selection = select_stars(mixed, Characterize(), SHAPE, 100)
    assert selection.fwhm == pytest.approx(3.0, rel=0.01)
    assert (selection.stars < 15).mean() > 0.5
    assert not doubt_of_stars(selection)
    alone = select_stars(sources(0, n_galaxies, seed), Characterize(), SHAPE, 100)
    assert "do not crowd at one" in doubt_of_stars(alone)


@pytest.mark.parametrize("seed", range(4))
def test_faint_sources_with_others_beside_them_show_no_locus(seed):
    """Noise hides the edges of a hump: galaxies about one size, S/N 20 to 45."""
    random = np.random.default_rng(seed)
    snr = random.uniform(20.0, 45.0, 60)
    size = 4.6 * random.lognormal(0.0, 0.25, 60) * random.normal(1.0, 1.0 / snr)
    ellipticity = np.abs(random.normal(0.0, 1.0 / snr))
    hump = candidates(size, snr, seed, ellipticity=ellipticity)
    assert doubt_of_stars(select_stars(hump, Characterize(), SHAPE, 100))
    stars = candidates(4.6 * random.normal(1.0, 1.0 / snr), snr, seed, ellipticity=ellipticity)
    assert not doubt_of_stars(select_stars(stars, Characterize(), SHAPE, 100))


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
def test_a_few_bright_galaxies_of_one_size_make_no_hump_a_locus(seed):
    """Five bright galaxies are alike by chance; those at S/N 20 to 40 scatter like no stars."""
    random = np.random.default_rng(seed)
    snr = np.concatenate([random.uniform(55, 90, 5), random.uniform(20, 40, 75)])
    alike = np.concatenate([random.normal(1.0, 0.02, 5), random.lognormal(0.0, 0.18, 75)])
    oval = np.concatenate([np.full(5, 0.03), random.uniform(0.0, 0.2, 75)])
    noise = random.normal(size=(2, 80)) / snr
    hump = candidates(
        5.0 * alike * (1.0 + noise[0]), snr, seed, ellipticity=np.abs(oval + noise[1])
    )
    selection = select_stars(hump, Characterize(), SHAPE, 240)
    assert selection.stars.size >= 20
    assert "alike by chance" in doubt_of_stars(selection)
    stars = candidates(5.0 * (1.0 + noise[0]), snr, seed, ellipticity=np.abs(oval + noise[1]))
    assert not doubt_of_stars(select_stars(stars, Characterize(), SHAPE, 240))


@pytest.mark.parametrize("seed", range(4))
def test_faint_galaxies_beside_bright_stars_are_no_stars(seed):
    """No bright source but stars is there to tell; the faint ones are round, too."""
    random = np.random.default_rng(seed)
    wider = np.concatenate([np.ones(24), random.uniform(1.1, 1.5, 34)])
    snr = np.concatenate([random.uniform(60, 400, 6), random.uniform(20, 48, 52)])
    size = 4.15 * wider * random.normal(1.0, np.hypot(1.0 / snr, 0.005))
    ellipticity = np.abs(random.normal(0.0, 1.0 / snr))
    mixed = candidates(size, snr, seed, ellipticity=ellipticity)
    chosen = select_stars(mixed, Characterize(), SHAPE, 100).stars
    assert (chosen < 24).sum() >= 20
    assert (chosen >= 24).sum() <= 4
    assert np.median(mixed.fwhm[chosen]) == pytest.approx(4.15, rel=0.015)


@pytest.mark.parametrize("seed", range(3))
def test_round_sources_that_are_the_wider_the_brighter_are_told_as_such(seed):
    """A photographic plate: no size is that of the stars, and it is no matter of galaxies."""
    random = np.random.default_rng(seed)
    flux = 10.0 ** random.uniform(2.0, 3.2, 300)
    size = 4.0 * (flux / 100.0) ** 0.34 * random.normal(1.0, 0.03, 300)
    plate = candidates(
        size, np.minimum(flux, 400.0), seed, flux=flux, ellipticity=random.uniform(0.0, 0.05, 300)
    )
    assert "not linear in light" in doubt_of_stars(select_stars(plate, Characterize(), SHAPE, 60))


def test_sizes_of_thirty_stars_follow_a_parabola():
    """A field that is wider to one side, as with an inclined focus: no star stands out."""
    random = np.random.default_rng(2)
    u, v = random.uniform(-0.5, 0.5, (2, 30))
    size = np.log10(15.0) + 0.08 * u + 0.12 * (u - 0.3) ** 2 + 0.05 * v**2
    left = departures(size, np.full(30, 1e-3), u, v, np.ones(30, bool), 2)
    assert np.abs(left).max() < 1e-6
