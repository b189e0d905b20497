"""The match table: which source was paired with which star of a reference catalogue."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F8, I8, AnyArray
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.refcatalog import RefCatalog

MIN_RADIUS = 1.5
"""Least radius in pixels: CROSSID_RADIUS can be smaller than a wide field's pixel ..."""
MAX_RADIUS = 300.0
"""... but no pixel makes it larger than this, arcsec: a header may say one degree per pixel."""


def match_radius(crossid_radius: float, pixel_scale: float) -> float:
    """Return the radius within which a source and a star are one, arcsec (pixel_scale, too)."""
    return max(crossid_radius, min(MIN_RADIUS * pixel_scale, MAX_RADIUS))


def match_table(
    catalog: Catalog, rows: I8, x: F8, y: F8, reference: RefCatalog, stars: I8, mag: F8,
    **columns: AnyArray,
) -> Catalog:  # fmt: skip
    """Return one row per pair.

    Parameters
    ----------
    catalog : Catalog
        The sources; without a column NUMBER their numbers are those of the rows.
    rows : (n,) int64
        Row of each source.
    x, y : (n,) float64
        Its position, 0-based pixels.
    reference : RefCatalog
    stars : (n,) int64
        Row in it of each star.
    mag : (n,) float64
        The star's magnitude.
    columns
        What the step says of each pair.
    """
    number = np.asarray(catalog["NUMBER"]) if "NUMBER" in catalog else np.arange(catalog.n_rows) + 1
    return Catalog({
        "NUMBER": number[rows].astype(np.int32),
        "REFERENCE_ROW": reference.row[stars],
        "X_IMAGE": x + 1.0,
        "Y_IMAGE": y + 1.0,
        "ALPHA_REFERENCE": reference.ra[stars],
        "DELTA_REFERENCE": reference.dec[stars],
        "MAG_REFERENCE": mag,
        **columns,
    })  # fmt: skip
