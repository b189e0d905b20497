"""What the astrometry kernels take: points in cells, patterns of neighbours, likely pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8


class Cells(NamedTuple):
    """Points sorted into square cells: those of cell c are ``order[start[c]:start[c + 1]]``.

    Attributes
    ----------
    x, y : (n,) float64
        Points.
    left, low, size : float
        Corner of the grid and side of a cell.
    nx, ny : int
        Cells in x and y; cell c is in row ``c // nx``.
    start : (nx * ny + 1,) int64
    order : (n,) int64
    """

    x: F8
    y: F8
    left: float
    low: float
    size: float
    nx: int
    ny: int
    start: I8
    order: I8


class Patterns(NamedTuple):
    """The nearest neighbours of n points, in order of distance.

    Attributes
    ----------
    size : (n,) int64
        Number of neighbours; the arrays below are valid as far.
    log_r, angle : (n, k) float64
        Log distance and direction (rad, from -pi to 2 pi).
    """

    size: I8
    log_r: F8
    angle: F8


class Pairs(NamedTuple):
    """Pairs (anchor, star) that look alike, (n,) each, by falling number of votes.

    `log_scale` and `rotation` lead from the pattern of the anchor to that of the star.
    """

    votes: I8
    anchor: I8
    star: I8
    log_scale: F8
    rotation: F8
