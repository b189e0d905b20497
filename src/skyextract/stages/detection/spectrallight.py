"""Light of spectra beside stars that is in too few sources to be told by these.

A grating before the camera draws out the light of all stars alike: what lies at one distance from
each of them, in one direction, is a share of its flux.  Few spectra may be bright enough to be
sources, or pieces of such, which tell the direction; the sum over the brightest stars of the pixels
along it, weighted by their fluxes, shows whether there is a line, and lines beside it what chance,
other stars and structure can do.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.stages.detection.marked import Marked
from skyextract.stages.detection.spectra import BRIGHTER, DRAWN_OUT, LONGER, ROUND, most_alike

LEAST = 3
"""Sources that are drawn out in one direction, at least: edge-on galaxies are, too, and it is the
light that decides."""
STARS, MIN_STARS = 24, 6
"""Stars that are summed, at most and at least."""
CAPPED = 4
"""No star weighs more than the one of this number."""
REACH = 320
"""Pixels from the stars up to which light is looked for..."""
NEAREST = 6.0
"""... from so many FWHM on: spikes, bleeding and smear begin at the star."""
WIDTH, BESIDE = 5, (8, 13, 18, 23)
"""Pixels across that are summed, and distances of the lines that are compared, on both sides."""
LENGTH = 30
"""Pixels along the line that are summed."""
CLIP = 4.0
"""Pixels are other sources beyond so many sigma."""
SIGNIFICANT, OF_HALF = 10.0, 6.0
"""The sum over the stars, and over either half of them, in units of the scatter of the lines beside
it, at least."""
EDGE = 0.3
"""Share of the highest sum that ends a spectrum, and that is not passed where lines begin."""
VISIBLE = 0.3
"""Light of a spectrum, sigma per pixel, that makes sources."""
ACROSS = 3.0
"""Distance of pieces from the line, at most, pixels."""


def find_spectral_light(
    image: F4, sigma: float, bad: Bools, x: F8, y: F8, a: F8, b: F8, theta: F8, flux: F8,
    fwhm: float,
) -> Marked | None:  # fmt: skip
    """Look for light at one distance and in one direction from all bright stars.

    Parameters
    ----------
    image : (ny, nx) float32
        Without its background.
    sigma : float
        Noise of the sky.
    bad : (ny, nx) bool
        Pixels without signal.
    x, y, a, b : (n,) float64
        Sources, pixels.
    theta : (n,) float64
        Direction of the longer axis, deg from x towards y.
    flux : (n,) float64
        Image units.
    fwhm : float
        Of stars, pixels.

    Returns
    -------
    Marked or None
        None where there is none.
    """
    ratio = a / np.maximum(b, 1e-3)
    direction = _direction(ratio, a, theta)
    zero = np.flatnonzero((ratio < ROUND) & (flux > 0.0))
    if direction is None or zero.size < MIN_STARS:
        return None
    zero = zero[np.argsort(-flux[zero], kind="stable")]
    sin, cos = math.sin(direction), math.cos(direction)
    light, weight = _along(image, sigma, bad, x[zero[:STARS]], y[zero[:STARS]], sin, cos)
    weight *= np.minimum(flux[zero[:STARS]], flux[zero[min(CAPPED, zero.size) - 1]])[:, None, None]
    line, of_unit = _summed(light, weight, slice(None))
    middle = REACH
    near = np.abs(np.arange(line.size) - middle) <= NEAREST * fwhm + 0.5 * LENGTH
    line[near] = 0.0
    halves = [_summed(light, weight, slice(k, None, 2))[0] for k in (0, 1)]
    rows = np.zeros(x.size, np.bool_)
    u, v = x * cos + y * sin, y * cos - x * sin
    vectors = []
    for side in (slice(0, middle), slice(middle, None)):
        best = int(np.argmax(line[side])) + (side.start or 0)
        if line[best] < SIGNIFICANT or min(half[best] for half in halves) < OF_HALF:
            continue
        first, last = _ends(line, best)
        inner = first if best > middle else last
        if near[inner - 1 if best > middle else inner + 1]:
            continue
        share = float(of_unit[first : last + 1].mean())
        rows |= _pieces(u, v, flux, zero, (first - middle, last - middle), share, sigma)
        vectors.append(0.5 * (first + last) - middle)
    if not rows.any():
        return None
    where = " and ".join(f"{d * cos:+.0f}, {d * sin:+.0f}" for d in vectors)
    message = (
        f"{np.count_nonzero(rows)} of {x.size} sources are pieces of spectra, faint light at "
        f"{where} pixels from all bright stars (a grating?; GHOST in FLAGS_SKY)"
    )
    return Marked(rows, message)  # of many the sources themselves tell


def _direction(ratio: F8, a: F8, theta: F8) -> float | None:
    """Return the most frequent direction of what is drawn out, rad; None without one."""
    if a.size < LEAST + MIN_STARS:
        return None
    long = np.flatnonzero((ratio > DRAWN_OUT) & (a > LONGER * median(a)))
    if long.size < LEAST:
        return None
    _, alike = most_alike(theta[long])
    if np.count_nonzero(alike) < LEAST:
        return None
    # The longest knows best.
    of = long[alike]
    turn = (theta[of] - theta[of[np.argmax(a[of])]] + 90.0) % 180.0 - 90.0
    angle = theta[of[np.argmax(a[of])]] + np.average(turn, weights=a[of] ** 2)
    return math.radians(float(angle))


def _along(
    image: F4, sigma: float, bad: Bools, x: F8, y: F8, sin: float, cos: float
) -> tuple[F8, F8]:
    """Return pixels along and across a direction about stars, in sigma, and which are known.

    Returns
    -------
    light, known : (n, 2 REACH + 1, width) float64
    """
    half = BESIDE[-1] + WIDTH // 2
    along, across = np.meshgrid(
        np.arange(-REACH, REACH + 1), np.arange(-half, half + 1), indexing="ij"
    )
    column = np.rint(x[:, None, None] + (along * cos - across * sin)).astype(np.int64)
    row = np.rint(y[:, None, None] + (along * sin + across * cos)).astype(np.int64)
    ny, nx = image.shape
    known = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    pixel = np.where(known, row * nx + column, 0)
    known &= ~np.take(bad, pixel)
    light = np.clip(np.take(image, pixel) / sigma, -CLIP, CLIP)
    return np.where(known, light, 0.0).astype(np.float64), known.astype(np.float64)


def _summed(light: F8, weight: F8, some: slice) -> tuple[F8, F8]:
    """Return the sum over stars along the line, in units of the scatter of those beside it.

    Returns
    -------
    line : (2 REACH + 1,) float64
    of_unit : (2 REACH + 1,) float64
        Light of the line's pixels over the flux of the star, sigma.
    """
    light, weight = light[some], weight[some]
    total, squares = (weight * light).sum(axis=0), (weight**2).sum(axis=0)
    middle, half = total.shape[1] // 2, WIDTH // 2
    box = np.ones(LENGTH)
    lines, units = [], []
    for at in (0, *BESIDE, *(-d for d in BESIDE)):
        strip = slice(middle + at - half, middle + at + half + 1)
        summed = np.convolve(total[:, strip].sum(axis=1), box, "same")
        norm = np.convolve(squares[:, strip].sum(axis=1), box, "same")
        norm = np.maximum(norm, 1e-3 * norm.max(initial=1e-30))
        lines.append(summed / np.sqrt(norm))
        units.append(summed / norm)
    level = np.median(lines[1:], axis=0)
    scatter = max(robust_sigma((np.array(lines[1:]) - level).ravel()), 1.0)
    return (lines[0] - level) / scatter, units[0] - np.median(units[1:], axis=0)


def _ends(line: F8, best: int) -> tuple[int, int]:
    """Return the first and the last place about the best one that have a share of its sum."""
    low = line < EDGE * line[best]
    before, after = np.flatnonzero(low[:best]), np.flatnonzero(low[best:])
    first = int(before[-1]) + 1 if before.size else 1
    last = best + int(after[0]) - 1 if after.size else line.size - 2
    return first, last


def _pieces(
    u: F8, v: F8, flux: F8, zero: I8, ends: tuple[int, int], share: float, sigma: float
) -> Bools:
    """Tell which sources are pieces of a spectrum.

    Parameters
    ----------
    u, v : (n,) float64
        Along spectra and across.
    zero : (k,) int64
        Stars, the brightest first.
    ends : (int, int)
        Distances at which spectra begin and end.
    share : float
        Light of their pixels over the flux of the star, sigma.
    """
    rows = np.zeros(u.size, np.bool_)
    whole = share * sigma * WIDTH * (ends[1] - ends[0] + 1)
    for star in zero:
        if share * flux[star] < VISIBLE:
            break
        along = u - u[star]
        at = (along > ends[0]) & (along < ends[1]) & (np.abs(v - v[star]) < ACROSS)
        rows |= at & (flux < BRIGHTER * whole * flux[star])
    return rows
