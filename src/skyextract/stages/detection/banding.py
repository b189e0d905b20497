"""Rows or columns that differ from each other: banding of a detector's readout.

It is shared by all pixels of a row: the filter does not average it away, and faint sources are
lost in it, while the noise of the pixels hardly shows it.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.noise import pixel_noise, robust_sigma
from skyextract.run import Run

NOTED_NOISE = 1.15
"""Noise of the filtered image, over that of independent pixels, where rows are looked at."""
SAMPLE = 200
"""Pixels per row and rows, about, that tell how rows differ."""
MIN_PART, SURE, APART = 0.15, 4.0, 2.0
"""They do by this part of the noise of a pixel, so many times more than that explains, and so many
times more than columns do, or the other way round."""
MAX_PART = 5.0
"""More than that is no readout: a spectrum, or pixels of one value."""
MIN_SIDE = 32
MOST_SHARED = 0.9
"""Correlation of pixels that are sampled one after another, at most."""


def line_noise(image: F4) -> tuple[float, float, float]:
    """Return by how much rows differ beyond the noise, what noise explains, and that of a pixel.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted.
    """
    rows = image[:: max(1, image.shape[0] // SAMPLE)]
    step = max(1, image.shape[1] // SAMPLE)
    values = rows[:, ::step].astype(np.float64)
    pixel = pixel_noise(rows[:, : 2 * SAMPLE])
    middle = values.shape[1] // 2
    level = np.partition(values, middle, axis=1)[:, middle]
    explained = 1.2533 * _noise_of_means(values - level[:, None], pixel)
    scatter = robust_sigma(level)
    return math.sqrt(max(scatter**2 - explained**2, 0.0)), explained, pixel


def _noise_of_means(values: F8, pixel: float) -> float:
    """Return the noise of the mean of each row of samples that may be correlated, as in AR(1).

    `pixel`, by differences of neighbours, is too small where an image was smoothed.
    """
    sigma = max(robust_sigma(values), pixel)
    away = robust_sigma(values[:, 1:] - values[:, :-1])
    shared = min(max(1.0 - 0.5 * (away / sigma) ** 2, 0.0), MOST_SHARED) if sigma > 0.0 else 0.0
    return sigma * math.sqrt((1.0 + shared) / (1.0 - shared) / values.shape[1])


def warn_of_banding(image: F4, scale: float, run: Run) -> None:
    """Say that rows or columns differ, and by how much the noise is above that of the pixels.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted.
    scale : float
        Noise of the filtered image over that of independent pixels.
    """
    if not scale > NOTED_NOISE or min(image.shape) < MIN_SIDE:
        return
    found = {"rows": line_noise(image), "columns": line_noise(image.T)}
    name = max(found, key=lambda which: found[which][0])
    excess, explained, pixel = found[name]
    other = min(found.values())[0]
    if not excess > max(MIN_PART * pixel, SURE * explained, APART * other):
        return
    if excess > MAX_PART * pixel:
        return
    # The variance of the frame has the bands in it.
    total = scale * math.hypot(excess, pixel) / pixel
    run.warn(
        f"{name} differ by {excess:.3g}, {excess / pixel:.0%} of the noise of a pixel (banding): "
        f"what sources are found in is {total:.2f} times the noise of the pixels, "
        f"{2.5 * math.log10(total):.2f} mag of depth"
    )
