"""Frames on which every star is seen twice: double exposures, jumps of the telescope, ghosts.

Each of the two images of the sky fits a reference catalogue as well as the other.  They show in
the vectors between the brightest sources: those from a star to its second image are all the same,
and so is the difference of magnitudes.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8, distinct
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.record import record
from skyextract.stages.vectors import in_fullest_cell

N_BRIGHTEST = 150
"""Sources whose vectors are looked at."""
MIN_SOURCES = 20
TOLERANCE = 1.0
"""Pixels by which vectors may differ that are the same."""
MIN_PAIRS = 10
MIN_SHARE = 0.15
"""Least number of pairs, per source."""
MIN_SIGNIFICANCE = 8.0
"""Of their number, above that of similar vectors, in its Poisson noise."""
MAX_SCATTER = 0.3
"""Of their differences of magnitude: of any two bright sources it is larger."""
_TABLE, _FACTOR = 1 << 16, 40503
"""Numbers that cells have in a first count, a power of two, and rows of them in these."""
MAX_OTHER, MAX_SUM = 0.6, 0.3
"""On a grid, and on copies side by side, another vector is so frequent, and so are its sum with and
its difference from the first: shares of the number of the first."""
MULTIPLE, MIN_MULTIPLE, EXTENT = 4, 0.25, 0.8
"""A grid repeats over the whole frame, the images of a star (segments of a mirror) a few times:
this multiple of the vector is as frequent as this share of it, if it is within this part of the
frame."""
MIN_CHAINED, PARTS, MOST_EMPTY = 0.3, 3, 2
"""Pieces of one extended thing follow each other, twice the vector is as frequent as this share of
it, and they are in a part of the frame: of so many times as many parts with equal numbers of
sources, more than these hold none."""


@record
class Twins:
    """Sources that are seen twice.

    Attributes
    ----------
    dx, dy : float
        From the first image of a star to the second one, pixels.
    fainter : float
        Magnitudes of the second image less those of the first.
    n_pairs, n_sources : int
        How many of the sources that were looked at are the first of a pair.
    doubt : str
        Why positions and magnitudes are to be taken with care.
    """

    dx: float
    dy: float
    fainter: float
    n_pairs: int
    n_sources: int
    doubt: str


def find_twins(x: F8, y: F8, flux: F8) -> Twins | None:
    """Look for a vector that leads from many of the brightest sources to another of them.

    Parameters
    ----------
    x, y, flux : (n,) float64
        Sources, pixels and image units.

    Returns
    -------
    Twins or None
        None where they are too few, where there is no such vector, or where they lie on a grid.
    """
    brightest = np.argsort(-flux, kind="stable")[:N_BRIGHTEST]
    brightest = brightest[flux[brightest] > 0.0]
    n = brightest.size
    if n < MIN_SOURCES:
        return None
    least = max(MIN_PAIRS, MIN_SHARE * n)
    if not _may_be_as_many(x[brightest], y[brightest], least):
        return None
    places = np.stack([x[brightest], y[brightest], -2.5 * np.log10(flux[brightest])])
    first, second = np.triu_indices(n, 1)
    vectors = places[:, second] - places[:, first]
    far = np.hypot(vectors[0], vectors[1]) > 2.0 * TOLERANCE
    first, second, vectors = first[far], second[far], vectors[:, far]
    centre = _most_frequent(vectors)
    vectors = _turned(vectors, centre)
    distance = np.hypot(vectors[0] - centre[0], vectors[1] - centre[1])
    same = distance <= TOLERANCE
    count = int(np.count_nonzero(same))
    around = np.count_nonzero((distance > 4.0 * TOLERANCE) & (distance <= 12.0 * TOLERANCE))
    expected = around / (12.0**2 - 4.0**2)
    if (
        count < least
        or count < expected + MIN_SIGNIFICANCE * math.sqrt(expected + 1.0)
        or robust_sigma(vectors[2, same]) > MAX_SCATTER
        or _on_grid(vectors, centre, count, np.ptp(places[:2], axis=1))
    ):
        return None
    seen = np.concatenate([first[same], second[same]])
    is_chain = _number_near(vectors, centre, 2.0) > MIN_CHAINED * count
    if is_chain and _n_empty(places, seen) > MOST_EMPTY:
        return None
    message = (
        f"{count} of the {n} brightest sources are seen a second time {centre[0]:+.1f}, "
        f"{centre[1]:+.1f} pixels away: double exposure, jump of the telescope, repeated rows, "
        "ghosts?"
    )
    return Twins(*centre, median(vectors[2, same]), count, n, message)


def _may_be_as_many(x: F8, y: F8, least: float) -> bool:
    """Tell whether so many vectors may be the same, which of most fields can be ruled out at once.

    Those within a tolerance of one lie in four cells of twice the tolerance at most.
    """
    dx, dy = x[:, None] - x, y[:, None] - y
    far = dx * dx + dy * dy > 4.0 * TOLERANCE**2
    # Truncated, which for numbers above 0 is the floor.
    columns, rows = (
        ((d - d.min()) * (0.5 / TOLERANCE)).astype(np.int64)[far] for d in (dx, dy)
    )  # fmt: skip
    several = math.ceil(0.25 * least) - 1
    # In numbers of few bits, which are counted sooner than cells are sorted, no fewer are alike.
    if not rows.size or np.bincount((rows * _FACTOR + columns) & (_TABLE - 1)).max() <= several:
        return False
    cells = np.sort((rows << 32) + columns)
    return bool((cells[several:] == cells[: max(0, cells.size - several)]).any())


def on_grid(sources: F8) -> bool:
    """Tell whether the brightest sources lie on a grid, whose vectors repeat.

    Parameters
    ----------
    sources : (3, n) float64
        x, y, in pixels, and magnitudes, brightest first.
    """
    places = sources[:, :N_BRIGHTEST]
    first, second = np.triu_indices(places.shape[1], 1)
    vectors = places[:, second] - places[:, first]
    centre = _most_frequent(vectors)
    vectors = _turned(vectors, centre)
    same = np.hypot(vectors[0] - centre[0], vectors[1] - centre[1]) <= TOLERANCE
    count = int(np.count_nonzero(same))
    extent = np.ptp(places[:2], axis=1)
    enough = count >= max(MIN_PAIRS, MIN_SHARE * places.shape[1])
    return enough and _on_grid(vectors, centre, count, extent)


def _number_near(vectors: F8, vector: tuple[float, float], multiple: float = 1.0) -> int:
    """Return how many vectors are, but for their sign, a multiple of one."""
    dx, dy = multiple * vector[0], multiple * vector[1]
    turned = _turned(vectors, (dx, dy))
    return int(np.count_nonzero(np.hypot(turned[0] - dx, turned[1] - dy) <= 2.0 * TOLERANCE))


def _n_empty(places: F8, rows: I8) -> int:
    """Return in how many parts of the frame, with equal numbers of sources, none of some is."""
    n = places.shape[1]
    column = np.argsort(np.argsort(places[0], kind="stable")) * PARTS // n
    # By column, and in it by row.
    order = np.lexsort((places[1], column))
    part = np.empty(n, np.int64)
    part[order] = np.arange(n) * PARTS**2 // n
    return PARTS**2 - distinct(part[rows]).size


def _turned(vectors: F8, centre: tuple[float, float]) -> F8:
    """Turn the vectors that point away from a direction: which end is the first is chance."""
    turned: F8 = np.where(vectors[0] * centre[0] + vectors[1] * centre[1] < 0.0, -vectors, vectors)
    return turned


def _most_frequent(vectors: F8) -> tuple[float, float]:
    """Return the vector, its second component not negative, near which most of them are."""
    dx, dy = _turned(vectors, (0.0, 1.0))[:2]
    start = int(np.argmax(in_fullest_cell(dx, dy, 2.0 * TOLERANCE)))
    centre = float(dx[start]), float(dy[start])
    for reach in (3.0 * TOLERANCE, TOLERANCE, TOLERANCE):
        dx, dy = _turned(vectors, centre)[:2]
        near = np.hypot(dx - centre[0], dy - centre[1]) <= reach
        centre = median(dx[near]), median(dy[near])
    return centre


def _on_grid(vectors: F8, centre: tuple[float, float], count: int, extent: F8) -> bool:
    """Tell whether a second vector is frequent too, with its sum and difference of the first.

    And a multiple of the first, if the extent of the sources along x and y has place for it.
    """
    has_place = (MULTIPLE * np.abs(centre) < EXTENT * extent).all()
    if has_place and _number_near(vectors, centre, MULTIPLE) < MIN_MULTIPLE * count:
        return False
    across = np.abs(vectors[0] * centre[1] - vectors[1] * centre[0]) / math.hypot(*centre)
    aside = across > 3.0 * TOLERANCE
    if not aside.any():
        return False
    other = _most_frequent(vectors[:, aside])
    for sign, share in ((0.0, MAX_OTHER), (1.0, MAX_SUM), (-1.0, MAX_SUM)):
        step = other[0] + sign * centre[0], other[1] + sign * centre[1]
        if _number_near(vectors, step) < share * count:
            return False
    return True
