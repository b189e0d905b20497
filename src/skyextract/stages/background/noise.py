"""The background variance: sky and read noise, without the sources' photons."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.exposure import Exposure
from skyextract.kernels.values import MAX_VARIANCE, NO_INFORMATION
from skyextract.run import Run
from skyextract.settings.keywords import Weights, of_image
from skyextract.stages.background.estimate import mesh_variance


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

    From the exposure's total variance plane less the photon noise of what lies above the
    sky; else from its weight map, scaled where RESCALE_WEIGHTS says so (a MAP_RMS never);
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
        if exposure.detector.gain > 0.0:
            photons = np.maximum(subtracted, np.float32(0.0))
            photons *= np.float32(1.0 / exposure.detector.gain)
            # Rounding must not make a bright pixel noise-free.
            np.maximum(variance - photons, np.float32(1e-3) * variance, out=variance)
        variance[~((variance > 0.0) & (variance < MAX_VARIANCE))] = NO_INFORMATION
        return variance
    if exposure.weight is not None:
        rescale = of_image(weights.rescale_weights, index) and kind != "MAP_RMS"
        scale = weight_scale if rescale else 1.0
        variance = exposure.weight * np.float32(scale**2)
        variance[~(exposure.weight < MAX_VARIANCE)] = NO_INFORMATION
        return variance
    return mesh_variance(background, run) if kind == "BACKGROUND" else None
