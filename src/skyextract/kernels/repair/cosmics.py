"""Cosmic rays: pixels that stand out more than the PSF allows, and their neighbours.

For a point source, the mean of two opposite neighbours of a pixel cannot be lower than a
fraction of that pixel that only the PSF fixes.  The statement is linear, so that it holds
for every scene made of point sources and of things blurred by the PSF: galaxies, blends,
nebulae.  A pixel that violates it was not made by light through the telescope.  The idea,
and the repair and second look that follow, are those of the SDSS Photo and Rubin pipelines
(R. Lupton; Blanton's and Finkbeiner's notes in idlutils); the sums along a track are ours.

Constants of the pixel state plane (uint8): 0 usable, UNUSABLE, COSMIC, SEEN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, U1, U2

UNUSABLE = 1
COSMIC = 2
SEEN = 4

BLOCK = 32
"""Pixels of a row that are passed over together where none of them is bright."""

DIRECTIONS = np.array([[1, 0], [0, 1], [1, 1], [1, -1], [2, 0], [0, 2]], dtype=np.int64)
"""(dx, dy) of the pairs of opposite neighbours; the first four have a partner across."""


@kernel
def _value(
    data: F4,
    variance: F4,
    inverse_gain: float,
    y: int,
    x: int,
) -> tuple[float, float]:
    """Return flux above the background and its variance, photon noise included."""
    flux = float(data[y, x])
    return flux, float(variance[y, x]) + max(flux, 0.0) * inverse_gain


@kernel
def _pair(
    data: F4,
    variance: F4,
    state: U1,
    inverse_gain: float,
    y: int,
    x: int,
    dy: int,
    dx: int,
) -> tuple[float, float]:
    """Return the mean of two opposite neighbours and its variance, -1 if one is unusable."""
    ny, nx = data.shape
    y1, x1, y2, x2 = y + dy, x + dx, y - dy, x - dx
    if min(y1, y2, x1, x2) < 0 or max(y1, y2) >= ny or max(x1, x2) >= nx:
        return 0.0, -1.0
    if (state[y1, x1] | state[y2, x2]) & UNUSABLE:
        return 0.0, -1.0
    a, va = _value(data, variance, inverse_gain, y1, x1)
    b, vb = _value(data, variance, inverse_gain, y2, x2)
    return 0.5 * (a + b), 0.25 * (va + vb)


@kernel
def _stands_out(
    data: F4,
    variance: F4,
    state: U1,
    inverse_gain: float,
    limits: F8,
    directions: I8,
    contrast: float,
    excess: float,
    y: int,
    x: int,
) -> bool:
    """Tell whether a pixel stands out from its neighbours more than the PSF allows.

    It must exceed the mean of a pair by `contrast` sigma, and `limits` times it must exceed
    the mean by `excess` sigma: along that direction alone, summed with the two pixels beside
    it across the direction (a track), or summed over the directions (a single pixel).
    """
    ny, nx = data.shape
    flux, noise2 = _value(data, variance, inverse_gain, y, x)
    around, around2, limit_sum, n_around, high = 0.0, 0.0, 0.0, 0, False
    for k in range(6):
        dx, dy = directions[k, 0], directions[k, 1]
        mean, mean2 = _pair(data, variance, state, inverse_gain, y, x, dy, dx)
        if mean2 < 0.0:
            continue
        limit = limits[k]
        above = flux - mean
        surplus = limit * flux - mean
        surplus2 = limit * limit * noise2 + mean2
        if k < 4:
            around += mean
            around2 += mean2
            limit_sum += limit
            n_around += 1
        if above <= 0.0 or above * above <= contrast * contrast * (noise2 + mean2):
            continue
        high = True
        if surplus <= 0.0:
            continue
        if surplus * surplus > excess * excess * surplus2:
            return True
        if k >= 4 or surplus * surplus < surplus2:
            continue
        # The same with the neighbours across: noise falls, a track does not.
        across = directions[k ^ 1]
        total, total2 = surplus, surplus2
        for side in (-1, 1):
            ys, xs = y + side * across[1], x + side * across[0]
            if ys < 0 or xs < 0 or ys >= ny or xs >= nx or state[ys, xs] & UNUSABLE:
                continue
            mean, mean2 = _pair(data, variance, state, inverse_gain, ys, xs, dy, dx)
            if mean2 < 0.0:
                continue
            f, f2 = _value(data, variance, inverse_gain, ys, xs)
            total += limit * f - mean
            total2 += limit * limit * f2 + mean2
        if total > 0.0 and total * total > excess * excess * total2:
            return True
    if not high or n_around < 3:
        return False
    total = limit_sum * flux - around
    return total > 0.0 and total * total > excess * excess * (
        limit_sum * limit_sum * noise2 + around2
    )


@kernel
def find_seeds(
    data: F4,
    variance: F4,
    state: U1,
    inverse_gain: float,
    limits: F8,
    directions: I8,
    contrast: float,
    excess: float,
    bright: U1,
    first: int,
    last: int,
    found: I8,
) -> int:
    """List the pixels of rows first..last-1 that stand out.

    Parameters
    ----------
    data, variance : (ny, nx) float32
        Pixels without sky, and variance of the sky (the photon noise of sources is added).
    state : (ny, nx) uint8
        UNUSABLE pixels are neither tested nor compared with.
    inverse_gain : float
        ADU/e-; 0 for no photon noise.
    limits : (6,) float64
        Least ratio of pair mean to pixel that the PSF allows, per direction.
    directions : (6, 2) int64
        `DIRECTIONS`.
    contrast, excess : float
        Thresholds in sigma, see `_stands_out`.
    bright : (ny, n) uint8
        Blocks with pixels above `contrast`, as of `mark_unusable`.
    found : ((last - first) * nx,) int64
        Output: index ``y * nx + x`` of the pixels.

    Returns
    -------
    int
        Number of pixels found.
    """
    ny, nx = data.shape
    flat = data.reshape(-1)
    steps = directions[:, 1] * nx + directions[:, 0]
    cut = np.float32(contrast * contrast)
    n = 0
    for y in range(first, last):
        for b in range(bright.shape[1]):
            if bright[y, b] == 0:
                continue
            for x in range(b * BLOCK, min((b + 1) * BLOCK, nx)):
                value = data[y, x]
                flux = max(value, np.float32(0.0))
                if not flux * flux > cut * variance[y, x] or state[y, x] & UNUSABLE:
                    continue
                # Nearly all bright pixels are of stars, and need no complete test, but at the
                # border: no pair is below the PSF's limit, or none is far below the pixel.
                p = y * nx + x
                if 2 <= y < ny - 2 and 2 <= x < nx - 2:
                    within, high = True, False
                    noise2 = float(variance[y, x]) + float(flux) * inverse_gain
                    least = contrast * contrast * noise2
                    for k in range(6):
                        mean = 0.5 * (float(flat[p + steps[k]]) + float(flat[p - steps[k]]))
                        above = float(value) - mean
                        high |= above > 0.0 and above * above > least
                        within &= limits[k] * value <= mean
                    if within or not high:
                        continue
                if _stands_out(
                    data, variance, state, inverse_gain, limits, directions, contrast, excess, y, x
                ):
                    found[n] = p
                    n += 1
    return n


@kernel
def mark_unusable(
    data: F4,
    mask: U2,
    planes: int,
    variance: F4,
    worst: np.float32,
    contrast: float,
    first: int,
    last: int,
    state: U1,
    bright: U1,
) -> None:
    """Set the state of the rows first..last-1 to UNUSABLE or 0, and tell where they are bright.

    Unusable are pixels with one of the mask's `planes`, with a variance of `worst` or more,
    and those that are no number.

    Parameters
    ----------
    contrast : float
        Bright is what exceeds so many sigma of the sky.
    bright : (ny, ceil(nx / BLOCK)) uint8, output
        1 for blocks of a row with such pixels, else 0.
    """
    nx = data.shape[1]
    cut = np.float32(contrast * contrast)
    high = np.zeros(bright.shape[1] * BLOCK, np.uint8)
    words = high.view(np.uint64)
    for y in range(first, last):
        for x in range(nx):
            good = (
                ((mask[y, x] & planes) == 0)
                & (variance[y, x] < worst)
                & (abs(data[y, x]) < np.float32(np.inf))
            )
            state[y, x] = 0 if good else UNUSABLE
            flux = max(data[y, x], np.float32(0.0))
            high[x] = flux * flux > cut * variance[y, x]
        for b in range(bright.shape[1]):
            some = words[4 * b] | words[4 * b + 1] | words[4 * b + 2] | words[4 * b + 3]
            bright[y, b] = np.uint8(some != 0)


@kernel
def grow(
    charge: F8,
    data: F4,
    variance: F4,
    state: U1,
    inverse_gain: float,
    limits: F8,
    directions: I8,
    contrast: float,
    excess: float,
    ys: I8,
    xs: I8,
    new: U1,
) -> None:
    """Test the eight neighbours of the given cosmic-ray pixels, in an image repaired so far.

    A neighbour must itself be above the sky by `contrast` sigma (the repaired values beside it
    are guesses and can be too low), and not brighter than the pixel it borders on: charge
    spreads downhill, and a star that a faint track crosses must not be eaten from its edge.

    Parameters
    ----------
    charge : (n,) float64
        The pixels found before as observed, without sky.
    data : (ny, nx) float32
        Pixels without sky, those found before replaced.
    ys, xs : (n,) int64
        Pixels found before.
    new : (n, 8) uint8
        Output: whether the neighbour (row by row around the pixel) is one, too.
    """
    ny, nx = data.shape
    for i in range(len(ys)):
        parent = charge[i]
        k = 0
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                if dy == 0 and dx == 0:
                    continue
                y, x = ys[i] + dy, xs[i] + dx
                hit = 0
                if 0 <= y < ny and 0 <= x < nx and state[y, x] == 0:
                    flux, noise2 = _value(data, variance, inverse_gain, y, x)
                    if (
                        0.0 < flux <= parent
                        and flux * flux > contrast * contrast * noise2
                        and _stands_out(
                            data, variance, state, inverse_gain, limits, directions,
                            contrast, excess, y, x,
                        )
                    ):  # fmt: skip
                        hit = 1
                new[i, k] = hit
                k += 1


@kernel
def cap_by_pairs(
    data: F4,
    variance: F4,
    state: U1,
    directions: I8,
    ys: I8,
    xs: I8,
) -> None:
    """Lower repaired pixels to the highest mean of a pair of opposite neighbours.

    Beside a wide track whose edge is not found yet, a prediction extrapolates that edge; the
    pair that reaches across to the other side tells better.

    Parameters
    ----------
    data : (ny, nx) float32
        Pixels without sky, with predictions at (`ys`, `xs`); changed there.
    """
    ny, nx = data.shape
    for i in range(len(ys)):
        y, x = ys[i], xs[i]
        highest = -np.inf
        for k in range(4):
            dx, dy = directions[k, 0], directions[k, 1]
            if x < 1 or x + 1 >= nx or y < 1 or y + 1 >= ny:
                continue
            if state[y + dy, x + dx] != 0 or state[y - dy, x - dx] != 0:
                continue
            mean, _ = _pair(data, variance, state, 0.0, y, x, dy, dx)
            highest = max(highest, mean)
        if highest > -np.inf:
            data[y, x] = min(data[y, x], np.float32(highest))


@kernel
def count_tracks(state: U1, ys: I8, xs: I8) -> int:
    """Return the number of 8-connected groups of COSMIC pixels; marks them SEEN.

    `ys`, `xs` list every COSMIC pixel once; `state` is the caller's own copy.
    """
    ny, nx = state.shape
    stack = np.empty(max(len(ys), 1), dtype=np.int64)
    n_tracks = 0
    for i in range(len(ys)):
        if state[ys[i], xs[i]] & SEEN:
            continue
        n_tracks += 1
        state[ys[i], xs[i]] |= SEEN
        stack[0] = ys[i] * nx + xs[i]
        depth = 1
        while depth > 0:
            depth -= 1
            yc, xc = stack[depth] // nx, stack[depth] % nx
            for y in range(max(yc - 1, 0), min(yc + 2, ny)):
                for x in range(max(xc - 1, 0), min(xc + 2, nx)):
                    if state[y, x] & COSMIC and not state[y, x] & SEEN:
                        state[y, x] |= SEEN
                        stack[depth] = y * nx + x
                        depth += 1
    return n_tracks
