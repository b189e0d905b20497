"""Background-subtracted planes and their noise, for detection and for measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skyextract.exposure import Mask
from skyextract.kernels.weightfill import fill_from_neighbours
from skyextract.stages.background import (
    BAD_WEIGHT,
    background_image,
    estimate_weighted_background,
    rms_image,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skyextract.background import BackgroundMap
    from skyextract.exposure import Exposure
    from skyextract.keywords import Config, Weights
    from skyextract.run import Run

    F4 = NDArray[np.float32]

BAD_VARIANCE = np.float32(1e30)


@dataclass(frozen=True)
class Plane:
    """An image without its background, and its noise.

    Attributes
    ----------
    background : BackgroundMap
    subtracted : (ny, nx) float32
        0 where bad.
    variance : (ny, nx) float32 or None
        Background variance in image units squared, 1e30 in bad pixels; None: the
        representative noise of `background` holds everywhere (SExtractor without weights).
    bad : (ny, nx) bool
        Pixels without signal or weight.
    relative : bool
        The variance follows a weight map, hence the exposure: WEIGHT_GAIN applies.
    """

    background: BackgroundMap
    subtracted: F4
    variance: F4 | None
    bad: NDArray[np.bool_]
    relative: bool

    def variance_plane(self, run: Run) -> F4:
        """Return the background variance of every pixel; that of the mesh without a map."""
        if self.variance is not None:
            return self.variance
        plane = rms_image(self.background, run)
        np.square(plane, out=plane)
        plane[self.bad] = BAD_VARIANCE
        return plane


def prepare_plane(
    exposure: Exposure,
    config: Config,
    run: Run,
    *,
    index: int = 0,
    sources: NDArray[np.uint8] | None = None,
) -> Plane:
    """Estimate and subtract the background of an image, and find its noise.

    The background variance comes from the total variance plane less the photon noise of
    what lies above the sky, or else from the weight map, or else, with WEIGHT_TYPE
    BACKGROUND, from the mesh.

    Parameters
    ----------
    index : {0, 1}
        Which of two values of BACK_TYPE, WEIGHT_TYPE ... applies: 0 detection, 1 measurement.
    sources : (ny, nx) uint8 or None
        Footprints to leave out of the background.
    """
    kinds = config.weights.weight_type
    kind = kinds[min(index, len(kinds) - 1)]
    weight = exposure.weight
    background, scale = estimate_weighted_background(
        exposure.image, exposure.mask, weight, config.background, run,
        index=index, sources=sources,
    )  # fmt: skip
    level = background_image(background, run)
    subtracted = exposure.image - level
    bad = _without_signal(exposure)
    bad |= ~np.isfinite(subtracted)
    variance: F4 | None = None
    relative = False
    if exposure.variance is not None:
        variance = _background_variance(exposure, subtracted, background, run)
    elif weight is not None:
        if config.weights.rescale_weights and kind != "MAP_RMS":
            variance = weight * np.float32(scale**2)
        else:
            variance = weight.copy()
        bad |= _without_weight(exposure, subtracted, variance, config.weights, index)
        relative = True
    elif kind == "BACKGROUND":
        variance = rms_image(background, run)
        np.square(variance, out=variance)
        relative = True
    if variance is not None:
        variance[bad] = BAD_VARIANCE
    subtracted[bad] = 0.0
    return Plane(background, subtracted, variance, bad, relative)


def _without_signal(exposure: Exposure) -> NDArray[np.bool_]:
    """Return pixels without data, and defects and cosmic rays that nobody filled.

    Not those that are BAD only for want of weight: INTERP_TYPE may fill them.
    """
    mask = exposure.mask
    if not mask.any():
        return np.zeros(mask.shape, np.bool_)
    if exposure.weight is not None:
        mask = np.where(exposure.weight < BAD_WEIGHT, mask, mask & ~np.uint16(Mask.BAD))
    bad: NDArray[np.bool_] = (mask & np.uint16(Mask.BAD | Mask.CR)) != 0
    bad &= (mask & np.uint16(Mask.INTRP)) == 0
    bad |= (mask & np.uint16(Mask.NO_DATA)) != 0
    return bad


def _without_weight(
    exposure: Exposure, image: F4, variance: F4, config: Weights, index: int
) -> NDArray[np.bool_]:
    """Return the pixels that have no weight, less those filled by INTERP_TYPE (in place)."""
    assert exposure.weight is not None
    lost = ~(exposure.weight < BAD_WEIGHT)
    kind = config.interp_type[min(index, len(config.interp_type) - 1)]
    if kind == "NONE" or not lost.any():
        return lost
    reach_x = config.interp_maxxlag[min(index, len(config.interp_maxxlag) - 1)]
    reach_y = config.interp_maxylag[min(index, len(config.interp_maxylag) - 1)]
    state = lost.astype(np.uint8)
    state[(exposure.mask & np.uint16(Mask.NO_DATA)) != 0] = 2
    fill_from_neighbours(image, variance, state, reach_x, reach_y, kind == "ALL")
    lost &= state != 3
    return lost


def _background_variance(
    exposure: Exposure, subtracted: F4, background: BackgroundMap, run: Run
) -> F4:
    """Take the photon noise of the sources out of the total variance plane.

    Interpolated pixels carry no information of their own (infinite variance) but may be
    summed in apertures: their variance is that of the mesh.
    """
    assert exposure.variance is not None
    variance = exposure.variance.copy()
    if exposure.detector.gain > 0.0:
        photons = np.maximum(subtracted, np.float32(0.0)) * np.float32(1.0 / exposure.detector.gain)
        # Rounding must not make a bright pixel noise-free.
        np.maximum(variance - photons, np.float32(1e-3) * variance, out=variance)
    unknown = ~(np.isfinite(variance) & (variance > 0.0) & (variance < BAD_WEIGHT))
    if unknown.any():
        variance[unknown] = rms_image(background, run)[unknown] ** 2
    return variance


def with_detected(exposure: Exposure, segmentation: NDArray[np.int32]) -> NDArray[np.uint16]:
    """Return the mask with the plane DETECTED set in the sources' pixels."""
    mask = exposure.mask & np.uint16(0xFFFF ^ int(Mask.DETECTED))
    mask[segmentation != 0] |= np.uint16(Mask.DETECTED)
    return mask
