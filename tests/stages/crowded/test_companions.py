"""Pairs of stars in sparse frames: both are found, and galaxies stay whole."""

import galsim
import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Flags, FlagsSky
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.crowded import companions
from skyextract.stages.measure import measure
from skyextract.stages.measurement.sources import MeasureInputs
from tests.simulate.crowds import draw

SIZE, FWHM, SKY, GAIN = 400, 3.5, 200.0, 2.0
WANTED = frozenset(
    "X_IMAGE Y_IMAGE XPSF_IMAGE YPSF_IMAGE FLUX_PSF FLUXERR_PSF FLUX_AUTO FLUXERR_AUTO".split()
)


def measured(profiles, seed=1):
    """Rows of a frame of (profile, x, y), in a PSF that is known."""
    psf = galsim.Gaussian(fwhm=FWHM)
    image = galsim.ImageD(SIZE, SIZE, init_value=SKY)
    for profile, x, y in profiles:
        light = psf.withFlux(profile) if np.isscalar(profile) else galsim.Convolve(profile, psf)
        draw(image, light, x, y, 100, "no_pixel")
    noisy = np.random.default_rng(seed).poisson(image.array * GAIN) / GAIN
    exposure = Exposure(
        image=noisy.astype(np.float32), mask=np.zeros(noisy.shape, np.uint16),
        detector=Detector(gain=GAIN), psf=Psf.gaussian(FWHM, PsfSource.FILE),
    )  # fmt: skip
    return measure(exposure, Config(), WANTED, MeasureInputs(), Run()).sources


def grid(seed):
    """Places far from each other, and angles."""
    rng = np.random.default_rng(seed)
    at = np.arange(40, SIZE - 30, 80.0)
    x, y = (v.ravel() + rng.uniform(-9, 9, v.size) for v in np.meshgrid(at, at))
    return x, y, rng.uniform(0, 2 * np.pi, x.size)


@pytest.mark.parametrize(
    ("flux", "ratio", "separation"),
    [(2e5, 0.33, 1.2), (2e5, 1.0, 1.2), (4e4, 0.16, 1.5), (6e3, 0.33, 1.75), (6e3, 0.12, 2.8)],
)
def test_both_stars_of_a_pair_are_found(flux, ratio, separation):
    x, y, angle = grid(2)
    second_x = x + separation * FWHM * np.cos(angle)
    second_y = y + separation * FWHM * np.sin(angle)
    pairs = [(flux, *at) for at in zip(x, y, strict=True)]
    pairs += [(ratio * flux, *at) for at in zip(second_x, second_y, strict=True)]
    table = measured(pairs)
    true_x, true_y = np.append(x, second_x), np.append(y, second_y)
    true = np.append(np.full(x.size, flux), np.full(x.size, ratio * flux))
    distance = np.hypot(
        table["XPSF_IMAGE"][:, None] - 1 - true_x, table["YPSF_IMAGE"][:, None] - 1 - true_y
    )
    nearest = distance.argmin(axis=0)
    found = (distance.min(axis=0) < 0.3 * separation * FWHM) & (
        np.bincount(nearest, minlength=table.n_rows)[nearest] == 1
    )
    assert found[: x.size].all()
    assert found[x.size :].mean() > 0.9
    assert table.n_rows == found.sum()
    row = nearest[found]
    pull = (table["FLUX_PSF"][row] - true[found]) / table["FLUXERR_PSF"][row]
    assert abs(np.median(pull)) < 0.6
    assert np.median(np.abs(pull)) < 1.1


def test_who_shares_a_footprint_with_a_star_found_beneath_is_flagged():
    x, y, angle = grid(3)
    paired = np.arange(x.size) % 2 == 0
    stars = [(1e5, *at) for at in zip(x, y, strict=True)]
    dx, dy = 1.2 * FWHM * np.cos(angle), 1.2 * FWHM * np.sin(angle)
    stars += [(4e4, *at) for at in zip((x + dx)[paired], (y + dy)[paired], strict=True)]
    table = measured(stars)
    row = np.hypot(
        table["XPSF_IMAGE"][:, None] - 1 - x, table["YPSF_IMAGE"][:, None] - 1 - y
    ).argmin(axis=0)  # fmt: skip
    flags, brighter = table["FLAGS"][row], table["FLUX_AUTO"][row] > 1.2e5
    assert table.n_rows == len(stars)
    assert (brighter == paired).all()
    shared = Flags.NEIGHBOURS | Flags.BLENDED
    assert ((flags & shared) == np.where(paired, int(shared), 0)).all()


def test_which_windows_are_fitted_together_does_not_matter(monkeypatch):
    x, y, angle = grid(5)
    flux = np.geomspace(2e4, 2e6, x.size)
    second = (0.4 * flux, x + 1.4 * FWHM * np.cos(angle), y + 1.4 * FWHM * np.sin(angle))
    pairs = [*zip(flux, x, y, strict=True), *zip(*second, strict=True)]
    whole = measured(pairs)
    monkeypatch.setattr(companions, "PIXELS_AT_ONCE", 7)
    parts = measured(pairs)
    assert whole.n_rows > 1.8 * x.size
    assert parts.n_rows == whole.n_rows
    order = [np.lexsort((table["XPSF_IMAGE"], table["YPSF_IMAGE"])) for table in (whole, parts)]
    for name, error in (("FLUX_PSF", "FLUXERR_PSF"), ("FLUX_AUTO", "FLUXERR_AUTO")):
        change = parts[name][order[1]] - whole[name][order[0]]
        assert np.abs(change / whole[error][order[0]]).max() < 0.1


@pytest.mark.parametrize(("n", "side"), [(40, 60), (700, 50), (3000, 70)])
def test_two_threads_share_windows_evenly(n, side):
    """As much is worked on in the first half of the pieces as in the other."""
    windows = np.tile(np.array([0, side, 0, side]), (n, 1))
    size = np.diff(companions._batches(windows)).ravel() * side**2
    assert size.sum() == n * side**2
    assert size.size % 2 == 0
    assert size.max() <= companions.PIXELS_AT_ONCE + side**2
    assert size.max() - size.min() <= side**2


def test_few_windows_are_not_shared():
    windows = np.tile(np.array([0, 50, 0, 50]), (9, 1))
    assert companions._batches(windows) == [(0, 9)]


def test_single_stars_have_no_companions():
    x, y, _ = grid(3)
    flux = np.geomspace(2e3, 2e6, x.size)
    table = measured(list(zip(flux, x, y, strict=True)))
    assert table.n_rows == x.size
    assert not (table["FLAGS_SKY"] & FlagsSky.HIDDEN).any()


@pytest.mark.parametrize(
    ("index", "ratio"), [(0.7, 0.25), (1.0, 0.5), (1.0, 0.9), (2.5, 0.25), (4.0, 0.25), (4.0, 0.9)]
)
def test_galaxies_have_no_companions(index, ratio):
    """Small ones, and such that are seen from the side, look like two stars side by side.

    Of the flattest with the sharpest edges 4 in 250 are taken for two, with other noise.
    """
    x, y, angle = grid(4)
    profiles = [
        galsim.Sersic(index, half_light_radius=radius, flux=flux).shear(
            q=ratio, beta=a * galsim.radians
        )
        for radius, flux, a in zip(
            np.tile(np.linspace(1.0, 5.0, 5), 5), np.repeat(np.geomspace(3e3, 2e5, 5), 5), angle,
            strict=True,
        )
    ]  # fmt: skip
    table = measured(list(zip(profiles, x, y, strict=True)))
    taken = 1 if (index, ratio) == (0.7, 0.25) else 0
    assert table.n_rows <= x.size + taken
    assert np.count_nonzero(table["FLAGS_SKY"] & FlagsSky.HIDDEN) <= taken
