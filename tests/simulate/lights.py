"""Frames of stars with other light: mottled skies, dust, nebulae, galaxies, comets, trails.

Stars of a round Moffat PSF (beta 3); all light has its photon noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]

FWHM, BETA, SKY, READ_NOISE, GAIN = 4.0, 3.0, 300.0, 5.0, 1.5
"""Pixels; ADU per pixel; electrons; e-/ADU."""
NOISE = math.sqrt(SKY / GAIN + (READ_NOISE / GAIN) ** 2)
"""Of a pixel of empty sky, ADU."""
AREA = 4.0 * math.pi * (FWHM / 2.3548) ** 2 * 1.2
"""Pixels whose noise counts for a star, about."""

Light = Callable[[np.random.Generator, int], F8]
"""Makes light without stars, in `NOISE` per pixel, on a square frame."""


@dataclass(frozen=True)
class LitFrame:
    """A frame and its truth.

    Attributes
    ----------
    image : (n, n) float32
        ADU, with sky.
    light : (n, n) float64
        What is neither sky nor star, without noise, ADU.
    x, y, flux, snr : (n_stars,) float64
        0-based positions, total fluxes in ADU, S/N on empty sky.
    """

    image: NDArray[np.float32]
    light: F8
    x: F8
    y: F8
    flux: F8
    snr: F8


def make(light: Light, seed: int, size: int = 512, n: int = 250) -> LitFrame:
    """Draw a frame with `n` stars of S/N 3 to 500 on the light."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(4.0, size - 5.0, (2, n))
    snr = 3.0 * 10.0 ** (rng.uniform(0.0, 1.0, n) ** 1.5 * math.log10(500.0 / 3.0))
    flux = snr * NOISE * math.sqrt(AREA)
    extra = NOISE * light(rng, size)
    image = SKY + extra
    for k in range(n):
        add_star(image, x[k], y[k], flux[k])
    electrons = rng.poisson(np.maximum(image, 0.0) * GAIN) + rng.normal(
        0.0, READ_NOISE, image.shape
    )
    return LitFrame((electrons / GAIN).astype(np.float32), extra, x, y, flux, snr)


def add_star(image: F8, x: float, y: float, flux: float) -> None:
    """Add a star, sampled thrice per pixel and axis."""
    scale2 = (FWHM / 2.0) ** 2 / (2.0 ** (1.0 / BETA) - 1.0)
    reach = 60 if flux > 300.0 * NOISE else 25
    column, row = round(x), round(y)
    a, b = max(0, row - reach), min(image.shape[0], row + reach + 1)
    c, d = max(0, column - reach), min(image.shape[1], column + reach + 1)
    for dy in (-1 / 3, 0.0, 1 / 3):
        for dx in (-1 / 3, 0.0, 1 / 3):
            v = (np.arange(a, b)[:, None] + dy - y) ** 2
            u = (np.arange(c, d)[None] + dx - x) ** 2
            moffat = (BETA - 1.0) / (math.pi * scale2) * (1.0 + (u + v) / scale2) ** -BETA
            image[a:b, c:d] += flux / 9.0 * moffat


def dark(rng: np.random.Generator, size: int) -> F8:
    """Nothing but sky."""
    return np.zeros((size, size))


def mottled(rms: float, smallest: float = 10.0, largest: float = 40.0) -> Light:
    """A sky of waves of these lengths, with this rms."""

    def light(rng: np.random.Generator, size: int) -> F8:
        k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
        k[0, 0] = 1.0
        kept = (k > 0.5 / largest) & (k < 0.5 / smallest)
        waves = np.fft.rfft2(rng.normal(size=(size, size))) * kept / k
        field: F8 = np.fft.irfft2(waves, s=(size, size))
        return rms * field / field.std()

    return light


def pupil(peak: float, radius: float = 190.0, hole: float = 80.0, soft: float = 15.0) -> Light:
    """The ghost of a pupil: a disc with a hole, both with soft edges."""

    def light(rng: np.random.Generator, size: int) -> F8:
        v, u = np.indices((size, size)) - size / 2
        r = np.hypot(u, v)
        inside = 1.0 / (1.0 + np.exp((r - radius) / soft)) / (1.0 + np.exp((hole - r) / soft))
        return np.asarray(peak * inside)

    return light


def dust_rings(depth: float, n: int = 25) -> Light:
    """Shadows of dust: rings that are darker than the sky."""

    def light(rng: np.random.Generator, size: int) -> F8:
        v, u = np.indices((size, size), dtype=float)
        total = np.zeros((size, size))
        for x, y, radius in zip(*rng.uniform(0, size, (2, n)), rng.uniform(9, 22, n), strict=True):
            r = np.hypot(u - x, v - y) / radius
            total -= depth * np.where(r < 1.0, 1.0, 0.0) * np.where(r < 0.35, 0.4, 1.0)
        return smoothed(total, 2.0)

    return light


def nebula(peak: float, smallest: float = 24.0, index: float = 1.5) -> Light:
    """Clouds with a power spectrum of twice this index."""

    def light(rng: np.random.Generator, size: int) -> F8:
        k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
        k[0, 0] = 1.0
        waves = np.fft.rfft2(rng.normal(size=(size, size))) * k**-index * (k < 1.0 / smallest)
        clouds = np.fft.irfft2(waves, s=(size, size))
        clouds = (clouds - clouds.min()) / np.ptp(clouds)
        field: F8 = peak * clouds**2
        return field

    return light


def filaments(peak: float, index: float = 1.6, contrast: float = 0.8) -> Light:
    """A nebula in the middle whose logarithm has a power spectrum of twice this index."""

    def light(rng: np.random.Generator, size: int) -> F8:
        k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
        k[0, 0] = 1.0
        waves = np.fft.rfft2(rng.normal(size=(size, size))) * k**-index * (k > 0.25 / 60.0)
        field = np.fft.irfft2(waves, s=(size, size))
        v, u = np.indices((size, size)) - size / 2
        whole = np.exp(-(np.hypot(u, v) ** 2) / (0.1 * size**2))
        return smoothed(peak * whole * np.exp(contrast * field / field.std()), FWHM / 2.3548)

    return light


def remnant(peak: float, width: float = 0.04) -> Light:
    """Filaments of a supernova remnant: sheets that are seen edge-on, as thin as stars."""

    def light(rng: np.random.Generator, size: int) -> F8:
        k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
        k[0, 0] = 1.0
        sheets = np.zeros((size, size))
        for _ in range(3):
            waves = np.fft.rfft2(rng.normal(size=(size, size))) * k**-1.8
            waves[0, 0] = 0.0
            field = np.fft.irfft2(waves, s=(size, size))
            sheets += np.exp(-0.5 * (field / field.std() / width) ** 2)
        return smoothed(peak * sheets, FWHM / 2.3548)

    return light


def galaxy(peak: float, scale: float) -> Light:
    """An exponential disc in the middle."""

    def light(rng: np.random.Generator, size: int) -> F8:
        v, u = np.indices((size, size)) - size / 2
        return np.asarray(peak * np.exp(-np.hypot(u, 1.6 * v) / scale))

    return light


def comet(peak: float, coma: float = 30.0, tail: float = 250.0, angle: float = 0.6) -> Light:
    """A nucleus, a coma that falls as 1/r out to `coma` pixels and a tail that opens slowly."""

    def light(rng: np.random.Generator, size: int) -> F8:
        v, u = np.indices((size, size), dtype=float)
        u, v = u - 0.3 * size, v - 0.35 * size
        r = np.hypot(u, v)
        cos, sin = math.cos(angle), math.sin(angle)
        along, across = u * cos + v * sin, v * cos - u * sin
        head = FWHM / np.hypot(r, 0.5 * FWHM) * np.exp(-((r / coma) ** 2) / 8.0)
        width = 0.4 * coma + 0.12 * np.maximum(along, 0.0)
        part = np.where(along > 0.0, np.exp(-along / tail), np.exp(-((along / coma) ** 2)))
        rays = 1.0 + 0.25 * np.sin(across / width * 9.0) * np.clip(along / coma, 0.0, 1.0)
        wake = 0.15 * part * rays * np.exp(-0.5 * (across / width) ** 2) * coma / width * 0.4
        return np.asarray(peak * (head + wake))

    return light


def trail(peak: float, width: float = 1.0, angle: float = 0.4, blinks: float = 0.0) -> Light:
    """The trail of a satellite across the frame: `width` in FWHM of stars; it may tumble."""

    def light(rng: np.random.Generator, size: int) -> F8:
        v, u = np.indices((size, size)) - size / 2 - 20.3
        across = (v * math.cos(angle) - u * math.sin(angle)) / (0.5 * FWHM * width)
        along = u * math.cos(angle) + v * math.sin(angle)
        steady = 1.0 + blinks * np.sin(along / 40.0)
        return np.asarray(peak * steady * (1.0 + across**2 * (2 ** (1 / 2.5) - 1)) ** -2.5)

    return light


def smoothed(image: F8, sigma: float) -> F8:
    """Return an image that is convolved with a Gaussian, around its borders."""
    k2 = np.fft.fftfreq(image.shape[0])[:, None] ** 2 + np.fft.rfftfreq(image.shape[1])[None] ** 2
    waves = np.fft.rfft2(image) * np.exp(-2.0 * (math.pi * sigma) ** 2 * k2)
    out: F8 = np.fft.irfft2(waves, s=image.shape)
    return out


LIGHTS: dict[str, Light] = {
    "dark": dark,
    "mottled .3": mottled(0.3), "mottled .6": mottled(0.6), "mottled 10-20": mottled(0.5, 10, 20),
    "dust rings": dust_rings(0.8),
    "nebula": nebula(15.0), "fine nebula": nebula(8.0, 12.0, 1.2),
    "galaxy": galaxy(40.0, 25.0),
    "comet": comet(100.0), "bright comet": comet(1000.0, 60.0),
    "trail": trail(8.0), "wide trail": trail(5.0, 3.0, 1.1), "faint trail": trail(1.5, 1.2, -0.3),
    "tumbling": trail(8.0, 1.0, 0.8, 0.7),
}  # fmt: skip
