"""Trails across frames: found far below the noise of a pixel, measured and taken off."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.run import Run
from skyextract.stages.patterns import linestrips, satellites
from skyextract.stages.patterns.linesums import line_sums
from skyextract.stages.patterns.satellites import FINE, taken_off, without_trails
from tests.simulate.starfield import simulate

SIZE = 512
V, U = np.mgrid[:SIZE, :SIZE].astype(float)
SCENE = simulate(SIZE, 120, 3.0, beta=3.0, snr=(8.0, 900.0), seed=7)
KNOWN = np.ones((SIZE, SIZE), np.bool_)


def trail(peak, angle, distance, width=1.5):
    """Return a Gaussian trail; peak in sigma of the sky."""
    across = (U - SIZE / 2) * np.sin(angle) - (V - SIZE / 2) * np.cos(angle) - distance
    return peak * SCENE.sky_sigma * np.exp(-0.5 * (across / width) ** 2)


def test_medians_of_groups():
    """The upper one of two in the middle."""
    rng = np.random.default_rng(1)
    value, group, rows = rng.normal(size=999), rng.integers(0, 40, 999), rng.random(999) < 0.6
    group[group == 7] = 8
    found = linestrips.medians(value, group, rows, 40)
    own = [np.sort(value[rows & (group == k)]) for k in range(40)]
    assert own[7].size == 0
    np.testing.assert_array_equal(found, [v[v.size // 2] if v.size else 0.0 for v in own])


def test_sums_along_lines_are_those_of_plain_indexing():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(23, 16)).astype(np.complex64)
    sums, n = line_sums(image)
    assert (n, sums.shape) == (16, (16, 39))
    for rise in (0, 1, 15):
        for start in (-7, 0, 5, 22):
            row = start + np.rint(rise * np.arange(16) / 15.0 - 1e-6).astype(int)
            inside = (row >= 0) & (row < 23)
            want = image[row[inside], np.arange(16)[inside]].sum()
            assert sums[rise, start + 16] == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize("angle", [0.3, 1.2, 2.0, 2.8])
@pytest.mark.parametrize("peak", [0.75, 40.0])
def test_a_trail_is_taken_off_and_stars_stay(peak, angle):
    light = trail(peak, angle, 60.0)
    left, trails = taken_off((SCENE.image + light).astype(np.float32), KNOWN, Run(2))
    assert len(trails) == 1
    across = trails[0].peak * trails[0].profile.sum() / FINE  # light per length
    want = peak * SCENE.sky_sigma * 1.5 * np.sqrt(2.0 * np.pi)
    assert across == pytest.approx(want, rel=0.3 if peak < 1.0 else 0.02)
    rest = (left - SCENE.image) / SCENE.sky_sigma
    core = light > 0.3 * light.max()
    assert abs(rest[core].mean()) < max(0.15, 0.01 * peak)
    assert rest.std() < 0.02 * max(peak, 2.0)
    # stars upon it keep their light
    peaks = core & (SCENE.image - np.median(SCENE.image) > 10.0 * SCENE.sky_sigma)
    assert abs(rest[peaks].sum() / (peaks.sum() + 1)) < 0.03 * max(peak, 10.0)


def test_a_net_of_trails():
    rng = np.random.default_rng(3)
    light = sum(trail(10 ** rng.uniform(0.3, 1.5), 0.4 + 0.33 * k, rng.uniform(-150, 150))
                for k in range(8))  # fmt: skip
    left, trails = taken_off((SCENE.image + light).astype(np.float32), KNOWN, Run(2))
    assert len(trails) == 8
    assert (left - SCENE.image).std() < 0.2 * SCENE.sky_sigma


def spikes():
    """Two spikes of a bright star, out to the edge, and the star."""
    r = np.hypot(U - 250.0, V - 230.0)
    image = 4e3 * SCENE.sky_sigma / (1.0 + (r / 2.0) ** 3)
    for angle in (0.6, 0.6 + np.pi / 2.0):
        along = np.abs((U - 250.0) * np.cos(angle) + (V - 230.0) * np.sin(angle))
        across = (V - 230.0) * np.cos(angle) - (U - 250.0) * np.sin(angle)
        image += 1e3 * SCENE.sky_sigma / (4.0 + along) ** 1.5 * np.exp(-0.5 * (across / 1.3) ** 2)
    return image


def galaxy():
    along = (U - 250.0) * 0.8 + (V - 230.0) * 0.6
    across = (V - 230.0) * 0.8 - (U - 250.0) * 0.6
    return 50.0 * SCENE.sky_sigma * np.exp(-np.abs(along) / 60.0 - np.abs(across) / 3.0)


def glow():
    """At an edge, with its own noise."""
    light = 360.0 * SCENE.sky_sigma * np.exp(-U / 20.0)
    noise = np.random.default_rng(1).standard_normal(U.shape)
    return light + np.sqrt(light * SCENE.sky_sigma / 1.5) * noise


def order():
    """Of a spectrum, which bends."""
    return 100.0 * SCENE.sky_sigma * np.exp(-0.5 * ((V - 200.0 - U / 9 - (U / 120) ** 2) / 2) ** 2)


def rows(n):
    """As sky lines of a spectrum."""
    return sum(trail(5.0, 0.0, 45.0 * (k - n / 2) + 7.0) for k in range(n))


def fading():
    """A jet of 300 pixels, which begins at a galaxy and fades by a half."""
    along = (U - 120.0) * np.cos(0.5) + (V - 120.0) * np.sin(0.5)
    return trail(8.0, 0.5, 12.0) * (along > 0.0) * np.exp(-along / 250.0) * (along < 320.0)


@pytest.mark.parametrize(
    "light",
    [
        0.0 * U,
        spikes(),
        galaxy(),
        order(),
        glow(),
        trail(5.0, 0.0, 3.0, 0.4),
        rows(9),
        30.0 * (U > 1.3 * V),
        fading(),
    ],
)
def test_what_is_no_trail_stays(light):
    """An ordinary frame, spikes, a galaxy, an order, glow, a row, many of them, an edge, a jet."""
    image = (SCENE.image + light).astype(np.float32)
    left, trails = taken_off(image, KNOWN, Run(2))
    assert not trails
    assert left is image


def band(width, angle=0.5):
    """Light of one brightness, as that of a satellite out of focus, in sigma of the sky."""
    across = (U - SIZE / 2) * np.sin(angle) - (V - SIZE / 2) * np.cos(angle) - 30.0
    return 3.0 * SCENE.sky_sigma / (1.0 + np.exp((np.abs(across) - width / 2.0) / 0.8))


@pytest.mark.parametrize("width", [14.0, 22.0, 40.0])
@pytest.mark.parametrize("angle", [0.5, 2.2])
def test_a_wide_trail_is_taken_off(width, angle):
    light = band(width, angle)
    left, trails = taken_off((SCENE.image + light).astype(np.float32), KNOWN, Run(1))
    assert [round(trail.width / width, 1) for trail in trails] == [1.0]
    rest = (left - SCENE.image) / SCENE.sky_sigma
    assert abs(rest[light > 0.5 * light.max()].mean()) < 0.06 * 3.0
    assert abs(rest[light < 1e-3 * light.max()].mean()) < 0.05


@pytest.mark.parametrize("length", [100.0, 200.0])
def test_a_filament_that_fades_is_no_wide_trail(length):
    along = (U - SIZE / 2) * np.cos(0.5) + (V - SIZE / 2) * np.sin(0.5)
    image = (SCENE.image + band(30.0) * np.exp(-0.5 * (along / length) ** 2)).astype(np.float32)
    assert taken_off(image, KNOWN, Run(1))[0] is image


@pytest.mark.parametrize("angle", [0.0, np.pi / 2.0, 0.01])
def test_trails_along_rows_and_columns_are_taken_off(angle):
    light = trail(5.0, angle, 40.3)
    left, trails = taken_off((SCENE.image + light).astype(np.float32), KNOWN, Run(1))
    assert len(trails) == 1
    rest = (left - SCENE.image) / SCENE.sky_sigma
    assert abs(rest[light > 0.3 * light.max()].mean()) < 0.2
    assert abs(rest[light < 1e-3 * light.max()].mean()) < 0.02


@pytest.mark.parametrize(("low", "high"), [(-400.0, 130.0), (-150.0, 150.0), (-160.0, 400.0)])
@pytest.mark.parametrize("angle", [0.5, 2.2])
def test_trails_that_end_in_the_frame_are_taken_off(angle, low, high):
    along = (U - SIZE / 2) * np.cos(angle) + (V - SIZE / 2) * np.sin(angle)
    light = trail(6.0, angle, 20.0) * (along > low) * (along < high)
    left, trails = taken_off((SCENE.image + light).astype(np.float32), KNOWN, Run(1))
    assert len(trails) == 1
    rest = (left - SCENE.image) / SCENE.sky_sigma
    on = light > 0.3 * light.max()
    assert abs(rest[on].mean()) < 0.25
    # all but its ends
    inner = on & (along > low + 8.0) & (along < high - 8.0)
    assert (np.abs(rest[inner]) > 3.0).mean() < 0.01
    beyond = (trail(6.0, angle, 20.0) > 3.0) & ((along < low - 8.0) | (along > high + 8.0))
    assert (np.abs(rest[beyond]) < 0.5).all()


def test_more_trails_than_are_believed_are_told():
    light = sum(trail(8.0, 0.2, 12.0 * (k - 19.5)) for k in range(40))
    run = Run(1)
    exposure = Exposure(
        image=(SCENE.image + light).astype(np.float32),
        mask=np.zeros(U.shape, np.uint16),
        detector=Detector(saturation=9e5),
    )
    assert without_trails(exposure, run) is exposure
    assert len(run.warnings) == 1
    assert "straight lines of steady light" in run.warnings[0]


def test_masked_and_saturated_pixels_stay_as_they_are_and_it_is_told():
    image = (SCENE.image + trail(20.0, 0.7, 0.0)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint16)
    mask[200:230, 200:240] = int(Mask.NO_DATA)
    image[mask != 0] = 0.0
    image[300:303, 330:333] = 1e6
    run = Run(1)
    exposure = Exposure(image=image, mask=mask, detector=Detector(saturation=9e5))
    done = without_trails(exposure, run)
    assert done.image is not image
    assert (done.image[mask != 0] == 0.0).all()
    assert (done.image[300:303, 330:333] == 1e6).all()
    on = (trail(20.0, 0.7, 0.0) > 18.0 * SCENE.sky_sigma) & (mask == 0) & (image < 9e5)
    assert abs(np.median((done.image - SCENE.image)[on])) < 0.3 * SCENE.sky_sigma
    assert len(run.warnings) == 1
    assert "a trail across the frame (satellites?) subtracted" in run.warnings[0]


def test_bands_of_rows_may_be_what_a_level_trail_is():
    band_of_rows = np.where(abs(V - 200) < 4, 8.0 * SCENE.sky_sigma, 0.0)
    image, run = (SCENE.image + band_of_rows).astype(np.float32), Run(1)
    without_trails(Exposure(image, np.zeros(image.shape, np.uint16)), run)
    assert "across the frame (satellites, bands of rows or columns?) subtracted" in run.warnings[0]


@pytest.mark.parametrize("seed", range(2))
def test_sources_that_are_set_in_rows_are_no_trails(seed):
    """Galaxies 38 pixels apart: half of the pixels of a row have light."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.0, 10.0, (532, 532))
    whole = np.hypot(*np.ogrid[-532:533, -532:533])
    profile = np.exp(-whole / 4.0)
    for j in range(14):
        for i in range(14):
            y, x = 532 - 20 - 38 * j, 532 - 20 - 38 * i
            image += rng.uniform(24.0, 96.0) * profile[y : y + 532, x : x + 532]
    left, trails = taken_off(image.astype(np.float32), np.ones(image.shape, np.bool_), Run(1))
    assert not trails
    assert left.shape == image.shape


def test_a_pattern_of_columns_is_no_search_for_trails(monkeypatch):
    """After some columns none is fitted any more; a trail across them is found all the same."""
    fits = []
    fitted = satellites.fitted
    monkeypatch.setattr(satellites, "fitted", lambda *a: fits.append(a) or fitted(*a))
    columns = 3.0 * SCENE.sky_sigma * np.random.default_rng(3).normal(size=SIZE)
    image = SCENE.image + columns + trail(20.0, 0.7, 60.0)
    _, trails = taken_off(image.astype(np.float32), KNOWN, Run())
    assert len(trails) == 1
    assert sum(satellites._is_level(line) for _, _, line, *_ in fits) <= 3 * satellites.GRID
