"""Displacements of the image to measure, against those that were made."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from skyextract.stages.detection.registration import find_displacement

SIZE, SIGMA = 400, 5.0


def plane(x, y, flux, seed, fwhm=3.0):
    s2 = (fwhm / 2.3548) ** 2
    along_x, along_y = (np.exp(-((np.arange(SIZE) - c[:, None]) ** 2) / 2 / s2) for c in (x, y))
    image = (along_y.T * (flux / (2 * np.pi * s2))) @ along_x
    image += np.random.default_rng(seed).normal(0.0, SIGMA, (SIZE, SIZE))
    background = SimpleNamespace(sigma=SIGMA)
    return SimpleNamespace(subtracted=image.astype(np.float32), background=background)


def stars(seed, n=60):
    rng = np.random.default_rng(seed)
    return *rng.uniform(20, SIZE - 20, (2, n)), 10 ** rng.uniform(3.0, 5.0, n), rng


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "shift", [(0.5, 0.0), (-2.0, 1.0), (0.0, 4.0), (9.0, -6.0), (13.4, 2.0), (-80.0, 55.3)]
)
def test_a_displacement_is_found(seed, shift):
    x, y, flux, rng = stars(seed)
    colour = 10 ** rng.uniform(-0.8, 0.4, x.size)
    first = plane(x, y, flux, seed)
    second = plane(x + shift[0], y + shift[1], flux * colour, seed + 10, fwhm=4.0)
    found = find_displacement(x, y, flux, first, second, 4.0)
    assert (found.dx, found.dy) == pytest.approx(shift, abs=0.1)
    assert found.doubt.startswith("the image to measure is displaced by (")


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("kind", "most"), [("turned", 1.0), ("turned", 3.0), ("scaled", 1.5)])
def test_a_rotation_and_a_scale_about_the_middle_are_found(seed, kind, most):
    """There most sources are where they should be: no common displacement."""
    x, y, flux, rng = stars(seed, 120)
    u, v = x - SIZE / 2, y - SIZE / 2
    dx, dy = (-v, u) if kind == "turned" else (u, v)
    dx, dy = dx * most / (SIZE / 2), dy * most / (SIZE / 2)
    colour = 10 ** rng.uniform(-0.8, 0.4, x.size)
    first, second = plane(x, y, flux, seed), plane(x + dx, y + dy, flux * colour, seed + 10)
    found = find_displacement(x, y, flux, first, second, 3.0)
    told = float(found.doubt.split("by up to ")[1].split()[0])
    assert found.doubt.startswith("the image to measure is turned or scaled")
    assert told == pytest.approx(np.percentile(np.hypot(dx, dy), 90.0), abs=0.25)
    assert found.n_sources > 0.6 * x.size


@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize("fwhm", [1.5, 4.0, 9.0])
def test_images_that_lie_alike_are_not_doubted(seed, fwhm):
    """Nor where most stars of one image are not in the other, or stars crowd."""
    x, y, flux, rng = stars(seed, 60 if seed < 4 else 300)
    dropouts = np.where(rng.uniform(size=x.size) < (0.4 if seed % 2 else 0.0), 0.0, 1.0)
    first = plane(x, y, flux, seed, 3.0)
    second = plane(x, y, flux * dropouts * 10 ** rng.uniform(-0.8, 0.4, x.size), seed + 10, fwhm)
    found = find_displacement(x, y, flux, first, second, fwhm)
    assert found is None or not found.doubt


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_images_without_a_common_source_say_nothing(seed):
    (x, y, flux, _), (u, v, other, _) = stars(seed), stars(seed + 100)
    assert find_displacement(x, y, flux, plane(x, y, flux, 5), plane(u, v, other, 6)) is None
