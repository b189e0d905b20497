"""Parts of a frame that no light reached, and what only looks like one."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.pixels.deadparts import dead_parts, look_at

NY, NX = 300, 400


def sky_frame(seed, level=400.0):
    """Return a sky with noise and stars, its photons' noise, and coordinates."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:NY, :NX]
    image = rng.normal(level, 20.0, (NY, NX))
    for x, y in zip(rng.uniform(0, NX, 60), rng.uniform(0, NY, 60), strict=True):
        image += 10 ** rng.uniform(2, 4) * np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / 2.0)
    return image, rng, yy, xx


def parts_of(image):
    image, without = image.astype(np.float32), np.zeros(image.shape, bool)
    found = dead_parts(image, without, look_at(image, without))
    return [(part.y0, part.y1, part.x0, part.x1) for part in found]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "box",
    [(0, NY, 0, 100), (0, NY, 237, NX), (0, 150, 0, 200), (150, NY, 200, NX), (0, NY, 131, 266),
     (101, 200, 131, 266), (200, NY, 0, NX)],
)  # fmt: skip
def test_a_dead_amplifier(seed, box):
    image, rng, _, _ = sky_frame(seed)
    y0, y1, x0, x1 = box
    image[y0:y1, x0:x1] = rng.normal(100.0, 4.0, (y1 - y0, x1 - x0))
    hot = rng.integers(0, min(y1 - y0, x1 - x0), (2, 2))
    image[y0 + hot[0], x0 + hot[1]] += 1000.0
    assert parts_of(image) == [box]


def test_two_of_four():
    image, rng, _, _ = sky_frame(4)
    image[:150, :200] = rng.normal(100.0, 4.0, (150, 200))
    image[150:, 200:] = rng.normal(90.0, 4.0, (150, 200))
    assert sorted(parts_of(image)) == [(0, 150, 0, 200), (150, 300, 200, 400)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_works(seed):
    image, rng, yy, xx = sky_frame(seed)
    left = xx < 200
    radius = np.hypot(xx / NX - 0.5, yy / NY - 0.5)
    vignetted = rng.normal(0.0, 4.0, image.shape) + 100.0 + (image - 100.0) * (radius < 0.5)
    diagonal = np.where(xx + yy < 300, rng.normal(100.0, 4.0, image.shape), image)
    for frame in (
        image,
        np.where(left, image - 300.0, image),  # another bias
        np.where(left, 0.3 * image, image),  # another gain
        np.where(left, 0.3 * image - 100.0, image),
        vignetted, diagonal, image + 3000.0 * np.exp(-xx / 30.0), image + 5.0 * xx,
        image * (1.0 - 0.9 * np.exp(-(((xx - 200) / 80.0) ** 2))),
        np.where(left, rng.normal(100.0, 20.0, image.shape), image),  # read noise alone
        rng.normal(0.0, 1.0, image.shape), np.zeros(image.shape), image[:100, :100],
        np.full(image.shape, np.nan),
    ):  # fmt: skip
        assert parts_of(frame) == []
