"""Whether, in dual-image mode, the image to measure lies where the one to detect on does."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.noise import robust_sigma
from skyextract.record import record
from skyextract.stages.background.planes import Plane

N_BRIGHTEST = 200
REACH = 12
"""Pixels about a detection in which its light is looked for; about the place that most vectors from
detections to peaks, anywhere in the other image, say, where that shows nothing."""
SIGNIFICANT = 10.0
"""Sum of 3 x 3 pixels in sigma of it, from which a place is that of a source."""
SAME = 0.7
"""Pixels within which two displacements are one."""
MIN_SOURCES, MIN_SHARE = 8, 0.4
"""Of the sources that are seen in both images, how many have the displacement."""
LEAST, OF_FWHM, ERRORS = 0.3, 0.1, 5.0
"""A displacement is told of from so many pixels, FWHM, and errors of its own."""
MIN_TURNED = 12
"""Sources that tell of a rotation or another scale."""
MOST = 90.0
"""Percentage of the sources that are displaced by less than what is told of."""
ROUNDS = 10


@record
class Displacement:
    """Where the image to measure lies.

    Attributes
    ----------
    dx, dy : float
        Of its stars from those of the image to detect on, pixels, in the median.
    n_sources : int
        Sources that say so.
    doubt : str
        What is wrong; empty where it lies right.
    """

    dx: float
    dy: float
    n_sources: int
    doubt: str


def find_displacement(
    x: F8, y: F8, flux: F8, detection: Plane, measurement: Plane, fwhm: float = 0.0
) -> Displacement | None:
    """Compare where the brightest detections have their light in both images.

    The commonest vector from the peak in one image to that in the other counts: sources of
    one image alone, and neighbours of other colour, have any.

    Parameters
    ----------
    x, y, flux : (n,) float64
        Detections, 0-based pixels and image units.
    detection, measurement : Plane
        The two images.
    fwhm : float
        Of the PSF, pixels; 0 if it is not known.

    Returns
    -------
    Displacement or None
        None where too few sources are seen in both, or each has a vector of its own.
    """
    rows = np.argsort(-flux, kind="stable")[:N_BRIGHTEST]
    places = np.stack([np.rint(x[rows]), np.rint(y[rows])], axis=1).astype(np.int64)
    places = places[_is_inside(places, detection.subtracted.shape)]
    found = _compared(places, (0, 0), detection, measurement, fwhm)
    if found is not None and max(abs(found.dx), abs(found.dy)) < REACH - 1:
        return found
    far = _far(places, measurement) if found is None else (round(found.dx), round(found.dy))
    return _compared(places, far, detection, measurement, fwhm)


def _compared(
    places: I8, far: tuple[int, int], detection: Plane, measurement: Plane, fwhm: float
) -> Displacement | None:
    """Compare the peaks about places with those about the same ones displaced; None if unlike."""
    shape = detection.subtracted.shape
    places = places[_is_inside(places + far, shape)]
    if len(places) < MIN_SOURCES:
        return None
    first, second = _centres(detection, places), _centres(measurement, places + far)
    vectors = second - first
    seen = np.isfinite(vectors).all(axis=1)
    vectors, origin = vectors[seen], first[seen] - 0.5 * np.array(shape[::-1])
    if len(vectors) < MIN_SOURCES:
        return None
    centre = _commonest(vectors)
    is_member = np.hypot(*(vectors - centre).T) < SAME
    found = _shift(vectors, is_member, fwhm)
    # Of a rotation, or another scale, the sources in the middle tell first.
    turned = _turn(vectors, origin, is_member, fwhm) if is_member.sum() >= MIN_SOURCES else None
    if turned is not None and turned.doubt and turned.n_sources > found.n_sources:
        found = turned
    return found if found.n_sources >= max(MIN_SOURCES, MIN_SHARE * len(vectors)) else None


def _is_inside(places: I8, shape: tuple[int, ...]) -> Bools:
    """Tell which places (x, y) are so far within an image that all of their windows is."""
    edge = REACH + 3
    inside = (places >= edge) & (places < np.array(shape[::-1]) - edge)
    return np.asarray(inside.all(axis=1), dtype=np.bool_)


def _commonest(vectors: F8) -> F8:
    """Return one of the vectors near which most others are."""
    near = np.hypot(*(vectors[:, None] - vectors).transpose(2, 0, 1)) < SAME
    commonest: F8 = vectors[near.sum(axis=1).argmax()]
    return commonest


def _far(places: I8, measurement: Plane) -> tuple[int, int]:
    """Return the vector that leads from most of the places to peaks of an image, whole pixels."""
    vectors = (_peaks(measurement)[:, None] - places).reshape(-1, 2)
    if not len(vectors):
        return 0, 0
    # Of squares of 2 x 2 pixels, at any pixel, the one with most vectors.
    keys, number = np.unique(
        np.concatenate([vectors - shift for shift in np.ndindex(2, 2)]), axis=0, return_counts=True
    )
    dx, dy = keys[number.argmax()].tolist()
    return dx, dy


def _peaks(plane: Plane) -> I8:
    """Return x and y of the brightest peaks of an image, one of each square of cells at most."""
    image, side = plane.subtracted, 2 * REACH
    found: list[F8] = []
    for top in range(0, image.shape[0] - side - 1, side):
        sums = _three_by_three(image[None, top : top + side + 2])[0]
        n = sums.shape[1] // side
        cells = sums[:, : n * side].reshape(side, n, side).transpose(1, 0, 2).reshape(n, -1)
        at = cells.argmax(axis=1)
        row, column = np.divmod(at, side)
        left = side * np.arange(n) + 1
        found.append(np.stack([left + column, top + 1 + row, cells[np.arange(n), at]]))
    x, y, height = np.concatenate([np.empty((3, 0)), *found], axis=1)
    rows = np.argsort(-height, kind="stable")[:N_BRIGHTEST]
    rows = rows[height[rows] > 3.0 * SIGNIFICANT * plane.background.sigma]
    return np.stack([x[rows], y[rows]], axis=1).astype(np.int64)


def _shift(vectors: F8, is_member: Bools, fwhm: float) -> Displacement:
    """Return the displacement that sources have in common."""
    members = vectors[is_member]
    n = len(members)
    dx, dy = (float(value) for value in np.median(members, axis=0))
    error = 1.25 * math.hypot(*map(robust_sigma, members.T)) / math.sqrt(n)
    message = ""
    if math.hypot(dx, dy) > max(LEAST, OF_FWHM * fwhm, ERRORS * error):
        message = (
            f"the image to measure is displaced by ({dx:+.1f}, {dy:+.1f}) pixels from the image "
            "to detect on: apertures, fits and positions are those of other pixels"
        )
    return Displacement(dx, dy, n, message)


def _turn(vectors: F8, places: F8, is_member: Bools, fwhm: float) -> Displacement | None:
    """Return the displacement that goes linearly with the place; None for too few sources."""
    design = np.column_stack([np.ones(len(places)), places])
    for _ in range(ROUNDS):
        if is_member.sum() < MIN_SOURCES:
            return None
        plane, *_ = np.linalg.lstsq(design[is_member], vectors[is_member], rcond=None)
        rest = np.hypot(*(vectors - design @ plane).T)
        before, is_member = is_member, rest < SAME
        if (before == is_member).all():
            break
    n = int(is_member.sum())
    if n < MIN_TURNED:
        return None
    expected = design @ plane
    distance = float(np.percentile(np.hypot(*expected.T), MOST))
    sigma = math.hypot(*map(robust_sigma, (vectors - expected)[is_member].T))
    message = ""
    # Towards the edges a plane is known half as well as in the middle.
    if distance > max(LEAST, OF_FWHM * fwhm, 2.0 * ERRORS * sigma / math.sqrt(n)):
        message = (
            "the image to measure is turned or scaled against the image to detect on: sources are "
            f"displaced by up to {distance:.1f} pixels, apertures, fits and positions are those of "
            "other pixels"
        )
    dx, dy = (float(value) for value in np.median(expected, axis=0))
    return Displacement(dx, dy, n, message)


def _centres(plane: Plane, places: I8) -> F8:
    """Return x and y of the peaks about places; NaN where none is significant."""
    column, row = places.T
    steps = np.arange(-REACH - 1, REACH + 2)
    image = plane.subtracted
    windows = image[row[:, None, None] + steps[:, None], column[:, None, None] + steps]
    sums = _three_by_three(windows)
    flat = sums.reshape(len(sums), -1)
    peak = flat.argmax(axis=1)
    at_y, at_x = np.unravel_index(peak, sums.shape[1:])
    at_y, at_x = at_y - REACH + row, at_x - REACH + column
    near = np.arange(-2, 3)
    core = image[at_y[:, None, None] + near[:, None], at_x[:, None, None] + near].astype(np.float64)
    core -= core.min(axis=(1, 2), keepdims=True)
    total = core.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        centres = np.stack(
            [at_x + (core * near).sum(axis=(1, 2)) / total,
             at_y + (core * near[:, None]).sum(axis=(1, 2)) / total], axis=1,
        )  # fmt: skip
    faint = flat[np.arange(len(flat)), peak] < 3.0 * SIGNIFICANT * plane.background.sigma
    centres[faint] = np.nan
    return np.asarray(centres, dtype=np.float64)


def _three_by_three(windows: F4) -> F4:
    """Return the sums of the pixels about each one that is not on an edge."""
    rows = windows[:, :-2] + windows[:, 1:-1] + windows[:, 2:]
    return np.asarray(rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:], dtype=np.float32)
