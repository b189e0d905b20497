"""Stars upon light that is much wider than they are: contrails, plumes, the Moon, galaxies' disks.

A branch of a detection needs a share of all its flux, which of wide light no star upon it has.
There a branch counts, too, that is a point source for the most part and rises well above the light
beneath (`TreeRules.local`); it has the pixels of its core alone.  All others are those of the
light, which is a source of its own, or that of the branch in its middle: a nucleus, a planet.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import U2
from skyextract.datamodel.flags import Mask
from skyextract.kernels.detection.branches import Branches
from skyextract.kernels.detection.pixels import Components, Pixels

WIDE, HALO = 30.0, 300.0
"""Pixels of wide light per branch, at least, in areas of the core of a star (crowds have less), and
of light that is scattered about saturated pixels."""
LOCAL, SCATTERED = 0.5, 0.2
"""Height of a star above the light beneath, at least, over that: of any light, and of light that is
scattered about saturated pixels, which has no knots."""
MIDDLE, SATURATED_MIDDLE = 0.3, 0.1
"""Distance of what is in the middle of the light, in units of its rms radius, at most: of light
that rises towards it, ..."""
CENTRAL, RING = 2.0, (2.0, 3.0)
"""... in a ring about it, of so many radii of its core, over the mean of what is beyond; and of
light that is scattered, which does."""
NO_STAR = 8.0
"""Pixels of a branch that is light itself, at least, in areas of the core of a star."""


def wide_components(
    pixels: Pixels, components: Components, branches: Branches, core_area: float, mask: U2
) -> list[tuple[int, float]]:
    """Return the components that are wide light, with `TreeRules.local`.

    Parameters
    ----------
    branches : Branches
        Of the components so far.
    core_area : float
        Of a star, pixels.
    mask : (ny, nx) uint16
        Where pixels are saturated.
    """
    order, first = components
    area = np.diff(first) / core_area
    is_wide = area > WIDE * branches.number
    found = []
    for c in np.flatnonzero(is_wide | (area > HALO)).tolist():
        own = order[first[c] : first[c + 1]]
        if (mask[pixels.y[own], pixels.x[own]] & np.uint16(Mask.SAT)).any():
            if area[c] > HALO:
                found.append((c, SCATTERED))
        elif is_wide[c]:
            found.append((c, LOCAL))
    return found


def give_rest(
    pixels: Pixels, components: Components, branches: Branches, c: int, core_area: float,
    *, is_scattered: bool,
) -> bool:  # fmt: skip
    """Give the pixels of component c that are in no branch to the light, in place.

    Tell whether that was done: light that is scattered about its middle is shared as in any blend.
    """
    order, first = components
    own = slice(int(first[c]), int(first[c + 1]))
    p, of_pixel = order[own], branches.of_pixel[own]
    n = int(branches.number[c])
    label = np.where(of_pixel < 0, n, of_pixel)
    light = pixels.filtered[p].astype(np.float64)
    x, y = pixels.x[p].astype(np.float64), pixels.y[p].astype(np.float64)
    total, of_x, of_y, of_square = (
        np.bincount(label, light * w, minlength=n + 1) for w in (1.0, x, y, x * x + y * y)
    )
    # Of the light with each branch, which may be its middle.
    both = total[n] + total[:n]
    middle_x, middle_y = (of_x[n] + of_x[:n]) / both, (of_y[n] + of_y[:n]) / both
    radius = np.sqrt((of_square[n] + of_square[:n]) / both - middle_x**2 - middle_y**2)
    away = np.hypot(of_x[:n] / total[:n] - middle_x, of_y[:n] / total[:n] - middle_y) / radius
    nearest = int(np.argmin(away))
    if is_scattered and away[nearest] < SATURATED_MIDDLE:
        return False
    own_x, own_y = of_x[nearest] / total[nearest], of_y[nearest] / total[nearest]
    area = np.count_nonzero(label == nearest)
    core = math.sqrt(area / math.pi)
    r = np.hypot(x - own_x, y - own_y) / core
    ring = light[(label == n) & (r > RING[0]) & (r < RING[1])]
    beyond = light[(label == n) & (r >= RING[1])]
    rises = ring.size > 0 and beyond.size > 0 and ring.mean() > CENTRAL * beyond.mean()
    # The ridge of a ring, the bright part of a cloud; or there is but one, a nucleus.
    is_light = area > NO_STAR * core_area or n == 1
    is_own = is_scattered or away[nearest] > MIDDLE or not (rises or is_light)
    of_pixel[of_pixel < 0] = n if is_own else nearest
    if is_own:
        branches.number[c] = n + 1
        branches.level[first[c] + n] = light.min()
    return True
