"""The branches of a component, in their order in the tree of its isophotes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4


class TreeRules(NamedTuple):
    """What a branch is.

    Attributes
    ----------
    n_levels : int
        DEBLEND_NTHRESH.
    contrast : float
        DEBLEND_MINCONT: least share of the component's flux in a branch.
    linear : bool
        Levels at equal steps (photographic densities) instead of equal ratios.
    min_area : int
        Fewest pixels of an isophote of the tree.
    significance, photon_noise : float
        A branch must rise above its junction, at level s, by ``significance * sqrt(1 +
        photon_noise * s)``: so much noise can do.  0: no condition.
    psf_area : float
        Flux over peak of a point source: a branch has at least the flux of a point source
        that rises as high above the junction.  0: only what is in the isophote counts.
    local, local_significance : float
        Without its share of the component's flux a branch counts, too, if it rises above its
        junction by such a part of the level there, and by so much noise in place of
        `significance`, has not much more flux than a point source (how much more it may have
        grows with that part), or had so at a higher level: then it is what is above that.  0: it
        does not.
    """

    n_levels: int
    contrast: float
    linear: bool
    min_area: int
    significance: float
    photon_noise: float
    psf_area: float
    local: float
    local_significance: float


class Branches(NamedTuple):
    """The branches of components.

    Attributes
    ----------
    of_pixel : (n_pixels,)
        For each element of `Components.order`: number of its branch, -1: in none.
    level : (n_pixels,)
        ``level[first[c] + b]``: threshold of branch b of component c.
    number : (n_components,)
    """

    of_pixel: I4
    level: F4
    number: I4


class Found(NamedTuple):
    """Branches that were found.

    Attributes
    ----------
    path : (m, n_levels + 1)
        Last element of the grid of the isophotes around it at each level up to its own.
    list : (m, 3)
        First and last pixel, level.
    """

    path: I4
    list: I4


@kernel
def _before(path: I4, level: I4, i: int, j: int) -> bool:
    """Whether branch i precedes j: higher levels first, then in the order of the tree."""
    if level[i] != level[j]:
        return bool(level[i] > level[j])
    for k in range(1, level[i] + 1):
        if path[i, k] != path[j, k]:
            return bool(path[i, k] < path[j, k])
    return False


@kernel
def _sort_branches(path: I4, level: I4, n: int, rank: I4) -> None:
    """Sort branches (Shell's method) into `rank`."""
    for i in range(n):
        rank[i] = i
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            item = rank[i]
            j = i
            while j >= gap and _before(path, level, item, rank[j - gap]):
                rank[j] = rank[j - gap]
                j -= gap
            rank[j] = item
        gap //= 3


@helper
def more_rows(array: I4) -> I4:
    """Return a copy of a table with twice the rows."""
    larger = np.empty((2 * array.shape[0], array.shape[1]), np.int32)
    larger[: array.shape[0]] = array
    return larger


@helper
def number_branches(
    found: Found, n_found: int, levels: F4, following: I4, begin: int, branches: Branches
) -> None:
    """Give the branches of a component numbers in the order of the tree, and its pixels theirs."""
    rank = np.empty(n_found, np.int32)
    _sort_branches(found.path, found.list[:, 2].copy(), n_found, rank)
    for b in range(n_found):
        i = found.list[rank[b], 0]
        end = found.list[rank[b], 1]
        branches.level[begin + b] = levels[found.list[rank[b], 2]]
        while True:
            branches.of_pixel[begin + i] = b
            if i == end:
                break
            i = following[i]
