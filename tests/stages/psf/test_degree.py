"""Degree of the PSF's polynomial by stars that are left out, and what no polynomial follows."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.settings.steps import Status
from skyextract.stages.characterize import characterize
from skyextract.stages.pointsources.fit import psf_photometry
from skyextract.stages.psf import degree
from skyextract.stages.psf.degree import is_nearer, rejects_outward
from skyextract.stages.psf.fitted import Variation
from skyextract.stages.psf.misfit import odd_misfit
from tests.simulate import lights
from tests.simulate.noises import KINDS, make


def moffat(dx, dy, fwhm):
    scale2 = (0.5 * fwhm) ** 2 / (2.0 ** (1.0 / 3.0) - 1.0)
    wider = 1.0 + (dx**2 + dy**2) / scale2
    return 2.0 / (math.pi * scale2) / (wider * wider * wider)


def field_of_widths(fwhm_at, n_stars, size, seed):
    """Stars whose width depends on the place; integrated over 4 x 4 points of each pixel."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(12, size - 13, (2, n_stars))
    flux = 10.0 ** random.uniform(3.3, 5.3, n_stars)
    image = np.zeros((size, size))
    fine = (np.arange(4) + 0.5) / 4 - 0.5
    for a, b, f in zip(x, y, flux, strict=True):
        rows = np.arange(max(int(b) - 25, 0), min(int(b) + 26, size))
        columns = np.arange(max(int(a) - 25, 0), min(int(a) + 26, size))
        dy = (rows[:, None] + fine).ravel() - b
        dx = (columns[:, None] + fine).ravel() - a
        light = moffat(dx, dy[:, None], fwhm_at(a, b))
        image[np.ix_(rows, columns)] += f * light.reshape(rows.size, 4, -1, 4).mean(axis=(1, 3))
    image = random.poisson((image + 200.0) * 1.5) / 1.5
    return image.astype(np.float32), x, y, flux


def psf_of(image, gain):
    exposure = Exposure(image, np.zeros(image.shape, np.uint16), detector=Detector(gain=gain))
    psf = characterize(exposure, Config(), Run()).exposure.psf
    assert psf.source is PsfSource.MEASURED
    return psf


def test_widths_that_no_parabola_follows_get_a_higher_degree():
    """A cone: 2.5 pixels in the middle, 5 in the corners."""
    size = 900

    def fwhm_at(x, y):
        return 2.5 + 2.5 * math.hypot(x - 450, y - 450) / 636.0

    psf = psf_of(field_of_widths(fwhm_at, 700, size, 3)[0], 1.5)
    assert psf.degree > 2
    fine = (np.arange(-4.5, 4.5, 0.02) + 0.01)[:, None]
    off = []
    for x, y in np.random.default_rng(5).uniform(50, size - 50, (40, 2)):
        light = moffat(fine.T, fine, fwhm_at(x, y))
        true = light.reshape(9, 50, 9, 50).sum(axis=(1, 3)) * 4e-4
        off.append(psf.stamp(x, y).max() / true.max() - 1.0)
    off -= np.median(off)
    # The best parabola leaves 9 %.
    assert np.sqrt(np.mean(np.square(off))) < 0.07


def cirrus(rng, size):
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    k[0, 0] = 1.0
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) * k**-1.45, s=(size, size))
    return lights.smoothed(2.0 * (field - field.min()) / field.std(), lights.FWHM / 2.3548)


def test_structure_of_the_sky_does_not_vary_the_psf(monkeypatch):
    frame = lights.make(cirrus, 7, size=384, n=120)
    corners = np.array([0.0, 383.0, 0.0, 383.0]), np.array([0.0, 0.0, 383.0, 383.0])
    assert psf_of(frame.image, lights.GAIN).degree == 0
    monkeypatch.setattr(degree, "slope_of_sizes", lambda *_: math.inf)
    assert np.ptp(psf_of(frame.image, lights.GAIN).local_fwhm(*corners)) > 0.1 * lights.FWHM


@pytest.mark.parametrize("seed", [2, 5])
def test_stars_of_the_corners_alone_tell_of_widths_there(seed):
    """Widths by the fourth power of the distance: a parabola rejects those that it cannot fit."""
    size = 700

    def fwhm_at(x, y):
        return 2.6 * (1.0 + (((x - 350) ** 2 + (y - 350) ** 2) / (2 * 350**2)) ** 2)

    psf = psf_of(field_of_widths(fwhm_at, 110, size, seed)[0], 1.5)
    fine = (np.arange(-12.5, 12.5, 0.02) + 0.01)[:, None]
    for x, y in ((100, 100), (600, 100), (100, 600), (600, 600)):
        true = moffat(fine.T, fine, fwhm_at(x, y)).reshape(25, 50, 25, 50).sum(axis=(1, 3)) * 4e-4
        # The parabola of the other stars is 10 to 20 % too sharp.
        assert (psf.stamp(x, y) ** 2).sum() == pytest.approx((true**2).sum(), rel=0.08)


@pytest.mark.parametrize("seed", [1, 2])
def test_few_stars_tell_of_widths_that_bend(seed):
    """A focal plane that is curved: 24 stars bear no parabola of pixels, but one of widths."""
    size = 700

    def fwhm_at(x, y):
        return 3.0 * (1.0 + 0.4 * ((x - 350) ** 2 + (y - 350) ** 2) / (2 * 350**2))

    image, *_ = field_of_widths(fwhm_at, 24, size, seed)
    exposure = Exposure(image, np.zeros(image.shape, np.uint16), detector=Detector(gain=1.5))
    result = characterize(exposure, Config(), Run())
    assert Status(result.status) is Status.COMPLETE
    psf = result.exposure.psf
    assert psf.n_stars >= 15
    fine = (np.arange(-12.5, 12.5, 0.02) + 0.01)[:, None]
    for x, y in ((350, 350), (100, 100), (600, 100), (100, 600), (600, 600)):
        true = moffat(fine.T, fine, fwhm_at(x, y)).reshape(25, 50, 25, 50).sum(axis=(1, 3)) * 4e-4
        assert (psf.stamp(x, y) ** 2).sum() == pytest.approx((true**2).sum(), rel=0.04)


def test_a_psf_that_follows_a_parabola_keeps_its_degree():
    psf = psf_of(field_of_widths(lambda x, y: 3.0 + 0.5 * (x / 700 - 0.5), 400, 700, 3)[0], 1.5)
    assert psf.degree == 2
    assert psf.position_error == 0.0


def test_positions_of_bright_drizzled_stars():
    """Shapes change with the phase of the grid: the model stays in place, errors say so.

    Over four frames: what the phases of one make of an axis is .7 to 2.3 of what is claimed.
    """
    kind, squares = KINDS["drizzle 1.6, once"], []
    for seed in (5, 6, 7, 8):
        frame = make(kind, seed)
        gain = frame.header["GAIN"]
        psf = psf_of(frame.image, gain)
        image = frame.image - np.float32(frame.sky)
        variance = np.full(image.shape, frame.noise**2, np.float32)
        bright = frame.flux > np.percentile(frame.flux, 75)
        fits = psf_photometry(
            image, variance, gain, np.zeros(image.shape, np.uint16), psf, frame.x[bright],
            frame.y[bright], Run(), spread=False,
        )  # fmt: skip
        for fitted, true, of_fit in (
            (fits.x, frame.x, fits.variance_x), (fits.y, frame.y, fits.variance_y),
        ):  # fmt: skip
            off = fitted - true[bright]
            squares.append((off - np.median(off)) ** 2 / (of_fit + psf.position_error**2))
    # Noise of neighbouring pixels is correlated: 1.4 times that of independent ones.
    assert np.sqrt(np.mean(np.concatenate(squares))) < 1.5


@pytest.mark.parametrize("amplitude", [0.0, 0.02])
def test_misfit_is_the_shift_that_a_star_hides(amplitude):
    """Stars whose cores are displaced against their wings, at random."""
    random = np.random.default_rng(1)
    psf = replace(Psf.gaussian(3.5), source=PsfSource.MEASURED)
    n, size = 120, 25
    places = np.full((2, n), 100.0)
    centres = random.uniform(-0.5, 0.5, (2, n))
    flux = 10.0 ** random.uniform(3.0, 5.5, n)
    model = psf.stamps(*places, *centres, size=size).astype(float)
    axis = np.arange(size) - size // 2
    dx = (axis - centres[0][:, None])[:, None, :]
    r2 = dx**2 + (axis - centres[1][:, None])[:, :, None] ** 2
    sigma2 = (3.5 / 2.3548) ** 2
    # Gauss-Hermite functions of first and third order: of equal power and orthogonal.
    shift = model * dx / sigma2
    third = shift * (r2 / (2.0 * sigma2) - 2.0) * math.sqrt(2.0)
    noise = random.normal(0.0, 3.0, model.shape)
    share = random.normal(0.0, amplitude, n)
    residual = noise + flux[:, None, None] * share[:, None, None] * third
    weight = np.full(model.shape, 1.0 / 9.0)
    found = odd_misfit(psf, places, centres, flux, residual, weight, 6.0)
    # Only the x of stars has it here: half of the values are noise alone.
    if amplitude == 0.0:
        assert found < 0.002
    else:
        both = residual + flux[:, None, None] * random.normal(0.0, amplitude, n)[
            :, None, None
        ] * third.transpose(0, 2, 1)
        found = odd_misfit(psf, places, np.stack([centres[0]] * 2), flux, both, weight, 6.0)
        assert found == pytest.approx(amplitude, rel=0.6)


@pytest.mark.parametrize(
    ("rejected", "outward"),
    [
        pytest.param(range(57, 60), True, id="three in the corners"),
        pytest.param(range(40, 60), True, id="the outer third"),
        # 2.3 sigma, as one of a hundred crowds has by chance, and 68 % of the pairs.
        pytest.param(range(14, 60, 2), False, id="somewhat more, of many"),
        pytest.param(range(0, 60, 3), False, id="anywhere"),
        pytest.param([], False, id="none"),
    ],
)
def test_stars_that_a_model_rejects_are_those_far_out(rejected, outward):
    used = np.ones(60, np.bool_)
    used[list(rejected)] = False
    distance = np.arange(60.0)
    stub = SimpleNamespace(x=distance, y=0.0 * distance, used=used)
    stub.psf = SimpleNamespace(normalised=lambda x, y: (x, y))
    assert rejects_outward(stub) is outward


@pytest.mark.parametrize(
    ("changes", "nearer", "n_groups"),
    [
        ((0.2, -0.5, -0.5), False, 1),  # no one asks on once it is farther
        ((-0.5, 0.2, 0.2), True, 1),  # or nearer by far
        ((-0.03, -0.03, -0.06), True, 3),  # in doubt all groups are left out
        ((-0.03, -0.03, 0.01), False, 3),
    ],
)
def test_no_more_stars_are_left_out_than_the_answer_needs(changes, nearer, n_groups):
    noise = np.random.default_rng(2).normal(0.0, 0.1, 30)
    noise -= noise.mean()
    groups = [np.arange(90) % 3 == k for k in range(3)]
    built = []

    def build(variation, held_out):
        number = next(k for k in range(3) if groups[k] is held_out)
        built.append((variation, number))
        chi2 = np.full(90, 1.0)
        if variation.degree == 4:
            chi2[held_out] = np.exp(noise + changes[number])
        return SimpleNamespace(chi2=chi2)

    own: list = []
    everyone = np.ones(90, np.bool_)
    pair = Variation(2), Variation(4)
    assert is_nearer(build, pair, groups, everyone, own, (0.03, 1.0)) == nearer
    assert built == [(v, k) for k in range(n_groups) for v in pair]
    # The next one that is tried finds what the first is like.
    is_nearer(build, pair, groups, everyone, own, (0.03, 1.0))
    assert len(built) == 3 * n_groups
