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
def _can_stand_out(
    data: F4,
    limits: F8,
    directions: I8,
    y: int,
    x: int,
) -> bool:
    """Tell quickly whether any pair at all is below the PSF's limit.

    Nearly all bright pixels belong to stars and stop here.  A NaN beside the pixel, or the
    border, leaves the answer to the complete test.
    """
    ny, nx = data.shape
    if y < 2 or x < 2 or y >= ny - 2 or x >= nx - 2:
        return True
    flux = data[y, x]
    for k in range(6):
        dx, dy = directions[k, 0], directions[k, 1]
        mean = 0.5 * (float(data[y + dy, x + dx]) + float(data[y - dy, x - dx]))
        if not limits[k] * flux <= mean:
            return True
    return False


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
    first: int,
    last: int,
    found: I8,
) -> int:
    """List the pixels of rows first..last-1 that stand out; one pass over memory.

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
    found : ((last - first) * nx,) int64
        Output: index ``y * nx + x`` of the pixels.

    Returns
    -------
    int
        Number of pixels found.
    """
    nx = data.shape[1]
    cut = np.float32(contrast * contrast)
    high = np.empty(nx, dtype=np.bool_)
    n = 0
    for y in range(first, last):
        # Apart, so that the compiler vectorises the loop that sees every pixel.
        for x in range(nx):
            flux = max(data[y, x], np.float32(0.0))
            high[x] = flux * flux > cut * variance[y, x]
        for x in range(nx):
            if (
                high[x]
                and not state[y, x] & UNUSABLE
                and _can_stand_out(data, limits, directions, y, x)
                and _stands_out(
                    data, variance, state, inverse_gain, limits, directions, contrast, excess, y, x
                )
            ):
                found[n] = y * nx + x
                n += 1
    return n


@kernel
def mark_unusable(
    data: F4,
    mask: U2,
    planes: int,
    variance: F4,
    worst: np.float32,
    first: int,
    last: int,
    state: U1,
) -> None:
    """Set the state of the rows first..last-1 to UNUSABLE or 0.

    Unusable are pixels with one of the mask's `planes`, with a variance of `worst` or more,
    and those that are no number.
    """
    for y in range(first, last):
        for x in range(data.shape[1]):
            good = (
                ((mask[y, x] & planes) == 0)
                & (variance[y, x] < worst)
                & (abs(data[y, x]) < np.float32(np.inf))
            )
            state[y, x] = 0 if good else UNUSABLE


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
