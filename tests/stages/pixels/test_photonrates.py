"""Rates of single photons, and what has zeros and is none."""

import numpy as np
import pytest

import skyextract as sky
from skyextract.datamodel.exposure import Exposure
from skyextract.run import Run
from skyextract.stages.pixels.photonrates import with_counts_of_rates

N = 400
Y, X = np.indices((N, N)) / N - 0.5
SECONDS = 30000.0 * (1.0 - 1.2 * (X**2 + Y**2))


def counted(image, seconds=None):
    """Return the exposure as it comes out, and the warnings."""
    image = np.ascontiguousarray(image, np.float32)
    weight = None if seconds is None else (1.0 / seconds).astype(np.float32)
    run, hole = Run(), np.zeros(image.shape, np.bool_)
    exposure = Exposure(image, np.zeros(image.shape, np.uint16), weight=weight)
    return with_counts_of_rates(exposure, hole, run), run.warnings


@pytest.mark.parametrize("seconds", [None, SECONDS, 2e-3 * SECONDS])
def test_counts_over_an_exposure_map(seconds):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(rng.uniform(0.1, 0.8) * SECONDS / 30000.0)
        counts[200:210, 100:103] += 40
        found, (warning,) = counted(counts / SECONDS, seconds)
        assert "rates of single photons" in warning
        unit = 1.0 / found.detector.gain
        back = found.image / unit
        assert np.abs(back - counts)[counts < 20].max() < 1e-3
        assert np.abs(back / np.maximum(counts, 1) - 1.0)[counts > 20].max() < 0.03
        assert np.abs(found.exposed / (unit * SECONDS) - 1.0).max() < 0.05
        assert found.weight is None
        assert not counted(counts)[1]
        assert not counted(counts / 30000.0, seconds)[1]


def test_what_has_zeros_and_is_none():
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 5.0, (N, N))
    vignetting = 1.0 - 0.8 * np.linspace(0.0, 1.0, N)
    for image in (
        noise, noise.clip(0.0), (noise * vignetting).clip(0.0), np.zeros((N, N)),
        np.rint(noise).clip(0.0) * 0.1, np.where(rng.random((N, N)) < 0.5, 0.0, 100.0 + noise),
        rng.poisson(0.3, (N, N)) * rng.uniform(0.5, 1.5, (N, N)), np.ones((5, 5)),
    ):  # fmt: skip
        assert not counted(image)[1]
        if image.shape == SECONDS.shape:
            assert not counted(image, SECONDS)[1]


def test_fluxes_of_rates_are_rates():
    rng = np.random.default_rng(2)
    x, y = rng.uniform(20.0, N - 20.0, (2, 12))
    light = np.full((N, N), 0.1)
    for cx, cy in zip(x, y, strict=True):
        r2 = (X * N + 0.5 * N - cx) ** 2 + (Y * N + 0.5 * N - cy) ** 2
        light += 900.0 * np.exp(-0.5 * r2 / 1.6**2) / (2.0 * np.pi * 1.6**2)
    image = (rng.poisson(light * SECONDS / 30000.0) / SECONDS).astype(np.float32)
    table = sky.measure(sky.exposure(image, {}), PARAMETERS_NAME=["X_IMAGE", "FLUX_AUTO"]).table
    assert len(table) == 12
    off = np.asarray(table["FLUX_AUTO"]) * 30000.0 / 900.0
    assert np.abs(off - 1.0).max() < 0.2  # the exposure varies by a factor of 2
    assert np.median(off) == pytest.approx(1.0, abs=0.05)
