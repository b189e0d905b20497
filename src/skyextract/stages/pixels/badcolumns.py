"""Columns of a detector, or parts of them, that are offset or noisy though nothing says so; rows.

A filter of the width of the PSF finds sources all along them.  A defect is one or two columns
wide, has one height over hundreds of rows, and what is beside it is as it should be; nothing on
the sky is like that.  Rows are columns of detectors that are read along them, and of frames that
were turned.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U2, Bools
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import MAX_SAMPLE, median, medians
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record
from skyextract.run import Run

BLOCK = 32
"""Rows that tell of a column together."""
MIN_BLOCKS = 3
"""Blocks one after the other that agree."""
OFFSET = 5.0
"""A column is off by so many times the error of a block, ..."""
NOISY = 1.7
"""... or its pixels differ from those beside by so many times what is typical."""
ASIDE = (3, 24)
"""Columns from one to the other distance, on both sides, tell what sources do there: a defect is
as clear above that as above noise, and..."""
ABOVE = 1.8
"""... so many times what is passed by a quarter of it."""
BESIDE = 0.5
"""Less than this part of it is next to a defect, on one side at least."""
ECHO = 1.4
"""Columns at a distance of two, which it was compared with, show less by this factor."""
CLIP = 4.0
"""Sigma of a difference: stars count no more than that where columns are looked for."""
CONSTANT = 1.5
"""Its height changes by less than this factor; diffraction spikes fade."""
ON_STAR = 5.0
"""Pixels that differ by so many sigma more than the column does are of a star: they stay."""
WEAK = 0.4
"""It goes on in blocks that show so much of an offset, on either side."""
EDGE = 6
"""Columns at the edges have too few others beside them."""
MAX_SHARE = 0.03
"""Where more columns than this share are so, it is how the detector is."""
_LOST = np.uint16(Mask.NO_DATA | Mask.BAD | Mask.SAT)


def bad_columns(exposure: Exposure, run: Run) -> tuple[int, I8]:
    """Return the number of columns with a defect, and the indices ``y * nx + x`` of its pixels."""
    found = _bad_columns(exposure.image, exposure.mask, run)
    return len(found), np.concatenate([np.zeros(0, np.int64), *found])


def bad_rows(exposure: Exposure, run: Run) -> tuple[int, I8]:
    """Return the number of rows with a defect, and the indices ``y * nx + x`` of its pixels.

    They go on to an edge of the frame, as spectra do not, which prisms and gratings draw along rows
    more often than along columns.
    """
    ny, nx = exposure.shape
    found = []
    for pixels in _bad_columns(exposure.image.T, exposure.mask.T, run):
        x, y = np.divmod(pixels, ny)
        if x[0] < BLOCK or x[-1] >= nx - BLOCK:
            found.append(y * nx + x)
    return len(found), np.concatenate([np.zeros(0, np.int64), *found])


def _bad_columns(image: F4, mask: U2, run: Run) -> list[I8]:
    ny, nx = image.shape
    n_blocks = min(ny // BLOCK, max(4, MAX_SAMPLE // (BLOCK * nx)))
    if n_blocks < MIN_BLOCKS or nx < 8 * ECHO:
        return []
    starts = np.linspace(0, ny - BLOCK, n_blocks).astype(int)
    found = run.map(lambda a: _offsets(image[a : a + BLOCK], mask[a : a + BLOCK]), starts.tolist())
    blocks = _Blocks(starts, *(np.array(values) for values in zip(*found, strict=True)))
    bad = _defects(blocks, image)
    pixels = [_pixels(image, blocks, int(x), bad[:, x]) for x in np.flatnonzero(bad.any(axis=0))]
    pixels = [some for some in pixels if some.size]
    return pixels if len(pixels) <= MAX_SHARE * nx else []


@record
class _Blocks:
    """Blocks of rows.

    First rows; by block and column the offset, in sigma of a block's median, and the scatter over
    what is typical; by block the sigma of a difference of pixels.
    """

    starts: I8
    z: F8
    noise: F8
    sigma: F8


def _defects(blocks: _Blocks, image: F4) -> Bools:
    """Tell which columns are offset or noisy in which blocks; their `z` become those of medians."""
    z, noise, nx = blocks.z, blocks.noise, image.shape[1]
    likely = np.asarray(_lasting((np.abs(z) > OFFSET) | (noise > NOISY)).any(axis=0))
    likely[np.r_[:EDGE, nx - EDGE : nx]] = False
    if not likely.any() or likely.sum() > 6 * MAX_SHARE * nx:
        return np.zeros(z.shape, np.bool_)
    # What clipping has pressed down shows its height in medians.
    near = np.flatnonzero(np.convolve(likely, np.ones(7), "same") > 0.5)
    for k, a in enumerate(blocks.starts):
        z[k, near] = _medians(image[a : a + BLOCK], near, blocks.sigma[k])
    height = np.abs(z)
    off = _alone(height) & (height > OFFSET) & likely
    off = _lasting(off & (z > 0.0)) | _lasting(off & (z < 0.0))
    noisy = _alone(noise - 1.0) & (noise > NOISY) & likely
    noisy &= height < 0.5 * noise * math.sqrt(BLOCK)  # what is offset is no noise
    for x in np.flatnonzero(off.any(axis=0)):
        rows = np.flatnonzero(off[:, x])
        low, high = np.percentile(height[rows[0] : rows[-1] + 1, x], (10.0, 90.0))
        off[:, x] &= high < CONSTANT * low + 2.0
    noisy = _lasting(noisy)
    # In crowds, where every column is noisy, two blocks and one that is apart agree by chance.
    noisy &= np.count_nonzero(noisy, axis=0) >= MIN_BLOCKS
    for x in np.flatnonzero(off.any(axis=0)):
        off[:, x] &= _is_clear(height[off[:, x]], MAD_TO_SIGMA, OFFSET, int(x))
    for x in np.flatnonzero(noisy.any(axis=0)):
        noisy[:, x] &= _is_clear(noise[noisy[:, x]], 1.0, NOISY, int(x))
    return off | noisy


def _pixels(image: F4, blocks: _Blocks, x: int, bad: Bools) -> I8:
    """Return the pixels of a defect that is in some blocks; none if it goes on, but higher."""
    rows = np.flatnonzero(bad)
    low, high = int(rows[0]), int(rows[-1])
    typical = median(blocks.z[rows, x])
    # Blocks that show it less clearly are its own, too.
    height = math.copysign(1.0, typical) * blocks.z[:, x]
    while low > 0 and height[low - 1] > WEAK * OFFSET:
        low -= 1
    while high + 1 < height.size and height[high + 1] > WEAK * OFFSET:
        high += 1
    wide = max(1.0, median(blocks.noise[rows, x]))
    if height[low : high + 1].max() > 2.0 * CONSTANT * abs(typical) + OFFSET * wide:
        return np.zeros(0, np.int64)
    y = np.arange(blocks.starts[low], blocks.starts[high] + BLOCK)
    beside = 0.5 * (image[y, x - 2].astype(np.float64) + image[y, x + 2])
    sigma = median(blocks.sigma)
    limit = abs(typical) * sigma / math.sqrt(BLOCK) + ON_STAR * wide * sigma
    own: I8 = y[np.abs(image[y, x] - beside) < limit] * image.shape[1] + x
    return own


def _offsets(image: F4, mask: U2) -> tuple[F8, F8, float]:
    """Return offset in sigma and relative scatter of each column, and sigma of a difference."""
    nx = image.shape[1]
    z, noise = np.zeros(nx), np.ones(nx)
    lost = (mask & _LOST) != 0
    with np.errstate(over="ignore", invalid="ignore"):  # of broken pixels
        difference = image[:, 2:-2] - np.float32(0.5) * (image[:, :-4] + image[:, 4:])
    if lost.any():
        difference[lost[:, 2:-2] | lost[:, :-4] | lost[:, 4:]] = 0.0
    sigma = MAD_TO_SIGMA * median(np.abs(difference[::4, ::4]))
    if not sigma > 0.0:
        return z, noise, 0.0
    limit = np.float32(CLIP * sigma)
    np.clip(difference, -limit, limit, out=difference)
    z[2:-2] = difference.mean(axis=0) * (math.sqrt(image.shape[0]) / sigma)
    scatter = np.abs(difference).mean(axis=0)
    noise[2:-2] = scatter / max(median(scatter), 1e-30)
    return z, noise, sigma


def _medians(image: F4, columns: I8, sigma: float) -> F8:
    """Return the offsets of some columns in sigma, by medians."""
    if not sigma > 0.0:
        return np.zeros(columns.size)
    left, right = np.maximum(columns - 2, 0), np.minimum(columns + 2, image.shape[1] - 1)
    beside = 0.5 * (image[:, left].astype(np.float64) + image[:, right])
    offset: F8 = medians((image[:, columns] - beside).T) * math.sqrt(BLOCK) / sigma
    return offset


def _alone(values: F8) -> Bools:
    """Tell where columns stand out of those beside and of those that they were compared with."""
    wide = np.pad(values, ((0, 0), (3, 3)))
    left3, left2, left1, here, right1, right2, right3 = (
        wide[:, k : k + values.shape[1]] for k in range(7)
    )
    single = np.maximum(left1, right1) < BESIDE * here
    low = BESIDE * here
    # Of two columns those at a distance of one from either were compared with the other.
    double = (np.maximum(left1, right2) < ECHO * low) & (right1 >= ECHO * low)
    double |= (np.maximum(left2, right1) < ECHO * low) & (left1 >= ECHO * low)
    alone: Bools = single & (np.maximum(left2, right2) * ECHO < here)
    alone |= double & (np.maximum(left3, right3) < here)
    return alone


def _is_clear(values: F8, unit: float, limit: float, x: int) -> bool:
    """Tell whether a column stands out of what blocks have at some distance from it.

    `unit` is what one stands for there of what values typically are.
    """
    near, far = ASIDE
    nx = values.shape[1]
    aside = np.r_[max(x - far, 0) : max(x - near + 1, 0), min(x + near, nx) : min(x + far + 1, nx)]
    typical = max(1.0, unit * median(values[:, aside]))
    highest = float(np.percentile(values[:, aside], 75.0)) if aside.size else 0.0
    return bool(median(values[:, x]) > max(limit * typical, ABOVE * highest))


def _lasting(bad: Bools) -> Bools:
    """Return what is so in `MIN_BLOCKS` blocks one after the other."""
    lasting = bad.copy()
    for shift in range(1, MIN_BLOCKS):
        before = np.zeros_like(bad)
        before[shift:] = bad[:-shift]
        after = np.zeros_like(bad)
        after[:-shift] = bad[shift:]
        lasting &= before | after
    return lasting
