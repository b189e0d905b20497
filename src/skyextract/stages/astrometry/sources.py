"""The sources of a catalogue as astrometry needs them: positions, errors, brightness."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.noise import median
from skyextract.datamodel.positions import positions
from skyextract.record import record

FLUX_NAMES = ("AUTO", "PSF", "APER", "ISO", "WIN")
"""Fluxes that order the sources, the first that there is."""


@record
class Sources:
    """Sources with a finite position, the brightest first if `ordered`.

    Attributes
    ----------
    x, y : float64 (n,)
        0-based pixels.
    variance : float64 (n,)
        Of one axis, pixels squared; 0 if unknown.
    snr : float64 (n,)
        Signal to noise; inf if unknown.
    flags : int64 (n,)
        SExtractor's FLAGS.
    row : int64 (n,)
        Place in the catalogue.
    ordered : bool
        Whether the brightness is known.
    """

    x: F8
    y: F8
    variance: F8
    snr: F8
    flags: I8
    row: I8
    ordered: bool


def _column(catalog: Catalog, *names: str) -> F8 | None:
    """Return the first of the columns that exists; of a vector column its first element."""
    for name in names:
        if name in catalog:
            values = np.asarray(catalog[name], np.float64)
            return values[:, 0] if values.ndim == 2 else values
    return None


def read_sources(catalog: Catalog) -> Sources:
    """Take positions, errors, brightness and flags from the catalogue's columns.

    Windowed positions where there are any, and of an object without one the isophotal.

    Raises
    ------
    KeyError
        No positions at all.
    """
    found = positions(catalog)
    if found is None:
        raise KeyError("the catalogue has neither XWIN_IMAGE, YWIN_IMAGE nor X_IMAGE, Y_IMAGE")
    x, y, window = found
    n = len(x)
    kind = "WIN" if window else ""
    xx, yy = _column(catalog, f"ERRX2{kind}_IMAGE"), _column(catalog, f"ERRY2{kind}_IMAGE")
    a, b = _column(catalog, f"ERRA{kind}_IMAGE"), _column(catalog, f"ERRB{kind}_IMAGE")
    variance = np.zeros(n)
    if xx is not None and yy is not None:
        variance = 0.5 * (xx + yy)
    elif a is not None and b is not None:
        variance = 0.5 * (a * a + b * b)
    known = np.isfinite(variance) & (variance > 0.0)
    typical = median(variance[known]) if known.any() else 0.0
    variance = np.where(known, variance, typical)
    named = next((name for name in FLUX_NAMES if f"FLUX_{name}" in catalog), "")
    flux, error = _column(catalog, f"FLUX_{named}"), _column(catalog, f"FLUXERR_{named}")
    if flux is None:
        mag = _column(catalog, *(f"MAG_{name}" for name in FLUX_NAMES))
        flux = np.zeros(n) if mag is None else 10.0 ** (-0.4 * np.where(mag < 90.0, mag, np.nan))
    snr = np.full(n, np.inf)
    if error is not None:
        snr = np.where(error > 0.0, flux / np.where(error > 0.0, error, 1.0), np.inf)
    elif (given := _column(catalog, "SNR_WIN")) is not None:
        snr = given
    flags = catalog["FLAGS"].astype(np.int64) if "FLAGS" in catalog else np.zeros(n, np.int64)
    flux = np.where(np.isfinite(flux), flux, -np.inf)
    row = np.argsort(-flux, kind="stable")
    row = row[(np.isfinite(x) & np.isfinite(y))[row]]
    ordered = bool(np.any(flux[row] != flux[row[:1]]))
    return Sources(x[row] - 1.0, y[row] - 1.0, variance[row], snr[row], flags[row], row, ordered)
