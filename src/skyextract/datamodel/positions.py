"""Positions (windowed where there are such, else isophotal) and apertures of a catalogue."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.catalog import Catalog

_SIGMAS = 3.0
"""Size of an ellipse in units of A and B where the Kron radius is not known."""


def positions(catalog: Catalog) -> tuple[F8, F8, bool] | None:
    """Return FITS pixels x and y of each source, and whether they are windowed.

    A source without a windowed position has its isophotal one.  None: the catalogue has
    neither.
    """
    isophotal = _pair(catalog, "X_IMAGE", "Y_IMAGE")
    windowed = _pair(catalog, "XWIN_IMAGE", "YWIN_IMAGE")
    if windowed is None:
        return None if isophotal is None else (*isophotal, False)
    x, y = windowed
    if isophotal is not None:
        bad = ~(np.isfinite(x) & np.isfinite(y))
        x, y = np.where(bad, isophotal[0], x), np.where(bad, isophotal[1], y)
    return x, y, True


def _pair(catalog: Catalog, x: str, y: str) -> tuple[F8, F8] | None:
    if x not in catalog or y not in catalog:
        return None
    return np.asarray(catalog[x], np.float64), np.asarray(catalog[y], np.float64)


def kron_ellipses(catalog: Catalog) -> tuple[F8, F8, F8]:
    """Return the Kron aperture of each source, for drawings.

    Returns
    -------
    a, b : (n,) float64
        Semi-axes, pixels: A_IMAGE and B_IMAGE times KRON_RADIUS, or times 3 where it is not known.
    theta : (n,) float64
        Degrees, counter-clockwise from x.  All are NaN where the catalogue has no such columns.
    """
    names = ("KRON_RADIUS", "A_IMAGE", "B_IMAGE", "THETA_IMAGE")
    scale, a, b, theta = (
        np.asarray(catalog[n], np.float64) if n in catalog else np.full(catalog.n_rows, np.nan)
        for n in names
    )
    scale = np.where(scale > 0.0, scale, _SIGMAS)
    return scale * a, scale * b, theta
