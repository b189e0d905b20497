"""The measurement frame: what the measurement kernels read, prepared once per image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F4, I8, U1
from skyextract.errors import ImageError
from skyextract.kernels.measurement import pixel
from skyextract.kernels.measurement.records import Noise, Shapes, SourcePixels
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane


_NO_MAP: F4 = np.zeros((1, 1), dtype=np.float32)
_CHUNK, _FEW = 256, 12
"""Sources that a thread measures at once: most, and least where they are shared out."""


@record
class MeasureFrame:
    """Pixels and noise of the measurement image, as the kernels want them.

    Attributes
    ----------
    pixels : (ny, nx) float32
        Background-subtracted image, NaN where bad, -inf in detected pixels of no source; in
        PHOTO mode in intensities.
    densities : (ny, nx) float32
        The same before the conversion to intensities; `pixels` itself in CCD mode.
    saturated : (ny, n) uint8
        Bits of pixels that are saturated with their background, `numpy.packbits` of rows.
    variance : (ny, nx) float32
        Background variance if `mapped`; else a dummy, and `noise2` holds everywhere.
    weights : (ny, nx) float32
        Background variance of `densities`, or a dummy; `variance` itself in CCD mode.
    noise2 : float
        Square of the representative noise of the background.
    gain : float
        e-/ADU; 0: no photon noise.
    weight_gain : bool
        The gain of a pixel is ``gain * noise2 / variance``.
    mask : int
        What becomes of neighbours' pixels: 0, BLANK or CORRECT.
    threshold : float
        Analysis threshold where the variance is `noise2`.
    saturation : float
        Level of the image at which a pixel is saturated.
    gamma : float
        0 in CCD mode; in PHOTO mode intensity = exp(density / gamma).
    """

    pixels: F4
    densities: F4
    saturated: U1
    variance: F4
    mapped: bool
    weights: F4
    noise2: float
    gain: float
    weight_gain: bool
    mask: int
    threshold: float
    saturation: float
    gamma: float = 0.0

    @property
    def noise(self) -> Noise:
        """Noise of `pixels`, for kernels."""
        return Noise(self.variance, self.mapped, self.noise2, self.gain, self.weight_gain)

    @property
    def noise_of_densities(self) -> Noise:
        """Noise of `densities`, for kernels."""
        mapped = self.weights.size > 1
        return Noise(self.weights, mapped, self.noise2, self.gain, self.weight_gain)

    def source_pixels(self, d: Detections) -> SourcePixels:
        """Return `pixels` with their sources, for kernels."""
        return SourcePixels(self.pixels, d.segmentation, self.mask)

    def source_densities(self, d: Detections) -> SourcePixels:
        """Return `densities` with their sources, for kernels."""
        return SourcePixels(self.densities, d.segmentation, self.mask)


def prepare_frame(
    exposure: Exposure,
    plane: Plane,
    densities: F4,
    config: Config,
    *,
    threshold: float,
) -> MeasureFrame:
    """Prepare the measurement of an image.

    Parameters
    ----------
    plane : Plane
        The image without background, and its noise.
    densities : (ny, nx) float32
        `masked_pixels` of the plane.
    threshold : float
        Analysis threshold, image units.

    Raises
    ------
    ImageError
        PHOTO mode, and the image holds no densities.
    """
    variance, noise2 = plane.variance, plane.background.sigma**2
    pixels, gain, gamma = densities, exposure.detector.gain, 0.0
    if config.extraction.detect_type == "PHOTO":
        # Sums of gamma * (intensity - 1) are fluxes in units of density; SExtractor knows no
        # photon noise here.
        gamma = config.measurement.mag_gamma / math.log(10.0)
        gain = 0.0
        if plane.background.mean + 3.0 * plane.background.sigma > 50.0 * gamma:
            raise ImageError("the densities of this image are too large for DETECT_TYPE PHOTO")
        if variance is None:
            variance = np.full(plane.subtracted.shape, noise2, dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            intensity = np.exp(densities / np.float32(gamma))
            variance = variance * intensity**2 / np.float32(gamma**2)
            pixels = np.where(densities > -np.inf, np.float32(gamma) * (intensity - 1), densities)
    return MeasureFrame(
        pixels=pixels,
        densities=densities,
        saturated=plane.saturated,
        variance=_NO_MAP if variance is None else variance,
        mapped=variance is not None,
        weights=_NO_MAP if plane.variance is None else plane.variance,
        noise2=noise2,
        gain=float(gain) if math.isfinite(gain) else 0.0,
        weight_gain=plane.weight_gain,
        mask={"NONE": 0, "BLANK": pixel.BLANK, "CORRECT": pixel.CORRECT}[
            config.measurement.mask_type
        ],
        threshold=threshold,
        saturation=exposure.detector.saturation,
        gamma=gamma,
    )


@contextmanager
def masked_pixels(plane: Plane, unclaimed: I8 | None) -> Iterator[F4]:
    """Lend the plane's pixels as the kernels want them: NaN where bad, -inf where unclaimed.

    They are the plane's own, not a copy, and have their values back afterwards.

    Parameters
    ----------
    unclaimed : (m,) int64 or None
        Pixels ``y * nx + x`` to blank although they belong to no source.
    """
    pixels = plane.subtracted.reshape(-1)
    marked = np.flatnonzero(plane.bad) if plane.n_bad else np.empty(0, np.int64)
    blank = np.empty(0, np.int64) if unclaimed is None else unclaimed
    blank = blank[~plane.bad.reshape(-1)[blank]] if plane.n_bad else blank
    values = pixels[marked], pixels[blank]
    try:
        pixels[marked] = np.nan
        pixels[blank] = -np.inf
        yield plane.subtracted
    finally:
        pixels[marked], pixels[blank] = values


@contextmanager
def late_of_nobody(found: Detections) -> Iterator[None]:
    """Let the `late` pixels of merged detections be a neighbour's of all sources, for a while."""
    if found.labels is None or found.late is None or not found.late.size:
        yield
        return
    labels = found.labels.reshape(-1)
    values = labels[found.late]
    try:
        labels[found.late] = found.n + 1
        yield
    finally:
        labels[found.late] = values


def shapes_of(d: Detections) -> Shapes:
    """Return positions and ellipses of the sources, for kernels."""
    return Shapes(d.x, d.y, d.a, d.b, d.cxx, d.cyy, d.cxy, d.singular.astype(np.uint8))


def in_chunks(run: Run, n: int, task: Callable[[int, int], Any]) -> None:
    """Call `task(first, last)` on chunks of n sources, in threads."""
    # Large sources stand beside small ones: several chunks for each thread.
    size = max(_FEW, min(_CHUNK, -(-n // (4 * run.n_threads)))) if run.n_threads > 1 else _CHUNK
    edges = [*range(0, n, size), n]
    run.map(lambda span: task(*span), list(itertools.pairwise(edges)))
