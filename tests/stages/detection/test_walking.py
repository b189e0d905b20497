"""Streaks all over a stack of frames that drifted: walking noise."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.detection.walking import find_walking_noise

SIZE, FWHM = 320, 3.2
V, U = np.mgrid[:SIZE, :SIZE].astype(float)


def stack(drift, seed=1, n=20):
    """Return the mean of frames that moved by `drift` each over the same hot pixels, sigma 1."""
    rng = np.random.default_rng(seed)
    hot = np.zeros((SIZE + 80, SIZE + 80))
    places = rng.random(hot.shape) < 0.02
    hot[places] = rng.exponential(12.0, np.count_nonzero(places))
    image = rng.normal(size=(SIZE, SIZE)) - hot.mean()
    for k in range(n):
        x, y = (40 + int(k * step) for step in drift)
        image += hot[y : y + SIZE, x : x + SIZE] / n
    return image


def found(image, x, y, peak):
    bad = np.zeros(image.shape, np.bool_)
    places = np.array(x, float), np.array(y, float), np.array(peak, np.float32)
    return find_walking_noise(image.astype(np.float32), 1.0, bad, *places, FWHM)


def stars(image, seed=2, n=40):
    """Add stars to an image; return them."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(20.0, SIZE - 20.0, (2, n))
    peak = 10.0 ** rng.uniform(0.7, 2.5, n)
    for cx, cy, height in zip(x, y, peak, strict=True):
        image += height * np.exp(-2.77 * ((U - cx) ** 2 + (V - cy) ** 2) / FWHM**2)
    return x, y, peak


@pytest.mark.parametrize(
    ("drift", "angle"), [((1.0, 0.6), 30), ((-0.6, 1.0), 120), ((0.0, 1.0), 90)]
)
def test_pieces_of_streaks_are_told_and_few_stars(drift, angle):
    image = stack(drift)
    row = image[20:-20, 20:-20]
    mean = sum(np.roll(row, (j, i), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1))
    highest = np.argsort(-mean, axis=None)[:30]
    y, x = (20 + at for at in np.unravel_index(highest, row.shape))
    none = np.full(30, 4.0)
    peaks = stars(image)
    both = [np.append(one, other) for one, other in zip((x, y, none), peaks, strict=True)]
    streaks = found(image, *both)
    assert f"{angle} degrees from the rows" in streaks.doubt
    assert streaks.rows[:30].mean() > 0.7
    assert streaks.rows[30:].mean() < 0.15
    assert streaks.are_many


def test_no_streaks_of_other_patterns():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(SIZE, SIZE))
    along = U * np.cos(0.5) + V * np.sin(0.5)
    patterns = {
        "noise": 0.0,
        "rows": 0.6 * rng.normal(size=(SIZE, 1)),
        "waves": 0.8 * np.sin(2.0 * np.pi * along / 5.0),
        "long waves": np.sin(2.0 * np.pi * along / 31.0),
        "trails": 9.0 * sum(np.exp(-0.5 * ((along - at) / 1.2) ** 2) for at in (90.0, 200.0)),
        "smoothed": (np.roll(noise, 1, 0) + np.roll(noise, 1, 1)),
    }
    for name, pattern in patterns.items():
        image = noise + pattern
        assert found(image, *stars(image)) is None, name


@pytest.mark.filterwarnings("error")
def test_constant_pixels_have_no_streaks():
    assert found(np.zeros((SIZE, SIZE)), [], [], []) is None
