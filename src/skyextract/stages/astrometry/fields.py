"""Detections, and the reference stars that can be on their frame."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.record import record
from skyextract.sky.angles import ARCSEC
from skyextract.sky.plate import stereographic
from skyextract.stages.astrometry.pointing import Start


@record
class Field:
    """Detections and reference stars, the brightest first.

    Attributes
    ----------
    x, y : float64 (n,)
        Detections, 0-based pixels.
    wx, wy : float64 (n,)
        The same as expected on the sky, see `Start.expected`.
    reference : RefCatalog
        In the region where the frame can be.
    sx, sy : float64 (m,)
        Its stereographic coordinates about the expected centre, deg.
    ordered : bool
        Whether the brightness of both is known; else the order means nothing.
    """

    x: F8
    y: F8
    wx: F8
    wy: F8
    reference: RefCatalog
    sx: F8
    sy: F8
    ordered: bool

    def around(self, start: Start, ra: float, dec: float, radius: float) -> I8:
        """Return the reference stars within a radius (deg), and some a little farther."""
        x, y = stereographic(np.array([ra]), np.array([dec]), start.ra, start.dec)
        stretch = 1.1 * (1.0 + np.deg2rad(abs(x[0]) + abs(y[0]) + 2.0 * radius) ** 2)
        return np.flatnonzero(np.hypot(self.sx - x[0], self.sy - y[0]) < radius * stretch)

    def per_frame(self, start: Start, scale: float) -> float:
        """Return the reference stars per frame area at a scale (arcsec), where there are any."""
        if len(self.sx) == 0:
            return 0.0
        unit = scale / ARCSEC
        width, height = np.ptp(self.sx) / unit, np.ptp(self.sy) / unit
        return float(len(self.sx) * start.shape[0] * start.shape[1] / max(width * height, 1.0))


def make_fields(start: Start, x: F8, y: F8, reference: RefCatalog, *, ordered: bool) -> list[Field]:
    """Select the reference stars that can be on the frame, for each nominal scale.

    `x`, `y` must be finite and, if `ordered`, in order of brightness.
    """
    wx, wy = start.expected(x, y)
    known = np.isfinite(wx) & np.isfinite(wy)
    x, y, wx, wy = x[known], y[known], wx[known], wy[known]
    mag = reference.mag
    ordered = ordered and bool(np.any(np.isfinite(mag)))
    order = np.argsort(np.where(np.isfinite(mag), mag, np.inf), kind="stable")
    reference = reference.take(order)
    sx, sy = stereographic(reference.ra, reference.dec, start.ra, start.dec)
    distance = np.hypot(sx, sy)
    fields = []
    for scale in start.scales:
        half = 0.5 * math.hypot(*start.shape) * scale / ARCSEC * math.exp(start.log_range)
        reach = min(1.1 * half + start.position * math.sqrt(2.0), 170.0)
        near = distance <= 2.0 * math.degrees(math.tan(math.radians(reach / 2.0)))
        fields.append(Field(x, y, wx, wy, reference.take(near), sx[near], sy[near], ordered))
    return fields
