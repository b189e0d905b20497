"""Background-subtracted planes and their noise, for detection and for measurement."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np

from skyextract.datamodel.arrays import F4, U1, Bools, unmarked, whole
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.imageunit import FLUX, PER_FLUX, VARIANCE
from skyextract.kernels.background.planes import Marks, subtract_rows
from skyextract.kernels.background.weightfill import fill_from_neighbours
from skyextract.kernels.values import MAX_VARIANCE, NO_INFORMATION
from skyextract.record import record
from skyextract.settings.keywords import of_image
from skyextract.stages.background.estimate import estimate_weighted_background, same_mesh
from skyextract.stages.background.interpolate import mesh_variance
from skyextract.stages.background.noise import background_variance
from skyextract.stages.background.skyvariance import sky_variance

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.settings.keywords import Config, Weights


@record
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
    n_bad : int
        Their number.
    saturated : (ny, n) uint8
        Bits of pixels that are saturated with their background, `numpy.packbits` of rows.
    relative : bool
        The variance follows a weight map, hence the exposure.
    weight_gain : bool
        The gain of a pixel follows its weight (WEIGHT_GAIN of this image).
    gain : float
        Electrons per image unit; 0: unknown.
    noise : (ny, nx) float32 or None
        Where `variance` is None: that of the mesh, if `with_noise` made it.
    """

    background: BackgroundMap
    subtracted: Annotated[F4, FLUX]
    variance: Annotated[F4 | None, VARIANCE]
    bad: Bools
    n_bad: int
    saturated: U1
    relative: bool
    weight_gain: bool
    gain: Annotated[float, PER_FLUX]
    noise: Annotated[F4 | None, VARIANCE] = None

    @property
    def holes(self) -> U1 | None:
        """The bad pixels (1) for kernels; None if there are none."""
        return self.bad.view(np.uint8) if self.n_bad else None

    @property
    def per_variance(self) -> float:
        """1 / variance of the pixels that have the gain, where it follows the weight; 0: all do."""
        return 1.0 / self.background.sigma**2 if self.weight_gain else 0.0

    def variance_plane(self, run: Run, rows: slice | None = None, out: F4 | None = None) -> F4:
        """Return the background variance of every pixel; that of the mesh without a map.

        That of the mesh is set in the given rows alone, and takes the memory of these, or `out`.
        """
        if self.variance is not None:
            return self.variance
        if self.noise is not None:
            return self.noise
        noise = mesh_variance(self.background, run, rows, out=out)
        if self.n_bad:
            some = slice(None) if rows is None else rows
            noise[some][self.bad[some]] = NO_INFORMATION
        return noise

    def filter_variance(self, radius: float, run: Run) -> F4 | None:
        """Return the variance that a filter with a PSF weighs by; None: that of the mesh.

        `radius` is that of the core of the PSF, pixels.
        """
        if self.variance is None:
            return None
        return sky_variance(self.variance, self.subtracted, self.gain, radius, run)

    def with_noise(self, run: Run, out: F4 | None = None) -> Plane:
        """Return a plane that keeps its `variance_plane`, in the memory of `out` if it is given."""
        if self.variance is not None:
            return self
        return replace(self, noise=self.variance_plane(run, out=out))


def prepare_plane(
    exposure: Exposure,
    config: Config,
    run: Run,
    *,
    index: int = 0,
    sources: U1 | None = None,
    known: BackgroundMap | None = None,
    in_place: bool = False,
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
    known : BackgroundMap or None
        An earlier estimate that will do, if it has the same mesh and no weight map is given.
    in_place : bool
        The pixels of the exposure become those of the plane.
    """
    weight = exposure.weight
    if known is not None and weight is None and same_mesh(known, exposure.shape, config.background):
        background, scale = known, 1.0
    else:
        measured = config.extraction.noise_type == "MEASURED"
        background, scale = estimate_weighted_background(
            exposure.image, exposure.mask, weight, config.background, run,
            index=index, sources=sources, measured=measured,
        )  # fmt: skip
        if weight is not None and not measured and _is_absolute(config.weights, index):
            # SExtractor's rms is then that of the map, whatever the pixels scatter by.
            background = replace(background, sigma=background.sigma / scale)
    subtracted, saturated, bad, n_bad = _subtracted(exposure, background, run, in_place)
    variance = background_variance(
        exposure, background, subtracted, scale, config.weights, run, index=index
    )
    relative = variance is not None and exposure.variance is None
    if variance is not None and exposure.variance is not None:
        _fill_unknown(variance, background, run)
    elif variance is not None and weight is not None:
        bad |= _without_weight(exposure, subtracted, variance, config.weights, index)
        n_bad = int(np.count_nonzero(bad))
    if n_bad:
        if variance is not None:
            variance[bad] = NO_INFORMATION
        subtracted[bad] = 0.0
    weight_gain = relative and of_image(config.weights.weight_gain, index)
    return Plane(
        background, subtracted, variance, bad, n_bad, saturated, relative, weight_gain,
        exposure.detector.gain,
    )  # fmt: skip


def _is_absolute(weights: Weights, index: int) -> bool:
    """Tell whether the weights are used as they are, and are not errors (never scaled)."""
    kind = of_image(weights.weight_type, index)
    return kind != "MAP_RMS" and not of_image(weights.rescale_weights, index)


def _subtracted(
    exposure: Exposure, background: BackgroundMap, run: Run, in_place: bool
) -> tuple[F4, U1, Bools, int]:
    """Return image less background, bits of saturated pixels, bad pixels and their number.

    Bad are pixels without data, and defects and cosmic rays that nobody filled; not those that are
    BAD only for want of weight: INTERP_TYPE may fill them.
    """
    image, mask, shape = exposure.image, exposure.mask, exposure.shape
    level = np.float32(exposure.detector.saturation)
    if level < exposure.detector.saturation:  # the least float32 that is not below
        level = np.nextafter(level, np.float32(np.inf))
    if exposure.weight is not None:
        mask = np.where(exposure.weight < MAX_VARIANCE, mask, mask & ~np.uint16(Mask.BAD))
    saturated = np.zeros((shape[0], -(-shape[1] // 8)), np.uint8)
    bad = unmarked(shape, np.bool_)
    lost, cured, never = int(Mask.BAD | Mask.CR), int(Mask.INTRP), int(Mask.NO_DATA)
    marks = Marks(level, saturated, mask, lost, cured, never, bad)
    out = image if in_place else whole(shape, np.float32)
    width, height = background.mesh_width, background.mesh_height

    def rows(band: tuple[int, int]) -> int:
        return subtract_rows(background.level, width, height, *band, image, marks, out)

    n_bad = sum(run.map(rows, run.bands(shape[0])))
    return out, saturated, bad, n_bad


def _without_weight(
    exposure: Exposure, image: F4, variance: F4, config: Weights, index: int
) -> Bools:
    """Return the pixels that have no weight, less those filled by INTERP_TYPE (in place)."""
    assert exposure.weight is not None
    lost = ~(exposure.weight < MAX_VARIANCE)
    # One value is for the detection image alone, as in SExtractor.
    kinds, reach_x, reach_y = config.interp_type, config.interp_maxxlag, config.interp_maxylag
    given = min(len(kinds), len(reach_x), len(reach_y))
    if index >= given or kinds[index] == "NONE" or not lost.any():
        return lost
    state = lost.astype(np.uint8)
    state[(exposure.mask & np.uint16(Mask.NO_DATA)) != 0] = 2
    fill_from_neighbours(
        image, variance, state, reach_x[index], reach_y[index], kinds[index] == "ALL"
    )
    lost &= state != 3
    return lost


def _fill_unknown(variance: F4, background: BackgroundMap, run: Run) -> None:
    """Give pixels of unknown variance that of the mesh, in place.

    Interpolated pixels carry no information of their own but may be summed in apertures.
    """
    unknown = variance >= NO_INFORMATION
    if unknown.any():
        variance[unknown] = mesh_variance(background, run)[unknown]


def with_detected(exposure: Exposure, found: Detections) -> Exposure:
    """Return the exposure with the plane DETECTED set in the sources' pixels."""
    mask = exposure.mask & np.uint16(0xFFFF ^ int(Mask.DETECTED))
    mask.ravel()[found.pixel] |= np.uint16(Mask.DETECTED)
    return replace(exposure, mask=mask)
