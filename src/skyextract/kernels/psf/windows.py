"""Windows about detections: what point sources leave there, and the sources of each put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8, U2


@kernel
def residual_windows(
    image: F4, models: F4, variance: F4, mask: U2, unusable: int, labels: I4, host: I8,
    corner: I8, margin: int, systematic: float, gain: float, data: F4, weight: F4, chi2: F8,
) -> None:  # fmt: skip
    """Cut windows of what models leave of an image, with weights in the footprints and beside.

    Parameters
    ----------
    image, models, variance : (ny, nx) float32
        Of the image the background is subtracted, and the variance is that of the background.
    mask : (ny, nx) uint16
    unusable : int
        Bits of pixels that do not count.
    labels : (ny, nx) int32
        Segmentation; negative where pixels are no signal.
    host : (n,) int64
        Detections about which windows are cut.
    corner : (n, 2) int64
        Row and column of the first pixel of each window, which may be off the image.
    margin : int
        Pixels of no detection that are no farther than this along both axes count, too.
    systematic : float
        Error of models, as a share.
    gain : float
        Electrons per unit; 0 if the models have no photon noise.
    data, weight : (n, side, side) float32
        Output, where the image is: the residual, and 1 / variance where pixels count.
    chi2 : (n, 2) float64
        Output: of the residual, and number of the pixels.
    """
    ny, nx = image.shape
    side = data.shape[1]
    # Whether a pixel of the footprint is near in the same row.
    beside = np.empty((side, side), np.bool_)
    for k in range(host.size):
        top, left = corner[k, 0], corner[k, 1]
        low_y, high_y = max(top, 0), min(top + side, ny)
        low_x, high_x = max(left, 0), min(left + side, nx)
        label = host[k] + 1
        beside[:] = False
        for y in range(low_y, high_y):
            row = beside[y - top]
            for x in range(low_x, high_x):
                if abs(labels[y, x]) == label:
                    row[max(x - margin, low_x) - left : min(x + margin + 1, high_x) - left] = True
        total, number = 0.0, 0
        for y in range(low_y, high_y):
            first, last = max(y - margin, low_y) - top, min(y + margin + 1, high_y) - top
            for x in range(low_x, high_x):
                left_over = image[y, x] - models[y, x]
                data[k, y - top, x - left] = left_over
                own = abs(labels[y, x])
                if not (own == label or own == 0) or mask[y, x] & unusable:
                    continue
                near = own == label
                for j in range(first, last):
                    near |= beside[j, x - left]
                if not near:
                    continue
                # The square of a single pixel may be beyond single precision.
                model = np.float64(models[y, x])
                noise = variance[y, x] + (systematic * model) ** 2
                if gain > 0.0:
                    noise += max(model, 0.0) / gain
                counted = np.float32(1.0 / noise)
                weight[k, y - top, x - left] = counted
                total += np.float64(counted) * np.float64(left_over) ** 2
                number += 1
        chi2[k, 0], chi2[k, 1] = total, number


@kernel
def put_back(
    window: I8, row: I8, column: I8, flux: F8, reach: I8, stamps: F4, data: F4
) -> None:  # fmt: skip
    """Add models of point sources to windows.

    Parameters
    ----------
    window : (n,) int64
        That of each source.
    row, column : (n,) int64
        Pixel in the window about which a source is, which may be off it.
    flux : (n,) float64
    reach : (n,) int64
        Radius in pixels, along both axes, out to which each is drawn.
    stamps : (n, 2 m + 1, 2 m + 1) float32
        Models of unit flux about the pixel.
    data : (k, side, side) float32
        Changed.
    """
    side, middle = data.shape[1], stamps.shape[1] // 2
    for n in range(window.size):
        light, r = np.float32(flux[n]), reach[n]
        low_x, high_x = max(0, column[n] - r), min(side, column[n] + r + 1)
        for j in range(max(0, row[n] - r), min(side, row[n] + r + 1)):
            for i in range(low_x, high_x):
                data[window[n], j, i] += (
                    light * stamps[n, j - row[n] + middle, i - column[n] + middle]
                )
