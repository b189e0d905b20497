"""The background variance plane."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header
from skyextract.run import Run
from skyextract.settings.keywords import Weights
from skyextract.stages.background.gain import with_gain_of_variance, with_plausible_gain
from skyextract.stages.background.noise import (
    background_variance,
    with_plausible_rms,
    with_plausible_variance,
)

SKY = BackgroundMap(
    level=np.full((1, 1), 100.0, dtype=np.float32),
    rms=np.full((1, 1), 3.0, dtype=np.float32),
    mesh_width=64, mesh_height=64, shape=(40, 50), mean=100.0, sigma=3.0,
)  # fmt: skip


def exposure(**planes):
    image = np.full((40, 50), 100.0, dtype=np.float32)
    image[10, 10] = 600.0
    mask = np.zeros(image.shape, dtype=np.uint16)
    mask[0, 0], mask[0, 1], mask[0, 2], mask[0, 3] = Mask.BAD, Mask.SAT, Mask.NO_DATA, Mask.EDGE
    return Exposure(image, mask, detector=Detector(gain=2.0), **planes)


def noise_of(given, weight_scale, **weights):
    return background_variance(
        given, SKY, given.image - np.float32(100), weight_scale, Weights(**weights), Run(), index=1
    )


def plane(value):
    return np.full((40, 50), value, dtype=np.float32)


def test_from_the_mesh():
    assert noise_of(exposure(), 1.0) is None
    variance = noise_of(exposure(), 1.0, weight_type=("NONE", "BACKGROUND"))
    assert variance.dtype == np.float32
    np.testing.assert_allclose(variance, 9.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "rescale", "expected"),
    [("MAP_VAR", True, 8.0), ("MAP_VAR", False, 0.5), ("MAP_RMS", True, 0.5)],
)
def test_rescale_weights_holds_for_all_maps_but_rms(kind, rescale, expected):
    given = exposure(weight=plane(0.5))
    variance = noise_of(given, 4.0, weight_type=(kind,), rescale_weights=(rescale,))
    assert variance[20, 20] == pytest.approx(expected)


def test_from_the_weight_map_with_its_scale():
    weight = plane(0.5)
    weight[5, 5] = 1e30
    variance = noise_of(exposure(weight=weight), 4.0)
    assert variance[20, 20] == pytest.approx(8.0)
    assert variance[5, 5] >= 1e30


def test_photons_of_the_sources_are_taken_off_a_total_variance():
    total = plane(59.0)
    total[10, 10] += 250.0
    total[7, 7] = np.inf
    given = exposure(variance=total)
    variance = noise_of(given, 1.0)
    assert variance[10, 10] == pytest.approx(59.0)
    assert variance[20, 20] == pytest.approx(59.0)
    assert variance[7, 7] >= 1e30
    assert given.variance[10, 10] == 309.0


def test_a_variance_that_the_photons_exceed_stays_positive():
    variance = noise_of(exposure(variance=plane(10.0)), 1.0)
    assert 0 < variance[10, 10] < 1.0


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_gain_of_a_variance_plane(scale):
    """A plane with the photons of the sources tells the gain; one without them does not."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:200, :200]
    light = 200.0 + 5000.0 * np.exp(-0.5 * ((x - 100) ** 2 + (y - 90) ** 2) / 9.0)
    image = rng.poisson(light).astype(np.float32) * np.float32(scale)
    variance = (light + 25.0).astype(np.float32) * np.float32(scale**2)
    plain = Exposure(image, np.zeros(image.shape, np.uint16), variance=variance)
    known = with_gain_of_variance(plain, Run())
    assert known.detector.gain == pytest.approx(1.0 / scale, rel=0.05)
    flat = replace(plain, variance=np.full_like(variance, 225.0 * scale**2))
    assert with_gain_of_variance(flat, Run()).detector.gain == 0.0
    given = replace(plain, detector=Detector(gain=3.0))
    assert with_gain_of_variance(given, Run()) is given


def test_infinite_variance_is_no_information():
    planes = plane(9.0)
    planes[5, 5] = np.inf
    given = exposure(variance=planes)
    given.image[5, 5] = np.inf
    with np.errstate(all="raise"):
        variance = noise_of(given, 1.0)
    assert variance[5, 5] == np.float32(1e30)
    assert variance[20, 20] == pytest.approx(9.0)


@pytest.mark.parametrize(("excess", "kept"), [(0.3, True), (1.0, True), (3.0, True), (8.0, False)])
def test_a_variance_that_is_not_that_of_the_pixels(excess, kept):
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:80, :80]
    sky = 100.0 + 0.5 * x + 20.0 * np.exp(-((x - 40) ** 2 + (y - 30) ** 2) / 200.0)
    image = (sky + rng.normal(0.0, 3.0, sky.shape)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint16)
    variance = np.full(image.shape, (3.0 / excess) ** 2, np.float32)
    variance[:, :5] = np.inf
    given, run = Exposure(image, mask, variance=variance), Run()
    found = with_plausible_variance(given, run)
    assert (found.variance is variance) == kept
    assert len(run.warnings) == (not kept)
    if not kept:
        assert "8 times" in run.warnings[0]


@pytest.mark.parametrize("excess", [0.3, 3.0, 8.0, 1e22])
def test_a_map_of_rms_that_is_not_that_of_the_pixels(excess):
    rng = np.random.default_rng(2)
    image = rng.normal(100.0, 3.0, (80, 80)).astype(np.float32)
    weight = np.full(image.shape, 3.0**2 / excess**2, np.float32)
    weight[:, 40:] *= np.float32(4.0)
    image[:, 40:] = 100.0 + 2.0 * (image[:, 40:] - 100.0)
    weight[:, :5] = 1e30
    run = Run()
    given = Exposure(image, np.zeros(image.shape, np.uint16), weight=weight)
    found = with_plausible_rms(given, run)
    assert len(run.warnings) == (excess > 5.0)
    if excess <= 5.0:
        assert found.weight is weight
        return
    # The shape stays, the scale is that of the pixels.
    assert found.weight[10, 20] == pytest.approx(9.0, rel=0.25)
    assert found.weight[10, 60] / found.weight[10, 20] == pytest.approx(4.0)
    assert (found.weight[:, :5] == np.float32(1e30)).all()


@pytest.mark.parametrize(
    ("unit", "gain", "expected"),
    [
        ("adu/s", 2.0, 200.0), ("ADU / SEC", 2.0, 200.0), ("electron/s", 2.0, 100.0),
        ("adu", 2.0, 2.0), ("MJy/sr", 2.0, 2.0), ("adu/s", 200.0, 200.0), ("cps", 2.0, 200.0),
        ("ct s**-1", 2.0, 200.0), ("ADU s^-1", 2.0, 200.0), ("E/S", 2.0, 100.0),
        ("photon.s-1", 2.0, 100.0), ("counts per second", 2.0, 200.0),
        ("photon/s/cm2/A", 2.0, 2.0), ("erg/s", 2.0, 2.0),
    ],
)  # fmt: skip
def test_the_gain_of_rates_has_the_exposure_time(unit, gain, expected):
    rng = np.random.default_rng(4)
    rates = rng.normal(30.0, 25.0 / 200.0, (80, 80)).astype(np.float32)
    header = Header()
    header["BUNIT"] = unit
    detector = Detector(gain=gain, exposure_time=100.0)
    given = Exposure(rates, np.zeros((80, 80), np.uint16), header=header, detector=detector)
    assert with_plausible_gain(given, Run()).detector.gain == expected


@pytest.mark.parametrize("unit", ["electrons", "e-", "ELECTRON", "photons"])
@pytest.mark.parametrize(("card", "level", "frames", "expected"), [
    (6.0, 900.0, 1, 1.0), (0.4, 900.0, 1, 1.0), (1.5, 900.0, 1, 1.0),  # that of the camera
    (8.0, 900.0, 8, 8.0),  # a mean of frames
    (6.0, 0.0, 1, 1.0),  # the sky was taken off
])  # fmt: skip
def test_the_gain_of_electrons(unit, card, level, frames, expected):
    rng = np.random.default_rng(5)
    electrons = rng.poisson(900.0 * frames, (80, 80)) / frames - 900.0 + level
    image = (electrons + rng.normal(0.0, 5.0 / frames**0.5, electrons.shape)).astype(np.float32)
    header = Header()
    header["BUNIT"], header["GAIN"] = unit, card
    run, mask = Run(), np.zeros((80, 80), np.uint16)
    given = Exposure(image, mask, header=header, detector=Detector(gain=card, read_noise=5.0))
    assert with_plausible_gain(given, run).detector.gain == expected
    assert len(run.warnings) == (expected != card)
    # A GAIN of the configuration is not doubted.
    own = replace(given, header=Header.of({"BUNIT": unit}))
    assert with_plausible_gain(own, Run()).detector.gain == card


@pytest.mark.parametrize("unit", ["MJy/sr", "nanomaggy", "Jy", "erg/cm2/s/A"])
@pytest.mark.parametrize(("sky", "expected"), [(900.0, 789.0), (0.0, 0.0)])
@pytest.mark.parametrize("card", [3.7, 20.0])
def test_the_gain_of_a_camera_is_none_of_fluxes(unit, sky, card, expected):
    """Of 789 photons per unit; where the sky was taken off nothing tells."""
    rng = np.random.default_rng(6)
    image = ((rng.poisson(900.0, (80, 80)) - 900.0 + sky) / 789.0).astype(np.float32)
    header = Header.of({"BUNIT": unit, "GAIN": card})
    run, mask = Run(), np.zeros((80, 80), np.uint16)
    given = Exposure(image, mask, header=header, detector=Detector(gain=card))
    assert with_plausible_gain(given, run).detector.gain == pytest.approx(expected, rel=0.1)
    assert len(run.warnings) == 1
    own = Exposure(image, mask, header=Header.of({"BUNIT": unit}), detector=Detector(gain=card))
    assert with_plausible_gain(own, Run()).detector.gain == card  # of the configuration
    right = Header.of({"BUNIT": unit, "GAIN": 789.0})
    known = Exposure(image, mask, header=right, detector=Detector(gain=789.0))
    run = Run()
    assert with_plausible_gain(known, run).detector.gain == 789.0
    assert not run.warnings


@pytest.mark.parametrize("level", [0.03, 0.5, 4.0, 60.0])
@pytest.mark.parametrize(("unit", "time", "expected"), [
    ("count", 500.0, 1.0), ("counts/s", 110.3, 110.3), ("ADU", 1.0, 1.0), ("", 1.0, 0.0),
])  # fmt: skip
def test_photons_that_are_counted_have_a_gain(level, unit, time, expected):
    rng = np.random.default_rng(7)
    counts = rng.poisson(level, (200, 300)).astype(np.float64)
    counts[50:60, 50:60] += rng.poisson(1000.0, (10, 10))
    header = Header.of({"BUNIT": unit})
    scale = 1.0 / time if "/s" in unit else 1.0
    mask = np.zeros(counts.shape, np.uint16)
    given = Exposure((scale * counts).astype(np.float32), mask, header=header,
                     detector=Detector(exposure_time=time))  # fmt: skip
    assert with_plausible_gain(given, Run()).detector.gain == pytest.approx(expected)
    # Nor are whole numbers of another gain, or with the noise of a detector.
    for factor, noise in ((2.0, 0.0), (1.0, 5.0)):
        other = np.rint(factor * counts + rng.normal(0.0, noise, counts.shape)).astype(np.float32)
        image = replace(given, image=(scale * other).astype(np.float32))
        assert with_plausible_gain(image, Run()).detector.gain == 0.0


def test_a_gain_that_leaves_less_noise_than_any_detector_has():
    """Not of photons that are counted one by one, in whatever unit; the sky has the right one."""
    rng = np.random.default_rng(3)
    mask = np.zeros((80, 80), np.uint16)
    for image, gain, right in (
        (rng.normal(300.0, 20.0, mask.shape), 1.5, 1.5),
        (rng.normal(0.0, 2e-3, mask.shape), 1.5, 0.0),
        (np.round(rng.normal(300.0, 20.0, mask.shape)) / 1e5, 1.5, 0.75e5),
        (np.round(rng.normal(300.0, 20.0, mask.shape)) / 1e5, 1.5e5, 1.5e5),
        (rng.poisson(600.0, mask.shape) / 2.0, 1e-3, 2.0),
        (rng.poisson(0.05, mask.shape), 1.0, 1.0),
        (rng.poisson(0.4, mask.shape) / 30.0, 30.0, 30.0),
        (np.zeros(mask.shape), 1.0, 1.0),
        (np.full(mask.shape, np.nan), 1.0, 1.0),
    ):
        run = Run()
        given = Exposure(image.astype(np.float32), mask, detector=Detector(gain=gain))
        found = with_plausible_gain(given, run)
        assert found.detector.gain == pytest.approx(right, rel=0.1)
        assert len(run.warnings) == (right != gain)


def sky_of(gain, level, pedestal, read_noise, seed):
    """Return pixels of a sky of photons, with a bias level and read noise in electrons."""
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(level * gain, (300, 300)) + rng.normal(0.0, read_noise, (300, 300))
    return (electrons / gain + pedestal).astype(np.float32)


def gain_of(image, **detector):
    run = Run()
    given = Exposure(image, np.zeros(image.shape, np.uint16), detector=Detector(**detector))
    return with_plausible_gain(given, run).detector.gain, run.warnings


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("true", "level"), [(2.0, 400.0), (0.5, 1000.0), (10.0, 50.0)])
def test_a_gain_that_is_far_too_high(true, level, seed):
    image = sky_of(true, level, 0.0, 5.0, seed)
    gain, warnings = gain_of(image, gain=500.0 * true, read_noise=6.0)
    assert true * 0.5 < gain < true * 1.1  # read noise counts as photons
    assert "cannot be" in warnings[0]
    # With a bias it is an upper limit.
    gain, warnings = gain_of(image + np.float32(0.1 * level), gain=500.0 * true)
    assert 0.6 * true < gain < 1.4 * true
    assert warnings


@pytest.mark.parametrize("seed", [1, 2])
def test_with_the_read_noise_a_factor_of_7_is_told_and_the_gain_is_right(seed):
    image = sky_of(1.5, 200.0, 0.0, 5.0, seed)
    gain, warnings = gain_of(image, gain=7.0 * 1.5, read_noise=5.0)
    assert gain == pytest.approx(1.5, rel=0.03)
    assert "cannot be" in warnings[0]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("factor", [1.0, 3.0, 1 / 3.0])
@pytest.mark.parametrize(
    ("true", "level", "pedestal"),
    [(2.0, 400.0, 0.0), (2.0, 400.0, 1000.0), (2.0, 400.0, -400.0), (200.0, 400.0, 0.0),
     (2.0, 40_000.0, 0.0), (1.0, 0.5, 300.0), (3600.0, 0.2, 0.0)],
)  # fmt: skip
def test_a_gain_that_can_be(true, level, pedestal, factor, seed):
    """Skies of any brightness, with a bias, subtracted; means of many frames; rates."""
    image = sky_of(true, level, pedestal, 5.0, seed)
    gain, warnings = gain_of(image, gain=factor * true, read_noise=5.0)
    assert (gain, warnings) == (factor * true, [])


def test_a_sky_that_is_not_even_says_nothing_of_the_gain():
    """No flat field: pixels differ by 3 per cent, and the light falls off."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[-1:1:300j, -1:1:300j]
    image = sky_of(2.0, 20_000.0, 0.0, 5.0, 3) * (1.0 - 0.3 * (x**2 + y**2))
    image *= rng.normal(1.0, 0.03, image.shape)
    assert gain_of(image.astype(np.float32), gain=2.0) == (2.0, [])


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("n", [2, 9, 40])
@pytest.mark.parametrize(("level", "card"), [(300.0, "NCOMBINE"), (60.0, "STACKCNT")])
def test_the_gain_of_a_mean_of_frames(n, level, card, seed):
    """A card has their number; the noise tells a mean from a sum, and a gain that is of all."""
    frames = np.stack([sky_of(1.5, level, 0.0, 4.0, 100 * seed + k) for k in range(n)])
    header = Header.of({card: n})
    for image, gain, noise, right in (
        (frames.mean(axis=0), 1.5, 4.0, 1.5 * n),
        (frames.sum(axis=0), 1.5, 4.0, 1.5),
        (frames.mean(axis=0), 1.5 * n, 4.0 * n**0.5, 1.5 * n),
        (frames.mean(axis=0) - level, 1.5, 4.0, 1.5),  # without its sky nothing is known
    ):
        detector = Detector(gain=gain, read_noise=noise)
        mask = np.zeros(image.shape, np.uint16)
        given = Exposure(image.astype(np.float32), mask, header=header, detector=detector)
        found = with_plausible_gain(given, Run())
        assert found.detector.gain == pytest.approx(right)
    one = Exposure(frames[0], np.zeros(frames[0].shape, np.uint16), header=header,
                   detector=Detector(gain=1.5, read_noise=4.0))  # fmt: skip
    assert with_plausible_gain(one, Run()).detector.gain == 1.5


@pytest.mark.parametrize(("unit", "time", "gain"), [
    ("electron", 100.0, 1.0), ("e-/s", 100.0, 100.0), ("electron/s", float("nan"), 0.0),
    ("adu", 100.0, 0.0), ("", 100.0, 0.0), ("MJy/sr", 100.0, 0.0),
])  # fmt: skip
def test_electrons_have_a_gain_without_a_card(unit, time, gain):
    """Else bright sources have no noise of photons."""
    per = 100.0 if "/s" in unit else 1.0
    image = sky_of(1.0, 900.0, 0.0, 5.0, 3) / np.float32(per)
    detector = Detector(exposure_time=time)
    given = Exposure(image, np.zeros(image.shape, np.uint16), header=Header.of({"BUNIT": unit}),
                     detector=detector)  # fmt: skip
    found = with_plausible_gain(given, Run())
    assert found.detector.gain == gain
    assert with_plausible_gain(replace(given, camera="X"), Run()).detector.gain == 0.0
