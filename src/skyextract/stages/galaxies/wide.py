"""The background below sources that are wider than its meshes, which takes a part of their light.

A mesh within a galaxy has the mode of the galaxy's pixels, not that of the sky.  Below such sources
the level of the background is a surface through the meshes around instead.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools, widened
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median
from skyextract.kernels.values import FWHM_PER_SIGMA, MAD_TO_SIGMA
from skyextract.stages.background.interpolate import background_rows
from skyextract.stages.galaxies.scene import boxes_of, start_fluxes

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.detections import Detections
    from skyextract.run import Run
    from skyextract.stages.galaxies.scene import Sky

WIDE = 2.0
"""Meshes along both sides of the box of a source that the background may have followed."""
MOST_POINTED = 0.15
"""Light of a star with the peak of a galaxy, over that of the galaxy, at most."""
TOUCHED, AROUND = 1, 4
"""Meshes beside the box that the filter over meshes gave light of the source, and beyond these so
many that tell the sky."""
MIN_AROUND = 16
"""Meshes around that tell a surface, at least."""
N_PLANE = 3
"""Terms of a plane."""
CLIP = 3.0
"""Meshes that are farther off do not count, in widths of the scatter."""
CERTAIN = 50.0
"""Sum of squares that a bent surface has less, in those of the scatter: of noise alone three terms
have 12, as the filter over meshes makes four of them alike."""
UNEVEN = 4.0
"""Scatter of these about their surface over the noise of the mean of a mesh, at most: where the sky
is as uneven, what a mesh has above the plane need not be light of the source."""


def are_wide(boxes: I8, background: BackgroundMap) -> Bools:
    """Tell of which sources, by their boxes, the background may have taken light."""
    wide: Bools = (boxes[:, 2] > WIDE * background.mesh_width) & (
        boxes[:, 3] > WIDE * background.mesh_height
    )
    return wide


def on_surfaces(sky: Sky, found: Detections, run: Run) -> Sky:
    """Return the sky with such surfaces as background below wide sources, if there are some."""
    background = sky.background
    if background is None:
        return sky
    boxes = boxes_of(found, sky.psf.fwhm, sky.image.shape)
    width, height = background.mesh_width, background.mesh_height
    wide = np.flatnonzero(are_wide(boxes, background))
    if not wide.size:
        return sky
    wide = wide[~_are_stars(sky, found)[wide]]
    rows = [row for row in wide.tolist() if not _is_saturated(sky, boxes[row])]
    below = {row: widened(_meshes(background, boxes[row]), TOUCHED) for row in rows}
    if not below:
        return sky
    taken = np.logical_or.reduce(list(below.values()))
    noise = math.sqrt(sky.noise2 / (width * height))
    level = background.level.astype(np.float32, copy=True)
    around = {}
    for row, own in below.items():
        beside = widened(own, AROUND) & ~taken
        surface = _surface(background.level, beside, UNEVEN * noise, bent=not _at_edge(own))
        if surface is not None:
            level[own] = surface[own]
            around[row] = own, beside
    if not around:
        return sky
    changed = replace(background, level=background.level - level)
    lines = np.flatnonzero(np.repeat((changed.level != 0.0).any(axis=1), height))
    lines = lines[lines < sky.image.shape[0]]
    image = sky.image.copy()
    image[lines] += background_rows(changed, lines, run)[lines]
    image[(sky.mask & Mask.NO_DATA) != 0] = 0.0
    return replace(sky, image=image, background=replace(background, level=level), around=around)


def _are_stars(sky: Sky, found: Detections) -> Bools:
    """Tell which sources have the light of a star in their peak: halos are no part of profiles."""
    image, area = sky.image, 4.0 * math.pi * (sky.psf.fwhm / FWHM_PER_SIGMA) ** 2
    peak = image[found.ypeak, found.xpeak].astype(np.float64)
    stars: Bools = peak * area > MOST_POINTED * start_fluxes(image, found)
    return stars


def _is_saturated(sky: Sky, box: I8) -> bool:
    """Tell whether a box has saturated pixels."""
    x, y, n_x, n_y = box.tolist()
    return bool((sky.mask[y : y + n_y, x : x + n_x] & Mask.SAT).any())


def _meshes(background: BackgroundMap, box: I8) -> Bools:
    """Return which meshes a box has pixels in."""
    x, y, n_x, n_y = box.tolist()
    width, height = background.mesh_width, background.mesh_height
    found = np.zeros(background.level.shape, np.bool_)
    found[y // height : (y + n_y - 1) // height + 1, x // width : (x + n_x - 1) // width + 1] = True
    return found


def _at_edge(meshes: Bools) -> bool:
    """Tell whether some of the meshes are at the edge of the image."""
    return bool(np.any(meshes[[0, -1]]) or np.any(meshes[:, [0, -1]]))


def _surface(level: F4, around: Bools, most: float, *, bent: bool) -> F8 | None:
    """Return the surface through some of the meshes, at all; None if it does not hold there.

    It is a plane, or bent where these meshes show that beyond doubt.

    Parameters
    ----------
    level : (n_mesh_y, n_mesh_x) float32
    around : (n_mesh_y, n_mesh_x) bool
    most : float
        Scatter of the meshes, at most.
    bent : bool
        It may be; where there are meshes on all sides.
    """
    if np.count_nonzero(around) < MIN_AROUND:
        return None
    place: F8 = np.indices(level.shape, dtype=np.float64)
    y, x = place - place[:, around].mean(axis=1)[:, None, None]
    terms = np.stack([np.ones(level.shape), x, y, x * x, x * y, y * y], axis=-1)
    values = level[around].astype(np.float64)
    surfaces: list[F8] = []
    squares, scatter = [], most
    for n_terms in (terms.shape[-1], N_PLANE):
        rows, keep = terms[around][:, :n_terms], np.ones(values.size, np.bool_)
        for _ in range(3):
            found: F8 = np.linalg.lstsq(rows[keep], values[keep], rcond=None)[0]
            left: F8 = values - rows @ found
            if n_terms > N_PLANE:
                scatter = MAD_TO_SIGMA * median(np.abs(left))
            keep = np.abs(left) <= CLIP * max(scatter, most / UNEVEN)
        surfaces.append(terms[..., :n_terms] @ found)
        squares.append(np.minimum(left**2, (CLIP * scatter) ** 2).sum())
    if scatter > most:
        return None
    bent &= bool(squares[1] - squares[0] > CERTAIN * max(scatter, most / UNEVEN) ** 2)
    return surfaces[0] if bent else surfaces[1]
