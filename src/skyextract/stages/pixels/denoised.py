"""Images from which noise was taken off but for what passed for light: a denoising program.

What is left of the noise is of two kinds: a smooth sky, and islands about excursions, which were
kept as they were.  Above the sky they look like stars; below it nothing does, and there pixels
differ more from their neighbours than the others.  Noise that is only shared by neighbours
(resampling, a filter) does so alike everywhere, and noise of a detector is not shared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median, quantiles
from skyextract.kernels.values import MAD_TO_SIGMA

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, Bools
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run

BLOCK, FEW, MANY = 64, 6, 18
"""Side of the blocks that are looked at, and how many along an axis, at most: at first, and where
neighbours share noise."""
FAR, SHARED = 8, 0.93
"""Neighbours differ by this part of what pixels at that distance do, at most: they share noise."""
LOW, MIDDLE = 3.0, 1.0
"""Sigma below the sky of the pixels around one, beyond which it may be in an island, and sigma
about it within which it is not."""
ISLANDS = 1.4
"""Times as much pixels of islands differ from their neighbours."""
EQUAL = 3.0
"""Times as deep as half of such pixels are one of ten, at most: negatives of stars, as nodding
leaves them, are of any depth."""
MIN_LOW, MIN_BLOCKS = 2, 24
"""Such pixels in a block, and blocks with them, without which nothing is said."""
CLIP = 4.0
"""Sigma beyond which a difference is of sources."""


def with_doubt_of_denoising(exposure: Exposure, without: Bools, run: Run) -> Exposure:
    """Note that noise was taken off but for islands; the same exposure if it was not.

    Parameters
    ----------
    without : (ny, nx) bool
        Pixels without data.
    """
    image = exposure.image
    few = [image[part] for part in _blocks(image.shape, FEW) if not without[part].any()]
    shared = [part for part in run.map(_shared, few) if part > 0.0]
    if not shared or not median(np.array(shared)) < SHARED:
        return exposure
    many = [image[part] for part in _blocks(image.shape, MANY) if not without[part].any()]
    islands = [found for found in run.map(_islands, many) if found is not None]
    if len(islands) < MIN_BLOCKS:
        return exposure
    ratio = median(np.array([ratio for ratio, _ in islands]))
    usual, deep = quantiles(np.concatenate([depth for _, depth in islands]), (0.5, 0.9))
    if not ratio > ISLANDS or deep > EQUAL * usual:
        return exposure
    message = (
        "the pixels were smoothed but for islands (a denoising program?), which differ "
        f"{ratio:.2g} times as much from their neighbours: fluxes of faint sources and all errors "
        "are not those of the camera. No cosmic ray, dead pixel or hidden source is looked for"
    )
    return replace(exposure, denoised=message, doubts=(*exposure.doubts, message))


def _blocks(shape: tuple[int, ...], most: int) -> list[tuple[slice, slice]]:
    """Return blocks spread over a frame."""
    axes = []
    for size in shape:
        n = min(size // BLOCK, most)
        first = np.linspace(0, max(size - BLOCK, 0), n).astype(int)
        axes.append([slice(int(a), int(a) + BLOCK) for a in first])
    return [(y, x) for y in axes[0] for x in axes[1]]


def _shared(block: F4) -> float:
    """Return by how much neighbours differ over what pixels do that are far from each other."""
    values = block.astype(np.float64)
    limit = CLIP * MAD_TO_SIGMA * median(np.abs(values - median(values)))
    near, far = (
        float(np.minimum(np.abs(values[:, k:] - values[:, :-k]), limit).mean()) for k in (1, FAR)
    )
    return near / far if far > 0.0 else 0.0


def _islands(block: F4) -> tuple[float, F8] | None:
    """Return how much more pixels below the sky differ from neighbours, and their depths.

    These in sigma of the pixels around one; None where too few tell it.
    """
    values = block.astype(np.float64)
    rows = values[:-2] + values[1:-1] + values[2:]
    middle = values[1:-1, 1:-1]
    ring = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - middle) / 8.0
    apart = middle - 0.5 * (values[1:-1, :-2] + values[1:-1, 2:])
    low, level = quantiles(ring.ravel(), (0.15866, 0.5))
    sigma = level - low
    if not sigma > 0.0:
        return None
    away = (ring - level) / sigma
    is_low = away < -LOW
    below, about = apart[is_low], apart[np.abs(away) < MIDDLE]
    usual = _mean_distance(about)
    if below.size < MIN_LOW or not usual > 0.0:
        return None
    return _mean_distance(below) / usual, -away[is_low]


def _mean_distance(values: F8) -> float:
    return float(np.abs(values - values.mean()).mean())
