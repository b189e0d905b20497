"""Lines whose stars lie beside those of the lines between: fields of a video, lines read too late.

The two fields of an interlaced video are exposed one after the other; what moves in between is in
another place in every second row.  So it is where the clocks of a converter slip.  The sky does not
show it, but the middle of each star, taken from even and from odd lines alone.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, Bools
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.record import record

N_BRIGHTEST, MIN_STARS = 80, 8
"""Sources that are looked at, at most, and at least."""
MIN_SNR = 20.0
"""Flux of these in units of the noise in a square of one FWHM."""
MIN_SHIFT, SURE = 0.1, 8.0
"""Pixels by which the lines differ, at least, and times the error of that."""
MOST_SPREAD = 0.5
"""Scatter of the differences of single stars, in units of the typical one, at most."""
RADIUS = 1.5
"""FWHM about a source in which its light is looked at."""
_STEPS = 4


@record
class Fields:
    """Lines that are displaced by turns.

    Attributes
    ----------
    name : str
        rows or columns.
    shift : float
        Pixels by which stars in every second of them lie farther along these.
    doubt : str
        What is to be said, in one line.
    """

    name: str
    shift: float
    doubt: str


def find_fields(
    subtracted: F4, sigma: float, bad: Bools, x: F8, y: F8, flux: F8, fwhm: float
) -> Fields | None:
    """Compare the places of bright sources in even and in odd lines.

    Parameters
    ----------
    subtracted : (ny, nx) float32
        Background-subtracted image.
    sigma : float
        Noise of the background.
    bad : (ny, nx) bool
        Pixels without data.
    x, y, flux : (n,) float64
        Sources.
    fwhm : float
        Pixels; 0: unknown.

    Returns
    -------
    Fields or None
        The larger displacement; None where there is none, or too few sources tell.
    """
    if not (fwhm > 0.0 and sigma > 0.0):
        return None
    half = max(2, math.ceil(RADIUS * fwhm))
    i, j = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    ny, nx = subtracted.shape
    kept = (i >= half) & (i < nx - half) & (j >= half) & (j < ny - half)
    rows = np.flatnonzero(kept & (flux > MIN_SNR * sigma * fwhm))
    rows = rows[np.argsort(-flux[rows], kind="stable")][:N_BRIGHTEST]
    axis = np.arange(-half, half + 1)
    pixels = j[rows, None, None] + axis[:, None], i[rows, None, None] + axis
    good = ~bad[pixels].any(axis=(1, 2))
    if np.count_nonzero(good) < MIN_STARS:
        return None
    rows, stamps = rows[good], subtracted[pixels][good].astype(np.float64)
    places = x[rows] - i[rows], y[rows] - j[rows]
    found = [
        _displaced("rows", stamps, j[rows] - half, *places, fwhm),
        _displaced("columns", stamps.transpose(0, 2, 1), i[rows] - half, *places[::-1], fwhm),
    ]
    fields = [one for one in found if one is not None]
    return max(fields, key=lambda one: abs(one.shift), default=None)


def _displaced(
    name: str, stamps: F8, first: F8, along: F8, across: F8, fwhm: float
) -> Fields | None:
    """Return by how much the middles of stars differ between even and odd lines.

    Parameters
    ----------
    stamps : (n, m, m) float64
        [line, place in it].
    first : (n,) int64
        Which line of the frame that of the stamp is.
    along, across : (n,) float64
        Where a star is in its stamp, from the middle pixel.
    """
    half = stamps.shape[1] // 2
    axis = np.arange(-half, half + 1.0)
    variance = (max(fwhm, 2.0) / 2.3548) ** 2
    is_odd = (first[:, None] + np.arange(2 * half + 1)) % 2 == 1
    along, across = along.copy(), across.copy()
    for _ in range(_STEPS):
        u = axis - along[:, None]
        v = axis - across[:, None]
        light = stamps * np.exp(
            -0.5 * (u[:, None, :] ** 2 + v[:, :, None] ** 2) / variance
        )  # fmt: skip
        total = np.maximum(light.sum(axis=(1, 2)), 1e-30)
        along += np.clip(2.0 * (light * u[:, None, :]).sum(axis=(1, 2)) / total, -0.5, 0.5)
        across += np.clip(2.0 * (light * v[:, :, None]).sum(axis=(1, 2)) / total, -0.5, 0.5)
    sums = [
        (light.sum(axis=2) * lines, (light * u[:, None, :]).sum(axis=2) * lines)
        for lines in (is_odd, ~is_odd)
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        odd, even = (2.0 * moment.sum(axis=1) / part.sum(axis=1) for part, moment in sums)
    shifts = (odd - even)[(np.abs(odd) < half) & (np.abs(even) < half)]
    if shifts.size < MIN_STARS:
        return None
    shift, spread = median(shifts), robust_sigma(shifts)
    error = 1.25 * spread / math.sqrt(shifts.size)
    if abs(shift) < max(MIN_SHIFT, SURE * error) or spread > MOST_SPREAD * abs(shift):
        return None
    message = (
        f"stars in every second of the {name} lie {abs(shift):.1f} pixels beside those in the "
        f"{name} between (fields of a video, lines that were read too late?): positions are those "
        "of neither, and one star may be several sources"
    )
    return Fields(name, shift, message)
