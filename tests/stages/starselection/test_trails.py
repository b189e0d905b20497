"""Stars of trailed images: found, measured and made a PSF of, against the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.settings.steps import Status
from skyextract.stages.characterize import characterize
from skyextract.stages.pointsources.sweeps import fit_radius
from skyextract.stages.starselection import trails
from skyextract.stages.starselection.candidates import find_candidates
from skyextract.stages.starselection.stars import select_stars
from skyextract.stages.starselection.trails import common_trail, find_trails
from tests.simulate.shapes import GAIN, NOISE, SKY, Shape, simulate_shape, streak


def frame_of(fwhm, length, angle, seed, most=70, separation=2.0, size=512):
    """Stars of S/N 5 to 1500, and what they look like."""
    optics = streak(fwhm, length, angle)
    shape = Shape(size, length * 0.7, optics, separation=separation, reach=1.2)
    return simulate_shape(shape, seed, most), optics(0.0, 0.0)


def planes(frame):
    data = frame.image - np.float32(SKY)
    return data, np.full(data.shape, np.float32(NOISE**2)), np.zeros(data.shape, np.uint16)


@pytest.mark.parametrize(
    ("length", "angle", "seed"),
    [(30.0, 25.0, 1), (30.0, 90.0, 2), (45.0, 140.0, 3), (15.0, 5.0, 4)],
)
def test_a_long_trail_has_one_centre(length, angle, seed):
    frame, _ = frame_of(2.8, length, angle, seed)
    data, variance, mask = planes(frame)
    peaks = find_candidates(
        data, variance, mask, fwhm=3.5, gain=GAIN, min_snr=20.0, run=Run()
    ).peaks  # fmt: skip
    trail = common_trail(data, variance, peaks, 3.5, 20.0)
    assert trail is not None
    found = find_trails(data, variance, mask, ellipse=trail, gain=GAIN, min_snr=20.0)
    stars = frame.snr > 30.0
    good = found.flags == 0
    distance = np.hypot(found.x[good] - frame.x[stars, None], found.y[good] - frame.y[stars, None])
    nearest = distance.min(axis=1)
    inside = np.minimum(frame.x, frame.y)[stars] > 0.8 * length
    inside &= 511.0 - np.maximum(frame.x, frame.y)[stars] > 0.8 * length
    assert np.median(nearest) < 0.3
    # Two that touch are one.
    assert (nearest[inside] < 1.5).mean() > 0.9
    # One peak per trail, though a round filter had several.
    assert found.peaks.shape[1] < 1.1 * frame.x.size < peaks.shape[1]
    direction = np.degrees(np.arctan2(*np.linalg.eigh(trail.matrix)[1][::-1, 1])) % 180.0
    assert abs((direction - angle + 90.0) % 180.0 - 90.0) < 2.0


@pytest.mark.parametrize(("angle", "seed"), [(25.0, 11), (100.0, 12), (0.0, 13)])
def test_a_long_trail_gives_its_psf(angle, seed):
    length = 34.0
    frame, light = frame_of(3.0, length, angle, seed, most=36, separation=2.7)
    config = Config()
    config = replace(config, characterize=replace(config.characterize, char_niter=1))
    mask = np.zeros(frame.image.shape, np.uint16)
    done = characterize(Exposure(frame.image, mask, detector=Detector(gain=GAIN)), config, Run())
    assert done.status is Status.COMPLETE
    psf = done.exposure.psf
    assert psf.n_stars > 0.6 * (frame.snr > 40.0).sum()
    side = np.arange(-30, 31.0)
    true = light.draw(side, side)
    made = psf.stamp(256.0, 256.0, size=61)
    # The flux that a fit of this model to the true light gives, and what it leaves.
    ratio = float((made * true).sum() / (made * made).sum())
    assert ratio == pytest.approx(1.0, abs=0.01)
    left = np.abs(ratio * made - true).sum() / true.sum()
    assert left < 0.05
    # The ends tell where it is.
    assert fit_radius(psf) > 0.5 * length + 2.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_long_galaxies_of_any_direction_are_no_trail(seed):
    random = np.random.default_rng(seed)
    directions = iter(random.uniform(0.0, 180.0, 1000))
    shape = Shape(
        512, 16.0, lambda *_: streak(3.0, 25.0, next(directions))(), separation=2.5, reach=1.3
    )
    data, variance, mask = planes(simulate_shape(shape, seed, 60))
    candidates = find_candidates(data, variance, mask, fwhm=3.5, gain=GAIN, min_snr=20.0, run=Run())
    assert common_trail(data, variance, candidates.peaks, 3.5, 20.0) is None


def test_round_stars_noise_and_nothing_are_no_trail():
    random = np.random.default_rng(1)
    noise = random.normal(0.0, NOISE, (256, 256)).astype(np.float32)
    variance, mask = np.full(noise.shape, np.float32(NOISE**2)), np.zeros(noise.shape, np.uint16)
    for scale in (1.0, 1.3):
        found = find_candidates(
            noise * np.float32(scale), variance, mask, fwhm=3.5, gain=GAIN, min_snr=20.0, run=Run()
        )  # fmt: skip
        assert common_trail(noise, variance, found.peaks, 3.5, 20.0) is None
    stars = simulate_shape(Shape(256, 3.2, streak(3.0, 0.1, 0.0), separation=5.0, reach=4), 1, 40)
    data, variance, mask = planes(stars)
    found = find_candidates(data, variance, mask, fwhm=3.5, gain=GAIN, min_snr=20.0, run=Run())
    assert common_trail(data, variance, found.peaks, 3.5, 20.0) is None


def test_what_has_no_data_is_flagged():
    frame, _ = frame_of(2.8, 30.0, 25.0, 1)
    data, variance, mask = planes(frame)
    peaks = find_candidates(
        data, variance, mask, fwhm=3.5, gain=GAIN, min_snr=20.0, run=Run()
    ).peaks  # fmt: skip
    trail = common_trail(data, variance, peaks, 3.5, 20.0)
    assert trail is not None
    before = find_trails(data, variance, mask, ellipse=trail, gain=GAIN, min_snr=20.0)
    config = Config().characterize
    best = int(select_stars(before, config, data.shape, 100).stars[0])
    x, y = round(before.x[best]), round(before.y[best])
    variance[y + 1, x + 2] = 1e30
    after = find_trails(data, variance, mask, ellipse=trail, gain=GAIN, min_snr=20.0)
    near = np.argmin(np.hypot(after.x - x, after.y - y))
    assert after.flags[near] != 0
    assert near not in select_stars(after, config, data.shape, 100).stars


@pytest.mark.parametrize("kind", ["stripes", "patches", "huge object"])
def test_structure_is_not_searched_for_long(kind, monkeypatch):
    rng = np.random.default_rng(5)
    side = 512
    data = rng.normal(0.0, 16.0, (side, side)).astype(np.float32)
    if kind == "huge object":
        axis = np.arange(side) - side / 2
        data += 40000.0 * np.exp(-np.hypot(axis, axis[:, None]) / (side / 16)).astype(np.float32)
    elif kind == "stripes":
        data += np.where(np.arange(side)[:, None] // 32 % 2 == 1, 200.0, -200.0)
    else:
        data += np.kron(rng.choice([200.0, -200.0], (side // 8, side // 8)), np.ones((8, 8)))
    variance = np.full(data.shape, np.float32(256.0))
    mask = np.zeros(data.shape, np.uint16)
    peaks = find_candidates(
        data, variance, mask, fwhm=3.5, gain=GAIN, min_snr=20.0, run=Run()
    ).peaks  # fmt: skip
    assert peaks.shape[1] > 100
    measure, tried = trails._measure, []

    def counted(*arguments):
        tried.append(measure(*arguments))
        return tried[-1]

    monkeypatch.setattr(trails, "_measure", counted)
    assert common_trail(data, variance, peaks, 3.5, 20.0) is None
    assert len(tried) <= 3 * trails.MAX_FAILED


def test_some_pixels_tell_of_what_is_wide(monkeypatch):
    """Sums over every so many rows and columns are those over all."""
    y, x = np.mgrid[:300, :300]
    data = (100.0 * np.exp(-0.5 * (((x - 151.3) / 30.0) ** 2 + ((y - 148.6) / 21.0) ** 2))).astype(
        "f4"
    )
    variance, weight = np.ones_like(data), np.diag([30.0**2, 21.0**2])
    start = np.array([150.0, 150.0])
    some, of_some = (
        trails._sums(data, variance, 0.0, start, weight),
        trails._measure(data, variance, 0.0, start, weight),
    )
    monkeypatch.setattr(trails, "SAMPLES", 1000)
    every, of_all = (
        trails._sums(data, variance, 0.0, start, weight),
        trails._measure(data, variance, 0.0, start, weight),
    )
    assert some[0] != every[0]
    assert some[0] == pytest.approx(every[0], rel=1e-4)
    assert some[3] == pytest.approx(every[3], rel=1e-3)
    np.testing.assert_allclose(some[2], every[2], rtol=1e-3, atol=1e-2)
    assert of_some.snr == pytest.approx(of_all.snr, rel=1e-3)
    np.testing.assert_allclose(of_some.covariance, of_all.covariance, rtol=5e-3, atol=0.1)
