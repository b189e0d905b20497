"""Aperture columns: APER, AUTO, PETRO, growth curves and windowed parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, Bools
from skyextract.kernels.measurement.aperture import (
    aperture_fluxes,
    elliptical_fluxes,
    find_holes,
    kron_radii,
    petrosian_radii,
)
from skyextract.kernels.measurement.fluxradius import N_BINS, flux_radii
from skyextract.kernels.measurement.pixel import CORRECT
from skyextract.kernels.measurement.windowed import windowed
from skyextract.record import record
from skyextract.stages.measurement.frame import in_chunks, shapes_of

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8
    from skyextract.datamodel.detections import Detections
    from skyextract.run import Run
    from skyextract.settings.keywords import Measurement
    from skyextract.stages.measurement.frame import MeasureFrame

    Flags = I4


_HOLE_MARGIN = 1.0
"""Bad pixels no farther than this, in pixels, from the ellipse of a footprint are in it."""
_FEW = 32
"""Sources whose pixels stay in the cache from one kernel to the next."""


@record
class Fluxes:
    """Fluxes and errors, (n,) or (n, k), and radii in units of (a, b) where it applies."""

    flux: F8
    error: F8
    radius: F8


@record
class Growth:
    """Growth curves.

    Attributes
    ----------
    radii : (n, k) float64
        FLUX_RADIUS, pixels.
    half_light : (n,) float64
        Half-light radius that defines the window, at least 0.5 pixel.
    curves : (n, 64) or (0, 64) float64
        Cumulative flux.
    reach : (n,) float64
        Radius of its last sample, pixels.
    """

    radii: F8
    half_light: F8
    curves: F8
    reach: F8


@record
class Windowed:
    """Windowed parameters, (n,) each; positions 0-based.

    Positions, moments and their errors are the isophotal ones where `flags` is not 0.
    """

    x: F8
    y: F8
    x2: F8
    y2: F8
    xy: F8
    flux: F8
    error: F8
    errx2: F8
    erry2: F8
    errxy: F8
    iterations: I4
    flags: I4


def measure_apertures(
    frame: MeasureFrame,
    d: Detections,
    sky: F8,
    diameters: tuple[float, ...],
    flags: Flags,
    run: Run,
) -> Fluxes:
    """Measure circular apertures of the given diameters; bits are added to `flags`."""
    radii = 0.5 * np.asarray(diameters, dtype=np.float64)
    flux = np.zeros((d.n, radii.size))
    error = np.zeros((d.n, radii.size))
    pixels, shapes, zero = frame.source_pixels(d), shapes_of(d), _zero_level(frame, sky)
    in_chunks(
        run,
        d.n,
        lambda first, last: aperture_fluxes(
            pixels, frame.noise, shapes, zero, radii, first, last, flux, error, flags
        ),
    )
    return Fluxes(flux, error, radii)


def measure_ellipses(
    frame: MeasureFrame,
    detection_pixels: F4,
    d: Detections,
    sky: F8,
    config: Measurement,
    flags: Flags,
    run: Run,
    *,
    petrosian: bool = False,
) -> Fluxes:
    """Measure AUTO or PETRO fluxes; bits are added to `flags`.

    Parameters
    ----------
    detection_pixels : (ny, nx) float32
        Background-subtracted detection image, NaN where bad, on which the radii are found.
    """
    find = petrosian_radii if petrosian else kron_radii
    factor, least = config.phot_petroparams if petrosian else config.phot_autoparams
    estimate, aperture = config.phot_autoapers
    flux, error, radius = np.zeros(d.n), np.zeros(d.n), np.zeros(d.n)
    zero = _zero_level(frame, sky)
    pixels, shapes = frame.source_pixels(d), shapes_of(d)
    of_radii = pixels._replace(pixels=detection_pixels)

    def task(first: int, last: int) -> None:
        for begin in range(first, last, _FEW):
            end = min(begin + _FEW, last)
            find(
                of_radii, shapes, float(factor), float(least), float(estimate), begin, end, radius,
                flags,
            )  # fmt: skip
            elliptical_fluxes(
                pixels, frame.noise, shapes, zero, float(aperture), begin, end, radius, flux,
                error, flags,
            )  # fmt: skip

    in_chunks(run, d.n, task)
    return Fluxes(flux, error, radius)


def measure_growth(
    frame: MeasureFrame,
    d: Detections,
    total: F8,
    config: Measurement,
    flags: Flags,
    run: Run,
    *,
    whole: bool = False,
) -> Growth:
    """Measure FLUX_RADIUS, the half-light radius and, if `whole`, growth curves.

    Parameters
    ----------
    total : (n,) float64
        FLUX_AUTO.
    """
    fractions = np.asarray(config.phot_fluxfrac, dtype=np.float64)
    radii = np.zeros((d.n, fractions.size))
    half_light, reach = np.zeros(d.n), np.zeros(d.n)
    curves = np.zeros((d.n if whole else 0, N_BINS))
    pixels, shapes = frame.source_pixels(d), shapes_of(d)
    in_chunks(
        run,
        d.n,
        lambda first, last: flux_radii(
            pixels, shapes, float(config.phot_autoapers[0]), total, fractions, whole, first, last,
            radii, half_light, curves, reach, flags,
        ),
    )  # fmt: skip
    return Growth(radii, half_light, curves, reach)


def resample_growth(growth: Growth, n: int) -> F8:
    """Resample growth curves to n equal steps, (n_sources, n); SExtractor's interpolation."""
    position = N_BINS / n * np.arange(1, n + 1) - 0.99999
    low = np.clip(np.trunc(position).astype(np.int64), 0, N_BINS - 1)
    high = np.minimum(low + 1, N_BINS - 1)
    curve = growth.curves
    inside = curve[:, low] + (curve[:, high] - curve[:, low]) * (position - low)
    core = curve[:, :1] * (0.99999 + position)
    result: F8 = np.where(position < 0.0, core, inside)
    return result


def measure_windowed(
    frame: MeasureFrame,
    d: Detections,
    half_light: F8,
    isophotal_errors: F8,
    flags: Flags,
    run: Run,
) -> Windowed:
    """Measure windowed positions, moments, fluxes and their errors.

    Parameters
    ----------
    half_light : (n,) float64
        Half-light radii, pixels.
    isophotal_errors : (n, 3) float64
        Variances X2, Y2, XY of the barycentre: the fallback.
    """
    out = np.zeros((d.n, 10))
    iterations = np.zeros(d.n, dtype=np.int32)
    status = np.zeros(d.n, dtype=np.int32)
    pixels, shapes = frame.source_pixels(d), shapes_of(d)
    in_chunks(
        run,
        d.n,
        lambda first, last: windowed(
            pixels, frame.noise, shapes, half_light, first, last, out, iterations, status, flags
        ),
    )
    failed = status != 0
    for column, fallback in zip(
        (2, 3, 4, 7, 8, 9), (d.x2, d.y2, d.xy, *isophotal_errors.T), strict=True
    ):
        out[failed, column] = fallback[failed]
    return Windowed(
        x=out[:, 0], y=out[:, 1], x2=out[:, 2], y2=out[:, 3], xy=out[:, 4],
        flux=out[:, 5], error=np.sqrt(out[:, 6]),
        errx2=out[:, 7], erry2=out[:, 8], errxy=out[:, 9],
        iterations=iterations, flags=status,
    )  # fmt: skip


def _zero_level(frame: MeasureFrame, sky: F8) -> F8:
    """Return the local background in the units of `frame.pixels`."""
    if frame.gamma > 0.0:
        level: F8 = frame.gamma * np.expm1(sky / frame.gamma)
        return level
    return sky


def find_bad_pixels(frame: MeasureFrame, d: Detections, touched: Bools) -> Bools:
    """Tell which of the sources that lost some pixel of a sum lost one of their footprint.

    Where MASK_TYPE is CORRECT the others are as good as the ones opposite to them; else their
    light is lost.

    Parameters
    ----------
    touched : (n,) bool
        Sources of which apertures, windows or curves of growth have bad pixels.
    """
    if frame.mask != CORRECT or not touched.any():
        return touched
    rows = np.flatnonzero(touched)
    holes = np.zeros(rows.size, np.uint8)
    find_holes(frame.pixels, shapes_of(d), np.diff(d.first), _HOLE_MARGIN, rows, holes)
    out = np.zeros(d.n, np.bool_)
    out[rows] = holes != 0
    return out
