"""The sky background: a mesh of levels and noises, interpolated by bicubic splines."""

from __future__ import annotations

import math
from typing import Annotated

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.imageunit import FLUX
from skyextract.record import record

HIDDEN_PART = 0.3
"""Of a step: how far off the level may be where rounding hides it."""


@record
class BackgroundMap:
    """Background level and rms on a mesh, after the median filter.

    Attributes
    ----------
    level, rms : (n_mesh_y, n_mesh_x) float32
        Mode and standard deviation of the sky in each mesh, image units.
    mesh_width, mesh_height : int
        Size of a mesh in pixels; the last meshes may be cut by the image border.
    shape : (int, int)
        Shape [y, x] of the image in pixels.
    mean, sigma : float
        Representative level and noise of the frame (medians over the meshes), as
        SExtractor prints them; relative thresholds refer to `sigma`.
    skewness : float or None
        Of the noise, where it is that of few photons or steps; None where it is not.
    hidden_step : float
        Step of the pixel values, where rounding to it hides the level; a part of it where it does
        so in part, and 0 where it does not.
    clipped_share, clipped_shift : float
        Share of the pixels that a black point raised, and how much higher their mean is for it.
    rounding : float
        How much higher the mean of pixels rounded to a step is than the level.
    """

    level: Annotated[F4, FLUX]
    rms: Annotated[F4, FLUX]
    mesh_width: int
    mesh_height: int
    shape: tuple[int, int]
    mean: Annotated[float, FLUX]
    sigma: Annotated[float, FLUX]
    skewness: float | None = None
    hidden_step: Annotated[float, FLUX] = 0.0
    clipped_share: float = 0.0
    clipped_shift: Annotated[float, FLUX] = 0.0
    rounding: Annotated[float, FLUX] = 0.0

    __eq__ = object.__eq__  # of arrays there is no one answer
    __hash__ = object.__hash__

    @property
    def hidden_error(self) -> float:
        """How far off the level is, typically, for rounding, image units."""
        return HIDDEN_PART / math.sqrt(3.0) * self.hidden_step

    @property
    def level_error(self) -> float:
        """The same for rounding or a black point."""
        return math.hypot(self.hidden_error, self.clipped_shift)

    def __repr__(self) -> str:
        ny, nx = self.level.shape
        return f"BackgroundMap({nx} x {ny} meshes, level {self.mean:.6g}, noise {self.sigma:.4g})"
