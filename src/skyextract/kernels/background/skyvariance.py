"""The variance of the sky beneath sources, from the pixels about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.values import NO_INFORMATION

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8


class Light(NamedTuple):
    """Which pixels hold light, and which variance may be that of light.

    Attributes
    ----------
    sigmas : float
        Pixels farther above the sky, in their own sigma, hold light.
    photons : float
        Variance that one image unit of light has at most.
    flat_error : float
        Error of the light that the flat field has.
    steps : float
        Variances of more times that beside are of pixels that are noisy.
    """

    sigmas: float
    photons: float
    flat_error: float
    steps: float


@kernel
def sum_dark_weights(
    variance: F4, image: F4, sigmas: float, side: int, first: int, past: int, total: F8,
    number: F8,
) -> None:  # fmt: skip
    """Sum the inverse variances of pixels without light in cells.

    Parameters
    ----------
    variance, image : (ny, nx) float32
        Background variance and background-subtracted image.
    side : int
        Pixels on a side of a cell.
    first, past : int
        Rows of cells.
    total, number : (n_y, n_x), output
        Sums of the cells, and their pixels; 0 on entry.
    """
    ny, nx = image.shape
    square, unknown = np.float32(sigmas * sigmas), np.float32(NO_INFORMATION)
    zero, one = np.float32(0.0), np.float32(1.0)
    for y in range(first * side, min(past * side, ny)):
        values, given = image[y], variance[y]
        for cell in range(total.shape[1]):
            weight, n = zero, zero
            for x in range(cell * side, min(cell * side + side, nx)):
                v, value = given[x], max(values[x], zero)
                dark = (v < unknown) & (value * value <= square * v)
                weight += one / v if dark else zero
                n += one if dark else zero
            total[y // side, cell] += np.float64(weight)
            number[y // side, cell] += np.float64(n)


@kernel
def fill_light(
    variance: F4, image: F4, weights: F8, side: int, light: Light, first: int, past: int, out: F4
) -> None:
    """Copy rows of a variance; pixels with light get that of the weights about them.

    Parameters
    ----------
    weights : (n_y, n_x)
        Mean inverse variance about the centres of the cells.
    out : (ny, nx) float32, output
    """
    nx = image.shape[1]
    n_y, n_x = weights.shape
    square, unknown = np.float32(light.sigmas**2), np.float32(NO_INFORMATION)
    for y in range(first, past):
        values, given, row = image[y], variance[y], out[y]
        at_y = min(max((y + 0.5) / side - 0.5, 0.0), n_y - 1.0)
        j = min(int(at_y), max(n_y - 2, 0))
        lower, upper, part_y = weights[j], weights[min(j + 1, n_y - 1)], at_y - j
        for x in range(nx):
            v, value = given[x], max(values[x], np.float32(0.0))
            row[x] = v
            if not ((v < unknown) & (value * value > square * v)):
                continue
            at_x = min(max((x + 0.5) / side - 0.5, 0.0), n_x - 1.0)
            i = min(int(at_x), max(n_x - 2, 0))
            k, part_x = min(i + 1, n_x - 1), at_x - i
            below = lower[i] + part_x * (lower[k] - lower[i])
            above = upper[i] + part_x * (upper[k] - upper[i])
            beside = 1.0 / (below + part_y * (above - below))
            signal = float(value)
            most = light.steps * beside + light.photons * signal + (light.flat_error * signal) ** 2
            if v <= most:
                row[x] = beside
