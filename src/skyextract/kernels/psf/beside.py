"""Which sources feel what another one changes: how far models reach, and the tiles within."""

from __future__ import annotations

import math

from skyextract.kernels.jit import helper
from skyextract.kernels.psf.records import FitRules, Fits, Positions, Tiles, tile_neighbours

SUBTRACTED_TO = 0.05
"""Models are subtracted out to this fraction of the background noise per pixel."""


@helper
def needed_reach(least: int, flux: float, rules: FitRules) -> int:
    """Return the radius out to which a model is above a fraction of the noise."""
    reach = least
    limit = SUBTRACTED_TO * rules.noise
    while reach < rules.envelope.size - 1 and flux * rules.envelope[reach + 1] > limit:
        reach += 1
    return reach


@helper
def reached(centre: float, distance: float, size: int, low: int, past: int) -> tuple[int, int]:
    """Return the first and last + 1 of some tiles that are within a distance.

    Sources beyond the image are in the tiles at its edge.
    """
    first = int(max(centre - distance, 0.0)) // size
    last = int(max(centre + distance, 0.0)) // size
    return min(max(low, first), past - 1), min(past, max(last, low) + 1)


@helper
def _sees(
    dx: float, dy: float, radius: float, change: float, limit: float, rules: FitRules
) -> bool:
    """Tell whether a long source sees a change of one at dx, dy by its columns and by its rows."""
    last = rules.envelope.size - 1
    # Both may be a pixel from where they were given.
    x_gap = int(max(abs(dx) - radius * rules.extent[0] - 2.0, 0.0))
    y_gap = int(max(abs(dy) - radius * rules.extent[1] - 2.0, 0.0))
    if x_gap > last or y_gap > last:
        return False
    return bool(change * min(rules.sides[0, x_gap], rules.sides[1, y_gap]) > limit)


@helper
def mark_neighbours(
    n: int, tile: int, change: float, widest: float, tiles: Tiles, positions: Positions,
    rules: FitRules, fits: Fits,
) -> None:  # fmt: skip
    """Mark as stale the sources whose fit region sees the change of source n.

    No fit region is wider than `widest`: tiles beyond that are not looked at.
    """
    start, members, columns, _ = tiles
    x, y, _, _ = positions
    radius, stale, reach = fits.radius, fits.stale, fits.reach[n]
    envelope, fit_radius = rules.envelope, rules.fit_radius
    limit = rules.min_change * rules.noise
    is_round = min(rules.extent[0], rules.extent[1]) == 1.0
    seen = -1
    while seen < reach and change * envelope[seen + 1] > limit:
        seen += 1
    if seen < 0:
        return
    row_low, row_high, column_low, column_high = tile_neighbours(tile, tiles)
    row_low, row_high = reached(y[n], seen + 2 + widest, rules.tile_size, row_low, row_high)
    column_low, column_high = reached(
        x[n], seen + 2 + widest, rules.tile_size, column_low, column_high
    )
    for j in range(row_low, row_high):
        for i in range(column_low, column_high):
            other = j * columns + i
            for k in range(start[other], start[other + 1]):
                m = members[k]
                if m == n:
                    continue
                # The change is seen by less than a pixel more than out to `seen`.
                far = seen + 1 + max(radius[m], fit_radius)
                dx, dy = x[m] - x[n], y[m] - y[n]
                if not (abs(dx) < far and abs(dy) < far):
                    continue
                gap = math.sqrt(dx * dx + dy * dy) - (far - seen - 1)
                if gap <= reach and gap < seen + 1 and (
                    is_round or _sees(dx, dy, max(radius[m], fit_radius), change, limit, rules)
                ):  # fmt: skip
                    stale[m] = 1
