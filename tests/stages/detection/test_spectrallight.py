"""A grating's spectra of few bright stars: most are below the threshold, their sum is not."""

import math
import tracemalloc

import numpy as np
import pytest

from skyextract.stages.detection.spectrallight import _direction, find_spectral_light

SIDE, SIGMA, FWHM = 700, 10.0, 3.3
V, U = np.indices((SIDE, SIDE))


def frame(seed, share, angle, near=110.0, length=140.0):
    """Return an image of 60 stars with spectra, and their positions and fluxes."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, SIDE, (2, 60))
    flux = 10.0 ** rng.uniform(3.0, 5.3, 60)
    image = rng.normal(0.0, SIGMA, (SIDE + 40, SIDE + 40))
    cos, sin = math.cos(angle), math.sin(angle)
    v, u = np.mgrid[-12:13, -12:13]
    for i, j, f in zip(x, y, flux, strict=True):
        row, column = round(j), round(i)
        star = np.exp(-0.5 * ((u + column - i) ** 2 + (v + row - j) ** 2) / 1.4**2)
        image[row + 8 : row + 33, column + 8 : column + 33] += f * star / (2 * np.pi * 1.4**2)
    image = image[20:-20, 20:-20]
    for k in np.argsort(-flux)[:16]:
        along = np.arange(near, near + length, 0.5)
        for d in np.arange(-4.0, 4.5, 0.5):
            column = np.rint(x[k] + along * cos - d * sin).astype(int)
            row = np.rint(y[k] + along * sin + d * cos).astype(int)
            inside = (column >= 0) & (column < SIDE) & (row >= 0) & (row < SIDE)
            light = 0.25 * share * flux[k] / length * math.exp(-0.5 * (d / 1.4) ** 2) / 3.51
            np.add.at(image, (row[inside], column[inside]), light)
    return image.astype(np.float32), x, y, flux


def sources(x, y, flux, angle, seed):
    """Return the stars as sources, with eight pieces of the spectra of the brightest two."""
    rng = np.random.default_rng(seed)
    u = np.concatenate([np.linspace(120.0, 235.0, 4)] * 2)
    of = np.repeat(np.argsort(-flux)[:2], 4)
    n = x.size
    a, b = rng.uniform(1.4, 1.6, n + 8), np.full(n + 8, 1.35)
    theta = rng.uniform(-90.0, 90.0, n + 8)
    a[n:], theta[n:] = rng.uniform(4.0, 12.0, 8), rng.normal(math.degrees(angle), 1.0, 8)
    return (
        np.append(x, x[of] + u * math.cos(angle)), np.append(y, y[of] + u * math.sin(angle)),
        a, b, theta, np.append(flux, np.full(8, 1500.0)),
    )  # fmt: skip


@pytest.mark.parametrize("angle", [0.0, 0.5, math.pi / 2.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_pieces_of_spectra_are_told(seed, angle):
    image, x, y, flux = frame(seed, 0.15, angle)
    bad = np.zeros(image.shape, np.bool_)
    found = find_spectral_light(image, SIGMA, bad, *sources(x, y, flux, angle, seed), FWHM)
    assert found is not None
    assert found.rows[60:].all()
    assert found.rows[:60].sum() <= 3
    dx, dy = (float(d) for d in found.doubt.split(" light at ")[1].split(" pixels")[0].split(", "))
    assert math.hypot(dx, dy) == pytest.approx(180.0, abs=12.0)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_only_drawn_out_is_none(seed):
    """Galaxies of one direction, trails, and spikes, which begin at their stars."""
    angle = 0.3 * seed
    bad = np.zeros((SIDE, SIDE), np.bool_)
    image, x, y, flux = frame(seed, 0.0, angle)
    assert find_spectral_light(image, SIGMA, bad, *sources(x, y, flux, angle, seed), FWHM) is None
    trail = np.abs((V - 300.0) * math.cos(angle) - (U - 300.0) * math.sin(angle)) < 2.0
    image += 60.0 * trail
    assert find_spectral_light(image, SIGMA, bad, *sources(x, y, flux, angle, seed), FWHM) is None
    image, x, y, flux = frame(seed, 0.2, angle, near=0.0)
    assert find_spectral_light(image, SIGMA, bad, *sources(x, y, flux, angle, seed), FWHM) is None


def test_the_direction_of_many_is_found_in_little_memory():
    rng = np.random.default_rng(5)
    a, theta = rng.uniform(9.0, 12.0, 4000), rng.uniform(-90.0, 90.0, 4000)
    a[:2000] = 1.5
    theta[-100:] = rng.normal(89.5, 1.0, 100)  # and beyond 90 deg
    theta = (theta + 90.0) % 180.0 - 90.0
    a[-1] = 13.0
    tracemalloc.start()
    direction = _direction(a / 1.4, a, theta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert direction is not None
    off = (math.degrees(direction) - 89.5 + 90.0) % 180.0 - 90.0
    assert abs(off) < 1.0
    assert peak < 5e6
