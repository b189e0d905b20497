"""The light of sources too faint to be found, which apertures sum and a mode does not hold."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, I8, U2, Bools
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.record import record
from skyextract.stages.psf.fit import PsfPhotometry
from skyextract.stages.psf.sweeps import UNUSABLE

CLIP = 4.0
"""Pixels beyond so many sigma are of what was not taken away well."""
SAMPLE = 500_000
"""Pixels in which the light that is left is measured, about."""
WIDER = (3.0, 2.0, 1.0)
"""Light within so many radii of a bright source is its own, if that leaves enough of the frame."""
MAX_NEAR = 0.75
"""Share of the frame that these may cover."""
MIN_PIXELS = 1000
"""... and at least, and this part of all."""
MIN_SHARE = 0.02
CELLS = 8
"""Cells per side of the frame in which it may differ."""


SURE = 5.0
"""The light counts from so many errors on, those of the noise of pixels."""


@record
class LeftLight:
    """Mean light per pixel that is left between bright sources, and its scatter by place."""

    level: float = 0.0
    scatter: float = 0.0


def left_light(
    photometry: PsfPhotometry, variance: F4, mask: U2, radius: float, bright: float
) -> LeftLight:
    """Measure what the sky holds between bright sources when all that were found are taken away.

    A background is the mode of the pixels: sources too faint to be found, half of them of less
    than their noise, lift the mean above it.  An aperture sums that light, too.

    Parameters
    ----------
    photometry : PsfPhotometry
    variance : (ny, nx) float32
        Of the background; NO_INFORMATION in bad pixels.
    mask : (ny, nx) uint16
    radius : float
        Of the apertures, pixels.
    bright : float
        Flux from which on a source is bright.
    """
    residual = photometry.residual
    ny, nx = residual.shape
    step = max(1, residual.size // SAMPLE)
    rows = np.flatnonzero(photometry.flux >= bright)
    column, row = (np.rint(c[rows]).astype(int) for c in (photometry.x, photometry.y))
    for wide in WIDER:
        near = _within(column, row, wide * radius, (ny, nx))
        if wide == WIDER[-1] or np.count_nonzero(near[::step]) < MAX_NEAR * near[::step].size:
            break
    noise = variance[::step].astype(np.float64)
    values = residual[::step].astype(np.float64)
    use = (mask[::step] & UNUSABLE) == 0
    use &= ~near[::step] & (noise > 0.0) & (noise < MAX_VARIANCE) & np.isfinite(values)
    use &= values**2 < CLIP**2 * noise
    if use.sum() < max(MIN_PIXELS, MIN_SHARE * use.size):
        return LeftLight()
    across = np.arange(nx) * CELLS // nx
    cell = (np.arange(len(values)) * CELLS // len(values))[:, None] * CELLS + across
    number = np.bincount(cell[use], minlength=CELLS**2)
    total = np.bincount(cell[use], values[use], CELLS**2)
    power = np.bincount(cell[use], noise[use], CELLS**2)
    some = number >= MIN_PIXELS / CELLS
    level = float(total.sum() / number.sum())
    means = total[some] / number[some]
    expected = power[some] / number[some] ** 2
    beyond = float(np.mean((means - level) ** 2 - expected)) if some.any() else 0.0
    scatter = math.sqrt(max(beyond, 0.0))
    error = math.sqrt(float(power.sum())) / float(number.sum())
    return LeftLight(level if abs(level) > SURE * error else 0.0, scatter)


def _within(x: I8, y: I8, radius: float, shape: tuple[int, int]) -> Bools:
    """Mark the pixels within a radius of positions."""
    near = np.zeros(shape, dtype=np.bool_)
    reach = math.ceil(radius)
    across = np.arange(-reach, reach + 1)
    disk = np.hypot(across[:, None], across) <= radius
    for i, j in zip(x, y, strict=True):
        top, left = max(j - reach, 0), max(i - reach, 0)
        part = near[top : max(j + reach + 1, 0), left : max(i + reach + 1, 0)]
        cut = disk[top - j + reach :, left - i + reach :]
        part |= cut[: part.shape[0], : part.shape[1]]
    return near
