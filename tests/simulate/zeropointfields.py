"""Frames of stars and galaxies of any brightness, with reference catalogue and zero point."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from tests.simulate.lights import Light

F8 = NDArray[np.float64]
ZERO_POINT = 30.0
GAIN, READ_NOISE = 2.0, 5.0
BRIGHTEST, FAINTEST, REFERENCE = 16.5, 24.0, 21.5
SLOPE = 0.3
"""Of log10 of the number of sources per magnitude: most are too faint to be found."""
MAG_ERROR = 0.02
BETA = 3.5


@dataclass(frozen=True)
class Sources:
    """Stars and galaxies: 0-based positions, fluxes in ADU, shapes of disks (0: a star).

    Attributes
    ----------
    x, y, flux : (n,) float64
    radius : (n,) float64
        In which half of a disk's light is, FWHM.
    ratio, angle : (n,) float64
        Of its axes, and its direction in radians.
    """

    x: F8
    y: F8
    flux: F8
    radius: F8
    ratio: F8
    angle: F8

    def take(self, rows: NDArray[np.bool_]) -> Sources:
        """Return some of the sources."""
        return Sources(*(values[rows] for values in vars(self).values()))

    @property
    def is_star(self) -> NDArray[np.bool_]:
        """Which sources are points."""
        return self.radius == 0.0


@dataclass(frozen=True)
class ZeroPointField:
    """A frame, its header and reference catalogue, and what it was made of.

    Attributes
    ----------
    image : (n, n) float32
    header : Header
    reference : Table
    fwhm : float
    sources : Sources
        Those that no one could find, too.
    sky : (n, n) float64
        The rest of the light, without noise.
    """

    image: NDArray[np.float32]
    header: fits.Header
    reference: Table
    fwhm: float
    sources: Sources
    sky: F8

    def zero_point(self, diameter: float) -> float:
        """Return the zero point of fluxes in an aperture, whose diameter is in pixels."""
        return ZERO_POINT + 2.5 * float(np.log10(self.light_within(diameter)))

    def light_within(self, diameter: float) -> float:
        """Return the part of a star's light in an aperture, whose diameter is in pixels."""
        scale = self.fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / BETA) - 1.0))
        return float(1.0 - (1.0 + (0.5 * diameter / scale) ** 2) ** (1.0 - BETA))


def simulate_field(
    seed: int, n_stars: int = 220, n_galaxies: int = 0, fwhm: float = 3.5, size: int = 512,
    sky: float = 300.0, gradient: float = 0.0, extra: Light | None = None,
    faintest_reference: float = REFERENCE,
) -> ZeroPointField:  # fmt: skip
    """Draw a frame.

    Parameters
    ----------
    n_stars, n_galaxies : int
        In the frame and 5 pixels around it.
    sky, gradient : float
        ADU in the middle, and the part of it that the sky changes by from left to right.
    extra : callable, optional
        Other light, as those of `tests.simulate.lights`: of a random generator and the size.
    faintest_reference : float
        Magnitude down to which stars are in the reference catalogue.
    """
    rng = np.random.default_rng(seed)
    n = n_stars + n_galaxies
    x, y = rng.uniform(-5.0, size + 5.0, (2, n))
    lowest, highest = 10.0 ** (SLOPE * np.array([BRIGHTEST, FAINTEST]))
    mag = np.log10(rng.uniform(lowest, highest, n)) / SLOPE
    shapes = np.zeros((3, n))
    shapes[:, n_stars:] = np.transpose(
        [
            (rng.uniform(0.4, 1.6), rng.uniform(0.4, 1.0), rng.uniform(0, 3))
            for _ in range(n_galaxies)
        ]
    ).reshape(3, n_galaxies)
    sources = Sources(x, y, 10.0 ** (-0.4 * (mag - ZERO_POINT)), *shapes)
    level = np.full((size, size), sky * (1.0 + gradient * (np.arange(size) / size - 0.5)))
    if extra is not None:
        level += extra(rng, size)
    electrons = rng.poisson((draw_sources(sources, fwhm, size) + level) * GAIN) + rng.normal(
        0.0, READ_NOISE, (size, size)
    )
    header = _header(size)
    stars = sources.is_star
    return ZeroPointField(
        (electrons / GAIN).astype(np.float32), header,
        _reference(rng, WCS(header), x[stars], y[stars], mag[stars], faintest_reference),
        fwhm, sources, level,
    )  # fmt: skip


def draw_sources(sources: Sources, fwhm: float, size: int) -> F8:
    """Return the light of sources, without noise."""
    light = galsim.ImageD(size, size, xmin=0, ymin=0)
    psf = galsim.Moffat(beta=BETA, fwhm=fwhm)
    for x, y, flux, radius, ratio, angle in zip(*vars(sources).values(), strict=True):
        reach = int(min(12.0 * fwhm * max(1.0, (flux / 1e4) ** 0.2), 150.0))
        i, j = int(x), int(y)
        bounds = galsim.BoundsI(i - reach, i + reach, j - reach, j + reach) & light.bounds
        if not bounds.isDefined():
            continue
        if radius == 0.0:
            place = np.arange(bounds.xmin, bounds.xmax + 1), np.arange(bounds.ymin, bounds.ymax + 1)
            light[bounds].array[:] += flux * star_profile(fwhm, place[0] - x, place[1] - y)
        else:
            disk = galsim.Exponential(half_light_radius=radius * fwhm)
            disk = disk.shear(q=ratio, beta=angle * galsim.radians)
            seen = galsim.Convolve(disk, psf).withFlux(flux)
            stamp = galsim.ImageD(bounds)
            light[bounds] += seen.drawImage(stamp, scale=1.0, center=galsim.PositionD(x, y))
    return np.asarray(light.array)


def star_profile(fwhm: float, dx: F8, dy: F8) -> F8:
    """Return a Moffat profile of unit light, summed over 3 x 3 points of each pixel."""
    scale = fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / BETA) - 1.0))
    total = np.zeros((dy.size, dx.size))
    for v in (-1 / 3, 0.0, 1 / 3):
        for u in (-1 / 3, 0.0, 1 / 3):
            r2 = (dx + u) ** 2 + (dy[:, None] + v) ** 2
            inverse = 1.0 / (1.0 + r2 / scale**2)
            # To the power BETA, in a quarter of the time.
            total += inverse * inverse * inverse * np.sqrt(inverse)
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


def _reference(rng: np.random.Generator, wcs: WCS, x: F8, y: F8, mag: F8, faintest: float) -> Table:
    known = mag < faintest
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
    return compare_zero_point(field, process_field(field, reference))


def process_field(
    field: ZeroPointField, reference: Path, columns: str = "", **keywords: Any
) -> Any:
    """Return what `skyextract.process` makes of a frame; with other columns than the default ones.

    The reference catalogue, and the list of columns, are written as new files.
    """
    import skyextract

    field.reference.write(reference)
    if columns:
        keywords["PARAMETERS_NAME"] = str(reference.with_suffix(".param"))
        reference.with_suffix(".param").write_text("\n".join(columns.split()) + "\n")
    image = skyextract.exposure(field.image, field.header)
    return skyextract.process(image, ASTREFCAT_NAME=str(reference), **keywords)


def compare_zero_point(field: ZeroPointField, sources: Any) -> tuple[float, float] | None:
    """Return what the zero point of a result is off by, and its claimed error; None if FAILED."""
    found = sources.metrics["photometry"]
    corrections = sources.exposure.aperture_corrections
    if sources.status["photometry"] == "FAILED" or corrections is None:
        return None
    off = found["zero_point"] - field.zero_point(float(corrections["DIAMETER"][0]))
    return off, found["zero_point_error"]
