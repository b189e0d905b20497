"""Pairs of sources that one shift, with some magnification, brings together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8


@kernel
def count_stretches(
    bright: F8, image: F8, mirror_x: float, mirror_y: float, most: float, tolerance: float,
    long: float, step: float, number: I8,
) -> None:  # fmt: skip
    """Let all pairs of pairs vote for a magnification: a side of one triangle, and of its image.

    Parameters
    ----------
    bright, image : (3, n) float64
        x, y, in pixels, and magnitude of the first and of the second source of each pair.
    mirror_x, mirror_y : float
        Factors of x and y, 1 or -1.
    most : float
        Magnifications of 1 +- this are counted.
    tolerance : float
        Pixels by which the side of the image may be off.
    long : float
        Sides above that length count, pixels.
    step : float
        Width of the bins.
    number : (n_bins,) int64
        Votes, 0 on entry; those for no magnification are in the middle.
    """
    middle = (number.size - 1) // 2
    for i in range(bright.shape[1]):
        for j in range(i + 1, bright.shape[1]):
            x = mirror_x * bright[0, i] - mirror_x * bright[0, j]
            y = mirror_y * bright[1, i] - mirror_y * bright[1, j]
            squared = x * x + y * y
            if not squared > long * long:
                continue
            seen_x = image[0, i] - image[0, j]
            seen_y = image[1, i] - image[1, j]
            stretch = (x * seen_x + y * seen_y) / max(squared, 1.0)
            off = seen_x * seen_x + seen_y * seen_y - squared * stretch * stretch
            if abs(stretch - 1.0) <= most and off <= tolerance * tolerance:
                number[int(np.rint((stretch - 1.0) / step)) + middle] += 1


@kernel
def densest_shift(
    bright: F8, image: F8, mirror_x: float, mirror_y: float, stretches: F8, spread: float,
    tolerance: float,
) -> tuple[int, int, int]:  # fmt: skip
    """Find the pair with whose shift most others agree.

    Parameters
    ----------
    bright, image, mirror_x, mirror_y
        As of `count_stretches`.
    stretches : (n_stretches,) float64
        Magnifications that are tried.
    spread : float
        Magnitudes by which the differences of two pairs that agree may differ.
    tolerance : float
        Pixels by which their shifts may differ.

    Returns
    -------
    most, pair, stretch : int
        How many agree, that pair among them, and the indices of pair and magnification; of
        equal ones the first.
    """
    n = bright.shape[1]
    most, best, chosen = 0, 0, 0
    for k in range(stretches.size):
        a = mirror_x * stretches[k]
        b = mirror_y * stretches[k]
        for i in range(n):
            dx = image[0, i] - a * bright[0, i]
            dy = image[1, i] - b * bright[1, i]
            fainter = image[2, i] - bright[2, i]
            number = 0
            for j in range(n):
                x = dx - (image[0, j] - a * bright[0, j])
                y = dy - (image[1, j] - b * bright[1, j])
                alike = abs(fainter - (image[2, j] - bright[2, j])) <= spread
                number += int(alike and x * x + y * y <= tolerance * tolerance)
            if number > most:
                most, best, chosen = number, i, k
    return most, best, chosen
