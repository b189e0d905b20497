"""Windows about detections: what point sources leave there, and the sources of each put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8, U1, U2


@helper
def _near_in_rows(
    labels: I4, low_x: int, width: int, label: int, margin: int, kind: U1, beside: U1
) -> None:  # fmt: skip
    """Tell which pixels of some rows are the footprint's (2) or of no detection (1).

    And which are no farther than `margin` from one of the footprint in the same row.
    """
    for j in range(labels.shape[0]):
        names, kinds, row = labels[j, low_x : low_x + width], kind[j], beside[j]
        row[:width] = 0
        clear = 0  # up to here pixels are marked
        for i in range(width):
            own = abs(names[i])
            if own == label:
                kinds[i] = 2
                last = min(i + margin + 1, width)
                for m in range(max(i - margin, clear), last):
                    row[m] = 1
                clear = last
            else:
                kinds[i] = own == 0


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
    # See `_near_in_rows`.
    kind, beside = np.empty((2, side, side), np.uint8)
    near = np.empty(side, np.uint8)
    for k in range(host.size):
        top, left = corner[k, 0], corner[k, 1]
        low_y, high_y = max(top, 0), min(top + side, ny)
        low_x, high_x = max(left, 0), min(left + side, nx)
        width = high_x - low_x
        chi2[k, 0], chi2[k, 1] = 0.0, 0.0
        if low_y >= high_y or width <= 0:
            continue
        _near_in_rows(labels[low_y:high_y], low_x, width, host[k] + 1, margin, kind, beside)
        total, number = 0.0, 0
        for y in range(low_y, high_y):
            image_row, models_row = image[y, low_x:high_x], models[y, low_x:high_x]
            data_row = data[k, y - top, low_x - left : high_x - left]
            for i in range(width):
                data_row[i] = image_row[i] - models_row[i]
            near[:width] = 0
            for j in range(max(y - margin, low_y) - low_y, min(y + margin + 1, high_y) - low_y):
                row = beside[j]
                for i in range(width):
                    near[i] |= row[i]
            weight_row = weight[k, y - top, low_x - left : high_x - left]
            for i in range(width):
                if not (near[i] and kind[y - low_y, i]) or mask[y, low_x + i] & unusable:
                    continue
                # The square of a single pixel may be beyond single precision.
                model = np.float64(models_row[i])
                noise = variance[y, low_x + i] + (systematic * model) ** 2
                if gain > 0.0:
                    noise += max(model, 0.0) / gain
                counted = np.float32(1.0 / noise)
                weight_row[i] = counted
                total += np.float64(counted) * np.float64(data_row[i]) ** 2
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
