"""PSF photometry against simulations with known fluxes and positions."""

from __future__ import annotations

import dataclasses

import numba
import numpy as np
import pytest

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.stages.pointsources.fit import PsfPhotometry, psf_photometry
from skyextract.stages.pointsources.sweeps import FORCED

statistical = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="statistics of many sources need compiled kernels"
)
NOISE = 10.0
GAIN = 2.0


def add_stars(image: np.ndarray, psf: Psf, x, y, flux) -> None:
    columns, rows = np.floor(np.array([x, y]) + 0.5).astype(int)
    stamps = psf.stamps(x, y, x - columns, y - rows)
    half = stamps.shape[1] // 2
    padded = np.pad(image, half)
    for stamp, column, row, value in zip(stamps, columns, rows, flux, strict=True):
        padded[row : row + 2 * half + 1, column : column + 2 * half + 1] += value * stamp
    image[:] = padded[half:-half, half:-half]


def with_noise(image: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    sigma = np.sqrt(NOISE**2 + np.maximum(image, 0) / GAIN)
    return (image + rng.normal(size=image.shape) * sigma).astype(np.float32)


def measure(image, psf, x, y, *, mask=None, variance=None, run=None, spread=True) -> PsfPhotometry:
    if variance is None:
        variance = np.full(image.shape, NOISE**2, dtype=np.float32)
    if mask is None:
        mask = np.zeros(image.shape, dtype=np.uint16)
    return psf_photometry(image, variance, GAIN, mask, psf, x, y, run or Run(), spread=spread)


def flux_at(snr: float, fwhm: float) -> float:
    """Flux of that S/N in the background noise (Gaussian PSF)."""
    return snr * NOISE * np.sqrt(4 * np.pi) * fwhm / 2.355


def grid(n: int, size: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(n)))
    row, column = np.divmod(np.arange(n), side)
    step = (size - 40) / side
    return (
        20 + step * (column + 0.5) + rng.uniform(-0.5, 0.5, n),
        20 + step * (row + 0.5) + rng.uniform(-0.5, 0.5, n),
    )


def width(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


@statistical
@pytest.mark.parametrize("fwhm", [1.6, 3.5, 8.0])
def test_isolated_stars_are_unbiased_with_true_errors(fwhm):
    n, size = 900, 1500
    psf = Psf.gaussian(fwhm)
    x, y = grid(n, size)
    rng = np.random.default_rng(2)
    flux = flux_at(1.0, fwhm) * 10 ** rng.uniform(np.log10(20), 3, n)
    image = np.zeros((size, size))
    add_stars(image, psf, x, y, flux)
    start = rng.normal(0, 0.2, (2, n))
    fit = measure(with_noise(image), psf, x + start[0], y + start[1])
    assert fit.converged.all()
    for pull in (
        (fit.flux - flux) / fit.flux_error,
        (fit.x - x) / np.sqrt(fit.variance_x),
        (fit.y - y) / np.sqrt(fit.variance_y),
    ):
        assert 0.9 < np.std(pull) < 1.1
        assert abs(np.mean(pull)) < 0.15
    faint = flux < flux_at(50, fwhm)
    assert np.mean(fit.flux[faint] / flux[faint]) == pytest.approx(1, abs=0.009)
    assert np.mean(fit.flux[~faint] / flux[~faint]) == pytest.approx(1, abs=0.002)
    assert np.median(fit.chi2) == pytest.approx(1, abs=0.06)
    pull = fit.spread / fit.spread_error
    assert 0.9 < np.std(pull) < 1.1
    assert abs(np.mean(pull)) < 0.1


@statistical
def test_fluxes_at_positions_of_another_image_are_unbiased_and_have_signs():
    """A position fitted to noise finds its peaks, and none is fitted to what is below the sky."""
    n, size, fwhm = 900, 1200, 3.5
    psf = Psf.gaussian(fwhm)
    x, y = grid(n, size)
    snr = np.random.default_rng(5).choice([-40.0, -6.0, -3.0, 0.0, 1.0, 3.0, 6.0, 40.0], n)
    flux = snr * flux_at(1.0, fwhm)
    image = np.zeros((size, size))
    add_stars(image, psf, x, y, flux)
    variance = np.full(image.shape, NOISE**2, dtype=np.float32)
    mask = np.zeros(image.shape, dtype=np.uint16)
    bright = np.abs(snr) > 10  # their positions are their own
    fit = psf_photometry(
        with_noise(image), variance, GAIN, mask, psf, x + 0.6 * bright, y, Run(),
        accuracy=FORCED,
    )  # fmt: skip
    assert fit.converged.all()
    np.testing.assert_array_equal(fit.x[~bright], x[~bright])
    assert np.abs(fit.x - x)[bright].max() < 0.4
    pull = (fit.flux - flux) / fit.flux_error
    for value in np.unique(snr):
        rows = snr == value
        assert abs(np.mean(pull[rows])) < 3.5 / np.sqrt(rows.sum()), value
        assert 0.85 < np.std(pull[rows]) < 1.2, value


@statistical
def test_blends_at_one_and_a_half_fwhm_are_unbiased():
    fwhm, size, n = 3.5, 1200, 400
    psf = Psf.gaussian(fwhm)
    x, y = grid(n, size)
    rng = np.random.default_rng(4)
    angle = rng.uniform(0, 2 * np.pi, n)
    x = np.concatenate([x, x + 1.5 * fwhm * np.cos(angle)])
    y = np.concatenate([y, y + 1.5 * fwhm * np.sin(angle)])
    flux = flux_at(80, fwhm) * np.repeat([3.0, 1.0], n)
    image = np.zeros((size, size))
    add_stars(image, psf, x, y, flux)
    start = rng.normal(0, 0.3, (2, 2 * n))
    fit = measure(with_noise(image), psf, x + start[0], y + start[1])
    assert fit.converged.all()
    for half in (slice(0, n), slice(n, None)):
        assert np.median(flux[half] / fit.flux_error[half]) > 50
        assert np.mean(fit.flux[half] / flux[half]) == pytest.approx(1, abs=0.004)
        assert 0.9 < np.std(((fit.flux - flux) / fit.flux_error)[half]) < 1.1
        assert 0.9 < np.std(((fit.x - x) / np.sqrt(fit.variance_x))[half]) < 1.1


@statistical
def test_close_blends_have_true_errors():
    """At 1 FWHM the errors of a source alone would be far too small."""
    fwhm, size, n = 3.5, 1000, 300
    psf = Psf.gaussian(fwhm)
    x, y = grid(n, size)
    x, y = np.concatenate([x, x + fwhm]), np.concatenate([y, y])
    flux = flux_at(100, fwhm) * np.repeat([2.0, 1.0], n)
    image = np.zeros((size, size))
    add_stars(image, psf, x, y, flux)
    fit = measure(with_noise(image), psf, x, y)
    assert 0.9 < np.std((fit.flux - flux) / fit.flux_error) < 1.1
    assert np.mean(fit.flux / flux) == pytest.approx(1, abs=0.005)


def test_results_do_not_depend_on_threads():
    size, n = (600, 500) if not numba.config.DISABLE_JIT else (150, 15)
    psf = Psf.gaussian(3.0)
    rng = np.random.default_rng(6)
    x, y = rng.uniform(0, size - 1, (2, n))
    image = np.zeros((size, size))
    add_stars(image, psf, x, y, 10 ** rng.uniform(3, 5, n))
    image = with_noise(image)
    one = measure(image, psf, x, y, run=Run(n_threads=1))
    three = measure(image, psf, x, y, run=Run(n_threads=3))
    for field in dataclasses.fields(one):
        assert np.array_equal(
            getattr(one, field.name),
            getattr(three, field.name),
            equal_nan=field.name != "converged",
        ), field.name


def test_inputs_are_not_changed():
    psf = Psf.gaussian(3.0)
    image = np.zeros((60, 60))
    add_stars(image, psf, np.array([30.0]), np.array([30.0]), [1e4])
    image = with_noise(image)
    before = image.copy()
    x = np.array([30.3])
    measure(image, psf, x, x)
    assert np.array_equal(image, before)
    assert x[0] == 30.3


@statistical
def test_galaxies_spread():
    galsim = pytest.importorskip("galsim")
    n, size = 200, 900
    x, y = grid(n, size)
    psf = Psf.gaussian(3.5)
    image = np.zeros((size, size))
    add_stars(image, psf, x[::2], y[::2], np.full(n // 2, 3e4))
    profile = galsim.Convolve(galsim.Exponential(half_light_radius=2.0), galsim.Gaussian(fwhm=3.4))
    stamp = profile.drawImage(nx=41, ny=41, scale=1.0).array
    for column, row in zip(x[1::2].astype(int), y[1::2].astype(int), strict=True):
        image[row - 20 : row + 21, column - 20 : column + 21] += 3e4 * stamp
    fit = measure(with_noise(image), psf, x, y)
    assert np.abs(np.median(fit.spread[::2])) < 2e-4
    assert fit.spread[1::2].min() > fit.spread[::2].max()
    # the light outside the PSF is not in the flux of a point source
    assert np.median(fit.flux[1::2]) < 2.6e4


def test_masked_pixels_do_not_count():
    size = 80
    psf = Psf.gaussian(4.0)
    image = np.zeros((size, size))
    here = np.array([40.2])
    add_stars(image, psf, here, here, [5e5])
    image = with_noise(image)
    mask = np.zeros((size, size), dtype=np.uint16)
    mask[39:42, 39:42] = Mask.SAT
    mask[44, 40] = Mask.CR | Mask.INTRP
    image[39:42, 39:42] = 3000
    image[44, 40] = 9e4
    variance = np.full((size, size), NOISE**2, dtype=np.float32)
    variance[36, 38] = 1e30
    image[36, 38] = np.nan
    fit = measure(image, psf, here, here, mask=mask, variance=variance)
    assert fit.converged[0]
    assert abs(fit.flux[0] - 5e5) < 4 * fit.flux_error[0]
    assert abs(fit.x[0] - 40.2) < 4 * np.sqrt(fit.variance_x[0])
    assert fit.chi2[0] < 2
    # a plane that means nothing about the data is ignored
    mask[:] = Mask.DETECTED
    assert measure(with_noise(np.zeros((size, size))), psf, here, here, mask=mask).chi2[0] > 0


def test_saturated_core_is_fitted_from_the_wings():
    size = 80
    psf = Psf.gaussian(4.0)
    image = np.zeros((size, size))
    x, y = np.array([40.2, 49.0]), np.array([39.9, 40.0])
    add_stars(image, psf, x, y, [4e6, 1e4])
    image = with_noise(image)
    yy, xx = np.indices(image.shape)
    saturated = (xx - 40.2) ** 2 + (yy - 39.9) ** 2 < 4.6**2
    image[saturated] = 20000
    mask = np.where(saturated, Mask.SAT, 0).astype(np.uint16)
    fit = measure(image, psf, x, y, mask=mask)
    assert fit.flux[0] == pytest.approx(4e6, rel=0.03)
    assert abs(fit.flux[1] - 1e4) < 4 * fit.flux_error[1]


def test_bad_sources_are_nan_and_never_cost_the_others():
    size = 100
    psf = Psf.gaussian(3.5)
    x = np.array([50.0, np.nan, -30.0, 20.0, 1e9, 99.4, 80.0, 50.0])
    y = np.array([50.0, 10.0, 20.0, 20.0, 50.0, 99.2, 20.0, np.inf])
    image = np.zeros((size, size))
    add_stars(image, psf, x[[0, 5]], y[[0, 5]], [2e4, 2e4])
    image = with_noise(image)
    mask = np.zeros((size, size), dtype=np.uint16)
    mask[5:36, 5:36] = Mask.NO_DATA
    fit = measure(image, psf, x, y, mask=mask)
    for bad in (1, 2, 3, 4, 7):
        assert np.isnan(fit.flux[bad])
        assert np.isnan(fit.flux_error[bad])
        assert np.isnan(fit.x[bad])
        assert np.isnan(fit.chi2[bad])
        assert not fit.converged[bad]
    assert fit.converged[[0, 5]].all()
    assert abs(fit.flux[0] - 2e4) < 4 * fit.flux_error[0]
    assert abs(fit.flux[5] - 2e4) < 4 * fit.flux_error[5]
    # nothing is there: a flux at the given position, and no position
    assert abs(fit.flux[6]) < 4 * fit.flux_error[6]
    if not fit.converged[6]:
        assert (fit.x[6], fit.y[6]) == (80.0, 20.0)
        assert np.isnan(fit.variance_x[6])


def test_sources_on_top_of_each_other_are_flagged_where_they_have_no_error():
    size = 120
    psf = Psf.gaussian(3.0)
    x = np.array([60.0, 60.0, 60.0 + 1e-9, 20.0])
    y = np.array([60.0, 60.0, 60.0, 20.0])
    image = np.zeros((size, size))
    add_stars(image, psf, x, y, [2e4, 1e4, 1e4, 1e4])
    fit = measure(with_noise(image), psf, x, y)
    lost = ~np.isfinite(fit.flux_error)
    assert not fit.converged[lost].any()
    assert fit.converged[3]
    assert not lost[3]
    assert (fit.flux_error[~lost] > 0).all()


@statistical
def test_faint_sources_are_fitted_where_they_are_given():
    """Forced fluxes of nothing: no bias, true errors."""
    size, n = 900, 400
    psf = Psf.gaussian(3.5)
    x, y = grid(n, size)
    fit = measure(with_noise(np.zeros((size, size))), psf, x, y)
    forced = ~fit.converged
    assert forced.mean() > 0.8
    assert np.isfinite(fit.flux).all()
    assert np.isfinite(fit.flux_error).all()
    assert np.std(fit.flux[forced] / fit.flux_error[forced]) < 1.1


@pytest.mark.parametrize(
    ("image", "variance", "flag"),
    [
        (np.zeros((50, 50)), np.ones((50, 50)), 0),
        (np.full((50, 50), 7.0), np.ones((50, 50)), 0),
        (np.full((50, 50), np.nan), np.ones((50, 50)), 0),
        (np.zeros((50, 50)), np.full((50, 50), np.nan), 0),
        (np.zeros((50, 50)), np.zeros((50, 50)), 0),
        (np.zeros((50, 50)), np.ones((50, 50)), int(Mask.BAD)),
        (np.zeros((1, 1)), np.ones((1, 1)), 0),
        (np.full((50, 50), 1e30), np.ones((50, 50)), 0),
        (np.full((50, 50), -1e30), np.ones((50, 50)), 0),
    ],
)
def test_strange_images(image, variance, flag):
    mask = np.full(image.shape, flag, dtype=np.uint16)
    at = np.array([0.0, 25.0, 25.4, 49.0])
    fit = measure(
        image.astype(np.float32), Psf.gaussian(3.5), at, at, mask=mask,
        variance=variance.astype(np.float32),
    )  # fmt: skip
    assert len(fit.flux) == 4
    assert fit.residual.shape == image.shape


def test_no_sources():
    none = np.empty(0)
    fit = measure(np.zeros((30, 30), dtype=np.float32), Psf.gaussian(3.5), none, none)
    assert fit.flux.shape == (0,)
    assert fit.sweeps == 0


def test_identical_positions_do_not_run_away():
    psf = Psf.gaussian(3.5)
    image = np.zeros((60, 60))
    add_stars(image, psf, np.array([30.0]), np.array([30.0]), [2e4])
    at = np.array([30.0, 30.0])
    fit = measure(with_noise(image), psf, at, at)
    assert fit.flux.sum() == pytest.approx(2e4, rel=0.1)
    assert np.abs(fit.x - 30).max() <= 3.6


@statistical
def test_errors_are_true_where_the_gain_is_unknown():
    """The weights guess a gain; errors are those of the background, which is all the noise."""
    size, n = 1000, 400
    psf = Psf.gaussian(3.5)
    x, y = grid(n, size)
    flux = flux_at(1.0, 3.5) * 10 ** np.random.default_rng(3).uniform(1.3, 4.0, n)
    image = np.zeros((size, size))
    add_stars(image, psf, x, y, flux)
    image += np.random.default_rng(4).normal(0, NOISE, image.shape)
    variance = np.full(image.shape, NOISE**2, dtype=np.float32)
    mask = np.zeros(image.shape, dtype=np.uint16)
    fit = psf_photometry(image.astype(np.float32), variance, 0.0, mask, psf, x, y, Run())
    for pull in (
        (fit.flux - flux) / fit.flux_error,
        (fit.x - x) / np.sqrt(fit.variance_x),
        (fit.y - y) / np.sqrt(fit.variance_y),
    ):
        assert 0.9 < np.std(pull) < 1.1
    # faint stars have the best possible error, the background's
    faint = fit.flux < 100 * flux_at(1.0, 3.5)
    assert np.median(fit.flux_error[faint]) < 1.35 * flux_at(1.0, 3.5)


@statistical
def test_errors_follow_the_weight_where_the_gain_does():
    """A sum of 1, 4 or 16 exposures, divided by their number; GAIN is that of four."""
    n, size = 900, 1500
    x, y = grid(n, size)
    psf = Psf.gaussian(3.5)
    image = np.zeros((size, size))
    add_stars(image, psf, x, y, np.full(n, flux_at(300.0, 3.5)))
    exposures = np.repeat([1.0, 4.0, 16.0], size // 3)[None, :] * np.ones((size, 1))
    variance = (NOISE**2 * 4.0 / exposures).astype(np.float32)
    noise = np.sqrt(variance + image * 4.0 / (GAIN * exposures))
    noisy = (image + np.random.default_rng(3).normal(size=image.shape) * noise).astype(np.float32)
    mask = np.zeros(image.shape, np.uint16)

    def widths(per_variance):
        fit = psf_photometry(
            noisy, variance, GAIN, mask, psf, x, y, Run(), per_variance=per_variance
        )
        pull = (fit.flux - flux_at(300.0, 3.5)) / fit.flux_error
        inside = [(x > k * size / 3 + 20) & (x < (k + 1) * size / 3 - 20) for k in range(3)]
        return [width(pull[rows]) for rows in inside]

    assert widths(1.0 / NOISE**2) == pytest.approx([1.0, 1.0, 1.0], abs=0.12)
    few, typical, many = widths(0.0)  # photons of one exposure are four times those
    assert few > 1.3
    assert typical == pytest.approx(1.0, abs=0.12)
    assert many < 0.7


@statistical
def test_a_wrong_psf_scatters_bright_stars_no_more_without_a_gain():
    """Widths of stars scatter by 1.5 %, and so would fluxes weighted by background noise alone."""
    size, n = 1000, 400
    rng = np.random.default_rng(6)
    x, y = grid(n, size)
    image = np.zeros((size, size))
    flux = 3e5 * rng.uniform(0.5, 2.0, n)
    width = 3.5 * (1 + rng.normal(0, 0.015, n))
    for k in range(n):
        add_stars(image, Psf.gaussian(width[k]), x[[k]], y[[k]], flux[[k]])
    noisy = with_noise(image)
    variance = np.full(image.shape, NOISE**2, dtype=np.float32)
    mask = np.zeros(image.shape, dtype=np.uint16)
    scatter = [
        np.std(
            psf_photometry(noisy, variance, gain, mask, Psf.gaussian(3.5), x, y, Run()).flux / flux
        )
        for gain in (0.0, GAIN, 1e9)
    ]
    assert scatter[0] < 1.3 * scatter[1]
    assert scatter[0] < 0.3 * scatter[2]


def test_spread_can_be_left_out():
    fit = measure(
        np.zeros((30, 30), dtype=np.float32),
        Psf.gaussian(3.5),
        np.ones(1),
        np.ones(1),
        spread=False,
    )
    assert fit.spread is None
    assert fit.spread_error is None
