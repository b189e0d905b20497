"""Peaks in what the models of a crowd leave: those that are sources beneath others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, I8, Bools
from skyextract.datamodel.noise import quantiles
from skyextract.kernels.detection.peaks import peaks_in_rows
from skyextract.stages.crowded.contrast import lacks_contrast
from skyextract.stages.crowded.hidden import MAX_SHARE, MIN_SEPARATION, near
from skyextract.stages.crowded.lines import on_lines
from skyextract.stages.detection.noise import scale_at
from skyextract.stages.pointsources.pairs import pairs_within

if TYPE_CHECKING:
    from skyextract.run import Run
    from skyextract.stages.crowded.hidden import Hidden

MIN_SHARE = 0.05
"""A peak of less than this share of the models there is none of a star, ..."""
PSF_ERRORS = 4.0
"""... and up to MAX_SHARE it is so many times what models usually leave of their light, as the
threshold is of noise, ..."""
BRIGHT = 12.5
"""... where that is so many times the threshold."""
MIN_BRIGHT = 200
"""Fewer pixels do not tell what models leave."""
N_SAMPLE = 50_000
"""Pixels that are looked at for it, about, in whole rows."""
OPPOSITE = 2.5
"""A bright pair that was taken for one star leaves two peaks on opposite sides, at most at this
distance from each other, in FWHM, ..."""
MIDDLE = 0.3
"""... and their middle at this distance from it: one more source is enough there."""


def new_peaks(
    filtered: F4, model: F4, scale: F4, hidden: Hidden, hopeless: Bools, threshold: float,
    share: float, photon_noise: float, run: Run, *, splits: bool,
) -> tuple[I8, I8]:  # fmt: skip
    """Return the pixels x, y of peaks that are sources of their own, in raster order.

    Parameters
    ----------
    filtered, model : (ny, nx) float32
        What is left, and the models, as the filter makes them, over the noise.  The sum of both
        stands in `model` afterwards.
    scale : (k, l) float32
        Noise of the filtered image over that of independent pixels, in equal cells.
    hidden : Hidden
        The sources that are fitted.
    hopeless : (ny, nx) bool
        Pixels that the PSF does not describe.
    threshold : float
    share : float
        Of the models that a peak is at least.
    photon_noise : float
        Variance of a pixel per light in it, over that of the sky.
    splits : bool
        Two peaks may be those of a pair that was taken for one star.
    """
    fwhm = hidden.psf.fwhm
    separation = MIN_SEPARATION * fwhm
    x, y = _peaks(filtered, model, threshold, share, separation, run)
    free = ~near(hidden.x, hidden.y, x, y, separation, filtered.shape)
    free &= ~hopeless[y, x]
    x, y = x[free], y[free]
    model += filtered
    free = ~on_lines(model, x, y, fwhm)
    raised = scale_at(scale, filtered.shape, x, y)
    free &= ~lacks_contrast(filtered, x, y, fwhm, threshold, photon_noise * raised)
    if splits:
        free &= ~_opposite(x, y, filtered[y, x], hidden, ~free)
    return x[free], y[free]


def least_share(filtered: F4, model: F4, hopeless: Bools, threshold: float) -> float:
    """Return the share of the models that a peak is at least: more than an imperfect PSF leaves.

    What bright models leave of their light is the PSF's error, noise, and stars beneath them, which
    quantiles leave out while they are few.

    Parameters
    ----------
    filtered, model, hopeless, threshold
        As of `new_peaks`.
    """
    step = max(1, model.size // N_SAMPLE)
    light, rest = model[::step], filtered[::step]
    bright = (light > BRIGHT * threshold) & ~hopeless[::step]
    if np.count_nonzero(bright) < MIN_BRIGHT:
        return MAX_SHARE
    low, high = quantiles(rest[bright] / light[bright], (0.15866, 0.84134))
    return float(np.clip(PSF_ERRORS * (high - low) / 2.0, MIN_SHARE, MAX_SHARE))


def _peaks(
    filtered: F4, model: F4, threshold: float, share: float, separation: float, run: Run
) -> tuple[I8, I8]:
    """Return the pixels x, y of significant peaks, in raster order."""
    half = max(1, round(separation))

    def rows(band: tuple[int, int]) -> tuple[I8, I8]:
        room = (band[1] - band[0]) * filtered.shape[1]
        x, y = np.empty((2, room), np.int32)
        n = peaks_in_rows(filtered, model, float(threshold), share, half, band[0], band[1], x, y)
        return x[:n].astype(np.int64), y[:n].astype(np.int64)

    parts = run.map(rows, run.bands(filtered.shape[0]))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _opposite(x: I8, y: I8, height: F4, hidden: Hidden, taken: Bools) -> Bools:
    """Tell which peaks are the lower of two on opposite sides of a source.

    Two stars that were taken for one leave both: one more source is enough, as the first moves.

    Parameters
    ----------
    taken : (n,) bool
        Peaks that do not count.
    """
    fwhm = hidden.psf.fwhm
    row = np.flatnonzero(~taken)
    place_x, place_y = x[row].astype(np.float64), y[row].astype(np.float64)
    first, second = (row[k] for k in pairs_within(place_x, place_y, OPPOSITE * fwhm))
    middle_x, middle_y = (x[first] + x[second]) // 2, (y[first] + y[second]) // 2
    shape = hidden.models.shape
    between = near(hidden.x, hidden.y, middle_x, middle_y, MIDDLE * fwhm, shape)
    first, second = first[between], second[between]
    lower = np.zeros(x.size, np.bool_)
    lower[np.where(height[first] < height[second], first, second)] = True
    return lower
