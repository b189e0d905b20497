"""Dots about very bright stars that lie on a lattice: the microlenses of its detector diffract.

Light that a detector with microlenses reflects, and the window sends back, comes as a lattice of
dots about the star, which are fainter the farther they are.  Each looks like a star.  The vectors
between neighbouring dots are the same all over the pattern, and about all bright stars of a frame,
where those of stars are at random; the bright star is a node of the lattice, which tells the
pattern from stars that somebody set on one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from skyextract.datamodel.arrays import F8, I8, AnyArray, Bools, each_of
from skyextract.stages.chance import log_as_many
from skyextract.stages.detection.marked import Marked

N_NEAREST, OF_SEVERAL = 200, 60
"""So many fainter sources, the nearest, tell the lattice of one bright star, and of several."""
GROUPS = (
    (slice(0, 1), N_NEAREST), (slice(1, 2), N_NEAREST), (slice(2, 3), N_NEAREST),
    (slice(0, 2), OF_SEVERAL), (slice(0, 6), OF_SEVERAL),
)  # fmt: skip
"""The brightest sources, alone and together, which are looked at."""
FAINTER = 6.0
"""Magnitudes that dots are fainter than their star, at least."""
BEYOND = 1.5
"""Their lattice is that of others up to so many times as far."""
PITCH = (8.0, 160.0)
"""Distance of neighbouring dots, pixels."""
CELL, PHASE_CELL = 3.0, 4.0
"""Cells of vectors, and of places in the unit cell of the lattice, pixels."""
AS_FULL = 0.6
"""Vectors that are so frequent as the most frequent one may be the shortest of the lattice."""
ODD = 0.01
"""Chance that any vector is as frequent, at most."""
APART = 0.5
"""Sine of the angle of its two vectors, at least."""
TOLERANCE = 2.0
"""Distance of a dot from its node, pixels, at most."""
CENTRED = 0.12
"""Distance of the star from a node, at most, in units of the shorter vector."""
RINGS = (2, 4, 8, 16)
"""The lattice is fitted to nodes up to so many vectors from the star, in turn."""
MIN_DOTS, MIN_EXCESS = 12, 4.0
"""Dots of a pattern, and how many times as many as chance puts there, at least; ..."""
MIN_OF_STAR = 4
"""... and of one star of several."""
FALSE_ALARM = 1e-6
"""Chance that sources at random show as many anywhere."""
N_VECTORS = 12
"""Vectors that are looked at, the shortest ones."""
MANY = 0.1
"""Share of the sources above which they are doubtful."""


def find_dots(x: F8, y: F8, flux: F8) -> Marked | None:
    """Look for dots on lattices about the brightest sources.

    Parameters
    ----------
    x, y, flux : (n,) float64
        Sources, pixels and image units.
    """
    rows = np.zeros(x.size, np.bool_)
    told: dict[int, str] = {}
    order = np.argsort(-flux, kind="stable")
    for group, most in GROUPS:
        stars = order[group]
        place, fainter = _about(x, y, flux, stars)
        distance = np.where(fainter, np.hypot(*place), np.inf)
        # Each source counts once, with the star that it is nearest to.
        nearest = np.argmin(distance, axis=0) if stars.size else np.zeros(0, np.int64)
        column = np.flatnonzero(fainter.any(axis=0))
        if column.size < MIN_DOTS:
            continue
        row = nearest[column]
        near = np.argsort(distance[row, column], kind="stable")[:most]
        reach = BEYOND * distance[row, column][near[-1]]
        found = _lattice_of(place[:, row, column][:, near])
        if found is None:
            continue
        share = math.pi * TOLERANCE**2 / abs(float(np.linalg.det(found[0])))
        pitch = float(np.hypot(*found[0]).min())
        for k, star in enumerate(stars.tolist()):
            about = np.flatnonzero(distance[k] < reach)
            dots = about[_from_nodes(place[:, k, about], *found) < TOLERANCE]
            if dots.size > max(MIN_OF_STAR, MIN_EXCESS * share * about.size):
                rows[dots] = True
                told[star] = f"{pitch:.1f} pixels apart about {x[star] + 1:.0f}, {y[star] + 1:.0f}"
    if not told:
        return None
    message = (
        f"{np.count_nonzero(rows)} of {rows.size} sources are dots on a lattice about a very "
        f"bright star (diffraction by microlenses?; GHOST in FLAGS_SKY): {'; '.join(told.values())}"
    )
    return Marked(rows, message, MANY)


def _about(x: F8, y: F8, flux: F8, stars: I8) -> tuple[F8, Bools]:
    """Return all sources as seen from some stars, (2, n_stars, n), and which are far fainter."""
    place = np.stack([x - x[stars, None], y - y[stars, None]])
    return place, flux < flux[stars, None] * 10.0 ** (-0.4 * FAINTER)


def _lattice_of(place: F8) -> tuple[F8, F8] | None:
    """Return the vectors, columns of (2, 2), and the origin of the lattice that places are on.

    None where there is none, or where no node of it is at zero.

    Parameters
    ----------
    place : (2, n) float64
        Of sources, from the star.
    """
    n_cells = math.pi * (PITCH[1] / CELL) ** 2
    best, found = math.log(FALSE_ALARM / (len(GROUPS) * n_cells**2)), None
    for vectors in _lattices(place):
        lattice, origin = _fitted(place, vectors)
        area = abs(float(np.linalg.det(lattice)))
        short = float(np.hypot(*lattice).min())
        if short < PITCH[0] or area < APART * short**2:
            continue
        if _from_nodes(np.zeros((2, 1)), lattice, origin)[0] > CENTRED * short:
            continue
        n = int(np.count_nonzero(_from_nodes(place, lattice, origin) < TOLERANCE))
        mean = place.shape[1] * math.pi * TOLERANCE**2 / area
        if n < max(MIN_DOTS, MIN_EXCESS * mean):
            continue
        chance = log_as_many(n, mean)
        if chance < best:
            best, found = chance, (lattice, origin)
    return found


def _lattices(place: F8) -> Iterator[F8]:
    """Yield pairs of vectors, columns of (2, 2), between which many of the places are."""
    place = place[:, np.argsort(place[0])].astype(np.float32)
    n = np.searchsorted(place[0], place[0] + np.float32(PITCH[1])) - np.arange(place.shape[1]) - 1
    first, step = each_of(n)
    vector = place[:, first + step + 1] - place[:, first]
    vector *= np.where(vector[1] < 0.0, np.float32(-1.0), np.float32(1.0))
    length = np.hypot(*vector)
    vector = vector[:, (length > PITCH[0]) & (length < PITCH[1])]
    if not vector.size:
        return
    n_x, n_y = 2 * math.ceil(PITCH[1] / CELL) + 1, math.ceil(PITCH[1] / CELL) + 1
    column = np.floor(vector[0] / CELL).astype(np.int64) + n_x // 2
    row = np.floor(vector[1] / CELL).astype(np.int64)
    number = np.bincount(row * n_x + column, minlength=n_y * n_x).reshape(n_y, n_x)
    # A vector is anywhere in its cell: those of four cells count.
    number = number[:-1, :-1] + number[1:, :-1] + number[:-1, 1:] + number[1:, 1:]
    most, mean = int(number.max()), float(number.mean())
    if most < max(MIN_DOTS // 2, 3.0 * mean) or log_as_many(most, mean) > math.log(ODD / n_x / n_y):
        return
    full = np.flatnonzero(number.ravel() > AS_FULL * most)
    v, u = np.divmod(full, n_x - 1)
    middle = np.stack([u + 1.0 - n_x // 2, v + 1.0]) * CELL
    order = np.argsort(np.hypot(*middle), kind="stable")[:N_VECTORS]
    vectors = [_centred(vector, middle[:, k]) for k in order]
    for k, one in enumerate(vectors):
        for other in vectors[k + 1 :]:
            if abs(one[0] * other[1] - one[1] * other[0]) > APART * math.hypot(*one) ** 2:
                yield np.column_stack([one, other])
                break


def _centred(vector: AnyArray, middle: F8) -> F8:
    """Return the median of the vectors in a cell."""
    near = (np.abs(vector - middle[:, None]) <= CELL).all(axis=0)
    out: F8 = np.median(vector[:, near], axis=1).astype(np.float64)
    return out


def _fitted(place: F8, vectors: F8) -> tuple[F8, F8]:
    """Return the vectors of a lattice and its origin, by least squares, outwards."""
    lattice, origin = vectors, _phase(place, vectors)
    for ring in RINGS:
        node = np.rint(np.linalg.solve(lattice, place - origin[:, None]))
        rest = place - origin[:, None] - lattice @ node
        used = (np.abs(node).max(axis=0) <= ring) & (np.hypot(*rest) < TOLERANCE)
        design = np.column_stack([node[:, used].T, np.ones(int(used.sum()))])
        if np.linalg.matrix_rank(design) < 3:
            break
        solution = np.linalg.lstsq(design, place[:, used].T, rcond=None)[0]
        lattice, origin = solution[:2].T, solution[2]
    return lattice, origin


def _phase(place: F8, lattice: F8) -> F8:
    """Return where in the unit cell most places are, pixels from the origin."""
    part = np.linalg.solve(lattice, place) % 1.0
    n = np.maximum((np.hypot(*lattice) / PHASE_CELL).astype(np.int64), 2)
    cell = np.minimum((part * n[:, None]).astype(np.int64), n[:, None] - 1)
    number = np.bincount(cell[0] * n[1] + cell[1], minlength=int(n.prod())).reshape(*n)
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    number = np.sum([np.roll(number, step, (0, 1)) for step in steps], axis=0)
    best = np.array(np.unravel_index(int(np.argmax(number)), number.shape))
    middle = (best + 0.5) / n
    off = (part - middle[:, None] + 0.5) % 1.0 - 0.5
    near = (np.abs(off) < 1.5 / n[:, None]).all(axis=0)
    phase = middle + np.median(off[:, near], axis=1)
    out: F8 = lattice @ (phase - np.rint(phase))
    return out


def _from_nodes(place: F8, lattice: F8, origin: F8) -> F8:
    """Return the distance of places from the nearest node of a lattice."""
    rest = place - origin[:, None]
    out: F8 = np.hypot(*(rest - lattice @ np.rint(np.linalg.solve(lattice, rest))))
    return out
