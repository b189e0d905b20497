"""Matched filtering with wide PSFs, whose sums over pixels are products of Fourier transforms.

What stands before and behind the transforms: the weights of pixels, and the significances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.background.spline import surface
from skyextract.kernels.detection.matched import Weighting, _divide, _load_row
from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, U1


@kernel
def weighted_rows(
    image: F4, weighting: Weighting, first: int, half: int, typical: F4, complete: U1, weights: F4,
    signal: F4,
) -> None:  # fmt: skip
    """Set weights, and pixels times these, of rows from `first` on, 0 beyond the image.

    Parameters
    ----------
    image : (ny, nx)
    half : int
        Columns beyond the image on either side of it, which are left as they are.
    typical : (n,), output
        Weight of a good pixel of each row, 0 if there is none.
    complete : (n,), output
        1 where all pixels of a row are good.
    weights, signal : (n, nx + 2 half), output
        0 before.
    """
    ny, nx = image.shape
    mesh = surface(weighting.nodes, weighting.mesh_width, weighting.mesh_height, nx)
    for k in range(len(typical)):
        y = first + k
        typical[k] = np.float32(0.0)
        complete[k] = np.uint8(0)
        if 0 <= y < ny:
            typical[k], all_good = _load_row(
                image, weighting, mesh, y, weights[k, half : half + nx], signal[k, half : half + nx]
            )
            complete[k] = np.uint8(all_good)


@kernel
def significances(
    above: F4, below: F4, has_below: bool, weights: F4, typical: F4, complete: U1,
    column: int, min_share: np.float32, square: np.float32, unit: np.float32, first_row: int,
    out: F4,
) -> None:  # fmt: skip
    """Compute the significance of a point source at the pixels of a part of the image.

    Parameters
    ----------
    above, below : (n_y, n_x)
        Sums of P d / v and of P**2 / v at the pixels of the part.
    has_below : bool
        Where not, the weight of the pixel itself stands for all within the PSF.
    weights, typical, complete
        Of `weighted_rows`.  Where the variance is not smooth, no row counts as complete.
    column : int
        First column of the part; `weights` begin half a PSF before it and before `first_row`.
    min_share : float32
        As in `matched_rows`.
    square : float32
        Sum of P**2.
    first_row : int
        First row of the part.
    out : (ny, nx), output
    """
    n_y, n_x = above.shape
    nx = out.shape[1]
    half = (weights.shape[1] - nx) // 2
    size = 2 * half + 1
    share = min_share * square
    line = np.empty(n_x, np.float32)
    for k in range(n_y):
        about = typical[k : k + size]
        uniform = complete[k : k + size].min() > 0
        middle = weights[k + half, half + column : half + column + n_x]
        for x in range(n_x):
            line[x] = middle[x] * square
        if has_below:
            for x in range(n_x):
                inner = half <= column + x < nx - half
                if not (uniform and inner):
                    line[x] = below[k, x]
        _divide(
            above[k], line, middle, about.max(), share, unit,
            out[first_row + k, column : column + n_x],
        )  # fmt: skip
