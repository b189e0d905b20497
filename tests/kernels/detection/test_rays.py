"""Lines through peaks against a plain search."""

import numpy as np
import pytest

from skyextract.kernels.detection.rays import Rays, along_rays, brightest_floors, mark_on_lines
from skyextract.stages.crowded.lines import rays

DIRECTIONS = np.arange(12) * np.pi / 12


def pixel(image, x, y):
    inside = 0 <= x < image.shape[1] and 0 <= y < image.shape[0]
    return image[y, x] if inside else np.float32(np.nan)


def values(image, x, y, lines, d):
    return np.array(
        [pixel(image, x + a, y + b) for a, b in zip(lines.right[d], lines.up[d], strict=True)]
    )


@pytest.fixture(params=[1, 2])
def light(request):
    rng = np.random.default_rng(request.param)
    image = rng.uniform(0.5, 1.5, (30, 33)).astype(np.float32)
    image[12:14] += 4.0
    image[:, 30] += 3.0
    image[5, 5] = 50.0
    return image


def test_lines_are_those_of_a_plain_search(light):
    steps = np.array([1.0, 2.0, -1.0, -2.0])
    along = rays(2.0 * np.cos(DIRECTIONS), 2.0 * np.sin(DIRECTIONS), steps)
    aside = rays(-3.0 * np.sin(DIRECTIONS), 3.0 * np.cos(DIRECTIONS), np.array([1.0, -1.0]))
    y, x = (v.ravel() for v in np.indices(light.shape))
    found = np.empty(x.size, np.uint8)
    low, high, dark = np.float32(0.6), np.float32(1.6), np.float32(0.7)
    most = 2
    mark_on_lines(light, x, y, along, aside, low, high, dark, most, found)

    def is_on_line(x, y):
        here = light[y, x]
        for d in range(DIRECTIONS.size):
            upon, beside = (values(light, x, y, lines, d) for lines in (along, aside))
            steady = (upon > low * here) & (upon < high * here)
            if not steady.all() or not (beside < dark * here).all():
                continue
            n = 0
            for a, b in zip(x + along.right[d], y + along.up[d], strict=True):
                n += (~(values(light, a, b, aside, d) < dark * light[b, a])).sum()
            if n <= most:
                return True
        return False

    expected = [is_on_line(a, b) for a, b in zip(x, y, strict=True)]
    assert found.astype(bool).tolist() == expected
    assert 10 < sum(expected) < 200


def test_floors_are_those_of_a_plain_search(light):
    n = 6
    along = rays(np.cos(DIRECTIONS), np.sin(DIRECTIONS), np.arange(-n, n + 1) * 1.3)
    y, x = (v.ravel() for v in np.indices(light.shape))
    floor = np.empty(x.size)
    share = np.float32(0.6)
    brightest_floors(light, x, y, along, share, floor)

    def plain(x, y):
        best = -np.inf
        for d in range(DIRECTIONS.size):
            line = values(light, x, y, along, d)
            if (line[[n - n // 2, n + n // 2]] > share * light[y, x]).any():
                line = np.nan_to_num(line, nan=-np.inf)
                best = max(best, *(line[i : i + n + 1].min() for i in range(n + 1)))
        return best

    expected = np.array([plain(a, b) for a, b in zip(x, y, strict=True)])
    assert np.array_equal(floor, expected)
    assert np.isfinite(expected).any()
    assert np.isinf(expected).any()


def test_a_dark_peak_is_on_no_line():
    none = Rays(np.zeros((1, 1), np.int64), np.zeros((1, 1), np.int64))
    found = np.ones(1, np.uint8)
    at = np.array([2])
    one = np.float32(1.0)
    mark_on_lines(np.zeros((5, 5), np.float32), at, at, none, none, -one, one, one, 0, found)
    assert found[0] == 0


def test_pixels_along_rays():
    rng = np.random.default_rng(3)
    image = rng.normal(size=(40, 50)).astype(np.float32)
    bad = rng.random(image.shape) < 0.1
    angle = np.arange(12)[:, None] * np.pi / 6.0
    dx, dy = np.cos(angle) * np.arange(2, 30, 1.5), np.sin(angle) * np.arange(2, 30, 1.5)
    for x, y in ((21.3, 17.8), (20.5, 11.5), (1.0, 38.0)):
        found = np.empty(dx.shape, np.float32)
        along_rays(image, bad, np.float32(1.7), x, y, dx, dy, found)
        column, row = np.rint(x + dx).astype(int), np.rint(y + dy).astype(int)
        inside = (column >= 0) & (column < 50) & (row >= 0) & (row < 40)
        at = np.where(inside, row, 0), np.where(inside, column, 0)
        known = inside & ~bad[at]
        assert 0 < known.sum() < known.size
        want = np.where(known, image[at] / np.float32(1.7), np.float32(np.nan))
        np.testing.assert_array_equal(found, want)
