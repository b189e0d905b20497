"""Models of many point sources, on an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.psf.model import PsfModel, local_model, render, term_totals
from skyextract.kernels.psf.records import pixel_range, scratch_for

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8


@kernel
def draw_models(
    psf: PsfModel, u: F8, v: F8, x: F8, y: F8, flux: F8, reach: I8, image: F4
) -> None:  # fmt: skip
    """Add the models of point sources to an image.

    Parameters
    ----------
    psf : PsfModel
    u, v : (n,) float64
        Normalised positions, where the polynomial is evaluated.
    x, y, flux : (n,) float64
        Centres, 0-based pixels, and fluxes.
    reach : (n,) int64
        Radius in pixels, along both axes, out to which each is drawn.
    image : (ny, nx) float32
        Changed.
    """
    widest = 0
    for n in range(reach.size):
        widest = max(widest, reach[n])
    totals = term_totals(psf.coefficients)
    model, grid, stamp = scratch_for(psf, widest)
    for n in range(x.size):
        low_x, n_x = pixel_range(x[n], reach[n], image.shape[1])
        low_y, n_y = pixel_range(y[n], reach[n], image.shape[0])
        if n_x <= 0 or n_y <= 0:
            continue
        local_model(psf, totals, u[n], v[n], reach[n], model)
        render(model, psf.sampling, x[n], y[n], low_x, low_y, n_x, n_y, False, grid, stamp)
        light = np.float32(flux[n])
        for j in range(n_y):
            row, pixels = image[low_y + j, low_x : low_x + n_x], stamp[0, j, :n_x]
            for i in range(n_x):
                row[i] += light * np.float32(pixels[i])


@kernel
def sum_light(
    psf: PsfModel, u: F8, v: F8, x: F8, y: F8, radius: int, image: F4, sums: F8
) -> None:  # fmt: skip
    """Weight the light about point sources with their PSF.

    Parameters
    ----------
    psf, u, v, x, y
        As in `draw_models`.
    radius : int
        Of the square of pixels about each, which may be partly outside of the image.
    image : (ny, nx) float32
        M.
    sums : (n, 3) float64
        Output: the sums of P, P**2 and P M.
    """
    totals = term_totals(psf.coefficients)
    model, grid, stamp = scratch_for(psf, radius)
    side = 2 * radius + 1
    for n in range(x.size):
        low_x = math.floor(x[n] + 0.5) - radius
        low_y = math.floor(y[n] + 0.5) - radius
        local_model(psf, totals, u[n], v[n], radius, model)
        render(model, psf.sampling, x[n], y[n], low_x, low_y, side, side, False, grid, stamp)
        total = squares = light = 0.0
        for j in range(side):
            inside = 0 <= low_y + j < image.shape[0]
            for i in range(side):
                p = stamp[0, j, i]
                total += p
                squares += p * p
                if inside and 0 <= low_x + i < image.shape[1]:
                    light += p * image[low_y + j, low_x + i]
        sums[n, 0], sums[n, 1], sums[n, 2] = total, squares, light
