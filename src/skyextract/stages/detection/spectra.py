"""Sources that are spectra of others: a grating, a grism or a prism before the camera.

They are drawn out in one direction, and lie at one vector from the zero orders, which are as round
as stars are.  Satellites, bleeding and trailed stars have the direction alone.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools
from skyextract.datamodel.noise import median
from skyextract.record import record
from skyextract.stages.chance import log_as_many, log_choices

DRAWN_OUT, ROUND = 2.2, 1.6
"""Ratio of the axes of spectra, at least, and of zero orders, at most."""
LONGER = 1.5
"""Semi-major axes of spectra, at least, in units of the typical one."""
TURN = 5.0
"""Degrees by which directions differ that are one."""
LEAST, MOST = 8, 0.6
"""Number of spectra, at least, and share of the sources, at most."""
MIN_ROUND = 0.5
"""Share of the other sources that are round: else all are drawn out."""
MAX_SOURCES, MAX_LONG = 1500, 150
"""Zero orders and spectra, the brightest, that tell the vector."""
ACROSS, ALONG = 3.0, 1.0
"""How far places at one vector are apart: pixels across spectra, and semi-major axes of the long
ones along these."""
MIN_SHARE = 0.5
"""Share of the long spectra that lie at the vector."""
FALSE_ALARM = 1e-6
"""Probability of as many at any vector, and of as many of one direction, by chance."""
HALF = 2.4
"""Length of a spectrum on either side of its middle, in semi-major axes of the long ones."""
BRIGHTER = 1.5
"""Flux of a spectrum, in units of that of its zero order, at most."""


@record
class Spectra:
    """Spectra of sources.

    Attributes
    ----------
    rows : (n,) bool
        The sources that are one, or a piece of one.
    doubt : str
        What is there, in one line.
    """

    rows: Bools
    doubt: str


def find_spectra(x: F8, y: F8, a: F8, b: F8, theta: F8, flux: F8) -> Spectra | None:
    """Look for sources that are spectra of others.

    Parameters
    ----------
    x, y, a, b : (n,) float64
        Pixels.
    theta : (n,) float64
        Direction of the longer axis, deg from x towards y.
    flux : (n,) float64
        Image units.

    Returns
    -------
    Spectra or None
        None where there are none.
    """
    ratio = a / np.maximum(b, 1e-3)
    if a.size < LEAST:
        return None
    long = np.flatnonzero((ratio > DRAWN_OUT) & (a > LONGER * median(a)))
    if long.size < LEAST:
        return None
    drawn, direction = _of_one_direction(long, theta)
    others = np.ones(x.size, np.bool_)
    others[drawn] = False
    is_round = others & (ratio < ROUND) & (flux > 0.0)
    if not LEAST <= drawn.size <= MOST * x.size or is_round.sum() < MIN_ROUND * others.sum():
        return None
    longest = drawn[a[drawn] > 0.6 * np.quantile(a[drawn], 0.8)]
    longest = longest[np.argsort(-flux[longest], kind="stable")[:MAX_LONG]]
    zero = np.flatnonzero(is_round)
    zero = zero[np.argsort(-flux[zero], kind="stable")[:MAX_SOURCES]]
    half = median(a[longest])
    # Along spectra, and across.
    sin, cos = math.sin(direction), math.cos(direction)
    u, v = x * cos + y * sin, y * cos - x * sin
    vector = _common_vector(u, v, longest, zero, half)
    if vector is None:
        return None
    rows = np.zeros(x.size, np.bool_)
    rows[drawn] = True
    order = np.argsort(v, kind="stable")
    low, high = (np.searchsorted(v[order], v[zero] + vector[1] + s * ACROSS) for s in (-1.0, 1.0))
    for star, first, last in zip(zero, low, high, strict=True):
        near = order[first:last]
        along = np.abs(u[near] - u[star] - vector[0]) < HALF * half
        rows[near[along & (flux[near] < BRIGHTER * flux[star])]] = True
    dx, dy = vector[0] * cos - vector[1] * sin, vector[0] * sin + vector[1] * cos
    message = (
        f"{np.count_nonzero(rows)} of {x.size} sources are spectra of others, {dx:+.0f}, {dy:+.0f} "
        "pixels from them (a grating, a prism?; GHOST in FLAGS_SKY)"
    )
    return Spectra(rows, message)


def _of_one_direction(long: I8, theta: F8) -> tuple[I8, float]:
    """Return the sources of the most frequent direction, none by chance, and that, rad."""
    angle = theta[long]
    most, alike = most_alike(angle)
    n, k, p = long.size, int(np.count_nonzero(alike)), TURN / 90.0
    # The tail of the binomial distribution is below its first term over 1 - p n / k.
    log_chance = log_choices(n, k)
    log_chance += k * math.log(p) + (n - k) * math.log1p(-p) + math.log(2.0 * n)
    if p * n > 0.5 * k or log_chance > math.log(FALSE_ALARM):
        return np.zeros(0, np.int64), 0.0
    off = (angle[alike] - angle[most] + 90.0) % 180.0 - 90.0
    return long[alike], math.radians(float(angle[most] + median(off)))


def most_alike(angle: F8) -> tuple[int, Bools]:
    """Return which of some directions has most others within TURN, and which these are.

    Counted in order: of a crowd there are tens of thousands.

    Parameters
    ----------
    angle : (n,) float64
        Directions of axes, deg.
    """
    turned = angle % 180.0
    around = np.sort(np.concatenate([turned - 180.0, turned, turned + 180.0]))
    first = np.searchsorted(around, turned - TURN, side="right")
    most = int(np.argmax(np.searchsorted(around, turned + TURN) - first))
    return most, np.abs((angle - angle[most] + 90.0) % 180.0 - 90.0) < TURN


def _common_vector(u: F8, v: F8, long: I8, zero: I8, half: float) -> tuple[float, float] | None:
    """Return the vector from zero orders to spectra, along and across these; None without one."""
    du, dv = u[long][:, None] - u[zero], v[long][:, None] - v[zero]
    spectrum = np.broadcast_to(np.arange(long.size)[:, None], du.shape)
    apart = np.hypot(du, dv) > 2.0 * half
    du, dv, spectrum = du[apart], dv[apart], spectrum[apart]
    best, vector = 0, (0.0, 0.0)
    for shift_u in (0.0, 0.5):
        for shift_v in (0.0, 0.5):
            i = np.floor(du / (2.0 * ALONG * half) + shift_u).astype(np.int64)
            j = np.floor(dv / (2.0 * ACROSS) + shift_v).astype(np.int64)
            cell = (i - i.min()) * (int(np.ptp(j)) + 1) + j - j.min()
            pairs = np.unique(cell * long.size + spectrum)
            cells, number = np.unique(pairs // long.size, return_counts=True)
            if number.max(initial=0) > best:
                best = int(number.max())
                inside = cell == cells[np.argmax(number)]
                vector = median(du[inside]), median(dv[inside])
    near = (np.abs(du - vector[0]) < ALONG * half) & (np.abs(dv - vector[1]) < ACROSS)
    number_at = np.unique(spectrum[near]).size
    if number_at < max(LEAST, MIN_SHARE * long.size):
        return None
    area = float(np.ptp(u) * np.ptp(v)) + 1.0
    mean = long.size * zero.size * 4.0 * ALONG * half * ACROSS / area
    n_cells = 4.0 * area / (ALONG * half * ACROSS)
    if mean > 0.5 * number_at:
        return None
    log_chance = log_as_many(number_at, mean) + math.log(n_cells)
    return vector if log_chance < math.log(FALSE_ALARM) else None
