"""Crowded fields with truth: even ones, a cluster's core, a nebula, and one with galaxies (galsim).

Stars of a Moffat PSF (beta 3, FWHM 3.5 pixels); their counts rise by 0.25 dex per magnitude.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from tests.simulate.shapes import ShapeFrame

FWHM, BETA, SKY, READ_NOISE, GAIN, ZERO_POINT = 3.5, 3.0, 200.0, 5.0, 2.0, 27.0
PSF = galsim.Moffat(beta=BETA, fwhm=FWHM)
GALAXIES = ("exponential", "de Vaucouleurs", "disc and bulge", "arms and knots", "edge-on")

F8 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Crowd(ShapeFrame):
    """A frame, its stars, and what else there is.

    Attributes
    ----------
    kind : (n_stars,) int64
        0 for stars of the field, 2 to 5 for members of a blend of so many.
    galaxies : (n, 4) float64
        x, y, radius in which half the light is (before the PSF), and number of its kind in
        `GALAXIES`.
    """

    kind: NDArray[np.int64]
    galaxies: F8


def simulate(scene: str, size: int, seed: int, psf: Any = PSF) -> Crowd:
    """Return a frame: a density in stars per 100 FWHM^2, `king`, `nebula` or `galaxies`."""
    rng = np.random.default_rng(seed)
    density = {"king": 2.0, "nebula": 8.0, "galaxies": 5.0}.get(scene) or float(scene)
    n = int(density * size**2 / 100 / FWHM**2)
    magnitude = _magnitudes(rng, n)
    x, y = rng.uniform(-5, size + 5, (2, n))
    kind = np.zeros(n, np.int64)
    image = galsim.ImageF(size, size)
    galaxies = np.zeros((0, 4))
    if scene == "king":
        m = int(12 * size**2 / 100 / FWHM**2)
        radius, angle = _king(rng, m, size / 12, size / 2), rng.uniform(0, 2 * np.pi, m)
        x = np.append(x, size / 2 + radius * np.cos(angle))
        y = np.append(y, size / 2 + radius * np.sin(angle))
        magnitude = np.append(magnitude, _magnitudes(rng, m))
        kind = np.zeros(x.size, np.int64)
    elif scene == "nebula":
        image += galsim.ImageF(_nebula(rng, size).astype(np.float32))
    elif scene == "galaxies":
        side = size // 64
        places = 64 * np.array(np.divmod(np.arange(side**2), side)).T + 32.0
        places = rng.permutation(places + rng.uniform(-8, 8, places.shape))
        half = len(places) // 2
        galaxies = np.array([_draw_galaxy(image, psf, rng, *p) for p in places[:half]])
        for px, py in places[half:]:
            members = int(rng.integers(2, 6))
            distance, angle = rng.uniform(0.0, 1.6 * FWHM, members), rng.uniform(0, 6.28, members)
            x = np.append(x, px + distance * np.cos(angle))
            y = np.append(y, py + distance * np.sin(angle))
            magnitude = np.append(magnitude, rng.uniform(17, 18) + rng.uniform(0, 2, members))
            kind = np.append(kind, np.full(members, members))
    flux = 10 ** (-0.4 * (magnitude - ZERO_POINT))
    for a, b, light in zip(x, y, flux, strict=True):
        draw(image, psf.withFlux(light), a, b, 14 if light < 3e3 else 30 if light < 1e5 else 60)
    light = image.array.astype(np.float64) + SKY
    data = (rng.poisson(light * GAIN) + rng.normal(0, READ_NOISE, light.shape)) / GAIN
    noise = np.sqrt(SKY / GAIN + (READ_NOISE / GAIN) ** 2) * np.sqrt(4 * np.pi) * FWHM / 2.355
    return Crowd(
        data.astype(np.float32), x, y, flux, flux / noise, FWHM, GAIN, kind=kind, galaxies=galaxies
    )


def _magnitudes(rng: np.random.Generator, n: int) -> F8:
    magnitude: F8 = 22.5 + np.log10(rng.uniform(10 ** (0.25 * (15.5 - 22.5)), 1.0, n)) / 0.25
    return magnitude


def _king(rng: np.random.Generator, n: int, core: float, tide: float) -> F8:
    """Draw radii from the projected density of a King (1962) model."""
    r = np.linspace(0.0, tide, 4096)
    density = (1 / np.hypot(1.0, r / core) - 1 / np.hypot(1.0, tide / core)) ** 2
    cumulative = np.cumsum(r * density)
    radii: F8 = np.interp(rng.uniform(0, cumulative[-1], n), cumulative, r)
    return radii


def _nebula(rng: np.random.Generator, size: int) -> F8:
    """Return clouds of a power spectrum k^-3, of up to five times the sky."""
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    k[0, 0] = 1.0
    waves = np.fft.rfft2(rng.normal(size=(size, size))) * k**-1.5 * (k < 1 / 24)
    clouds = np.fft.irfft2(waves, s=(size, size))
    clouds = (clouds - clouds.min()) / np.ptp(clouds)
    light: F8 = 5.0 * SKY * clouds**2
    return light


def _profiles(rng: np.random.Generator, kind: int, radius: float) -> Iterator[Any]:
    """Yield the parts of a galaxy, of unit flux in all."""
    axis_ratio = 0.15 if kind == 4 else rng.uniform(0.4, 1.0)
    shear = galsim.Shear(q=axis_ratio, beta=rng.uniform(0, np.pi) * galsim.radians)
    disc = galsim.Exponential(half_light_radius=radius)
    if kind == 1:
        yield galsim.DeVaucouleurs(half_light_radius=radius, trunc=6 * radius).shear(shear)
    elif kind == 2:
        share = rng.uniform(0.2, 0.5)
        yield share * galsim.DeVaucouleurs(half_light_radius=radius / 4, trunc=2 * radius)
        yield (1 - share) * disc.shear(shear)
    elif kind == 3:
        yield 0.7 * disc.shear(shear)
        turn = np.linspace(0.5, 1.6, 6)
        for arm in (0.0, np.pi):
            angle = np.pi * turn + arm
            for t, a in zip(turn, angle, strict=True):
                knot = galsim.Gaussian(half_light_radius=0.25 * radius, flux=0.3 / 12)
                yield knot.shift(radius * t * np.cos(a), radius * t * np.sin(a)).shear(shear)
    else:
        yield disc.shear(shear)


def _draw_galaxy(image: Any, psf: Any, rng: np.random.Generator, x: float, y: float) -> F8:
    """Draw a galaxy of any kind; return its row of the truth."""
    kind, radius = int(rng.integers(len(GALAXIES))), FWHM * 10 ** rng.uniform(-0.3, 0.4)
    flux = 10 ** (-0.4 * (rng.uniform(16.5, 19.5) - ZERO_POINT))
    for part in _profiles(rng, kind, radius):
        draw(image, galsim.Convolve(psf, part).withFlux(flux * part.flux), x, y, 40)
    return np.array([x, y, radius, kind])


def draw(image: Any, profile: Any, x: float, y: float, reach: int, method: str = "auto") -> None:
    """Draw a profile about a 0-based position, out to `reach` pixels.

    galsim transforms as many pixels as it draws upon: a whole image takes ten times as long.
    """
    bounds = galsim.BoundsI(int(x) - reach, int(x) + reach, int(y) - reach, int(y) + reach)
    bounds &= image.bounds
    if bounds.isDefined():
        profile.drawImage(
            image[bounds],
            scale=1,
            center=galsim.PositionD(x + 1, y + 1),
            add_to_image=True,
            method=method,
        )
