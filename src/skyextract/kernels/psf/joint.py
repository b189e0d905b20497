"""Joint fits of sources that are nearer to each other than the PSF is wide.

Visits of one source at a time (`skyextract.kernels.psf.fit`) pass the light of such sources on in
ever smaller parts.  Here the same equations, those of each source within its own fit region, are
solved for all sources of a group at once, by Newton's method.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper, kernel, summation
from skyextract.kernels.psf.beside import mark_neighbours, needed_reach, reached
from skyextract.kernels.psf.fit import (
    FROZEN,
    MOVING,
    NO_PIXELS,
    RUNAWAY,
    UNSETTLED,
    add_model,
)
from skyextract.kernels.psf.matrix import NO_SUMS, Sums, add_cross
from skyextract.kernels.psf.model import WHOLE, PsfModel, local_model, render, term_totals
from skyextract.kernels.psf.records import (
    FitRules,
    Fits,
    Planes,
    Positions,
    Scratch,
    Tiles,
    is_good,
    pixels_within,
    scratch_for,
    tile_neighbours,
)

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8

ALONE = 2
"""What a stale source is that has no joint solution: to be visited."""
MAX_GROUP = 5
"""Sources of a group, at most."""
NEAR = 0.8
"""Sources nearer than so many fit radii (about a FWHM) feel each other too much for visits."""
N_STEPS = 15
"""Steps, at most; otherwise nothing is changed."""
LONGEST = 3.0
"""Factor by which steps are lengthened, at most."""
MAX_WALK = 0.5
"""Sources that go farther than so many fit radii are left to visits."""
MIN_FLUX = 2.0
"""Sources below so many sigma, each for itself, have no position to be fitted."""
MIN_PIVOT = 1e-6
"""Of equations whose diagonal is 1: below it the sources cannot be told apart."""


class Group(NamedTuple):
    """Memory for a joint fit.

    Attributes
    ----------
    rows : (MAX_GROUP,) int64
        The sources.
    models : (MAX_GROUP, n_y, n_x) float64
        Coefficients of the PSF at each.
    stamps : (MAX_GROUP, 3, size, size) float64
        Pixels of each, and their derivatives.
    value : (size, size) float64
        What the models leave of the pixels.
    weight, own, rest : (size, size) float64
        Weights of the pixels; those within a source's fit region, 0 elsewhere, and these times
        what the models leave.
    old, new : (MAX_GROUP, 3) float64
        Parameters before, and now.
    equations : (3 * MAX_GROUP, 3 * MAX_GROUP + 1) float64
        The right side is the last column.
    step, last, unit : (3 * MAX_GROUP,) float64
        Of the parameters now, and before, in units of the errors that each has for itself.
    """

    rows: I8
    models: F8
    stamps: F8
    value: F8
    weight: F8
    own: F8
    rest: F8
    old: F8
    new: F8
    equations: F8
    step: F8
    last: F8
    unit: F8


@helper
def _can_join(n: int, rules: FitRules, fits: Fits) -> bool:
    """Tell whether a source has a position of its own and a fit region of the usual size."""
    hindered = NO_PIXELS | FROZEN | RUNAWAY | UNSETTLED
    known = (fits.status[n] & hindered) == 0 and fits.reach[n] >= 0
    return bool(known and fits.radius[n] == rules.fit_radius and fits.parameters[n, 0] > 0.0)


@helper
def _gathered(
    n: int, tile: int, tiles: Tiles, positions: Positions, rules: FitRules, fits: Fits, rows: I8
) -> int:
    """Write the rows of source n and of those near it, or near these, and return their number."""
    x0, y0 = fits.parameters[n, 1], fits.parameters[n, 2]
    near, far = NEAR * rules.fit_radius, rules.fit_radius
    top, bottom, left, right = tile_neighbours(tile, tiles)
    # Sources are in the tiles of their given positions.
    distance = far + 2.0 * rules.max_shift
    top, bottom = reached(positions.y[n], distance, rules.tile_size, top, bottom)
    left, right = reached(positions.x[n], distance, rules.tile_size, left, right)
    rows[0] = n
    size, looked_at = 1, 0
    while looked_at < size:
        x, y = fits.parameters[rows[looked_at], 1], fits.parameters[rows[looked_at], 2]
        for j in range(top, bottom):
            for i in range(left, right):
                other = j * tiles.columns + i
                for k in range(tiles.start[other], tiles.start[other + 1]):
                    m = tiles.members[k]
                    u, v = fits.parameters[m, 1], fits.parameters[m, 2]
                    if not (abs(u - x) < near and abs(v - y) < near):
                        continue
                    if not (abs(u - x0) < far and abs(v - y0) < far):
                        continue
                    if (u - x) ** 2 + (v - y) ** 2 >= near * near or size == MAX_GROUP:
                        continue
                    known = False
                    for a in range(size):
                        known = known or rows[a] == m
                    if not known and _can_join(m, rules, fits):
                        rows[size] = m
                        size += 1
        looked_at += 1
    return size


@helper
def _solve(equations: F8, n: int, out: F8) -> bool:
    """Solve linear equations whose diagonal is 1 by elimination; False if they are singular."""
    for i in range(n):
        pivot = i
        for k in range(i + 1, n):
            if abs(equations[k, i]) > abs(equations[pivot, i]):
                pivot = k
        if not abs(equations[pivot, i]) > MIN_PIVOT:
            return False
        for j in range(i, n + 1):
            equations[i, j], equations[pivot, j] = equations[pivot, j], equations[i, j]
        for k in range(i + 1, n):
            factor = equations[k, i] / equations[i, i]
            for j in range(i, n + 1):
                equations[k, j] -= factor * equations[i, j]
    for i in range(n - 1, -1, -1):
        total = equations[i, n]
        for j in range(i + 1, n):
            total -= equations[i, j] * out[j]
        out[i] = total / equations[i, i]
    return True


@summation
def _cross_sums(weight: F8, first: F8, second: F8, n_y: int, n_x: int) -> Sums:
    """Sum the block of the normal equations between two sources over pixels."""
    sums = NO_SUMS
    for j in range(n_y):
        w = weight[j, :n_x]
        p, px, py = first[0, j, :n_x], first[1, j, :n_x], first[2, j, :n_x]
        q, qx, qy = second[0, j, :n_x], second[1, j, :n_x], second[2, j, :n_x]
        for i in range(n_x):
            sums = add_cross(sums, w[i], p[i], px[i], py[i], q[i], qx[i], qy[i])
    return sums


@summation
def _right_side(rest: F8, stamp: F8, n_y: int, n_x: int) -> float:
    """Sum one number of the right side over pixels."""
    total = 0.0
    for j in range(n_y):
        left, slope = rest[j, :n_x], stamp[j, :n_x]
        for i in range(n_x):
            total += left[i] * slope[i]
    return total


@helper
def _set_up(
    size: int, x_low: int, y_low: int, n_x: int, n_y: int, planes: Planes, gain: float,
    rules: FitRules, group: Group,
) -> None:  # fmt: skip
    """Sum each source's normal equations of (flux, flux dx, flux dy) of all, in its fit region."""
    stamps, value, old, equations = group.stamps, group.value, group.old, group.equations
    weight, own, rest = group.weight, group.own, group.rest
    image, _, variance, mask, bad, _ = planes
    n = 3 * size
    square = rules.fit_radius * rules.fit_radius
    of_x, of_both, of_y = rules.form[0], rules.form[1], rules.form[2]
    for j in range(n_y):
        yy = y_low + j
        for i in range(n_x):
            xx = x_low + i
            v, left = float(variance[yy, xx]), value[j, i]
            weight[j, i] = 0.0
            if is_good(v, left, mask[yy, xx], bad):
                weight[j, i] = 1.0 / (v + max(0.0, float(image[yy, xx]) - left) * gain)
    for a in range(size):
        for j in range(n_y):
            dy = y_low + j - old[a, 2]
            for i in range(n_x):
                dx = x_low + i - old[a, 1]
                inside = of_x * dx * dx + of_both * dx * dy + of_y * dy * dy <= square
                w = weight[j, i] if inside else 0.0
                own[j, i] = w
                rest[j, i] = w * value[j, i] if w > 0.0 else 0.0
        for p in range(3):
            equations[3 * a + p, n] = _right_side(rest, stamps[a, p], n_y, n_x)
        for b in range(size):
            sums = _cross_sums(own, stamps[a], stamps[b], n_y, n_x)
            for k in range(9):
                equations[3 * a + k // 3, 3 * b + k % 3] = sums[k]


@helper
def _draw(
    size: int, x_low: int, y_low: int, n_x: int, n_y: int, sign: float, psf: PsfModel,
    scratch: Scratch, group: Group,
) -> None:  # fmt: skip
    """Draw the sources where they are now, and add them to the pixels times `sign`."""
    stamps, value, new = group.stamps, group.value, group.new
    for a in range(size):
        stamp = stamps[a]
        render(
            group.models[a], psf.sampling, new[a, 1], new[a, 2], x_low, y_low, n_x, n_y, True,
            scratch.grid, stamp,
        )  # fmt: skip
        flux = sign * new[a, 0]
        for j in range(n_y):
            for i in range(n_x):
                value[j, i] += flux * stamp[0, j, i]


@helper
def _fit_group(
    size: int, planes: Planes, psf: PsfModel, positions: Positions, rules: FitRules,
    scratch: Scratch, group: Group,
) -> int:  # fmt: skip
    """Fit the sources of a group; return the number of steps, 0 if they have no joint solution."""
    _, _, _, value, _, _, _, old, new, equations, step, last, unit = group
    ny, nx = planes.image.shape
    half_x, half_y = rules.fit_radius * rules.extent[0], rules.fit_radius * rules.extent[1]
    x_low, y_low, x_past, y_past = nx, ny, 0, 0
    for a in range(size):
        low, number = pixels_within(old[a, 1], half_x, nx)
        x_low, x_past = min(x_low, low), max(x_past, low + number)
        low, number = pixels_within(old[a, 2], half_y, ny)
        y_low, y_past = min(y_low, low), max(y_past, low + number)
    n_x, n_y = x_past - x_low, y_past - y_low
    if n_x <= 0 or n_y <= 0:
        return 0
    for j in range(n_y):
        for i in range(n_x):
            value[j, i] = float(planes.residual[y_low + j, x_low + i])
    new[:size] = old[:size]
    n = 3 * size
    small_square = rules.tolerance * rules.tolerance
    limit = 0.4 * rules.max_shift
    share = 1.0
    last[:n] = 0.0
    for number in range(N_STEPS):
        # The sources themselves are subtracted when the first step begins.
        _draw(size, x_low, y_low, n_x, n_y, -1.0 if number > 0 else 0.0, psf, scratch, group)
        gain = planes.inverse_gains[1]
        _set_up(size, x_low, y_low, n_x, n_y, planes, gain, rules, group)
        for k in range(n):
            if not equations[k, k] > 0.0:
                return 0
            unit[k] = 1.0 / math.sqrt(equations[k, k])
        for k in range(n):
            for m in range(n):
                equations[k, m] *= unit[k] * unit[m]
            equations[k, n] *= unit[k]
        if not _solve(equations, n, step):
            return 0
        small = True
        length = along = 0.0
        for k in range(n):
            small = small and step[k] * step[k] < small_square
            along += step[k] * last[k]
            length += last[k] * last[k]
            last[k] = step[k]
        # Of sources that are hard to tell apart steps are too long and turn back, or far too short.
        if number > 0:
            share /= max(1.0 - along / length, share / LONGEST)
        for a in range(size):
            flux = 0.0 if small else new[a, 0]
            for j in range(n_y):
                for i in range(n_x):
                    value[j, i] += flux * group.stamps[a, 0, j, i]
        for a in range(size):
            k = 3 * a
            new[a, 0] += share * step[k] * unit[k]
            if not new[a, 0] > MIN_FLUX * unit[k]:
                return 0
            shift_x = share * step[k + 1] * unit[k + 1] / new[a, 0]
            shift_y = share * step[k + 2] * unit[k + 2] / new[a, 0]
            new[a, 1] += max(-limit, min(limit, shift_x))
            new[a, 2] += max(-limit, min(limit, shift_y))
            row = group.rows[a]
            away = max(abs(new[a, 1] - positions.x[row]), abs(new[a, 2] - positions.y[row]))
            walk = max(abs(new[a, 1] - old[a, 1]), abs(new[a, 2] - old[a, 2]))
            if not (away <= rules.max_shift and walk <= MAX_WALK * rules.fit_radius):
                return 0
        if small:
            return number + 1
    return 0


@helper
def _settled(
    n: int, tile: int, tiles: Tiles, planes: Planes, psf: PsfModel, totals: F8,
    positions: Positions, rules: FitRules, fits: Fits, scratch: Scratch, group: Group,
) -> None:  # fmt: skip
    """Fit source n with those near it, if it has some; otherwise leave it to be visited."""
    models, stamps, old, new = group.models, group.stamps, group.old, group.new
    rows, parameters = group.rows, fits.parameters
    widest = float(rules.envelope.size - 1)
    size = _gathered(n, tile, tiles, positions, rules, fits, rows)
    if size < 2:
        return
    apart = 0.0
    drawn = 0
    for a in range(size):
        m = rows[a]
        old[a] = parameters[m]
        drawn = max(drawn, fits.reach[m])
        for b in range(a):
            apart = max(apart, abs(old[a, 1] - old[b, 1]), abs(old[a, 2] - old[b, 2]))
    # Pixels of the others, from the farthest place that a source may go to.
    across = (1.0 + MAX_WALK) * rules.fit_radius + apart
    drawn = max(drawn, math.ceil(across))
    for a in range(size):
        m = rows[a]
        local_model(psf, totals, positions.u[m], positions.v[m], drawn, models[a])
    steps = _fit_group(size, planes, psf, positions, rules, scratch, group)
    if steps == 0:
        for a in range(size):
            if fits.stale[rows[a]] == 1:
                fits.stale[rows[a]] = ALONE
        return
    for a in range(size):
        m = rows[a]
        bright = new[a, 0]
        own = Scratch(models[a], scratch.grid, stamps[a])
        add_model(
            planes.residual, psf.sampling, old[a, 1], old[a, 2], old[a, 0], fits.reach[m], own
        )
        reach = needed_reach(math.ceil(rules.fit_radius), bright, rules)
        if reach > drawn:
            local_model(psf, totals, positions.u[m], positions.v[m], WHOLE, models[a])
        add_model(planes.residual, psf.sampling, new[a, 1], new[a, 2], -bright, reach, own)
        parameters[m] = new[a]
        fits.reach[m] = reach
        fits.status[m] &= ~MOVING
        fits.iterations[m] += steps
    for a in range(size):
        moved = abs(new[a, 1] - old[a, 1]) + abs(new[a, 2] - old[a, 2])
        change = abs(new[a, 0] - old[a, 0]) + new[a, 0] * moved * 2.0 / rules.fit_radius
        # Not only sources of the group's own tile are in it.
        n_tile = tiles.of[rows[a]]
        mark_neighbours(rows[a], n_tile, change, widest, tiles, positions, rules, fits)
    for a in range(size):
        fits.stale[rows[a]] = 0


@kernel
def join_tiles(
    visited: I8, tiles: Tiles, planes: Planes, psf: PsfModel, positions: Positions,
    rules: FitRules, fits: Fits,
) -> None:  # fmt: skip
    """Fit the stale sources of some tiles with those near them; the others stay stale.

    Parameters
    ----------
    visited, tiles, planes, psf, positions, rules, fits
        As of `skyextract.kernels.psf.fit.fit_tiles`.
    """
    scratch = scratch_for(psf, max(rules.envelope.size - 1, 2 * math.ceil(rules.fit_radius) + 1))
    totals = term_totals(psf.coefficients)
    n_y, n_x = psf.coefficients.shape[1:]
    size = scratch.stamp.shape[1]
    n = 3 * MAX_GROUP
    group = Group(
        np.empty(MAX_GROUP, dtype=np.int64),
        np.empty((MAX_GROUP, n_y, n_x), dtype=np.float64),
        np.empty((MAX_GROUP, 3, size, size), dtype=np.float64),
        np.empty((size, size), dtype=np.float64),
        np.empty((size, size), dtype=np.float64),
        np.empty((size, size), dtype=np.float64),
        np.empty((size, size), dtype=np.float64),
        np.empty((MAX_GROUP, 3), dtype=np.float64),
        np.empty((MAX_GROUP, 3), dtype=np.float64),
        np.empty((n, n + 1), dtype=np.float64),
        np.empty(n, dtype=np.float64),
        np.empty(n, dtype=np.float64),
        np.empty(n, dtype=np.float64),
    )
    for t in range(visited.size):
        tile = visited[t]
        for k in range(tiles.start[tile], tiles.start[tile + 1]):
            m = tiles.members[k]
            if fits.stale[m] == 1 and fits.status[m] & MOVING and _can_join(m, rules, fits):
                _settled(
                    m, tile, tiles, planes, psf, totals, positions, rules, fits, scratch, group
                )
