"""Frames of stars and galaxies of any brightness, with reference catalogue and zero point."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

F8 = NDArray[np.float64]
ZERO_POINT = 30.0
GAIN, READ_NOISE = 2.0, 5.0
BRIGHTEST, FAINTEST, REFERENCE = 16.5, 24.0, 21.5
SLOPE = 0.3
"""Of log10 of the number of sources per magnitude: most are too faint to be found."""
MAG_ERROR = 0.02
BETA = 3.5


@dataclass(frozen=True)
class ZeroPointField:
    """A frame, its header and reference catalogue."""

    image: NDArray[np.float32]
    header: fits.Header
    reference: Table
    fwhm: float

    def zero_point(self, diameter: float) -> float:
        """Return the zero point of fluxes in an aperture, whose diameter is in pixels."""
        scale = self.fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / BETA) - 1.0))
        outside = (1.0 + (0.5 * diameter / scale) ** 2) ** (1.0 - BETA)
        return ZERO_POINT + 2.5 * float(np.log10(1.0 - outside))


def simulate_field(
    seed: int, n_stars: int = 220, n_galaxies: int = 0, fwhm: float = 3.5, size: int = 512,
    sky: float = 300.0, gradient: float = 0.0,
) -> ZeroPointField:  # fmt: skip
    """Draw a frame.

    Parameters
    ----------
    n_stars, n_galaxies : int
        In the frame and 5 pixels around it.
    sky, gradient : float
        ADU in the middle, and the part of it that the sky changes by from left to right.
    """
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-5.0, size + 5.0, (2, n_stars + n_galaxies))
    lowest, highest = 10.0 ** (SLOPE * np.array([BRIGHTEST, FAINTEST]))
    mag = np.log10(rng.uniform(lowest, highest, x.size)) / SLOPE
    flux = 10.0 ** (-0.4 * (mag - ZERO_POINT))
    light = galsim.ImageD(size, size, xmin=0, ymin=0)
    psf = galsim.Moffat(beta=BETA, fwhm=fwhm)
    for k in range(x.size):
        reach = int(min(12.0 * fwhm * max(1.0, (flux[k] / 1e4) ** 0.2), 150.0))
        i, j = int(x[k]), int(y[k])
        bounds = galsim.BoundsI(i - reach, i + reach, j - reach, j + reach) & light.bounds
        if not bounds.isDefined():
            continue
        if k < n_stars:
            place = np.arange(bounds.xmin, bounds.xmax + 1), np.arange(bounds.ymin, bounds.ymax + 1)
            light[bounds].array[:] += flux[k] * _star(fwhm, place[0] - x[k], place[1] - y[k])
        else:
            disk = galsim.Exponential(half_light_radius=rng.uniform(0.4, 1.6) * fwhm)
            disk = disk.shear(q=rng.uniform(0.4, 1.0), beta=rng.uniform(0, 3) * galsim.radians)
            seen = galsim.Convolve(disk, psf).withFlux(flux[k])
            stamp = galsim.ImageD(bounds)
            centre = galsim.PositionD(x[k], y[k])
            light[bounds] += seen.drawImage(stamp, scale=1.0, center=centre)
    level = sky * (1.0 + gradient * (np.arange(size) / size - 0.5))
    electrons = rng.poisson((light.array + level) * GAIN) + rng.normal(
        0.0, READ_NOISE, (size, size)
    )
    header = _header(size)
    stars = np.arange(x.size) < n_stars
    return ZeroPointField(
        (electrons / GAIN).astype(np.float32), header,
        _reference(rng, WCS(header), x[stars], y[stars], mag[stars]), fwhm,
    )  # fmt: skip


def _star(fwhm: float, dx: F8, dy: F8) -> F8:
    """Return a Moffat profile of unit light, summed over 3 x 3 points of each pixel."""
    scale = fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / BETA) - 1.0))
    total = np.zeros((dy.size, dx.size))
    for v in (-1 / 3, 0.0, 1 / 3):
        for u in (-1 / 3, 0.0, 1 / 3):
            r2 = (dx + u) ** 2 + (dy[:, None] + v) ** 2
            total += (1.0 + r2 / scale**2) ** -BETA
    return np.asarray((BETA - 1.0) / (9.0 * np.pi * scale**2) * total)


def _header(size: int) -> fits.Header:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.1, 2.2], [0.5 * size + 0.5] * 2
    wcs.wcs.cd = 0.4 / 3600.0 * np.array([[-1.0, 0.02], [0.02, 1.0]])
    header = wcs.to_header()
    header.update({"GAIN": GAIN, "SATURATE": 60000.0, "FILTER": "r", "EXPTIME": 100.0})
    header["DATE-OBS"] = "2026-02-14T03:21:09"
    return header


def _reference(rng: np.random.Generator, wcs: WCS, x: F8, y: F8, mag: F8) -> Table:
    known = mag < REFERENCE
    ra, dec = wcs.all_pix2world(x[known], y[known], 0)
    n = ra.size
    reference = Table({
        "RA": ra + rng.normal(0.0, 0.02, n) / 3600.0,
        "DEC": dec + rng.normal(0.0, 0.02, n) / 3600.0,
        "r": mag[known] + rng.normal(0.0, MAG_ERROR, n),
        "r_err": np.full(n, MAG_ERROR),
    })  # fmt: skip
    reference["RA"].unit = reference["DEC"].unit = "deg"
    return reference


def zero_point_error(field: ZeroPointField, reference: Path) -> tuple[float, float] | None:
    """Return what the zero point of a frame is off by, and its claimed error; None if FAILED.

    Parameters
    ----------
    field : ZeroPointField
    reference : Path
        Where the reference catalogue is written, a new file.
    """
    import skyextract

    field.reference.write(reference)
    image = skyextract.exposure(field.image, field.header)
    sources = skyextract.process(image, ASTREFCAT_NAME=str(reference))
    found = sources.metrics["photometry"]
    corrections = sources.exposure.aperture_corrections
    if sources.status["photometry"] == "FAILED" or corrections is None:
        return None
    off = found["zero_point"] - field.zero_point(float(corrections["DIAMETER"][0]))
    return off, found["zero_point_error"]
