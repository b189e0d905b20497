"""Simulated star fields with a known PSF, for the PSF benchmark and the tests (galsim)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StarField:
    """A simulated frame and its truth.

    Attributes
    ----------
    image : (n, n) float32
        ADU, with sky.
    x, y, flux, snr : (n_objects,) float64
        0-based positions, total fluxes in ADU, S/N of the optimal filter; stars first.
    n_stars : int
        The objects after these are galaxies.
    gain, sky_sigma : float
    psf : callable
        Position to the pixel-integrated PSF, a galsim object.
    """

    image: NDArray[np.float32]
    x: Floats
    y: Floats
    flux: Floats
    snr: Floats
    n_stars: int
    gain: float
    sky_sigma: float
    psf: Callable[[float, float], Any]

    def psf_samples(self, x: float, y: float, sampling: float, size: int) -> Floats:
        """Return size x size samples of the true PSF at (x, y), `sampling` pixels apart."""
        image = galsim.ImageD(size, size)
        self.psf(x, y).drawImage(image=image, scale=sampling, method="no_pixel")
        return np.asarray(image.array / sampling**2)


def simulate(
    n: int,
    n_stars: int,
    fwhm: float,
    *,
    ellipticity: float = 0.0,
    beta: float | None = None,
    variation: float = 0.0,
    n_galaxies: int = 0,
    snr: tuple[float, float] = (50.0, 1000.0),
    separation: float = 0.0,
    gain: float = 2.0,
    sky_sigma: float = 5.0,
    seed: int = 1,
) -> StarField:
    """Simulate a square frame of n x n pixels.

    Parameters
    ----------
    fwhm : float
        Of the optical PSF, in pixels; the pixel comes on top.
    ellipticity : float
        1 - b/a.
    beta : float or None
        Moffat exponent; None is a Gaussian.
    variation : float
        Relative change of the FWHM from the left to the right edge.
    snr : (float, float)
        Range of S/N, uniform in its logarithm.
    separation : float
        Least distance between objects in pixels.
    """
    random = np.random.default_rng(seed)

    def psf(x: float, y: float) -> Any:
        width = fwhm * (1.0 + variation * (x / n - 0.5))
        optics = galsim.Moffat(beta=beta, fwhm=width) if beta else galsim.Gaussian(fwhm=width)
        if ellipticity:
            optics = optics.shear(q=1.0 - ellipticity, beta=30 * galsim.degrees)
        return galsim.Convolve(optics, galsim.Pixel(1.0))

    margin = min(3.0 * fwhm + 3.0, n / 6)
    places: list[Floats] = []
    for _ in range(100_000):
        if len(places) == n_stars + n_galaxies:
            break
        place = random.uniform(margin, n - 1 - margin, 2)
        if separation and places:
            distance = np.hypot(*(np.array(places) - place).T)
            if distance.min() < separation:
                continue
        places.append(place)
    x, y = np.array(places).T
    target = 10.0 ** random.uniform(*np.log10(snr), x.size)
    area = 4.0 * np.pi * (fwhm**2 + 0.6) / 5.545 * (1.3 if beta else 1.0)
    half = target**2 / gain / 2.0
    flux = half + np.sqrt(half**2 + target**2 * area * sky_sigma**2)

    image = galsim.ImageD(np.zeros((n, n)), xmin=0, ymin=0)
    reach = int(8 * fwhm + 20)
    for k in range(x.size):
        light = psf(x[k], y[k]).withFlux(flux[k])
        if k >= n_stars:
            disc = galsim.Exponential(half_light_radius=random.uniform(0.3, 1.5) * fwhm)
            disc = disc.shear(
                q=random.uniform(0.3, 1), beta=random.uniform(0, 180) * galsim.degrees
            )
            light = galsim.Convolve(psf(x[k], y[k]), disc).withFlux(2.0 * flux[k])
        i, j = int(x[k]), int(y[k])
        bounds = galsim.BoundsI(i - reach, i + reach, j - reach, j + reach) & image.bounds
        image[bounds] += light.drawImage(
            bounds=bounds, center=galsim.PositionD(x[k], y[k]), scale=1.0, method="no_pixel",
            dtype=np.float64,
        )  # fmt: skip
    noise = np.sqrt(sky_sigma**2 + np.maximum(image.array, 0.0) / gain)
    frame = image.array + 1000.0 + noise * random.standard_normal((n, n))
    return StarField(frame.astype(np.float32), x, y, flux, target, n_stars, gain, sky_sigma, psf)


def add_defects(
    image: NDArray[np.float32], *, hot_pixels: int, trails: int, seed: int
) -> NDArray[np.float32]:
    """Add hot pixels and satellite trails."""
    random = np.random.default_rng(seed)
    out = image.copy()
    ny, nx = out.shape
    rows, columns = random.integers(0, ny, hot_pixels), random.integers(0, nx, hot_pixels)
    out[rows, columns] += 10 ** random.uniform(2, 4.5, hot_pixels).astype(np.float32)
    yy, xx = np.mgrid[0:ny, 0:nx]
    for _ in range(trails):
        angle = random.uniform(0, np.pi)
        distance = (xx - nx * random.uniform(0.3, 0.7)) * np.cos(angle)
        distance += (yy - ny * random.uniform(0.3, 0.7)) * np.sin(angle)
        level = random.uniform(50, 400)
        out += (level * np.exp(-0.5 * (distance / 1.2) ** 2)).astype(np.float32)
    return out
