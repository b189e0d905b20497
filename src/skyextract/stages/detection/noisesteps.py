"""Rows and columns at which the noise steps, but not the sky: chips whose sky was matched.

A mosaic whose parts were brought to one level of the sky has no step in it; but where each electron
makes more counts, the noise is larger, too, and so are the fluxes. Where photons of the sky are the
noise, nothing else does that in one exposure: another read noise would have to be several times as
large.  Vignetting that a flat has corrected changes the noise smoothly.  Light of a nebula brings
noise of its own: what goes with the level, anywhere in the frame, is taken off first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.header import Header, header_number
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.record import record
from skyextract.stages.background.gain import COMBINED_KEYS
from skyextract.stages.background.interpolate import background_at

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, Bools
    from skyextract.datamodel.background import BackgroundMap

PARTS = 4
"""Along a step, in each of which it is seen."""
LINES, FINE = 64, 512
"""Rows of each part, and columns, that are looked at, about."""
WIDTH = 48
"""Columns looked at on either side whose noise is compared; none nearer to an edge is found."""
SURE, EACH = 8.0, 1.0
"""The step is so many times its error, in the mean of the parts and in each of them, ..."""
MIN_STEP, MAX_STEP = 0.15, 2.0
"""... the variances differ by this part, ..."""
SHARP = 0.6
"""... by this part of that between the third of the columns that is nearest on either side, ..."""
ALONE = 0.3
"""... by no more than this part, and three errors, between the columns beside and those behind
them, and in one part and in all: sources and nebulae have noise of their own, without an edge."""
OUTLIER = 4.5
"""Pixels beyond so many sigma are no noise of the sky, nor are changes from one to the next, ..."""
BESIDE = 4
"""... with so many pixels on either side."""
SPARSE = 4
"""One in so many lines tells what is typical of them."""
CLEAR = 0.5
"""Of the pixels of the clearest column: what is left of fewer are the calm ones, ..."""
MAX_OFF = 1.5
"""... as where the sky is off by so many sigma, next to a step of it, and a part is cut off."""
MIN_SKY = 0.6
"""Part of the frame that is sky, not sources, whose noise is that of their light."""
OF_PHOTONS = 0.75
"""Part of the lower variance that is photons of the sky by GAIN, from which gains differ."""
MAX_SLOPE = 1.1
"""Variance per level, in units of that of photons by GAIN, or of a sky that is all of the noise."""
FAR = 4.0
"""Columns whose variance is so many times its scatter from the line tell nothing of it: sources."""


@record
class NoiseStep:
    """A step of the noise.

    Attributes
    ----------
    ratio : float
        Of the variances on either side, above 1.
    of_gain : bool
        Whether only another gain explains it.
    doubt : str
        What is to be said, in one line.
    """

    ratio: float
    of_gain: bool
    doubt: str

    @property
    def are_many(self) -> bool:
        """Whether fluxes are not to be believed."""
        return self.of_gain


def find_noise_step(
    subtracted: F4,
    background: BackgroundMap,
    bad: Bools,
    gain: float,
    header: Header | None,
    pedestal: float = 0.0,
    *,
    matched: bool = False,
) -> NoiseStep | None:
    """Find the row or column at which the noise steps most; None if it does nowhere.

    Parameters
    ----------
    subtracted : (ny, nx) float32
        Background-subtracted image.
    background : BackgroundMap
        What was subtracted.
    bad : (ny, nx) bool
        Pixels without data.
    gain : float
        e- per image unit; 0 if it is not known.
    header : Header or None
        Says whether it is a sum of several exposures: these may cover parts of it.
    pedestal : float
        Part of the background that is no light.
    matched : bool
        Skies of parts were brought to one: photons of a brighter sky explain a step, too.
    """
    level, sigma = background.mean - pedestal, background.sigma
    if not sigma > 0.0:
        return None
    most = MAX_SLOPE * (1.0 / gain if gain > 0.0 else sigma**2 / level if level > 0.0 else math.inf)
    found = [
        (*step, name)
        for image, hole, name in ((subtracted, bad, "column"), (subtracted.T, bad.T, "row"))
        if (step := _across(image, hole, background, most, turned=name == "row")) is not None
    ]
    if not found:
        return None
    ratio, lower, column, name = max(found)
    n_frames = max(header_number((header or Header()).get(key)) or 0.0 for key in COMBINED_KEYS)
    may_be = gain > 0.0 and not matched
    of_gain = bool(may_be and n_frames < 2.0 and level / gain > OF_PHOTONS * lower)
    where = f"{name} {column}"
    if of_gain:
        message = (
            f"the noise of the sky steps at {where}, its level not: gains of amplifiers or chips "
            f"that differ by {math.sqrt(ratio) - 1.0:.0%}, and so do fluxes on either side"
        )
    else:
        message = (
            f"the noise of the sky steps by {math.sqrt(ratio) - 1.0:.0%} at {where}, its level "
            "not: amplifiers or chips of another gain (then fluxes differ as much) or read noise, "
            "or exposures that do not cover all"
        )
    return NoiseStep(ratio, of_gain, message)


def _across(
    image: F4, bad: Bools, background: BackgroundMap, most: float, *, turned: bool
) -> tuple[float, float, int] | None:
    """Return the ratio of the variances beside a column, the lower one, and the column."""
    ny, nx = image.shape
    every = max(1, nx // FINE)
    n_lines = min(LINES, ny // (2 * PARTS))
    if nx // every < 4 * WIDTH or n_lines < LINES // 2:
        return None
    columns = np.arange(0, nx, every)
    variances, numbers, levels = [], [], []
    for k in range(PARTS):
        first = (2 * k + 1) * ny // (2 * PARTS) - n_lines // 2
        lines = slice(first, first + n_lines)
        variance, number, level = _variances(
            image[lines, ::every], bad[lines, ::every], background.sigma
        )
        y, x = np.arange(first, first + n_lines, 8)[:, None], columns[None]
        sky = background_at(background, y, x) if turned else background_at(background, x, y)
        variances.append(variance)
        numbers.append(number)
        number[(number <= CLEAR * number.max()) | (np.abs(level) > MAX_OFF * background.sigma)] = (
            0.0
        )
        levels.append(level + sky.mean(axis=0, dtype=np.float64))
    number = np.array(numbers)
    sums = np.where(number > 0.0, variances, 0.0)
    squares = _without_photons(sums, number, np.array(levels), most)
    sums, number = np.cumsum(squares, axis=1), np.cumsum(number, axis=1)
    before, after = _means(sums, number, -WIDTH, 0), _means(sums, number, 0, WIDTH)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.log(after / before)
    # Squares scatter by sqrt(2), and pairs share pixels: three for two; sources add what is seen.
    error = math.sqrt(3.0 * 2.0 / (WIDTH * n_lines))
    error = max(error, robust_sigma(steps[np.isfinite(steps)]))
    sure = np.nan_to_num(np.abs(steps.mean(axis=0)) * math.sqrt(PARTS) / error)
    sure[~(np.abs(steps).min(axis=0) > EACH * error) | (np.ptp(np.sign(steps), axis=0) > 0.0)] = 0.0
    at = int(sure.argmax())
    step = float(steps[:, at].mean())
    if sure[at] < SURE or not math.log1p(MIN_STEP) < abs(step) < math.log1p(MAX_STEP):
        return None
    most = ALONE * abs(step) + 3.0 * error
    aside = [steps[:, k].mean() for k in (at - WIDTH, at + WIDTH) if 0 <= k < steps.shape[1]]
    if max(np.abs(steps[:, at] - step).max(), *np.abs(aside)) > most:
        return None
    third = WIDTH // 3
    near = np.log(
        _means(sums, number, 0, third)[:, at + WIDTH - third]
        / _means(sums, number, -third, 0)[:, at + WIDTH - third]
    )
    if not float(near.mean()) / step > SHARP:
        return None
    lower = float(min(before[:, at].mean(), after[:, at].mean()))
    return math.exp(abs(step)), lower, (at + WIDTH) * every + 1


def _variances(image: F4, bad: Bools, sigma: float) -> tuple[F8, F8, F8]:
    """Return sums of the noise's squares in each column, numbers of their terms, mean levels.

    Pixels of sources are left out, also where a nebula hides them: neighbours tell the noise there.
    """
    image = image.copy(order="K")  # side by side
    sky = (np.abs(image) < np.float32(OUTLIER * sigma)) & ~bad
    change = np.diff(image, axis=0)
    known = sky[1:] & sky[:-1]
    if np.count_nonzero(known[::SPARSE]) < WIDTH:
        return np.zeros(image.shape[1]), np.zeros(image.shape[1]), np.zeros(image.shape[1])
    typical = robust_sigma(change[::SPARSE][known[::SPARSE]])
    calm = np.abs(change) <= np.float32(OUTLIER * typical)
    known &= calm
    for k in range(1, BESIDE + 1):
        known[k:] &= calm[:-k]
        known[:-k] &= calm[k:]
    squares = np.where(known, change, np.float32(0.0)).astype(np.float64) ** 2
    level = np.where(known, image[1:], np.float32(0.0)).sum(axis=0, dtype=np.float64)
    number = known.sum(axis=0).astype(np.float64)
    return 0.5 * squares.sum(axis=0), number, level / np.maximum(number, 1.0)


def _without_photons(sums: F8, number: F8, level: F8, most: float) -> F8:
    """Return the sums of squares less what goes with the level: a line fitted to all columns.

    `most` is the highest slope, variance per level, that photons can have.
    """
    variance = sums / np.maximum(number, 1.0)
    use, slope, middle = number > 0.0, 0.0, 0.0
    for _ in range(2):
        if np.count_nonzero(use) < WIDTH:
            return sums
        middle = float(level[use].mean())
        aside = level[use] - middle
        spread = float((aside**2).sum())
        slope = float((aside * variance[use]).sum()) / spread if spread > 0.0 else 0.0
        slope = min(max(slope, 0.0), most)
        rest = variance - slope * (level - middle)
        use &= np.abs(rest - median(rest[use])) < FAR * robust_sigma(rest[use])
    return sums - slope * (level - middle) * number


def _means(sums: F8, number: F8, first: int, last: int) -> F8:
    """Return the mean of the columns from `first` up to `last` beside each but those at edges."""
    wide = np.pad(np.stack([sums, number]), ((0, 0), (0, 0), (1, 0)))
    margin = max(-first, last)
    n = sums.shape[1] - 2 * margin + 1
    total = wide[:, :, margin + last :][:, :, :n] - wide[:, :, margin + first :][:, :, :n]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(total[0] / total[1], dtype=np.float64)
