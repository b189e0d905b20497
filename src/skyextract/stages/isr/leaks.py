"""Lines of an overscan into which light leaks: the trails of bright stars, and crosstalk.

An offset of a line is in its data, too; what leaks is in the overscan alone, and would be taken
off all pixels of the line.
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record

WINDOW = 101
"""Lines whose median is the level about one of them."""
BLOCK = 128
"""Lines of a block, the medians of which tell quickly whether any line stands out."""
FAR = 6.0
"""Scatter of the lines above the level about them from which one stands out; and the noise of a
pixel, at least."""
MOST = 0.3
"""Share of the lines that may: more are no leaks."""
IN_DATA = 0.5
"""Part of the excess that the data of an offset line have, at least, ..."""
SURE = 3.0
"""... and errors of what they have by which it is less than the excess where light has leaked: in
bright flats, which have structure of their own, offsets are not seen."""
SHIFTS = 3
"""Times a quarter of the window by which lines are displaced, either way, that tell the errors."""
N_COLUMNS = 512
"""Pixels of a line of data that tell its level, about."""
ABRUPT = 5
"""Lines at an edge of the frame, and on either side of the end of those that stand out there."""


@record
class Leaks:
    """Lines without what leaked into them.

    Attributes
    ----------
    lines : (n,) float64
        Levels, ADU.
    number : int
        Lines that were replaced by the level about them.
    largest : float
        What was taken off them at most, ADU.
    """

    lines: F8
    number: int = 0
    largest: float = 0.0


def without_leaks(lines: F8, data: F4, noise: float) -> Leaks:
    """Replace lines of an overscan that stand out of those about them, where their data do not.

    Parameters
    ----------
    lines : (n,) float64
        Levels of the overscan, ADU.
    data : (n, width) float32
        The data of the same lines.
    noise : float
        Of a pixel, ADU: medians of whole numbers may be all the same but for a few.
    """
    if lines.size < 2 * WINDOW:
        return Leaks(lines)
    n = lines.size // BLOCK
    blocks = np.sort(lines[: n * BLOCK].reshape(n, BLOCK), axis=1)[:, BLOCK // 2]
    rough = lines - np.interp(np.arange(lines.size), (np.arange(n) + 0.5) * BLOCK, blocks)
    if not rough.max() > max(FAR * robust_sigma(rough), noise):
        return Leaks(lines)
    padded = np.pad(lines, WINDOW // 2, mode="reflect")
    about = np.median(np.lib.stride_tricks.sliding_window_view(padded, WINDOW), axis=1)
    above = lines - about
    limit = max(FAR * robust_sigma(above), noise)
    out = np.flatnonzero(above > limit)
    if not 0 < out.size <= MOST * lines.size:
        return Leaks(lines)
    is_settling = np.zeros(lines.size, np.bool_)
    is_settling[: WINDOW // 2] = _settles(above, limit)
    is_settling[-(WINDOW // 2) :] |= _settles(above[::-1], limit)
    rise, error = _rise(data, out, lines.size)
    none = rise < np.minimum(IN_DATA * above[out], above[out] - SURE * error)
    leaked = out[none & ~is_settling[out]]
    if not leaked.size:
        return Leaks(lines)
    cleaned = lines.copy()
    cleaned[leaked] = about[leaked]
    return Leaks(cleaned, leaked.size, float(above[leaked].max()))


def _settles(above: F8, limit: float) -> bool:
    """Tell whether the first lines lie above the level about them, but do not end with a step.

    What leaks does. A level that settles after the first lines were read is in the data, too, which
    may rise or fall toward the edge of the frame by themselves.
    """
    first = above[:ABRUPT].mean()
    if first < 0.5 * limit:
        return False
    end = max(int(np.argmax(above < IN_DATA * first)), ABRUPT)
    step = above[end - ABRUPT : end].mean() - above[end + 1 : end + 1 + ABRUPT].mean()
    return bool(step < IN_DATA * above[:end].mean())


def _rise(data: F4, out: I8, n: int) -> tuple[F8, float]:
    """Return how far the data of some lines lie above those of the nearest other lines, ADU.

    And the error of that, which is how far lines do that are not among them, but as far apart.
    """
    step = max(1, data.shape[1] // N_COLUMNS)
    level = np.nan_to_num(np.nanmedian(data[:, ::step], axis=1))

    def rise_of(lines: I8) -> F8:
        good = np.setdiff1d(np.arange(n), np.concatenate([out, lines]))
        rise: F8 = level[lines] - np.interp(lines, good, level[good])
        return rise

    shifts = (k * WINDOW // 4 for k in range(-SHIFTS, SHIFTS + 1) if k)
    others = [np.setdiff1d((out + shift) % n, out) for shift in shifts]
    usual = np.concatenate([rise_of(lines) for lines in others])
    return rise_of(out), MAD_TO_SIGMA * median(np.abs(usual))
