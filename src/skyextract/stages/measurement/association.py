"""Association of the sources with a list of positions (ASSOC_*)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F8, I4, I8

if TYPE_CHECKING:
    from skyextract.datamodel.catalog import Catalog

_NEEDS_WEIGHT = ("MEAN", "MAG_MEAN", "MIN", "MAX")


def associate(
    x: F8, y: F8, positions: F8, weights: F8 | None, data: F8, radius: float, kind: str
) -> tuple[F8, I4]:
    """Combine the data of the list's entries around each source.

    Parameters
    ----------
    x, y : (n,) float64
        Sources, FITS pixels.
    positions : (m, 2) float64
        Entries, FITS pixels; NaN is matched with nothing.
    weights : (m,) float64 or None
        Third of ASSOC_PARAMS; magnitudes for MAG_MEAN.  Without it, the types that need it
        become FIRST.
    data : (m, k) float64
    radius : float
        Pixels.
    kind : str
        ASSOC_TYPE.  MAG_SUM sums the data as magnitudes.

    Returns
    -------
    vectors : (n, k) float64
        0 without an associate.
    numbers : (n,) int32
        Number of associates; 1 for FIRST.
    """
    n, k = x.size, data.shape[1]
    vectors = np.zeros((n, k))
    numbers = np.zeros(n, dtype=np.int32)
    if weights is None:
        weights = np.zeros(len(positions))
        if kind in _NEEDS_WEIGHT:
            kind = "FIRST"
    # Entries in the order of y, as SExtractor meets them; the file's order among equals.
    order = np.argsort(positions[:, 1], kind="stable")
    order = order[np.isfinite(positions[order]).all(axis=1)]
    px, py = positions[order].T if order.size else (np.empty(0), np.empty(0))
    data, weights = data[order], weights[order]
    low = np.searchsorted(py, y - radius, side="left")
    high = np.searchsorted(py, y + radius, side="right")
    for i in np.flatnonzero(high > low):
        near = np.arange(low[i], high[i])
        distance2 = (px[near] - x[i]) ** 2 + (py[near] - y[i]) ** 2
        inside = distance2 < radius * radius
        near, distance2 = near[inside], distance2[inside]
        if near.size == 0:
            continue
        numbers[i] = near.size
        values, weight = data[near], weights[near]
        if kind == "FIRST":
            numbers[i] = 1
            vectors[i] = values[0]
        elif kind == "NEAREST":
            vectors[i] = values[np.argmin(distance2)]
        elif kind == "MIN":
            vectors[i] = values[np.argmin(weight)]
        elif kind == "MAX":
            vectors[i] = values[np.argmax(weight)]
        elif kind == "SUM":
            vectors[i] = values.sum(axis=0)
        elif kind == "MAG_SUM":
            total = _flux(values).sum(axis=0)
            vectors[i] = np.where(total > 0.0, -2.5 * np.log10(np.maximum(total, 1e-300)), 99.0)
        else:
            if kind == "MAG_MEAN":
                weight = _flux(weight)
            if weight.sum() < 1e-30:
                numbers[i] = 0
            else:
                vectors[i] = (values * weight[:, None]).sum(axis=0) / weight.sum()
    return vectors, numbers


def selected_rows(sources: Catalog, kind: str, faded: I8 | None) -> I8:
    """Return the rows to keep: those of ASSOCSELEC_TYPE, without what faded among clouds.

    Parameters
    ----------
    sources : Catalog
    kind : str
        ASSOCSELEC_TYPE.
    faded : (m,) int64 or None
        Rows to leave out.
    """
    rows = np.arange(sources.n_rows)
    if "NUMBER_ASSOC" in sources and kind != "ALL":
        rows = np.flatnonzero((sources["NUMBER_ASSOC"] > 0) == (kind != "-MATCHED"))
    return rows if faded is None else rows[~np.isin(rows, faded)]


def _flux(magnitudes: F8) -> F8:
    """Return fluxes of magnitudes; 99 and beyond is no flux."""
    known = np.abs(magnitudes) < 99.0
    result: F8 = np.where(known, 10.0 ** (-0.4 * np.where(known, magnitudes, 0.0)), 0.0)
    return result
