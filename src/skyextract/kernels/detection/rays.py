"""What lies along straight lines through the peaks of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, U1, Bools


class Rays(NamedTuple):
    """Offsets of pixels, along lines of several directions.

    Attributes
    ----------
    right, up : (n_directions, n) int64
        From the peak along x and y.
    """

    right: I8
    up: I8


@helper
def _at(image: F4, x: int, y: int) -> np.float32:
    """Return a pixel; NaN outside."""
    if x < 0 or y < 0 or x >= image.shape[1] or y >= image.shape[0]:
        return np.float32(np.nan)
    return np.float32(image[y, x])


@helper
def _n_bright(light: F4, x: int, y: int, aside: Rays, d: int, limit: np.float32) -> int:
    """Return how many of the pixels beside a pixel are not below a limit, in one direction."""
    n = 0
    for i in range(aside.up.shape[1]):
        if not _at(light, x + aside.right[d, i], y + aside.up[d, i]) < limit:
            n += 1
    return n


@kernel
def mark_on_lines(
    light: F4, x: I8, y: I8, along: Rays, aside: Rays, low: np.float32, high: np.float32,
    dark: np.float32, max_bright: int, found: U1,
) -> None:  # fmt: skip
    """Mark the peaks that stand upon a line of light that is as bright as they are.

    A line is darker on both sides; stars may stand there, but not all along.

    Parameters
    ----------
    light : (ny, nx) float32
    x, y : (n,) int64
        Pixels of the peaks.
    along, aside : Rays
        Pixels of each line, and from each of these those beside it.
    low, high : float32
        Shares of the peak that pixels of a line are between.
    dark : float32
        Share of a pixel of the line that those beside are below: of the peak's all.
    max_bright : int
        So many pixels beside the others are brighter, at most.
    found : (n,) uint8
        Output: 1 for those.
    """
    for k in range(x.size):
        here = light[y[k], x[k]]
        found[k] = 0
        if not here > np.float32(0.0):
            continue
        least, most = low * here, high * here
        for d in range(along.up.shape[0]):
            upon = True
            for i in range(along.up.shape[1]):
                there = _at(light, x[k] + along.right[d, i], y[k] + along.up[d, i])
                if not (there > least and there < most):
                    upon = False
                    break
            if not upon or _n_bright(light, x[k], y[k], aside, d, dark * here) > 0:
                continue
            n = 0
            for i in range(along.up.shape[1]):
                right, up = x[k] + along.right[d, i], y[k] + along.up[d, i]
                n += _n_bright(light, right, up, aside, d, dark * light[up, right])
            if n <= max_bright:
                found[k] = 1
                break


@kernel
def brightest_floors(
    rest: F4, x: I8, y: I8, along: Rays, share: np.float32, floor: F8
) -> None:  # fmt: skip
    """Find the faintest pixel of the line through each peak on which that is brightest.

    Lines have half as many pixels as a ray and one more, and the peak is anywhere on them.  Those
    of a direction are not looked at where no ray is, at its quarters, above a share of the peak.

    Parameters
    ----------
    rest : (ny, nx) float32
    x, y : (n,) int64
        Pixels of the peaks.
    along : Rays
        Of 2 n + 1 pixels, in their order, the middle one the peak's.
    share : float32
    floor : (n,) float64
        Output; -inf where there is no such line.
    """
    n_pixels = along.up.shape[1]
    n = n_pixels // 2
    values = np.empty(n_pixels, np.float32)
    for k in range(x.size):
        least = share * rest[y[k], x[k]]
        best = np.float32(-np.inf)
        for d in range(along.up.shape[0]):
            right, up = along.right[d], along.up[d]
            first, second = n - n // 2, n + n // 2
            if not (
                _at(rest, x[k] + right[first], y[k] + up[first]) > least
                or _at(rest, x[k] + right[second], y[k] + up[second]) > least
            ):
                continue
            for i in range(n_pixels):
                value = _at(rest, x[k] + right[i], y[k] + up[i])
                values[i] = value if value == value else np.float32(-np.inf)
            for i in range(n + 1):
                lowest = values[i]
                for j in range(i + 1, i + n + 1):
                    lowest = min(lowest, values[j])
                best = max(best, lowest)
        floor[k] = best


_ROUNDING = 6755399441055744.0
"""1.5 x 2^52: with it added, and taken off again, a number is rounded to the nearest integer."""


@kernel
def along_rays(
    image: F4, bad: Bools, sigma: np.float32, x: float, y: float, dx: F8, dy: F8, value: F4
) -> None:  # fmt: skip
    """Read the pixels that are nearest to offsets from a place, in sigma.

    Parameters
    ----------
    image : (ny, nx) float32
    bad : (ny, nx) bool
    sigma : float32
    x, y : float
        The place.
    dx, dy : (n_rays, n) float64
    value : (n_rays, n) float32
        Output; NaN of bad pixels and outside.
    """
    ny, nx = image.shape
    for ray in range(value.shape[0]):
        for i in range(value.shape[1]):
            column = int(x + dx[ray, i] + _ROUNDING - _ROUNDING)
            row = int(y + dy[ray, i] + _ROUNDING - _ROUNDING)
            value[ray, i] = np.float32(np.nan)
            if 0 <= column < nx and 0 <= row < ny and not bad[row, column]:
                value[ray, i] = image[row, column] / sigma


@kernel
def clip_rays(value: F4, level: F4, limit: np.float32, mean: F4) -> None:
    """Take a level off each step of rays, clip what is left, and average it along each ray.

    Parameters
    ----------
    value : (n_rays, n) float32
        In and out; NaN where nothing is known.
    level : (n,) float32
    limit : float32
        Largest absolute value that is left.
    mean : (n_rays,) float32
        Output; infinite where half of the steps or fewer are known.
    """
    n = value.shape[1]
    for ray in range(value.shape[0]):
        line = value[ray]
        total, number = np.float32(0.0), 0
        for i in range(n):
            left = min(max(line[i] - level[i], -limit), limit)
            known = line[i] == line[i]
            line[i] = left if known else np.float32(np.nan)
            total += left if known else np.float32(0.0)
            number += known
        mean[ray] = total / np.float32(number) if 2 * number > n else np.float32(np.inf)
