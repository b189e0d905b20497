"""Weight maps of the wrong kind: the scatter of the sky contradicts them."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.exposure import Exposure
from skyextract.run import Run
from skyextract.stages.background.weightkind import POWERS, with_plausible_kind

VARIANCE = {"MAP_WEIGHT": lambda m: 1.0 / m, "MAP_VAR": lambda m: m, "MAP_RMS": lambda m: m**2}


def frame(seed: int = 1, smooth: bool = False):
    """Return an image whose rms is 4, 2 and 1 in three zones, or falls smoothly, and that rms."""
    rng = np.random.default_rng(seed)
    rms = np.repeat([4.0, 2.0, 1.0], 100)[None, :] * np.ones((300, 1))
    if smooth:
        yy, xx = np.mgrid[:300, :300]
        rms = 1.0 + 5e-5 * ((xx - 150.0) ** 2 + (yy - 150.0) ** 2)
    sky = 100.0 + 0.1 * np.arange(300)[:, None]
    image = sky + rms * rng.normal(size=rms.shape)
    for x, y in rng.uniform(10, 290, (60, 2)):
        image[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] += 10 ** rng.uniform(1.0, 4.0)
    return image.astype(np.float32), rms


def judged(image, declared, kind, *, mends=True):
    exposure = Exposure(image, np.zeros(image.shape, np.uint16), weight=declared.astype(np.float32))
    run = Run()
    return exposure, with_plausible_kind(exposure, kind, run, mends=mends), run.warnings


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("given", POWERS)
@pytest.mark.parametrize("kind", POWERS)
def test_kinds(kind, given, smooth):
    """The map is of the kind `given`, WEIGHT_TYPE says `kind`."""
    image, rms = frame(smooth=smooth)
    values = rms ** (2.0 / POWERS[given])
    exposure, found, told = judged(image, 1e-7 * VARIANCE[kind](values), kind)
    if kind == given:
        assert found is exposure
        assert not told
        return
    assert f"it is taken for {given}" in found.doubts[0]
    ratio = found.weight / rms**2
    np.testing.assert_allclose(ratio / np.median(ratio), 1.0, rtol=1e-4)
    same, kept, told = judged(image, VARIANCE[kind](values), kind, mends=False)
    assert kept is same
    assert f"is it {given}?" in told[-1]


def test_maps_that_say_nothing():
    image, rms = frame()
    mask = np.where(np.random.default_rng(2).random(rms.shape) < 0.1, 1e30, 1.0)
    for weight in (mask, np.ones_like(rms), 1.0 + 0.1 * rms, np.full_like(rms, 1e30)):
        exposure, found, told = judged(image, weight, "MAP_WEIGHT")
        assert found is exposure
    even = np.random.default_rng(3).normal(0.0, 5.0, rms.shape).astype(np.float32)
    exposure, found, told = judged(even, rms**2, "MAP_VAR")
    assert found is exposure
    assert "no kind fits" in told[-1]


def test_light_and_correlated_noise():
    """Photons of the sources in the map, and noise that neighbours share, change no kind."""
    image, rms = frame()
    light = np.clip(image - 130.0, 0.0, None)
    exposure, found, _ = judged(image, rms**2 + light, "MAP_VAR")
    assert found is exposure
    smooth = image.copy()
    smooth[1:-1, 1:-1] = (
        sum(image[1 + a : 299 + a, 1 + b : 299 + b] for a in (-1, 0, 1) for b in (-1, 0, 1)) / 9.0
    )
    exposure, found, _ = judged(smooth, rms**2, "MAP_VAR")
    assert found is exposure
