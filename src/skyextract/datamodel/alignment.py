"""Whether pixels of two images with one grid are those of one place on the sky, by their WCS."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.wcs import SkyWcs
from skyextract.errors import ImageError
from skyextract.sky.angles import ARCSEC
from skyextract.sky.frames import tangent_axes, unit_vectors

MOST = 2.0
"""Pixels: those that were fitted to each of registered images differ by less."""


def apart_by_headers(first: SkyWcs | None, second: SkyWcs | None, shape: tuple[int, int]) -> str:
    """Tell how far the second image lies from the first one; empty if alike, or not known.

    Pixels in the middle and the corners are compared; their median counts, since distortions
    that were fitted differ most in corners.

    Parameters
    ----------
    first, second : SkyWcs or None
    shape : (int, int)
        Of both images, [y, x].

    Returns
    -------
    str
        `(+30.0, +0.0) pixels`: where stars of the second have the places of those of the first;
        `up to 362 pixels` of a rotation or another scale; degrees, where they have no sky in
        common.
    """
    if first is None or second is None or first.to_header() == second.to_header():
        return ""
    x = np.array([0.5, 0.0, 1.0, 0.0, 1.0]) * (shape[1] - 1)
    y = np.array([0.5, 0.0, 0.0, 1.0, 1.0]) * (shape[0] - 1)
    try:
        own, sky = second.to_j2000(x, y), first.to_j2000(x, y)
        jacobian = second.jacobian(x, y)
    except ImageError:  # what wcslib refuses is told where it is needed
        return ""
    east, north = tangent_axes(*own)
    away = unit_vectors(*sky) - unit_vectors(*own)
    steps = np.degrees(np.stack([(away * east).sum(-1), (away * north).sum(-1)], axis=-1))
    if not (np.isfinite(steps).all() and (np.abs(np.linalg.det(jacobian)) > 0.0).all()):
        return ""
    shifts: F8 = np.linalg.solve(jacobian, steps[..., None])[..., 0]
    distances = np.hypot(*shifts.T)
    if not np.median(distances) > MOST:
        return ""
    angle = 2.0 * math.degrees(math.asin(min(0.5 * float(np.linalg.norm(away[0])), 1.0)))
    diagonal = math.hypot(*shape) * second.pixel_scale(float(x[0]), float(y[0])) / ARCSEC
    if angle > diagonal:
        return f"{angle:.3g} degrees"
    common = np.round(np.median(shifts, axis=0), 1) + 0.0  # no -0.0
    if np.median(np.hypot(*(shifts - common).T)) > MOST:
        return f"up to {distances.max():.0f} pixels (turned, or of another scale)"
    return f"({common[0]:+.1f}, {common[1]:+.1f}) pixels"


def wcs_or_none(header: Any) -> SkyWcs | None:
    """Return the WCS of a header; None where there is none that can be read."""
    try:
        return SkyWcs.from_header(header)
    except ImageError:
        return None
