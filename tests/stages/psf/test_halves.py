"""The error of a PSF model that parts of its stars show is the error that it has."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.stages.psf import halves
from skyextract.stages.psf.halves import _light_of_core, light_error, with_errors
from skyextract.stages.psf.model import build_psf
from skyextract.stages.psf.sample import StarSample

FWHM = 6.0


def sample_of(field, rows):
    rows = rows[np.argsort(field.y[rows])]
    height = field.flux[rows] / (1.13 * FWHM**2 + 1)
    return StarSample(
        x=field.x[rows], y=field.y[rows], flux=field.flux[rows], fwhm=FWHM, height=height,
        peaks=np.ascontiguousarray(
            np.stack([field.x[rows], field.y[rows], height, np.full(rows.size, 3 * FWHM)])
        ),
    )  # fmt: skip


def builder(field):
    data = (field.image - 1000.0).astype(np.float32)
    variance = np.full(data.shape, field.sky_sigma**2, dtype=np.float32)

    def build(sample):
        return build_psf(data, variance, sample, gain=field.gain, degree=0, run=Run(1)).psf

    return build


def test_error_of_the_light_of_few_stars_is_that_of_the_model(starfield):
    """Of 14 models from 6 stars each, against the one that all stars give."""
    field = starfield.simulate(900, 84, FWHM, beta=3.5, separation=60, snr=(40, 150))
    build = builder(field)
    truth = _light_of_core(build(sample_of(field, np.arange(field.n_stars))))
    change, error = [], []
    for first in range(0, 84, 6):
        sample = sample_of(field, np.arange(first, first + 6))
        error.append(light_error(sample, build))
        change.append(_light_of_core(build(sample)) / truth - 1.0)
    # Of five models the error has an error itself, and a long tail to both sides.
    pull = np.abs(np.array(change) / np.array(error))
    assert 0.4 < np.median(pull) / 0.6745 < 1.6
    assert np.sqrt(np.mean(np.square(error))) > 0.7 * np.std(change)


def test_more_light_of_the_stars_makes_the_error_smaller(starfield):
    errors = []
    for snr in ((40, 80), (400, 800)):
        field = starfield.simulate(600, 12, FWHM, beta=3.5, separation=60, snr=snr)
        errors.append(light_error(sample_of(field, np.arange(12)), builder(field)))
    assert errors[1] < 0.4 * errors[0]


def test_three_stars_do_not_tell(starfield):
    field = starfield.simulate(300, 3, FWHM, separation=60)
    assert math.isnan(light_error(sample_of(field, np.arange(3)), builder(field)))


def test_lines_have_no_error_of_their_light(starfield):
    """No model is made for it: they are no stars."""
    field = starfield.simulate(600, 12, FWHM, separation=60)
    sample = sample_of(field, np.arange(12))
    psf = builder(field)(sample)
    variance = np.zeros((1, 1))

    def build(_part):
        pytest.fail("a model is made")

    line = replace(psf, ellipticity=0.95, flux_variance=variance)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(halves, "flux_variance", lambda *_: variance)
        assert math.isnan(with_errors(line, None, sample, build, Run()).light_error)


def test_a_sample_keeps_what_is_not_of_its_stars(starfield):
    field = starfield.simulate(300, 6, FWHM, separation=40)
    seen = []

    def build(sample):
        seen.append(sample)
        return builder(field)(replace(sample, narrow=0.0))

    whole = replace(sample_of(field, np.arange(6)), narrow=2.0)
    light_error(whole, build)
    assert {part.narrow for part in seen} == {2.0}
    assert sorted(np.concatenate([part.x for part in seen])) == sorted(np.repeat(whole.x, 4))
