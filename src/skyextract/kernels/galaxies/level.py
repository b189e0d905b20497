"""Sums of the sky between sources, and the light of sources that is counted with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.pixels import Pixels
from skyextract.kernels.galaxies.sersic import N_GAUSSIANS, sersic_mixture
from skyextract.kernels.galaxies.source import DISK, INDEX, RADIUS, SPHEROID
from skyextract.kernels.jit import helper, kernel, summation
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, U1

DARK = 0.2
"""Sky has less light of models than this, in sigma of the pixels."""
CLIP = 4.0
"""And no pixel beyond this."""
IMAGE, RESIDUAL, NOTHING = 0, 1, 2
"""Where the sky is seen: in the image, in what the models leave of it, nowhere."""


@kernel
def sum_sky(
    pixels: Pixels, boxes: I8, apart: U1, elsewhere: int, first: int, past: int, width: int,
    sums: F8,
) -> None:  # fmt: skip
    """Sum the sky in cells side by side, pixels in inverse proportion to their variance.

    Parameters
    ----------
    boxes : (m, 4) int64
        First pixel x, y, width and height of sources.
    apart : (m,) uint8
        1: the model is not out of the residual; else the box has the residual.
    elsewhere : int
        IMAGE or RESIDUAL: what pixels outside all boxes have.
    first, past : int
        Rows of the cells.
    width : int
        Of a cell, pixels; the last one may be cut.
    sums : (3, n) float64
        Written: weights, weighted values, number of pixels.
    """
    n_x = pixels.image.shape[1]
    seen = np.full((past - first, n_x), np.uint8(elsewhere))
    for kind in range(2):
        for i in range(boxes.shape[0]):
            if elsewhere == RESIDUAL or apart[i] != kind:
                continue
            low, high = max(boxes[i, 1], first), min(boxes[i, 1] + boxes[i, 3], past)
            for y in range(low, high):
                for x in range(boxes[i, 0], boxes[i, 0] + boxes[i, 2]):
                    seen[y - first, x] = NOTHING if kind == 1 else RESIDUAL
    sums[:] = 0.0
    row = np.empty((3, width), np.float32)
    for y in range(first, past):
        for cell in range(sums.shape[1]):
            low = cell * width
            n = min(width, n_x - low)
            _weigh(pixels, seen[y - first], y, low, n, row)
            for k in range(3):
                sums[k, cell] += _sum(row[k], n)


@helper
def _weigh(pixels: Pixels, seen: U1, y: int, low: int, n: int, row: F4) -> None:
    """Write weight, weighted value and 1 of n pixels of the sky, zeros of others, without branch.

    `low` is the first column.
    """
    zero, one, most = np.float32(0.0), np.float32(1.0), np.float32(MAX_VARIANCE)
    dark2, clip2 = np.float32(DARK * DARK), np.float32(CLIP * CLIP)
    image, residual, mask = pixels.image, pixels.residual, pixels.mask
    for i in range(n):
        x = np.uint64(low + i)
        variance, where = pixels.variance[y, x], seen[x]
        light = image[y, x] - residual[y, x] if where == RESIDUAL else zero
        value = image[y, x] - light
        usable = (where != NOTHING) & (variance > zero) & (variance < most)
        usable = usable & ((mask[y, x] & pixels.unusable) == 0)
        usable = usable & ((light <= zero) | (light * light < dark2 * variance))
        usable = usable & (value * value < clip2 * variance)
        weight = one / variance if usable else zero
        row[0, i] = weight
        row[1, i] = weight * value if usable else zero
        row[2, i] = one if usable else zero


@summation
def _sum(values: F4, n: int) -> float:
    total = np.float32(0.0)
    for i in range(n):
        total += values[np.uint64(i)]
    return float(total)


@kernel
def mean_wings(parameters: F8, boxes: I8, around: F8, light: F8) -> None:
    """Write the mean light of models between their boxes and larger circles.

    Models and boxes count as circles of their area.

    Parameters
    ----------
    parameters : (n, N_PARAMETERS) float64
    boxes : (n, 4) int64
    around : (n,) float64
        Areas of the larger circles, square pixels; 0 or less than the box: no light.
    light : (n,) float64
        Written: image units, 0 or more.
    """
    mixture = np.empty((4, N_GAUSSIANS))
    for i in range(parameters.shape[0]):
        light[i] = 0.0
        own = float(boxes[i, 2] * boxes[i, 3])
        if not around[i] > own:
            continue
        for component in range(2):
            first = SPHEROID if component == 0 else DISK
            flux = parameters[i, first]
            if not flux > 0.0:
                continue
            sersic_mixture(parameters[i, first + INDEX], mixture)
            rho2 = math.exp(2.0 * parameters[i, first + RADIUS])
            share = 0.0
            for k in range(N_GAUSSIANS):
                unit = 2.0 * math.pi * mixture[1, k] * rho2
                share += mixture[0, k] * (math.exp(-own / unit) - math.exp(-around[i] / unit))
            light[i] += flux * share / (around[i] - own)
