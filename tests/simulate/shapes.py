"""Frames of stars with PSFs of all shapes (galsim), whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import erf

SKY, GAIN, NOISE = 400.0, 2.0, 15.0
"""ADU per pixel, e-/ADU, noise of the sky in ADU."""

Profile = Callable[[float, float], Any]
"""Optics at a place in the field (-1..1 along both axes)."""


@dataclass(frozen=True)
class ShapeFrame:
    """A frame and its truth.

    Attributes
    ----------
    image : (n, n) float32
        ADU, with sky.
    x, y, flux, snr : (n_stars,) float64
        0-based positions of the centroids, total fluxes in ADU, S/N of the optimal filter.
    extent : float
        Rough diameter of a star in pixels.
    """

    image: NDArray[np.float32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    snr: NDArray[np.float64]
    extent: float
    gain: float = GAIN


@dataclass(frozen=True)
class Shape:
    """A kind of PSF: side of the frame, diameter of a star in pixels, and its optics."""

    size: int
    extent: float
    optics: Profile
    separation: float = 3.0
    "Least distance of two stars in diameters."
    reach: float = 1.0
    "Stars are drawn out to so many diameters."


def round_star(fwhm: float) -> Profile:
    """Return a core with wings: coma without a tail."""
    return coma(fwhm / 1.045, 0.0)


def gaussian(fwhm: float) -> Profile:
    """Return a Gaussian."""
    return lambda *_: galsim.Gaussian(fwhm=fwhm)


def trailed(fwhm: float, elongation: float, angle: float = 25.0) -> Profile:
    """Return a Gaussian drawn along a line: the telescope does not follow."""
    length = 1.6 * fwhm * (elongation - 0.6)

    def profile(*_: float) -> Any:
        line = galsim.Box(length, 0.05).rotate(angle * galsim.degrees)
        return galsim.Convolve(galsim.Gaussian(fwhm=fwhm), line)

    return profile


def donut(diameter: float, obstruction: float = 0.35, seeing: float = 2.5) -> Profile:
    """Return the blurred image of an obstructed pupil: out of focus."""

    def profile(*_: float) -> Any:
        outer = galsim.TopHat(diameter / 2, flux=1.0 / (1 - obstruction**2))
        inner = galsim.TopHat(
            obstruction * diameter / 2, flux=obstruction**2 / (1 - obstruction**2)
        )
        return galsim.Convolve(galsim.Gaussian(fwhm=seeing), outer - inner)

    return profile


@dataclass(frozen=True)
class Blend:
    """A sum of round Gaussians, integrated over pixels: drawn without a Fourier transform."""

    shift: NDArray[np.float64]
    sigma: NDArray[np.float64]
    share: NDArray[np.float64]

    def draw(self, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the light at pixels dx, dy (1-d, both axes) from the centroid."""
        total = np.zeros((dy.size, dx.size))
        for (x, y), sigma, share in zip(self.shift, self.sigma, self.share, strict=True):
            total += share * np.outer(_pixels(dy - y, sigma), _pixels(dx - x, sigma))
        return total


def _pixels(offset: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Integral of a Gaussian over pixels."""
    edges = np.append(offset - 0.5, offset[-1] + 0.5) / (sigma * math.sqrt(2.0))
    return np.asarray(0.5 * np.diff(erf(edges)))


def streak(fwhm: float, length: float, angle: float) -> Profile:
    """Return a round Gaussian drawn along a line, drawn without a Fourier transform."""
    steps = np.linspace(-0.5, 0.5, 2 * math.ceil(length / fwhm) + 1) * length
    turned = math.radians(angle)
    shift = np.outer(steps, [math.cos(turned), math.sin(turned)])
    light = Blend(shift, np.full(steps.size, fwhm / 2.3548), np.full(steps.size, 1 / steps.size))
    return lambda *_: light


def coma(fwhm: float, strength: float, variation: float = 0.0, power: int = 1) -> Profile:
    """Return seeing and a comatic tail: displaced, wider images along a line, as rays of a comet.

    With `variation` the width changes by that much across the field, and the tail points away
    from the centre and grows with the distance from it, or with a higher power of it.
    """

    def profile(u: float, v: float) -> Blend:
        width = fwhm * (1.0 + 0.5 * variation * u)
        grown = strength * (0.5 * (u * u + v * v)) ** (0.5 * (power - 1))
        is_radial = variation or power > 1
        tail = (grown * u, grown * v) if is_radial else (strength, 0.4 * strength)
        shift, sigma, share = [], [], []
        for step, part in ((0.0, 0.55), (0.45, 0.25), (0.95, 0.13), (1.6, 0.07)):
            for wider, light in ((1.0, 0.75), (1.9, 0.25)):  # a core and wings
                shift.append((fwhm * step * tail[0], fwhm * step * tail[1]))
                sigma.append(width * (1 + 0.35 * step) * wider / 2.3548)
                share.append(part * light)
        places, weights = np.array(shift), np.array(share)
        return Blend(places - weights @ places, np.array(sigma), weights)

    return profile


def radial(fwhm: float, wider: float, power: int = 2) -> Profile:
    """Return Moffat profiles (beta 3), wider and longer by a power of the distance to the axis.

    In the corners the FWHM is larger by a part `wider`, and the axis ratio is .7.
    """

    def profile(u: float, v: float) -> Any:
        part = (0.5 * (u * u + v * v)) ** (0.5 * power)
        star = galsim.Moffat(3.0, fwhm=fwhm * (1.0 + wider * part))
        return star.shear(e=0.35 * part, beta=math.atan2(v, u) * galsim.radians)

    return profile


SCENES: dict[str, Shape] = {
    "fwhm 1.2": Shape(512, 1.6, gaussian(0.9), separation=9.0, reach=4),
    "fwhm 1.6": Shape(512, 1.9, gaussian(1.3), separation=8.0, reach=4),
    "fwhm 3": Shape(512, 3.2, round_star(3.0), separation=5.0, reach=6),
    "fwhm 6": Shape(768, 6.1, round_star(6.0), separation=4.0, reach=5),
    "fwhm 12": Shape(1024, 12.1, round_star(12.0), reach=4),
    "fwhm 24": Shape(1024, 24.0, round_star(24.0), separation=2.5, reach=3),
    "fwhm 40": Shape(1024, 40.0, gaussian(40.0), separation=2.0, reach=1.6),
    "trail 2": Shape(512, 6.0, trailed(3.0, 2.0), separation=3.5),
    "trail 4": Shape(768, 12.0, trailed(3.0, 4.0), separation=2.5),
    "trail 8": Shape(1024, 24.0, trailed(3.0, 8.0), separation=2.0),
    "donut 12": Shape(768, 12.0, donut(12.0), separation=2.5),
    "donut 20": Shape(1024, 20.0, donut(20.0), separation=2.5),
    "donut 30": Shape(1024, 30.0, donut(30.0), separation=2.2),
    "coma": Shape(768, 5.0, coma(4.0, 0.7), separation=5.0, reach=4),
    "wide varying": Shape(1024, 16.0, coma(14.0, 0.5, 0.2), separation=2.5, reach=3),
    "radial": Shape(1024, 5.0, radial(2.5, 1.0), separation=4.0, reach=8),
    "radial 4": Shape(1024, 5.0, radial(2.5, 1.0, power=4), separation=4.0, reach=8),
    "coma 4": Shape(1024, 5.0, coma(3.0, 0.7, power=4), separation=4.0, reach=6),
    "varying": Shape(1024, 5.0, coma(4.0, 0.5, 0.4), separation=5.0, reach=4),
}


def simulate_scene(name: str, seed: int, most: int = 160) -> ShapeFrame:
    """Simulate one scene of `SCENES`; stars of S/N 5 to 1500, fainter ones more numerous."""
    return simulate_shape(SCENES[name], seed, most)


def simulate_shape(shape: Shape, seed: int, most: int = 160) -> ShapeFrame:
    """Simulate stars of one kind of PSF, as `simulate_scene`."""
    random = np.random.default_rng(seed)
    n = shape.size
    places, found = np.empty((most, 2)), 0
    for _ in range(20_000):
        place = random.uniform(0.8 * shape.extent, n - 1 - 0.8 * shape.extent, 2)
        distance = np.hypot(*(places[:found] - place).T)
        if np.any(distance < shape.separation * shape.extent):
            continue
        places[found] = place
        found += 1
        if found == most:
            break
    x, y = places[:found].T
    target = 10.0 ** random.uniform(np.log10(5.0), np.log10(1500.0), x.size)
    target = np.where(random.random(x.size) < 0.25, random.uniform(5, 30, x.size), target)
    image = galsim.ImageD(np.zeros((n, n)), xmin=0, ymin=0)
    flux = np.empty(x.size)
    for k in range(x.size):
        stamp = draw_star(shape, x[k], y[k])
        flux[k] = _flux_for(target[k], stamp.array)
        bounds = stamp.bounds & image.bounds
        image[bounds] += flux[k] * stamp[bounds]
    noise = np.sqrt(NOISE**2 + np.maximum(image.array, 0.0) / GAIN)
    frame = image.array + SKY + noise * random.standard_normal((n, n))
    return ShapeFrame(frame.astype(np.float32), x, y, flux, target, shape.extent)


def draw_star(shape: Shape, x: float, y: float, dx: float = 0.0, dy: float = 0.0) -> Any:
    """Return the light of a star of unit flux at x, y, displaced by dx, dy, on the pixels about."""
    n, reach = shape.size, int(shape.reach * shape.extent) + 8
    light = shape.optics(2 * x / n - 1, 2 * y / n - 1)
    i, j = int(x), int(y)
    whole = galsim.BoundsI(i - reach, i + reach, j - reach, j + reach)
    if isinstance(light, Blend):
        side = np.arange(-reach, reach + 1.0)
        drawn = light.draw(side + i - x - dx, side + j - y - dy)
        return galsim.ImageD(drawn, xmin=whole.xmin, ymin=whole.ymin)
    return galsim.Convolve(light, galsim.Pixel(1.0)).drawImage(
        bounds=whole, center=galsim.PositionD(x + dx, y + dy), scale=1.0, method="no_pixel",
        dtype=np.float64,
    )  # fmt: skip


def _flux_for(snr: float, stamp: NDArray[np.float64]) -> float:
    """Flux of an optimal S/N."""
    light = stamp[stamp > 0.0]

    def excess(magnitude: float) -> float:
        seen = 10.0**magnitude * light
        return float(np.sqrt((seen**2 / (NOISE**2 + seen / GAIN)).sum())) - snr

    return float(10.0 ** brentq(excess, 0.0, 10.0, xtol=1e-14))
