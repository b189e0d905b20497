"""The background variance: sky and read noise, without the sources' photons."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.noise import MAX_SAMPLE, robust_sigma, sparse
from skyextract.kernels.values import MAX_VARIANCE, NO_INFORMATION
from skyextract.run import Run
from skyextract.settings.keywords import Weights, of_image
from skyextract.stages.background.interpolate import mesh_variance

MAX_EXCESS = 5.0
"""Neighbouring pixels scatter by so many times what a variance plane says: it is not theirs."""


def with_plausible_variance(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure without its variance plane where the sky scatters by far more."""
    if exposure.variance is None:
        return exposure
    excess, _ = _excess_scatter(exposure, exposure.variance)
    if excess <= MAX_EXCESS:
        return exposure
    run.warn(
        f"{exposure.name}: pixels scatter by {excess:.0f} times the errors of their plane: it is "
        "not used, and the noise is measured"
    )
    return replace(exposure, variance=None)


SAMPLE = 20_000
"""Pixels that tell the size of the noise, unless most of them are the same."""
MIN_PAIRS = 1000
"""Pairs of pixels that tell the scatter."""


def with_plausible_rms(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure with its MAP_RMS in scale where the sky scatters by far more."""
    if exposure.weight is None:
        return exposure
    _, excess = _excess_scatter(exposure, exposure.weight)
    if excess <= MAX_EXCESS:
        return exposure
    run.warn(
        f"{exposure.name}: pixels scatter by {excess:.3g} times what WEIGHT_IMAGE says (MAP_RMS): "
        "only its shape is used, and the noise is measured"
    )
    known = exposure.weight < MAX_VARIANCE
    scaled = np.where(known, exposure.weight.astype(np.float64) * excess**2, NO_INFORMATION)
    return replace(exposure, weight=scaled.astype(np.float32))


def _excess_scatter(exposure: Exposure, variance: F4) -> tuple[float, float]:
    """Return the scatter of pixels over that of the median variance, and each over its own.

    0 where pixels are too few.
    Differences of neighbouring pixels show the noise of single pixels where the sky is not
    flat, too; correlated noise makes them smaller, never larger.
    """
    rows = slice(None, None, max(1, exposure.image.size // MAX_SAMPLE))
    good = (exposure.mask[rows] == 0) & (variance[rows] > 0.0) & (variance[rows] < MAX_VARIANCE)
    both = good[:, 1:] & good[:, :-1]
    if np.count_nonzero(both) < MIN_PAIRS:
        return 0.0, 0.0
    step = np.diff(exposure.image[rows].astype(np.float64), axis=1)[both]
    claimed = variance[rows].astype(np.float64)
    own = np.sqrt((claimed[:, 1:] + claimed[:, :-1])[both])
    middle = math.sqrt(2.0 * float(np.median(variance[rows][good])))
    return robust_sigma(step) / middle, robust_sigma(step / own)


MIN_NOISE, MAX_NOISE = 1e-12, 1e12
"""Noise of the pixels between which single precision has room for variances and their inverses."""
FEW, FAR = 1000, 1e3
"""So few pixels tell that it is between these, so many times away from both."""


def working_unit(exposure: Exposure) -> float:
    """Return the unit to work in: 1, or for extreme pixels a power of two about their noise."""
    size = 0.0
    for most in (FEW, SAMPLE, MAX_SAMPLE):
        part = sparse(exposure.shape, most)
        sample = exposure.image[part]
        sample = sample[(exposure.mask[part] == 0) & np.isfinite(sample)].astype(np.float64)
        size = robust_sigma(sample) if sample.size else 0.0
        if FAR * MIN_NOISE < size < MAX_NOISE / FAR:
            return 1.0
        if size > 0.0 and most > FEW:
            break
    else:
        size = float(np.max(np.abs(sample), initial=0.0))
    if size == 0.0 or MIN_NOISE < size < MAX_NOISE:
        return 1.0
    return 2.0 ** round(math.log2(size))


BRIGHT, MIN_BRIGHT, HELD = 3.0, 20, 0.3
"""Pixels with so many times more photons than the variance of the sky tell whether a plane has them
in it, if they are so many: by this share of them."""
_MAX_FACTOR = 1e30


def _scaled(weight: F4, factor: float) -> F4:
    """Return a weight map times a factor; products of extreme numbers in double precision."""
    if not 0.0 < factor < math.inf or 1.0 / _MAX_FACTOR < factor < _MAX_FACTOR:
        return weight * np.float32(factor)
    scaled = np.empty_like(weight)
    with np.errstate(over="ignore"):
        for row, values in zip(scaled, weight, strict=True):
            row[...] = values * np.float64(factor)
    return scaled


def _holds_photons(exposure: Exposure, subtracted: F4) -> bool:
    """Tell whether a variance plane has the photons of sources in it, as the gain makes them.

    Planes of others may be of the sky alone.  The brightest pixels tell; where there are none, it
    matters little.
    """
    gain, variance = exposure.detector.gain, exposure.variance
    if not gain > 0.0 or variance is None:
        return False
    part = sparse(exposure.shape, MAX_SAMPLE)
    total, photons = variance[part].astype(np.float64), subtracted[part].astype(np.float64) / gain
    known = (total > 0.0) & (total < MAX_VARIANCE) & np.isfinite(photons)
    sky = float(np.median(total[known])) if known.any() else 0.0
    bright = known & (photons > BRIGHT * sky)
    if np.count_nonzero(bright) < MIN_BRIGHT:
        return True
    return bool(np.median((total[bright] - sky) / photons[bright]) > HELD)


def background_variance(
    exposure: Exposure,
    background: BackgroundMap,
    subtracted: F4,
    weight_scale: float,
    weights: Weights,
    run: Run,
    *,
    index: int = 0,
) -> F4 | None:
    """Return the background variance of every pixel.

    From the exposure's variance plane less the photon noise of what lies above the sky, if it
    holds that; else from its weight map, scaled where RESCALE_WEIGHTS says so (a MAP_RMS never);
    else, with WEIGHT_TYPE BACKGROUND, from the rms of the background mesh.

    Parameters
    ----------
    subtracted : (ny, nx) float32
        Image without its background.
    weight_scale : float
        sqrt(background variance / weight map), from the background estimate.
    weights : Weights
        WEIGHT_TYPE and RESCALE_WEIGHTS.
    index : {0, 1}
        Which of two values of a keyword applies: 0 detection, 1 measurement.

    Returns
    -------
    (ny, nx) float32 or None
        Image units squared; 1e30 where a plane or a map says that nothing is known.  None:
        there is neither; the noise is that of the mesh.
    """
    kind = of_image(weights.weight_type, index)
    if exposure.variance is not None:
        variance = exposure.variance.copy()
        if _holds_photons(exposure, subtracted):
            photons = np.maximum(subtracted, np.float32(0.0))
            photons *= np.float32(1.0 / exposure.detector.gain)
            # Rounding must not make a bright pixel noise-free.
            least = np.float32(1e-3) * variance
            np.subtract(variance, photons, out=variance, where=np.isfinite(variance))
            np.maximum(variance, least, out=variance)
        variance[~((variance > 0.0) & (variance < MAX_VARIANCE))] = NO_INFORMATION
        return variance
    if exposure.weight is not None:
        rescale = of_image(weights.rescale_weights, index) and kind != "MAP_RMS"
        scale = weight_scale if rescale else 1.0
        variance = _scaled(exposure.weight, scale**2)
        variance[~(exposure.weight < MAX_VARIANCE)] = NO_INFORMATION
        return variance
    return mesh_variance(background, run) if kind == "BACKGROUND" else None
