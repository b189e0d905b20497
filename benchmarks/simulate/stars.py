"""Point sources drawn with a PSF, and Moffat stars that vary over the frame."""

from __future__ import annotations

import galsim
import numpy as np
from numpy.typing import NDArray

from skyextract.datamodel.psf import Psf

F8 = NDArray[np.float64]


def draw(image: F8, psf: Psf, x: F8, y: F8, flux: F8) -> None:
    """Add point sources at 0-based positions."""
    columns, rows = np.floor(np.array([x, y]) + 0.5).astype(int)
    stamps = psf.stamps(x, y, x - columns, y - rows)
    half = stamps.shape[1] // 2
    padded = np.pad(image, half)
    for stamp, i, j, value in zip(stamps, columns, rows, flux, strict=True):
        padded[j : j + 2 * half + 1, i : i + 2 * half + 1] += value * stamp
    image[:] = padded[half:-half, half:-half]


def moffat_frame(fwhm: float, vary: float, size: int, noise: float) -> tuple[F8, F8, F8, F8]:
    """Return the noiseless image and x, y, flux of 600 stars; FWHM grows by `vary` along x."""
    rng = np.random.default_rng(0)
    row, column = np.divmod(np.arange(600), 25)
    step = (size - 80) / 25
    x = 40 + step * (column + 0.5) + rng.uniform(-3, 3, 600)
    y = 40 + step * (row + 0.5) + rng.uniform(-3, 3, 600)
    unit = noise * np.sqrt(4 * np.pi) * fwhm / 2.355 * 1.3
    flux = unit * 10 ** rng.uniform(np.log10(8), 3, 600)
    image = galsim.ImageD(size, size)
    reach = 2 * int(max(15, 4 * fwhm))
    width_of = np.sqrt(max(fwhm**2 - 0.85, 0.6)) * (1 + vary * (x / size - 0.5))
    for a, b, total, width_here in zip(x, y, flux, width_of, strict=True):
        star = galsim.Moffat(3.0, fwhm=width_here, flux=total).shear(e1=0.05)
        i, j = int(a) + 1, int(b) + 1
        bounds = galsim.BoundsI(i - reach, i + reach, j - reach, j + reach) & image.bounds
        star.drawImage(image[bounds], add_to_image=True, center=(a + 1, b + 1), scale=1.0)
    return image.array, x, y, flux
