"""Samples about stars against Keys' cubic convolution in plain numpy."""

import numpy as np
import pytest

from skyextract.kernels.psf.samples import sample_stars


def plain(image, x, y):
    """Interpolate an image at one place; pixels beyond it are 0."""
    j, i = np.indices(image.shape)
    value = 1.0
    for t in (np.abs(j - y), np.abs(i - x)):
        near, far = 1 + t * t * (1.5 * t - 2.5), 2 + t * (-4 + t * (2.5 - 0.5 * t))
        value = value * np.where(t < 1, near, np.where(t < 2, far, 0.0))
    return (value * image).sum()


@pytest.mark.parametrize("sampling", [0.6, 1.0, 1.3])
def test_samples_are_those_of_cubic_convolution(sampling):
    rng = np.random.default_rng(5)
    image = rng.normal(size=(20, 24)).astype(np.float32)
    x, y, out = np.array([10.3, 4.0, 22.8]), np.array([9.1, 1.5, 12.0]), np.empty((3, 9, 9))
    sample_stars(image, x, y, sampling, out)
    step = (np.arange(9) - 4) * sampling
    for n in range(3):
        expected = [[plain(image, x[n] + a, y[n] + b) for a in step] for b in step]
        assert out[n] == pytest.approx(np.array(expected), abs=1e-6)
