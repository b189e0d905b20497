"""What of a varying PSF is its mean made wider or longer."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.psf.splines import centred, coefficients_of, homologous, samples_of

AXIS = np.arange(-30, 31.0)
X, Y = AXIS[None, :], AXIS[:, None]


def moffat(scale, stretch=0.0):
    """A core with wings, of unit sum; wider by `scale`, longer along x by `stretch`."""
    r2 = (X / (scale * (1.0 + stretch))) ** 2 + (Y / (scale / (1.0 + stretch))) ** 2
    image = (1.0 + r2 / 20.0) ** -3.0
    return image / image.sum()


def coefficients(images):
    return np.concatenate([coefficients_of(image) for image in images])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_wings_of_a_varying_psf_follow_its_core(seed):
    """Two terms: a change of width and one of shape, with noise that is the most in the wings."""
    random = np.random.default_rng(seed)
    mean = moffat(1.0)
    true = np.stack([moffat(1.02) - moffat(0.98), moffat(1.0, 0.02) - moffat(1.0, -0.02)])
    noise = 2e-5 * random.standard_normal(true.shape)
    noisy = coefficients(true + noise)
    found = samples_of(homologous(coefficients([mean])[0], noisy))
    # What one term is of the other tells the share of light in the core.
    core = np.hypot(X, Y) < 8.0
    for of_found, of_true, of_noise in zip(found, true, noise, strict=True):
        assert np.abs(of_found - of_true).sum() < 0.2 * np.abs(of_noise).sum()
        assert abs(of_found.sum()) < 0.2 * np.abs(of_noise).sum() / 61.0 + 2e-5
        assert of_found[core].sum() == pytest.approx(of_true[core].sum(), abs=2e-4)


def test_what_is_no_change_of_size_or_shape_is_left_to_the_stars():
    mean = moffat(1.0)
    ring = np.exp(-0.5 * ((np.hypot(X, Y) - 12.0) / 1.5) ** 2)
    found = samples_of(homologous(coefficients([mean])[0], coefficients([ring * 1e-4])))
    assert np.abs(found[0][np.hypot(X, Y) > 10.0]).max() < 0.5e-4


def test_shifts_are_taken_out_of_the_varying_terms():
    """Of two terms, one a shift and a wider image, the other a longer image alone."""
    mean = moffat(1.0)
    slope_y, slope_x = np.gradient(mean)
    wider, longer = moffat(1.02) - moffat(0.98), moffat(1.0, 0.02) - moffat(1.0, -0.02)
    terms = coefficients([mean, wider - 0.03 * slope_x + 0.02 * slope_y, longer])
    weight = 1.0 / (mean + 1e-3 * mean.max())
    out, shifts = centred(terms, weight)
    np.testing.assert_allclose(shifts, [[0, 0], [0.03, -0.02], [0, 0]], atol=1e-3)
    np.testing.assert_allclose(samples_of(out)[1:], [wider, longer], atol=2e-3 * mean.max() * 0.03)
    np.testing.assert_array_equal(out[0], terms[0])
