"""The read noise that nothing states: of bias frames, or of what the sky's photons leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.calibrations import Calibrations, Master
from skyextract.datamodel.rawframe import Amplifier, RawFrame, Section
from skyextract.run import Run
from skyextract.stages.isr.signature import Signature, remove_signature
from tests.stages.isr.correcting import settings_of

GAIN, LEVEL, SIDE = 1.6, 500.0, 300
PLACE = Section(0, SIDE, 0, SIDE)
AMPLIFIER = Amplifier("1", 0, PLACE, None, PLACE, GAIN, 0.0)


def master(kind: str, image: np.ndarray, variance: np.ndarray | None = None, n: int = 0) -> Master:
    return Master(kind, image.astype(np.float32), variance, 10.0, fits.Header(), kind, n)


def correct(
    sky: float, noise: float, biases: int, seed: int, amplifier: Amplifier = AMPLIFIER
) -> tuple[Signature, np.ndarray]:
    """Correct a frame of sky (electrons) behind a flat, with a master of raw or unknown biases."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    flat = (1.1 - 1.2 * (x**2 + y**2)) * rng.normal(1.0, 0.01, (SIDE, SIDE))

    def read(electrons: np.ndarray) -> np.ndarray:
        return np.rint(LEVEL + (electrons + rng.normal(0.0, noise, (SIDE, SIDE))) / GAIN)

    frames = np.array([read(np.zeros((SIDE, SIDE))) for _ in range(biases or 20)])
    variance = None
    if biases:
        variance = (np.var(frames, axis=0, ddof=1) / biases).astype(np.float32)
    known = Calibrations(
        master("bias", frames.mean(axis=0), variance, biases), flat=master("flat", flat)
    )
    pixels = read(rng.poisson(sky * flat).astype(float)).astype(np.float32)
    raw = RawFrame((pixels,), (amplifier,), (SIDE, SIDE), fits.Header(), path="raw.fits")
    return remove_signature(raw, known, settings_of().config, Run(2)), flat


@pytest.mark.parametrize("biases", [0, 2, 3, 9])
@pytest.mark.parametrize(("sky", "noise"), [(1.0, 8.0), (8.0, 2.0), (30.0, 5.0), (3000.0, 6.0)])
def test_the_variance_is_that_of_the_sky(sky: float, noise: float, biases: int) -> None:
    signature, flat = correct(sky, noise, biases, seed=biases)
    exposure, (facts,) = signature.exposure, signature.metrics["amplifiers"]
    # The rounding of the numbers is noise, too, and so is that of the master.
    read_noise = np.hypot(noise, GAIN / 12**0.5)
    right = np.mean(sky / flat + read_noise**2 * (1.0 + 1.0 / (biases or 20)) / flat**2)
    assert exposure.variance is not None
    assert np.mean(exposure.variance) == pytest.approx(right, rel=0.06)
    scatter = np.mean((exposure.image - sky) ** 2) / np.mean(exposure.variance)
    assert scatter == pytest.approx(1.0, abs=0.06)
    if biases:
        assert facts["read_noise"] == pytest.approx(read_noise, rel=0.04)
        assert exposure.detector.read_noise == facts["read_noise"]
    else:
        assert facts["read_noise"] is None


def test_what_is_stated_counts() -> None:
    signature, _ = correct(8.0, 2.0, 9, 1, replace(AMPLIFIER, read_noise=7.0))
    assert signature.metrics["amplifiers"][0]["read_noise"] == 7.0
