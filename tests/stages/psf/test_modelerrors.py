"""Errors of fluxes by the noise of the PSF model, against models of other noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf, PsfSource, polynomial_terms
from skyextract.run import Run
from skyextract.stages.pointsources.fit import psf_photometry
from skyextract.stages.psf.model import build_psf
from skyextract.stages.psf.modelerrors import flux_variance
from skyextract.stages.psf.sample import StarSample
from tests.simulate.shapes import GAIN, NOISE, SKY, Shape, round_star, simulate_shape

SIZE, FWHM = 400, 4.0
KIND = Shape(SIZE, FWHM, round_star(FWHM), separation=5.0, reach=6)


def model(seed, degree):
    """Return the model of one frame, and what it was made from."""
    frame = simulate_shape(KIND, seed, most=100)
    bright = np.flatnonzero(frame.snr > 30)
    height = frame.flux / (1.13 * FWHM**2)
    peaks = np.stack([frame.x, frame.y, height, np.zeros(frame.x.size)])
    sample = StarSample(
        x=frame.x[bright], y=frame.y[bright], flux=frame.flux[bright], fwhm=FWHM * 1.1,
        height=height[bright], peaks=np.ascontiguousarray(peaks[:, np.argsort(frame.y)]),
    )  # fmt: skip
    variance = np.full(frame.image.shape, NOISE**2, np.float32)
    return build_psf(
        frame.image - np.float32(SKY), variance, sample, gain=GAIN, degree=degree, run=Run(1)
    )


def true_stars():
    """Return an image of stars without noise all over the frame, and their places."""
    places = np.linspace(30, SIZE - 31, 5)
    x, y = (c.ravel() for c in np.meshgrid(places + 0.3, places - 0.2))
    image = np.zeros((SIZE, SIZE))
    side = np.arange(-24, 25)
    for xx, yy in zip(x, y, strict=True):
        i, j = round(xx), round(yy)
        light = KIND.optics(0.0, 0.0).draw(side + i - xx, side + j - yy)
        image[j - 24 : j + 25, i - 24 : i + 25] += 1e6 * light
    return image.astype(np.float32), x, y


def departures(fit, image, x, y):
    """Return relative errors of fluxes, less their mean over the stars of the model."""
    variance = np.full(image.shape, 1.0, np.float32)
    mask = np.zeros(image.shape, np.uint16)
    found = psf_photometry(image, variance, 1.0, mask, fit.psf, x, y, Run(1), spread=False)
    terms = polynomial_terms(fit.psf.degree, *fit.psf.normalised(x, y))
    change, *_ = np.linalg.lstsq(terms, found.flux / 1e6 - 1.0, rcond=None)
    weight = fit.evidence.weight
    return (terms - weight @ fit.evidence.terms / weight.sum()) @ change


@pytest.mark.parametrize("degree", [1, 2])
def test_the_noise_of_models_is_that_stated(degree):
    image, x, y = true_stars()
    pulls = []
    for seed in range(1, 13):
        fit = model(seed, degree)
        assert fit.psf.degree == degree
        psf = replace(fit.psf, flux_variance=flux_variance(fit.psf, fit.evidence))
        pulls.append(departures(fit, image, x, y) / psf.flux_error(x, y))
    # Terms of the first degree have 24 numbers in all, those of the second 60.
    assert 0.65 < np.sqrt(np.mean(np.square(pulls))) < 1.35


def test_a_constant_model_gives_all_fluxes_the_same_error():
    fit = model(1, 0)
    np.testing.assert_array_equal(flux_variance(fit.psf, fit.evidence), [[0.0]])


def test_the_error_is_the_quadratic_form_of_the_terms():
    image = np.ones((3, 5, 5), np.float32)
    form = np.diag([0.0, 4e-4, 9e-4])
    psf = Psf(image, 1.0, 1, 50.0, 100.0, 50.0, 100.0, 3.0, 0.0, PsfSource.MEASURED)
    x, y = np.array([50.0, 100.0, 50.0, 0.0]), np.array([50.0, 50.0, 0.0, 0.0])
    np.testing.assert_array_equal(psf.flux_error(x, y), 0.0)
    known = replace(psf, flux_variance=form)
    np.testing.assert_allclose(
        known.flux_error(x, y), [0.0, 0.01, 0.015, np.hypot(0.01, 0.015)], rtol=1e-12
    )


def test_errors_of_fluxes_contain_it(monkeypatch):
    import skyextract

    frame = simulate_shape(KIND, 1, most=60)
    image = skyextract.exposure(frame.image, {"GAIN": GAIN, "SATURATE": 1e7})
    rows = skyextract.process(image).table
    monkeypatch.setattr(Psf, "flux_error", lambda _, x, y: np.full(x.size, 0.05))
    more = skyextract.process(image).table
    added = np.sqrt(more["FLUXERR_PSF"] ** 2 - rows["FLUXERR_PSF"] ** 2) / rows["FLUX_PSF"]
    bright = rows["FLUX_PSF"] > 30 * rows["FLUXERR_PSF"]
    assert bright.sum() > 10
    np.testing.assert_allclose(added[bright], 0.05, atol=1e-3)
