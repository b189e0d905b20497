"""Simulated frames of any size for the benchmarks: Moffat stars and exponential galaxies.

Galaxies are seen through the same PSF as stars.

python -m benchmarks.simulate.frame FILE SIZE N_SOURCES
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

FWHM = 3.6  # pixels
SKY, GAIN = 500.0, 2.0


def moffat(radius_squared: np.ndarray, fwhm: float = FWHM, beta: float = 3.0) -> np.ndarray:
    """Return a Moffat profile of unit total flux at squared radii (pixels)."""
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return (beta - 1) / (np.pi * alpha**2) * (1 + radius_squared / alpha**2) ** -beta


def disc(
    dx: float, dy: float, scale: float, q: float, angle: float, seeing: np.ndarray
) -> np.ndarray:
    """Return an exponential disc of unit flux, convolved with a PSF, about the middle pixel.

    The transform of a disc is (1 + k^2)^-3/2, k in units of the inverse scale length.

    Parameters
    ----------
    dx, dy : float
        From the middle pixel.
    scale, q, angle : float
        Scale length in pixels, axis ratio, radians from x.
    seeing : (m, m // 2 + 1) complex
        Transform of the PSF about the first pixel of m x m pixels.
    """
    m = len(seeing)
    ky = 2.0 * np.pi * np.fft.fftfreq(m)[:, None]
    kx = 2.0 * np.pi * np.fft.rfftfreq(m)[None]
    along = scale * (kx * np.cos(angle) + ky * np.sin(angle))
    across = scale * q * (ky * np.cos(angle) - kx * np.sin(angle))
    moved = np.exp(-1j * (kx * (dx + m // 2) + ky * (dy + m // 2)))
    waves = seeing * moved * (1.0 + along**2 + across**2) ** -1.5
    light: np.ndarray = np.fft.irfft2(waves, s=(m, m))
    return light


def frame(size: int, n_sources: int, seed: int = 1) -> np.ndarray:
    """Return a uint16 frame; a third of the sources are galaxies."""
    rng = np.random.default_rng(seed)
    half = 32
    image = np.full((size + 2 * half, size + 2 * half), SKY, dtype=np.float32)
    grid = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    side = 4 * half
    away = (np.arange(side) + side // 2) % side - side // 2
    seeing = np.fft.rfft2(moffat(np.add.outer(away**2, away**2)))
    cut = np.s_[side // 2 - half : side // 2 + half + 1]
    flux = 10 ** rng.uniform(2.9, 5.6, n_sources) * rng.random(n_sources)
    for number, (x, y) in enumerate(rng.uniform(0, size, (n_sources, 2))):
        i, j = int(y), int(x)
        dy, dx = grid[0] - (y - i), grid[1] - (x - j)
        if number % 3:
            profile = moffat(dx**2 + dy**2)
        else:
            scale, q, angle = rng.uniform(1.5, 4), rng.uniform(0.3, 1), rng.uniform(0, np.pi)
            profile = disc(x - j, y - i, scale, q, angle, seeing)[cut, cut]
        image[i : i + 2 * half + 1, j : j + 2 * half + 1] += flux[number] * profile
    image = image[half:-half, half:-half]
    noisy = rng.normal(image, np.sqrt(image / GAIN + 9))
    return np.clip(np.round(noisy), 0, 60000).astype(np.uint16)


def write_frame(path: Path, size: int, n_sources: int, seed: int = 1) -> Path:
    """Write a frame with a TAN WCS, GAIN and SATURATE; keep one that exists."""
    if not path.exists():
        header = fits.Header()
        header["GAIN"], header["SATURATE"], header["EXPTIME"] = GAIN, 60000.0, 100.0
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
        header["CRVAL1"], header["CRVAL2"] = 150.0, 2.0
        header["CRPIX1"] = header["CRPIX2"] = size / 2
        header["CD1_1"], header["CD2_2"] = -0.3 / 3600, 0.3 / 3600
        fits.PrimaryHDU(frame(size, n_sources, seed), header).writeto(path)
    return path


if __name__ == "__main__":
    write_frame(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
