"""Isophotal columns: fluxes, areas, errors, peak, FWHM, flag maps and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F8, I4, I8, Bools
from skyextract.kernels.measurement import isophotes
from skyextract.kernels.measurement.isophotes import isophotal
from skyextract.kernels.measurement.records import Footprints
from skyextract.record import record
from skyextract.stages.measurement.frame import in_chunks, shapes_of

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, AnyArray
    from skyextract.datamodel.detections import Detections
    from skyextract.run import Run
    from skyextract.stages.measurement.frame import MeasureFrame


@record
class Isophotal:
    """Isophotal measurements, one element per source.

    Attributes
    ----------
    flux, variance : (n,) float64
        Isophotal flux and its variance.
    area : (n,) int32
        Own pixels above the analysis threshold.
    peak, threshold : (n,) float64
        Highest value, and the (lowest) analysis threshold, above the local background.
    errors : (n, 3) float64
        Variances of the barycentre: X2, Y2, XY.
    fwhm : (n,) float64
        Pixels; 0 where it cannot be measured.
    n_saturated : (n,) int32
        Saturated pixels in the footprint.
    n_bad : (n,) int32
        Bad pixels of the measurement image in the footprint.
    areas : (n, 8) int32
        ISO0..ISO7.
    """

    flux: F8
    variance: F8
    area: I4
    peak: F8
    threshold: F8
    errors: F8
    fwhm: F8
    n_saturated: I4
    n_bad: I4
    areas: I4


def measure_isophotes(
    frame: MeasureFrame,
    detections: Detections,
    sky: F8,
    background: F8,
    run: Run,
    *,
    detection_noise: float,
) -> Isophotal:
    """Sum over the isophotal footprints in the measurement image.

    Parameters
    ----------
    sky, background : (n,) float64
        Local background to subtract from the pixels; total background at the sources.
    detection_noise : float
        Representative noise of the detection image.
    """
    d = detections
    out = np.zeros((d.n, isophotes.N_COLUMNS))
    ceiling = frame.saturation - background
    footprints = Footprints(d.first, d.n_own, d.pixel, d.filtered)
    noise, shapes = frame.noise_of_densities, shapes_of(d)
    in_chunks(
        run,
        d.n,
        lambda first, last: isophotal(
            frame.densities, frame.saturated, noise, frame.threshold, footprints,
            float(detection_noise) ** 2, shapes, sky, ceiling, frame.gamma > 0.0, first, last, out,
        ),
    )  # fmt: skip
    flux, variance = out[:, isophotes.FLUX], out[:, isophotes.VARIANCE]
    if frame.gamma > 0.0:
        flux, variance = _photographic_flux(frame, detections, sky)
    return Isophotal(
        flux=flux,
        variance=variance,
        area=out[:, isophotes.AREA].astype(np.int32),
        peak=out[:, isophotes.PEAK],
        threshold=out[:, isophotes.THRESHOLD],
        errors=out[:, isophotes.ERRX2 : isophotes.ERRXY + 1],
        fwhm=out[:, isophotes.FWHM],
        n_saturated=out[:, isophotes.N_SATURATED].astype(np.int32),
        n_bad=out[:, isophotes.N_BAD].astype(np.int32),
        areas=out[:, isophotes.ISO :].astype(np.int32),
    )


def _photographic_flux(frame: MeasureFrame, detections: Detections, sky: F8) -> tuple[F8, F8]:
    """Sum intensities and their variances over the footprints (PHOTO mode)."""
    values = np.nan_to_num(frame.pixels.ravel()[detections.pixel].astype(np.float64))
    variances = np.nan_to_num(frame.variance.ravel()[detections.pixel].astype(np.float64))
    zero = frame.gamma * np.expm1(sky / frame.gamma)
    flux = sums(values, detections.first) - np.diff(detections.first) * zero
    return flux, sums(variances, detections.first)


def sums(values: AnyArray, first: I8) -> F8:
    """Sum `values` between consecutive elements of `first`."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    result: F8 = total[first[1:]] - total[first[:-1]]
    return result


def isophotal_corrected(iso: Isophotal, area: I4, threshold: F8) -> tuple[F8, F8]:
    """Correct isophotal fluxes for the light below the isophote: flux and its error.

    Maddox et al. (1990, MNRAS 246, 433), Gaussian profiles; SExtractor manual, ISOCOR.
    """
    positive = iso.flux > 0.0
    flux = np.where(positive, iso.flux, 1.0)
    ratio = np.clip(np.where(positive, area * threshold / flux, 0.0), 0.0, 1.0)
    corrected = iso.flux / (1.0 - 0.196099 * ratio - 0.751208 * ratio**2)
    relative = iso.variance / flux**2
    spread = ratio * np.sqrt(relative + 1.0 / np.maximum(area, 1))
    spread = 0.196099 * spread + 2.0 * 0.751208 * ratio * spread
    error = np.where(positive, np.sqrt(relative + spread**2) * flux, np.sqrt(iso.variance))
    return corrected, error


def combine_flags(
    flag_map: AnyArray,
    kind: str,
    detections: Detections,
) -> tuple[I8, I4]:
    """Combine the flags of a flag map over the footprints.

    Parameters
    ----------
    flag_map : (ny, nx) int
    kind : str
        OR, AND, MIN, MAX or MOST, over the pixels that are not 0.  (SExtractor's own AND
        starts from 0 and always gives 0.)

    Returns
    -------
    flags : (n,) int64
        0 for a source without flagged pixels.
    counts : (n,) int32
        Number of flagged pixels (OR, AND) or of pixels with the resulting flag.
    """
    n = detections.n
    source = np.repeat(np.arange(n), np.diff(detections.first))
    values = np.asarray(flag_map).ravel()[detections.pixel].astype(np.int64)
    source, values = source[values != 0], values[values != 0]
    flags = np.zeros(n, dtype=np.int64)
    counts = np.zeros(n, dtype=np.int32)
    if source.size == 0:
        return flags, counts
    starts = np.flatnonzero(np.r_[True, source[1:] != source[:-1]])
    ids = source[starts]
    if kind in ("OR", "AND"):
        ufunc = np.bitwise_or if kind == "OR" else np.bitwise_and
        flags[ids] = ufunc.reduceat(values, starts)
        counts[ids] = np.diff(np.r_[starts, source.size])
    elif kind in ("MIN", "MAX"):
        extreme = np.minimum if kind == "MIN" else np.maximum
        flags[ids] = extreme.reduceat(values, starts)
        counts[:] = np.bincount(source[values == flags[source]], minlength=n)
    else:
        pairs, first_seen, number = np.unique(
            np.stack([source, values]), axis=1, return_index=True, return_counts=True
        )
        # The most frequent flag of each source, the first met of equals.
        order = np.lexsort((first_seen, -number, pairs[0]))
        chosen = order[np.r_[True, pairs[0][order][1:] != pairs[0][order][:-1]]]
        flags[pairs[0][chosen]] = pairs[1][chosen]
        counts[pairs[0][chosen]] = number[chosen]
    return flags, counts


def count_low_weights(detections: Detections, low: Bools, reach: tuple[int, int] = (0, 0)) -> I4:
    """Count the footprint pixels that have low weight, or a pixel of low weight in reach.

    Parameters
    ----------
    low : (ny, nx) bool
    reach : (int, int)
        Pixels along y and x.
    """
    if low.any():
        for axis, steps in enumerate(reach):
            grown = low.copy()
            for step in range(1, steps + 1):
                near, far = np.moveaxis(grown, axis, 0), np.moveaxis(low, axis, 0)
                near[step:] |= far[:-step]
                near[:-step] |= far[step:]
            low = grown
    return sums(low.ravel()[detections.pixel], detections.first).astype(np.int32)


def stack_flags(
    flag_maps: Sequence[AnyArray], kinds: Sequence[str], detections: Detections
) -> tuple[I8, I4]:
    """Combine several flag maps: (n, k) flags and counts; a missing type is OR."""
    flags = np.zeros((detections.n, len(flag_maps)), dtype=np.int64)
    counts = np.zeros((detections.n, len(flag_maps)), dtype=np.int32)
    for k, flag_map in enumerate(flag_maps):
        kind = kinds[k] if k < len(kinds) else "OR"
        flags[:, k], counts[:, k] = combine_flags(flag_map, kind, detections)
    return flags, counts
