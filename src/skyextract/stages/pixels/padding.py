"""Areas of one exact value: 0, the sky level, -32768 or any other number.

Coadds, mosaics and cut-outs are filled up so; a background mesh or a noise that takes them for sky
is wrong.  Noise never gives an area of one exact value, except where it does not resolve the steps
of an integer image: there the area is full of holes, and the values beside it are those next to
its own.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, I8, U1, Bools, widened
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.kernels.background.constant import constant_runs, fill_equal
from skyextract.run import Run
from skyextract.stages.pixels.saturation import MAX_CLIPPED_SHARE

MIN_RUN = 32
"""So many equal pixels in a row or column are looked at: noise that has two values of equal
chance makes one such run in 1e9 pixels."""
FINE, RARE, SHORTEST = 0.15, 1e-4, 6
"""Where fewer neighbours than this share are equal, shorter runs are looked at: those of which
noise would make so many in the frame, and no shorter ones than this."""
MIN_AREA = 30
MAX_VALUES = 8
"""Values per image that can be padding, those with the most runs."""
MAX_SEEDS = 100_000
MAX_EQUAL = 0.5
"""Where fewer neighbours than this share are equal, the noise resolves the pixel values; an
area whose value is amid them then is padding."""
MIN_PAIRS = 50
"""Neighbours outside an area that tell whether it does."""
MAX_AROUND = 0.7
"""Padding has a border: of the pixels around one beside it, less than this share is padding.
An area that noise has left between its other values is all around them."""
MIN_SIDE = 0.05
"""A value amid those beside it has this share of them on either side."""
FILLED, MIN_FILLED, MIN_EXPECTED = 2.0, 16, 0.4
"""Pixels of one value, over those that the parabola through the logarithms of the numbers of the
two values on either side gives, which are noise; with so many of each of these, and that part of
the frame: noise makes no runs of a value that is rarer."""
MIN_STEPS = 3.0
"""Else an area is padding if its value is so many steps from all values beside it."""
SAMPLE = 100_000


def mark_padding(exposure: Exposure, without: Bools, run: Run) -> list[tuple[float, int]]:
    """Add areas of one exact value to `without`; return values and numbers of pixels."""
    image = exposure.image
    length = _shortest_run(image)
    found = run.map(lambda band: _runs(exposure, length, band), run.bands(image.shape[0]))
    seeds = np.concatenate(found)[:MAX_SEEDS]
    if not seeds.size:
        return []
    values, counts = np.unique(image.ravel()[seeds], return_counts=True)
    areas = []
    stack = np.empty(image.size, np.int64)
    for k in np.argsort(-counts, kind="stable")[:MAX_VALUES]:
        area = np.zeros(image.shape, np.uint8)
        n = fill_equal(image, values[k], seeds, stack, area)
        if n >= MIN_AREA and _is_padding(exposure, area, float(values[k]), n):
            without |= area.view(np.bool_)
            areas.append((float(values[k]), n))
    return areas


def _shortest_run(image: F4) -> int:
    """Return how many equal pixels in a line noise does not make, by how many neighbours are."""
    rows = image[:: max(1, image.size // SAMPLE)]
    equal = float(np.mean(rows[:, 1:] == rows[:, :-1])) if rows.shape[1] > 1 else 1.0
    if equal >= FINE:
        return MIN_RUN
    share = max(equal, 1e-9)
    return max(SHORTEST, math.ceil(1.0 + math.log(RARE / image.size) / math.log(share)))


def _runs(exposure: Exposure, length: int, band: tuple[int, int]) -> I8:
    seeds = np.empty(MAX_SEEDS, np.int64)
    n = constant_runs(
        exposure.image, exposure.mask, int(Mask.NO_DATA | Mask.SAT), length, *band, seeds
    )
    return seeds[:n]


def _is_padding(exposure: Exposure, area: U1, value: float, n: int) -> bool:
    """Tell whether an area of one value is padding, by the pixels beside it."""
    image = exposure.image
    inside = area.view(np.bool_)
    usable = (exposure.mask & np.uint16(Mask.NO_DATA | Mask.SAT)) == 0
    beside = widened(inside, 4) & ~inside & usable
    if not beside.any():
        return False
    if _share_around(inside, beside) > MAX_AROUND:
        return False
    if value > image[beside].max() and n < MAX_CLIPPED_SHARE * image.size:
        return False  # the clipped core of a star
    values = image[beside]
    below = np.count_nonzero(values < value) / values.size
    if MIN_SIDE < below < 1.0 - MIN_SIDE:
        expected = _of_noise(image[usable], value)
        if n <= FILLED * expected and expected > MIN_EXPECTED * image.size:
            return False
        outside = usable & ~inside
        pairs = outside[:, 1:] & outside[:, :-1]
        n_pairs = int(np.count_nonzero(pairs))
        equal = np.count_nonzero(image[:, 1:][pairs] == image[:, :-1][pairs])
        if n_pairs >= MIN_PAIRS and equal < MAX_EQUAL * n_pairs:
            return True
    values = np.unique(values)
    if values.size < 2:
        return False
    step = float(np.diff(values).min())
    return float(np.abs(values - value).min()) >= MIN_STEPS * step


def _of_noise(pixels: F4, value: float) -> float:
    """Return how many pixels of a value the numbers of those beside it make of normal noise.

    The logarithm of a normal histogram is a parabola, whatever the noise is in steps.
    """
    logs = []
    for side in (-1, 1):
        beside = value
        for _ in range(2):
            rest = pixels[pixels < beside] if side < 0 else pixels[pixels > beside]
            if not rest.size:
                return 0.0
            beside = float(rest.max() if side < 0 else rest.min())
            logs.append(math.log(np.count_nonzero(rest == np.float32(beside))))
    if min(logs) < math.log(MIN_FILLED):
        return 0.0
    below, far, above, beyond = logs
    return math.exp((4.0 * (below + above) - far - beyond) / 6.0)


def _share_around(area: Bools, beside: Bools) -> float:
    """Return the share of the area among the 7 x 7 pixels around the typical one beside it."""
    padded = np.pad(area, 3, mode="reflect") if min(area.shape) > 3 else np.pad(area, 3)
    edge = beside & widened(area, 1)
    y, x = np.nonzero(edge)
    step = max(1, y.size // SAMPLE)
    y, x = y[::step], x[::step]
    inside = sum(padded[y + v, x + u].astype(np.int64) for v in range(7) for u in range(7))
    return float(np.median(inside)) / 49.0
