"""Rates of single photons, and what has zeros and is none."""

import numpy as np

from skyextract.datamodel.exposure import Exposure
from skyextract.stages.pixels.photonrates import with_doubt_of_rates

N = 400


def doubted(image):
    image = np.ascontiguousarray(image, np.float32)
    exposure = Exposure(image, np.zeros(image.shape, np.uint16))
    return with_doubt_of_rates(exposure, np.zeros(image.shape, np.bool_)).doubts


def test_counts_over_an_exposure_map():
    y, x = np.indices((N, N)) / N - 0.5
    for seed in range(5):
        rng = np.random.default_rng(seed)
        exposure = 30000.0 * (1.0 - 1.2 * (x**2 + y**2))
        counts = rng.poisson(rng.uniform(0.1, 0.8) * exposure / 30000.0)
        counts[200:210, 100:103] += 40
        (message,) = doubted(counts / exposure)
        assert "rates of single photons" in message
        assert not doubted(counts)
        assert not doubted(counts / 30000.0)


def test_what_has_zeros_and_is_none():
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 5.0, (N, N))
    vignetting = 1.0 - 0.8 * np.linspace(0.0, 1.0, N)
    for image in (
        noise, noise.clip(0.0), (noise * vignetting).clip(0.0), np.zeros((N, N)),
        np.rint(noise).clip(0.0) * 0.1, np.where(rng.random((N, N)) < 0.5, 0.0, 100.0 + noise),
        rng.poisson(0.3, (N, N)) * rng.uniform(0.5, 1.5, (N, N)), np.ones((5, 5)),
    ):  # fmt: skip
        assert not doubted(image)
