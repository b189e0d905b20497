"""The sky of a crowded field: the background of what fitted sources leave of the image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F4, U1, Bools
from skyextract.datamodel.detections import PER_SOURCE
from skyextract.stages.background.planes import prepare_plane
from skyextract.stages.crowded.rest import hosts_of
from skyextract.stages.detection.footprints import source_mask

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.crowded.hidden import Hidden

MIN_LEFT = 0.3
"""Of the light of an extended source point sources leave more than this share, ..."""
MAX_MEMBERS = 2
"""... and in its footprint are no more of them than so many, ..."""
MAX_DENSITY = 5.0
"""... or than so many per 100 FWHM^2: more is a crowd, whose faint members are not told apart, or
stars on a nebula."""


def with_fine_meshes(config: Config, size: float) -> Config:
    """Return the configuration with small meshes of the background, each for itself."""
    meshes = replace(config.background, back_size=(round(size),), back_filtersize=(1,))
    return replace(config, background=meshes)


def without_models(
    exposure: Exposure, plane: Plane, models: F4, config: Config, run: Run,
    *, sources: U1 | None = None, rounds: int = 1,
) -> Plane:  # fmt: skip
    """Return a plane with background and noise of the image without its point sources.

    Parameters
    ----------
    plane : Plane
        Which pixels are saturated.
    models : (ny, nx) float32
        Of the point sources.
    sources : (ny, nx) uint8, optional
        Pixels that are left out of the background.
    """
    rest = replace(exposure, image=exposure.image - models, background=None)
    clean = prepare_plane(rest, config, run, sources=sources, in_place=True)
    for _ in range(1, rounds):  # in the same pixels
        clean = prepare_plane(rest, config, run, sources=sources, in_place=True)
    del rest
    clean = clean.with_noise(run)
    subtracted = clean.subtracted
    subtracted += models
    if clean.n_bad:
        subtracted[clean.bad] = 0.0
    return replace(clean, subtracted=subtracted, saturated=plane.saturated)


def wide_plane(
    exposure: Exposure, hidden: Hidden, found: Detections, config: Config, run: Run
) -> Plane:
    """Return the plane that is measured, with meshes of BACK_SIZE, without sources of any kind.

    Parameters
    ----------
    hidden : Hidden
        All point sources, those of the detections first.
    """
    plane = without_models(exposure, hidden.plane, hidden.models, config, run)
    extended = extended_detections(plane.subtracted, hidden, found)
    if not extended.any():
        return plane
    sigma = plane.background.sigma
    del plane  # two planes of pixels
    mask = source_mask(_some(found, extended), sigma, run)
    return without_models(exposure, hidden.plane, hidden.models, config, run, sources=mask)


def extended_detections(subtracted: F4, hidden: Hidden, found: Detections) -> Bools:
    """Tell which detections are extended: point sources leave much of their light.

    Parameters
    ----------
    subtracted : (ny, nx) float32
        Image less a background that does not follow their light.
    """
    total, of_models = (
        np.add.reduceat(plane.ravel()[found.pixel], found.first[:-1], dtype=np.float64)
        for plane in (subtracted, hidden.models)
    )
    left = total - of_models
    members = np.bincount(hosts_of(hidden, found) + 1, minlength=found.n + 1)[1:]
    few = members * 100.0 * hidden.psf.fwhm**2 < MAX_DENSITY * np.diff(found.first)
    extended: Bools = (left > MIN_LEFT * total) & (few | (members <= MAX_MEMBERS))
    return extended


def _some(found: Detections, chosen: Bools) -> Detections:
    """Return some of the detections, on the segmentation of all."""
    length = np.diff(found.first)
    pixels = np.repeat(chosen, length)
    columns: dict[str, Any] = {name: getattr(found, name)[chosen] for name in PER_SOURCE}
    return replace(
        found, **columns, first=np.concatenate([[0], np.cumsum(length[chosen])]),
        pixel=found.pixel[pixels], filtered=found.filtered[pixels],
        unclaimed=np.zeros(0, np.int64),
    )  # fmt: skip
