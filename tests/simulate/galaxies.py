"""Frames of galaxies and stars as on the sky (galsim), whose truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

SKY, GAIN, READ_NOISE, ZERO_POINT = 400.0, 2.0, 5.0, 31.0
"""ADU per pixel, e-/ADU, e-, magnitude of 1 ADU."""
BRIGHTEST, FAINTEST = 18.0, 24.5
SLOPE = 0.3
"""Of log counts per magnitude."""
KINDS = ("sersic", "bulge+disk")
SHAPES = ("barred", "edge-on", "n 0.5", "n 6")
"""Kinds that a profile may not be made for, or at the ends of its range."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GalaxyFrame:
    """A frame and its truth, one element per object.

    Attributes
    ----------
    image : (n, n) float32
        ADU, with sky.
    x, y, flux : (n_objects,) float64
        0-based positions, total fluxes in ADU.
    snr : (n_objects,) float64
        Of the filter that knows the profile and the PSF.
    star : (n_objects,) bool
    radius, axis_ratio, angle, index : (n_objects,) float64
        Half-light radius of the circle of the same area in pixels, B/A, radians from x, Sersic
        index (NaN for bulge and disk); 0, 1, 0, NaN for stars.
    """

    image: NDArray[np.float32]
    x: Floats
    y: Floats
    flux: Floats
    snr: Floats
    star: NDArray[np.bool_]
    radius: Floats
    axis_ratio: Floats
    angle: Floats
    index: Floats


@dataclass(frozen=True)
class Band:
    """What is another in another frame of the same objects.

    Attributes
    ----------
    seeing : float
        FWHM of its PSF.
    brightness : float
        Factor of all fluxes.
    noise : int
        Seed of its noise.
    """

    seeing: float
    brightness: float
    noise: int


def simulate_galaxies(
    n: int, size: int, seed: int, *, kind: str = "sersic", fwhm: float = 3.6, stars: float = 0.25,
    band: Band | None = None,
) -> GalaxyFrame:  # fmt: skip
    """Simulate a square frame with objects at random places.

    Sizes are log-normal and fall with magnitude, axis ratios uniform between 0.25 and 1, Sersic
    indices uniform in their logarithm between 0.5 and 6, bulge shares those of Beta(1, 2).  Barred
    galaxies have a bulge, a bar across and a disk; discs that are seen edge-on axis ratios between
    0.08 and 0.2.

    Parameters
    ----------
    n : int
        Objects.
    kind : str
        One of `KINDS` or `SHAPES`.
    fwhm : float
        Of the Moffat PSF (beta 3), before the pixel; the sizes of the galaxies go with it.
    stars : float
        Their share.
    band : Band, optional
        Another PSF, brightness and noise for the same objects.
    """
    rng = np.random.default_rng(seed)
    psf = galsim.Moffat(beta=3.0, fwhm=band.seeing if band else fwhm).shear(g1=0.03, g2=0.01)
    image = galsim.ImageF(size, size)
    noise = SKY / GAIN + (READ_NOISE / GAIN) ** 2
    rows = []
    for _ in range(n):
        x, y = rng.uniform(0, size, 2)
        low = 10 ** (SLOPE * (BRIGHTEST - FAINTEST))
        magnitude = FAINTEST + math.log10(rng.uniform(low, 1.0)) / SLOPE
        flux = 10 ** (-0.4 * (magnitude - ZERO_POINT)) * (band.brightness if band else 1.0)
        star = rng.uniform() < stars
        radius, q, angle, index = 0.0, 1.0, 0.0, math.nan
        profile: Any = galsim.DeltaFunction()
        if not star:
            size_there = math.log(0.72 * fwhm) - 0.42 * (magnitude - 21.0)
            radius = float(np.clip(math.exp(rng.normal(size_there, 0.45)), 0.15 * fwhm, 8 * fwhm))
            q, angle = rng.uniform(0.25, 1.0), rng.uniform(0, math.pi)
            if kind == "sersic":
                # One of 25: galsim makes tables for each, which takes longer than all else.
                index = math.exp(round(rng.uniform(math.log(0.5), math.log(6.0)), 1))
                profile = galsim.Sersic(n=index, half_light_radius=radius)
            elif kind == "edge-on":
                q, index = rng.uniform(0.08, 0.2), 1.0
                profile = galsim.Exponential(half_light_radius=radius)
            elif kind == "barred":
                profile, radius = _barred(rng, radius)
            elif kind.startswith("n "):
                index = float(kind[2:])
                profile = galsim.Sersic(n=index, half_light_radius=radius)
            else:
                profile, radius = _bulge_and_disk(rng.beta(1, 2), radius)
            profile = profile.shear(q=q, beta=angle * galsim.radians)
        drawn = galsim.Convolve(profile, psf).withFlux(flux)
        reach = int(min(max(8 * fwhm, 8 * radius + 6 * fwhm), 250))
        column, row = round(x), round(y)
        stamp = galsim.ImageF(
            galsim.BoundsI(column - reach, column + reach, row - reach, row + reach)
        )
        drawn.drawImage(stamp, scale=1, center=galsim.PositionD(x + 1, y + 1))
        light = stamp.array.astype(np.float64)
        snr = math.sqrt(np.sum(light**2 / (noise + np.maximum(light, 0) / GAIN)))
        inside = stamp.bounds & image.bounds
        image[inside] += stamp[inside]
        rows.append((x, y, flux, snr, star, radius, q, angle, index))
    light = image.array.astype(np.float64) + SKY
    rng = np.random.default_rng(band.noise) if band else rng
    data = (rng.poisson(light * GAIN) + rng.normal(0, READ_NOISE, light.shape)) / GAIN
    columns = np.array(rows, dtype=np.float64).T
    return GalaxyFrame(data.astype(np.float32), *columns[:4], columns[4] > 0, *columns[5:])


def _barred(rng: np.random.Generator, radius: float) -> tuple[Any, float]:
    """Return a galaxy with a bar, and the radius of the circle that half its light is in."""
    profile = _with_bar(radius, rng.uniform(0.0, math.pi))
    return profile, radius * _half_light_of_barred()


def _with_bar(radius: float, turn: float) -> Any:
    bar = galsim.Sersic(n=0.5, half_light_radius=0.6 * radius)
    bulge = galsim.Sersic(n=2.5, half_light_radius=0.15 * radius)
    bar = bar.shear(q=0.25, beta=turn * galsim.radians)
    return 0.65 * galsim.Exponential(half_light_radius=radius) + 0.22 * bar + 0.13 * bulge


@cache
def _half_light_of_barred() -> float:
    """Return that radius over that of the disk: it is the same whatever size and angle are."""
    return float(_with_bar(1.0, 0.0).calculateHLR(size=512, scale=1.0 / 32.0))


def _bulge_and_disk(share: float, radius: float) -> tuple[Any, float]:
    """Return a round bulge and disk, and the half-light radius of both together."""
    parts = (
        (share, galsim.DeVaucouleurs(half_light_radius=0.5 * radius), 7.66925, 4.0, 0.5 * radius),
        (1 - share, galsim.Exponential(half_light_radius=radius), 1.67835, 1.0, radius),
    )
    r = radius * np.exp(np.linspace(-7.0, 4.0, 3000))
    light = np.zeros(r.size)
    for weight, _, b, n, size in parts:
        ring = r**2 * np.exp(-b * (r / size) ** (1 / n))
        light += weight * ring / ring.sum()
    half = float(np.interp(0.5, np.cumsum(light), r))
    return parts[0][1] * share + parts[1][1] * (1 - share), half
