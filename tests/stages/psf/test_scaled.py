"""PSFs of one profile whose width and shape follow the place."""

from __future__ import annotations

import math

import numpy as np
import pytest

import skyextract
from skyextract.datamodel.psf import polynomial_terms
from skyextract.errors import StepError
from skyextract.run import Run
from skyextract.stages.psf.fitted import Variation
from skyextract.stages.psf.model import build_psf
from skyextract.stages.psf.modelerrors import _larger, flux_variance
from skyextract.stages.psf.passes import Trials
from skyextract.stages.psf.sample import StarSample
from skyextract.stages.psf.scaled import Forms, ScaledProfile, quadratic, scaled_profile
from skyextract.stages.psf.solver import Solver
from tests.simulate.shapes import simulate_scene
from tests.stages.psf.test_degree import field_of_widths, moffat, psf_of

SIZE = 800


def width_at(x, y):
    """2.5 pixels on the axis, 5 in the corners."""
    return 2.5 * (1.0 + ((x - SIZE / 2) ** 2 + (y - SIZE / 2) ** 2) / (0.5 * SIZE**2))


@pytest.fixture(scope="module")
def field():
    return field_of_widths(width_at, 300, SIZE, 11)


def in_pixels(fwhm, half=24):
    """A Moffat star integrated over 20 x 20 points of each pixel."""
    fine = np.arange(-half - 0.5, half + 0.5, 0.05) + 0.025
    n = 2 * half + 1
    return moffat(fine, fine[:, None], fwhm).reshape(n, 20, n, 20).mean(axis=(1, 3))


def test_widths_and_profile_are_those_of_the_stars_before_pixels(field):
    image, x, y, flux = field
    bright = np.flatnonzero((flux > 2e4) & (np.abs(x - 400) < 380) & (np.abs(y - 400) < 380))
    apart = np.hypot(x[bright, None] - x, y[bright, None] - y)
    bright = bright[np.sort(apart, axis=1)[:, 1] > 25]
    sample = StarSample(
        x=x[bright], y=y[bright], flux=flux[bright], fwhm=3.5, height=flux[bright] / 14,
        peaks=np.zeros((4, 0)),
    )  # fmt: skip
    variance = np.full(image.shape, 133.0, np.float32)
    solver = Solver(image - np.float32(200), variance, sample, gain=1.5, degree=4, step=0.8,
                    half=14, run=Run(1))  # fmt: skip
    found = scaled_profile(solver, 4)
    places = np.random.default_rng(2).uniform(-0.4, 0.4, (2, 50))
    s, a, b = found.forms.at(*places).T
    true = np.log([width_at(SIZE * (u + 0.5), SIZE * (v + 0.5)) for u, v in places.T])
    scale = np.median(true - s)
    assert np.abs(s + scale - true).max() < 0.015
    assert np.hypot(a, b).max() < 0.015
    r = np.linspace(0.0, 12.0, 50)
    profile = found.profile(r) / found.profile(np.zeros(1))
    expected = moffat(r, 0.0, math.exp(scale)) / moffat(0.0, 0.0, math.exp(scale))
    assert np.abs(profile - expected).max() < 0.01
    assert np.abs(profile[25:] / expected[25:] - 1.0).max() < 0.1


def test_stars_that_are_left_out_lower_the_degree_of_all_that_the_model_has(field):
    image, x, y, flux = field
    bright = np.flatnonzero((flux > 2e4) & (np.abs(x - 400) < 380) & (np.abs(y - 400) < 380))
    apart = np.hypot(x[bright, None] - x, y[bright, None] - y)
    bright = bright[np.sort(apart, axis=1)[:, 1] > 25][: 3 * 15]
    assert bright.size == 3 * 15
    image = image - np.float32(200)
    for k in bright[::9]:  # with another star beside
        part = np.s_[round(y[k]) - 9 : round(y[k]) + 10, round(x[k]) - 9 : round(x[k]) + 10]
        axis = np.arange(-9.0, 10.0)
        image[part] += np.float32(0.7 * flux[k]) * moffat(axis - 4, axis[:, None] - 3, 3.0)
    sample = StarSample(
        x=x[bright], y=y[bright], flux=flux[bright], fwhm=3.5, height=flux[bright] / 14,
        peaks=np.zeros((4, 0)),
    )  # fmt: skip
    variance = np.full(image.shape, 133.0, np.float32)
    fit = build_psf(image, variance, sample, gain=1.5, degree=4, run=Run(1), scaled=True)
    assert fit.used.sum() < 3 * 15
    assert fit.psf.degree == 3
    form = flux_variance(fit.psf, fit.evidence)
    # Of relative fluxes at S/N of some 100, 40 stars.
    terms = polynomial_terms(3, *np.random.default_rng(1).uniform(-0.4, 0.4, (2, 20)))
    errors = np.sqrt(np.einsum("nk,kl,nl->n", terms, form, terms))
    assert 5e-4 < np.median(errors) < 0.01


def test_a_model_without_some_stars_goes_on_from_that_of_all(field):
    image, x, y, flux = field
    bright = np.flatnonzero((flux > 1e4) & (np.abs(x - 400) < 380) & (np.abs(y - 400) < 380))
    apart = np.hypot(x[bright, None] - x, y[bright, None] - y)
    bright = bright[np.sort(apart, axis=1)[:, 1] > 14][:100]
    sample = StarSample(
        x=x[bright], y=y[bright], flux=flux[bright], fwhm=3.5, height=flux[bright] / 14,
        peaks=np.zeros((4, 0)),
    )  # fmt: skip
    variance = np.full(image.shape, 133.0, np.float32)
    built = []

    def build(variation, held_out):
        built.append(held_out)
        return build_psf(
            image - np.float32(200), variance, sample, gain=1.5, degree=variation.degree,
            scaled=variation.scaled, held_out=held_out, run=Run(1),
        )  # fmt: skip

    trials, scaled = Trials(build, {}), Variation(2, scaled=True)
    held_out = np.arange(bright.size) % 3 == 0
    whole, without = trials(scaled, None), trials(scaled, held_out)
    assert built == [None]
    rows = held_out & whole.used
    anew = np.log(build(scaled, held_out).chi2[rows])
    assert np.mean(np.log(without.chi2[rows])) == pytest.approx(anew.mean(), abs=0.005)
    # Stars that a model knows are nearer to it.
    assert np.mean(np.log(whole.chi2[rows])) < anew.mean() - 0.01


def test_widths_that_no_field_has_are_no_profile(field, monkeypatch):
    """Polynomials of 43 stars had .06 and 1.8 times their width beside them: 500^2 samples."""
    image, x, y, flux = field
    bright = np.argsort(-flux)[:45]
    sample = StarSample(
        x=x[bright], y=y[bright], flux=flux[bright], fwhm=3.5, height=flux[bright] / 14,
        peaks=np.zeros((4, 0)),
    )  # fmt: skip
    monkeypatch.setattr(ScaledProfile, "range_of_widths", lambda _: (0.06, 1.8))
    variance = np.full(image.shape, 133.0, np.float32)
    with pytest.raises(StepError, match="widths"):
        build_psf(image, variance, sample, gain=1.5, degree=4, run=Run(1), scaled=True)


def test_wings_in_the_corners_are_those_of_the_stars_there(field):
    psf = psf_of(field[0], 1.5)
    for u, v in ((0.5, 0.5), (0.3, 0.6), (0.1, 0.85), (0.92, 0.9)):
        x, y = round(SIZE * u), round(SIZE * v)
        fwhm = width_at(x, y)
        model, true = psf.stamp(x, y), in_pixels(fwhm)
        for radius in (0.5, 1.0, 2.0):
            within = []
            for star in (model, true):
                axis = np.arange(len(star)) - len(star) // 2
                within.append(star[np.hypot(axis, axis[:, None]) <= radius * fwhm].sum())
            # A polynomial of pixels has .01-.08 too much there.
            assert within[0] == pytest.approx(within[1], abs=0.007), (u, v, radius)


def test_fluxes_of_a_field_whose_corners_are_twice_as_wide(tmp_path):
    frame = simulate_scene("radial", 101)
    (tmp_path / "p.param").write_text("X_IMAGE\nY_IMAGE\nFLUX_PSF\nFLUXERR_PSF\n")
    exposure = skyextract.exposure(frame.image, {"GAIN": frame.gain, "SATURATE": 1e7})
    done = skyextract.process(exposure, PARAMETERS_NAME=str(tmp_path / "p.param"))
    table = np.ma.filled(done.table.as_array(), np.nan)
    apart = np.hypot(
        table["X_IMAGE"] - 1 - frame.x[:, None], table["Y_IMAGE"] - 1 - frame.y[:, None]
    )
    bright = np.flatnonzero((frame.snr > 300) & (apart.min(axis=1) < 2))
    row = apart[bright].argmin(axis=1)
    ratio = table["FLUX_PSF"][row] / frame.flux[bright]
    error = table["FLUXERR_PSF"][row] / frame.flux[bright]
    pulls = (ratio / np.median(ratio) - 1.0) / error
    assert bright.size > 20
    assert np.std(ratio) < 0.0045
    assert 0.6 < np.std(pulls) < 1.4


def test_a_form_is_the_exponential_of_a_matrix():
    forms = np.array([[0.3, -0.2, 0.15], [0.0, 0.0, 0.0], [-0.5, 0.1, 0.4]])
    for (s, a, b), form in zip(forms, quadratic(forms)[:, :, 0, 0].T, strict=True):
        values, vectors = np.linalg.eigh([[s + a, b], [b, s - a]])
        expected = (vectors * np.exp(-2.0 * values)) @ vectors.T
        assert form == pytest.approx([expected[0, 0], expected[1, 1], expected[0, 1]], rel=1e-9)


def test_variance_of_a_lower_degree_is_that_of_its_terms():
    coefficients = np.zeros((6, 3))
    covariance = np.diag(np.arange(1.0, 7.0))
    u, v = np.array([0.2, -0.3]), np.array([0.1, 0.4])
    for degree in (1, 2, 3):
        form = Forms(coefficients, 2, covariance).variance(degree)
        terms = polynomial_terms(degree, u, v)
        have = np.einsum("nk,kl,nl->n", terms, form, terms)
        assert form.shape == (terms.shape[1],) * 2
        if degree >= 2:
            own = polynomial_terms(2, u, v)
            assert have == pytest.approx(np.einsum("nk,kl,nl->n", own, covariance, own))


def test_of_two_variances_each_mode_has_the_larger():
    terms = np.random.default_rng(1).normal(size=(500, 3))
    terms = np.linalg.qr(terms)[0] * math.sqrt(500)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    one, other = (turn @ np.diag(d) @ turn.T for d in ([3.0, 1.0, 2.0], [1.0, 4.0, 2.0]))
    expected = turn @ np.diag([3.0, 4.0, 2.0]) @ turn.T
    assert _larger(one, other, terms) == pytest.approx(expected, abs=1e-8)
