"""Frames of isolated Gaussian stars with all kinds of noise: few photons, steps, resampling.

Resampling is separable: a matrix for rows and one for columns, as drizzling (Fruchter & Hook 2002,
PASP 114, 144) and interpolation without rotation are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

F8 = NDArray[np.float64]
EDGE = 24


@dataclass(frozen=True)
class Noise:
    """How a frame comes by its noise.

    Attributes
    ----------
    sky : float
        Electrons per pixel of the detector.
    read_noise : float
        Electrons.
    gain : float
        Electrons per ADU.
    step : float
        ADU to which pixels are rounded; 0: not.
    rows : float
        Noise that the pixels of a row share, electrons.
    resampling : str
        "", "drizzle", "bilinear" or "lanczos".
    magnification : float
        Pixels of the frame per pixel of the detector.
    exposures : int
        Dithered exposures, whose mean the frame is.
    fwhm : float
        Pixels of the frame.
    brightest : float
        S/N of the brightest stars, about.
    """

    sky: float
    read_noise: float = 0.0
    gain: float = 1.0
    step: float = 0.0
    rows: float = 0.0
    resampling: str = ""
    magnification: float = 1.0
    exposures: int = 1
    fwhm: float = 3.5
    brightest: float = 500.0


def _drizzled(magnification: float, fwhm: float, exposures: int = 4) -> Noise:
    return Noise(
        400.0, 5.0, resampling="drizzle", magnification=magnification, exposures=exposures,
        fwhm=fwhm,
    )  # fmt: skip


KINDS: dict[str, Noise] = {
    "normal": Noise(400.0, 5.0),
    "0.05 e-": Noise(0.05), "0.2 e-": Noise(0.2), "0.5 e-": Noise(0.5), "1 e-": Noise(1.0),
    "5 e-": Noise(5.0),
    "0.05 e-, RN 3": Noise(0.05, 3.0), "0.5 e-, RN 3": Noise(0.5, 3.0),
    "5 e-, RN 3": Noise(5.0, 3.0),
    "rms 0.45 ADU": Noise(400.0, 5.0, gain=45.8, step=1.0),
    "rms 0.2 ADU": Noise(400.0, 5.0, gain=103.0, step=1.0),
    "rows": Noise(400.0, 5.0, rows=6.0),
    "bilinear": Noise(400.0, 5.0, resampling="bilinear"),
    "lanczos 3": Noise(400.0, 5.0, resampling="lanczos"),
    "lanczos 3, x 1.4": Noise(
        400.0, 5.0, resampling="lanczos", magnification=1.4, exposures=3, fwhm=4.5
    ),
    "drizzle 1.6": _drizzled(1.6, fwhm=4.5), "drizzle 2": _drizzled(2.0, fwhm=5.5),
    "drizzle 1.6, sharp": _drizzled(1.6, fwhm=3.2),
    "drizzle 1.6, once": _drizzled(1.6, fwhm=4.5, exposures=1),
}  # fmt: skip


@dataclass(frozen=True)
class NoisyFrame:
    """A frame with its truth: pixels without noise, and stars (0-based pixels, ADU)."""

    image: NDArray[np.float32]
    header: fits.Header
    clean: F8
    sky: float
    noise: float
    x: F8
    y: F8
    flux: F8


def make(noise: Noise, seed: int, size: int = 768, spacing: int = 42) -> NoisyFrame:
    """Draw a frame; the faintest stars have an S/N of about 3."""
    rng = np.random.default_rng(seed)
    grid = np.arange(EDGE + 6, size - EDGE - 5, spacing, dtype=float)
    x, y = (g.ravel() + rng.uniform(-5.0, 5.0, g.size) for g in np.meshgrid(grid, grid))
    power = noise.magnification**-2 * noise.exposures
    pixel = power * (noise.sky + noise.read_noise**2 + noise.rows**2)  # e-^2 of a frame pixel
    area = 4.0 * math.pi * (noise.fwhm / 2.3548) ** 2
    snr = np.exp(rng.uniform(math.log(3.0), math.log(noise.brightest), x.size))
    electrons = 0.5 * (snr**2 + np.sqrt(snr**4 + 4.0 * snr**2 * pixel * area))
    gain = noise.gain * noise.exposures
    flux = electrons / gain
    total, clean = np.zeros((2, size, size))
    for _ in range(noise.exposures):
        shift_x, shift_y = rng.uniform(0.0, 1.0, 2) if noise.resampling else (0.0, 0.0)
        rows, columns = (operator(noise, size, s) for s in (shift_y, shift_x))
        n_y, n_x = rows.shape[1], columns.shape[1]
        # Positions on the detector, whose pixels begin before the frame.
        x0, y0 = (c / noise.magnification + _BEFORE for c in (x + 0.5, y + 0.5))
        native = render(
            x0 - 0.5 + shift_x, y0 - 0.5 + shift_y, flux * noise.gain,
            noise.fwhm / noise.magnification, (n_y, n_x),
        )  # fmt: skip
        exposure = rng.poisson(native + noise.sky).astype(float)
        exposure += rng.normal(0.0, noise.read_noise, exposure.shape)
        exposure += rng.normal(0.0, noise.rows, (n_y, 1))
        total += rows @ (exposure / noise.gain) @ columns.T
        clean += rows @ (native / noise.gain) @ columns.T
    image = total / noise.exposures
    if noise.step:
        image = np.round(image / noise.step) * noise.step
    header = fits.Header({"GAIN": gain, "SATURATE": 1e9, "EXPTIME": 60.0})
    sky = noise.sky / noise.gain / noise.magnification**2
    return NoisyFrame(
        image.astype(np.float32), header, clean / noise.exposures, sky, math.sqrt(pixel) / gain,
        x, y, flux,
    )  # fmt: skip


_BEFORE = 4
"""Pixels of the detector on each side of the frame."""


def operator(noise: Noise, size: int, shift: float) -> F8:
    """Return the matrix that makes `size` pixels of those of the detector; light is kept."""
    scale = 1.0 / noise.magnification
    n = math.ceil(size * scale) + 2 * _BEFORE + 1
    if not noise.resampling:
        return np.eye(size, size + 2 * _BEFORE, _BEFORE)
    pixel = np.arange(n)
    centre = ((np.arange(size) + 0.5) * scale - 0.5 + _BEFORE + shift)[:, None]
    offset = centre - pixel
    if noise.resampling == "drizzle":
        half = 0.5 * scale
        low, high = np.maximum(offset - half, -0.5), np.minimum(offset + half, 0.5)
        weight = np.maximum(high - low, 0.0)
    elif noise.resampling == "bilinear":
        weight = np.maximum(1.0 - np.abs(offset), 0.0)
    else:
        weight = np.where(np.abs(offset) < 3.0, np.sinc(offset) * np.sinc(offset / 3.0), 0.0)
    return np.asarray(scale * weight / weight.sum(axis=1, keepdims=True))


def render(x: F8, y: F8, flux: F8, fwhm: float, shape: tuple[int, int]) -> F8:
    """Draw Gaussian stars, integrated over the pixels."""
    from scipy.special import ndtr

    sigma = fwhm / 2.3548
    reach = np.arange(-math.ceil(6 * sigma) - 1, math.ceil(6 * sigma) + 2)
    image = np.zeros(shape)
    for k in range(flux.size):
        i, j = round(y[k]) + reach, round(x[k]) + reach
        light_y, light_x = (
            ndtr((c + 0.5 - p) / sigma) - ndtr((c - 0.5 - p) / sigma)
            for c, p in ((i, y[k]), (j, x[k]))
        )
        ok_y, ok_x = (i >= 0) & (i < shape[0]), (j >= 0) & (j < shape[1])
        image[np.ix_(i[ok_y], j[ok_x])] += flux[k] * np.outer(light_y[ok_y], light_x[ok_x])
    return image
