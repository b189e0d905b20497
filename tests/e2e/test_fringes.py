"""Fringes that were not subtracted: a sky that is as fine as the stars, and says so."""

from __future__ import annotations

import numpy as np
import pytest

import skyextract as sky
from skyextract.datamodel.psf import Psf
from tests.stages.psf.test_fit import add_stars

SIZE, SKY = 512, 3000.0


def frame(seed: int, amplitude: float, period: float) -> np.ndarray:
    """Return stars on a sky with fringes, in electrons."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(10, SIZE - 10, (2, 200))
    image = np.zeros((SIZE, SIZE))
    add_stars(image, Psf.gaussian(3.2), x, y, 10 ** rng.uniform(2.5, 5.0, x.size))
    v, u = np.mgrid[:SIZE, :SIZE] / SIZE
    a, b, c, d = rng.uniform(0.0, 2.0 * np.pi, 4)
    bend = np.sin(7.0 * u + a) + np.sin(6.0 * v + b) + np.sin(5.0 * (u - v) + c)
    image += SKY * (1.0 + amplitude * np.sin(2.0 * np.pi * (u * SIZE / period + 0.7 * bend) + d))
    noise = rng.normal(size=image.shape) * np.sqrt(image + 25.0)
    return (image + noise).astype(np.float32)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fringes_are_told(seed):
    for amplitude, period in ((0.03, 22.0), (0.0, 22.0)):
        found = sky.process(sky.exposure(frame(seed, amplitude, period), gain=1.0))
        measure = found.metrics["measure"]
        told = "as fine as the stars" in measure.get("reason", "")
        assert told == (amplitude > 0.0), (measure["noise_scale"], measure["detection_scale"])
        assert found.status["measure"] == ("FALLBACK" if told else "COMPLETE")
