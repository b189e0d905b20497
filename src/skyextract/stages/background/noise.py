"""The background variance plane: sky and read noise, without the sources' photons."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.kernels.background.mesh import exclude
from skyextract.kernels.values import MAX_VARIANCE, NO_INFORMATION
from skyextract.run import Run
from skyextract.stages.background.estimate import mesh_variance

UNUSABLE = Mask.BAD | Mask.SAT | Mask.NO_DATA


def background_variance(
    exposure: Exposure, background: BackgroundMap, subtracted: F4, weight_scale: float, run: Run
) -> F4:
    """Return the background variance of every pixel.

    From the exposure's total variance plane less the photon noise of what lies above the
    sky; else from its weight map, scaled; else the background mesh's rms squared.

    Parameters
    ----------
    subtracted : (ny, nx) float32
        Image without its background.
    weight_scale : float
        sqrt(background variance / weight map), from the background estimate.

    Returns
    -------
    (ny, nx) float32
        Image units squared; 1e30 in BAD, SAT and NO_DATA pixels and where nothing is known.
    """
    if exposure.variance is not None:
        variance = exposure.variance.copy()
        if exposure.detector.gain > 0:
            above = np.maximum(subtracted, np.float32(0.0))
            above *= np.float32(1.0 / exposure.detector.gain)
            # Rounding must not make a bright pixel noise-free.
            np.maximum(variance - above, np.float32(1e-3) * variance, out=variance)
    elif exposure.weight is not None:
        variance = exposure.weight * np.float32(weight_scale**2)
        variance[~(exposure.weight < MAX_VARIANCE)] = NO_INFORMATION
    else:
        variance = mesh_variance(background, run)

    def rows(band: tuple[int, int]) -> None:
        exclude(variance, exposure.mask, int(UNUSABLE), NO_INFORMATION, band[0], band[1])

    run.map(rows, run.bands(variance.shape[0]))
    return variance
