"""The positions of a catalogue: windowed where there are such, else isophotal."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.catalog import Catalog


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
