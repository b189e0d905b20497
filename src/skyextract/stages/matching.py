"""Find the rough place of a frame on the sky from the pattern of its stars.

Three steps: hypotheses (similarities from votes of local patterns), their scores on the
bright stars, and refinement of the best ones from the neighbourhood where they arose to
the whole frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyextract.kernels.match import Grid, mutual_nearest, score_similarities
from skyextract.kernels.similarity import common_triangles, vote
from skyextract.plate import gnomonic, monomials, stereographic, stereographic_inverse
from skyextract.refcatalog import RefCatalog
from skyextract.stages.pointing import Start

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N_NEIGHBOURS = 20
BIN = 0.02
"""Width of a vote's bin in log scale and in rotation (rad)."""

N_CANDIDATES = 400
"""Stars that an anchor is compared with, at most."""

N_HYPOTHESES = 64
SHARE = 0.3
"""Share of the bright detections that must be in the reference, about, to be recognized."""

LEAST_SCORE = 6.0
"""Log likelihood ratio below which a hypothesis is not pursued; the proof comes later."""

DEPTHS = ((50, 50), (50, 120), (120, 50), (120, 120), (300, 150), (150, 300), (400, 400))
"""Numbers of detections and of reference stars per frame area, tried in this order."""

RATIOS = (1.0, 2.0, 0.5, 4.0, 0.25, 8.0, 0.125)
"""Detections per reference star, where the brightness of either is not known."""

N_DEPTHS = 1 + len(DEPTHS)
"""The header's place first, without patterns."""


@dataclass(frozen=True)
class Field:
    """Detections and reference stars, the brightest first.

    Attributes
    ----------
    x, y : float64 (n,)
        Detections, 0-based pixels.
    wx, wy : float64 (n,)
        The same as expected on the sky, see `Start.expected`.
    reference : RefCatalog
        In the region where the frame can be.
    sx, sy : float64 (m,)
        Its stereographic coordinates about the expected centre, deg.
    ordered : bool
        Whether the brightness of both is known; else the order means nothing.
    """

    x: Floats
    y: Floats
    wx: Floats
    wy: Floats
    reference: RefCatalog
    sx: Floats
    sy: Floats
    ordered: bool

    def around(self, start: Start, ra: float, dec: float, radius: float) -> Ints:
        """Return the reference stars within a radius (deg), and some a little farther."""
        x, y = stereographic(np.array([ra]), np.array([dec]), start.ra, start.dec)
        stretch = 1.1 * (1.0 + np.deg2rad(abs(x[0]) + abs(y[0]) + 2.0 * radius) ** 2)
        return np.flatnonzero(np.hypot(self.sx - x[0], self.sy - y[0]) < radius * stretch)


@dataclass(frozen=True)
class Rough:
    """A rough solution.

    Attributes
    ----------
    ra0, dec0 : float
        Tangent point, deg: about the centre of the frame.
    unit : float
        Degrees of one nominal pixel.
    flip : bool
    xi, eta : float64 (n,)
        Tangent-plane coordinates (deg) of all detections of the field.
    radius : float
        Pixels within which a true match is to be expected.
    first, second : int64 (k,)
        Pairs found, indices into the detections and the reference.
    """

    ra0: float
    dec0: float
    unit: float
    flip: bool
    xi: Floats
    eta: Floats
    radius: float
    first: Ints
    second: Ints


def make_fields(
    start: Start, x: Floats, y: Floats, reference: RefCatalog, *, ordered: bool
) -> list[Field]:
    """Select the reference stars that can be on the frame, for each nominal scale.

    `x`, `y` must be finite and, if `ordered`, in order of brightness.
    """
    wx, wy = start.expected(x, y)
    known = np.isfinite(wx) & np.isfinite(wy)
    x, y, wx, wy = x[known], y[known], wx[known], wy[known]
    mag = reference.mag
    ordered = ordered and bool(np.any(np.isfinite(mag)))
    order = np.argsort(np.where(np.isfinite(mag), mag, np.inf), kind="stable")
    reference = reference.take(order)
    sx, sy = stereographic(reference.ra, reference.dec, start.ra, start.dec)
    distance = np.hypot(sx, sy)
    fields = []
    for scale in start.scales:
        half = 0.5 * math.hypot(*start.shape) * scale / 3600.0 * math.exp(start.log_range)
        reach = min(1.1 * half + start.position * math.sqrt(2.0), 170.0)
        near = distance <= 2.0 * math.degrees(math.tan(math.radians(reach / 2.0)))
        fields.append(Field(x, y, wx, wy, reference.take(near), sx[near], sy[near], ordered))
    return fields


def attempts(start: Start, fields: list[Field]) -> list[tuple[float, Field, int]]:
    """Return all nominal scales, their fields, and depths for `search`, the likeliest first.

    At the true scale the two lists are about equally dense.  A step in depth counts as a
    factor e in density.
    """

    def unlikeness(attempt: tuple[float, Field, int]) -> float:
        scale, field, depth = attempt
        ratio = max(len(field.x), 1) / max(_per_frame(start, field, scale), 0.1)
        return abs(math.log(ratio)) + depth

    scaled = list(zip(start.scales, fields, strict=True))
    return sorted(((*pair, depth) for depth in range(N_DEPTHS) for pair in scaled), key=unlikeness)


def _per_frame(start: Start, field: Field, scale: float) -> float:
    """Return the number of reference stars per frame area, where there are stars at all."""
    if len(field.sx) == 0:
        return 0.0
    unit = scale / 3600.0
    width, height = np.ptp(field.sx) / unit, np.ptp(field.sy) / unit
    return float(len(field.sx) * start.shape[0] * start.shape[1] / max(width * height, 1.0))


def search(start: Start, field: Field, scale: float, depth: int) -> Iterator[Rough]:
    """Yield rough solutions at a nominal scale (arcsec), the likeliest first.

    `depth` counts from 0 to `N_DEPTHS` - 1: how many of the stars are used, in which ratio.
    """
    if len(field.x) < 3 or len(field.sx) < 3:
        return
    unit = scale / 3600.0
    rx, ry = field.sx / unit, field.sy / unit
    if depth == 0:
        if start.wcs is not None:
            shifts = _shifts(start, field, rx, ry)
            yield from _ranked(start, field, unit, rx, ry, len(rx), 200, shifts)
        return
    per_frame = _per_frame(start, field, scale)
    sizes = [_sizes(field, per_frame, i) for i in range(depth)]
    if sizes[-1] in sizes[:-1] or per_frame < 2.0:
        return
    nd, nr = sizes[-1]
    seeds = _seeds(start, field, unit, rx[:nr], ry[:nr], nd)
    yield from _ranked(start, field, unit, rx, ry, nr, nd, seeds)


def _sizes(field: Field, per_frame: float, depth: int) -> tuple[int, int]:
    """Return how many detections and reference stars a depth means."""
    n = len(field.sx)
    if not field.ordered:
        return min(len(field.x), max(int(per_frame * RATIOS[depth]), 10)), n
    detections, per_area = DEPTHS[depth]
    stars = math.ceil(min(1.0, per_area / per_frame) * n)
    return min(detections, len(field.x)), max(stars, min(n, 4))


def _shifts(start: Start, field: Field, rx: Floats, ry: Floats) -> Floats:
    """Return the likeliest pure shifts of the header's WCS, as hypotheses."""
    n = min(len(field.x), 100)
    unit = start.scales[0] / 3600.0
    reach = start.position / unit
    size = max(2.0, reach / 500.0)
    inside = (np.abs(rx) < np.abs(field.wx).max() + reach) & (
        np.abs(ry) < np.abs(field.wy).max() + reach
    )
    bright = np.flatnonzero(inside)[: max(400, 2 * n)]
    dx = rx[bright][None, :] - field.wx[:n, None]
    dy = ry[bright][None, :] - field.wy[:n, None]
    near = (np.abs(dx) <= reach) & (np.abs(dy) <= reach)
    if not np.any(near):
        return np.zeros((0, 7))
    bins = int(2.0 * reach / size) + 2
    i, j = ((dx[near] + reach) / size).astype(int), ((dy[near] + reach) / size).astype(int)
    votes = np.bincount(i * bins + j, minlength=bins * bins).reshape(bins, bins)
    blocks = votes[:-1, :-1] + votes[1:, :-1] + votes[:-1, 1:] + votes[1:, 1:]
    best = np.argsort(blocks, axis=None, kind="stable")[::-1][:8]
    hypotheses = np.zeros((len(best), 7))
    hypotheses[:, 2] = (best // (bins - 1) + 1) * size - reach
    hypotheses[:, 3] = (best % (bins - 1) + 1) * size - reach
    hypotheses[:, 4] = 1.0
    return hypotheses


def _seeds(
    start: Start, field: Field, unit: float, rx: Floats, ry: Floats, n_detections: int
) -> Floats:
    """Return the hypotheses that the patterns of bright stars suggest, (h, 7)."""
    wx, wy = field.wx[:n_detections], field.wy[:n_detections]
    stars, detections = Grid(rx, ry), Grid(wx, wy)
    least = 0.005 * max(start.shape)
    r_pattern = stars.patterns(np.arange(len(rx)), 0.5 * least, N_NEIGHBOURS)
    # Stars away from the edge see their neighbours on all sides.
    central = np.argsort(np.hypot(wx, wy), kind="stable")[: max(16, (2 * len(wx)) // 3)]
    at = np.sort(central)[: int(np.clip(400_000 // len(rx), 6, 16))]
    size, log_r, angle = detections.patterns(at, least, N_NEIGHBOURS)
    own, mirrored = np.tile(at, len(start.flips)), np.repeat(start.flips, len(at)) == 1
    a_pattern = (
        np.tile(size, len(start.flips)),
        np.tile(log_r, (len(start.flips), 1)),
        np.concatenate([math.pi - angle if flip else angle for flip in start.flips]),
    )
    limits = np.array([-start.log_range, start.log_range, min(start.angle, math.pi)])
    # How far an anchor at unit distance can move by rotation, scale and mirroring.
    stretch = math.exp(start.log_range)
    turned = stretch - 1.0 + 2.0 * stretch * math.sin(0.5 * limits[2])
    turn = np.where(mirrored, 1.0 + stretch, turned)
    reach = start.position / unit + turn * float(np.hypot(wx[at], wy[at]).max())
    near = [
        np.flatnonzero((np.abs(rx - wx[k]) <= far) & (np.abs(ry - wy[k]) <= far))
        for k, far in zip(own, reach, strict=True)
    ]
    if max(len(candidates) for candidates in near) > N_CANDIDATES:
        hits = np.empty((len(rx), len(own)), np.int16)
        common_triangles(*a_pattern, *r_pattern, limits, BIN, hits)
        near = [_most(candidates, hits[candidates, k]) for k, candidates in enumerate(near)]
    first = np.cumsum([0, *(len(candidates) for candidates in near)])
    count = np.zeros(N_HYPOTHESES, np.int64)
    anchor, star = np.zeros(N_HYPOTHESES, np.int64), np.zeros(N_HYPOTHESES, np.int64)
    log_scale, rotation = np.zeros(N_HYPOTHESES), np.zeros(N_HYPOTHESES)
    n = vote(
        *a_pattern, first, np.concatenate(near), *r_pattern, limits, BIN, min(3, len(wx) - 1),
        count, anchor, star, log_scale, rotation,
    )  # fmt: skip
    factor, at = np.exp(log_scale[:n]), own[anchor[:n]]
    return np.stack([
        wx[at], wy[at], rx[star[:n]], ry[star[:n]],
        factor * np.cos(rotation[:n]), factor * np.sin(rotation[:n]),
        mirrored[anchor[:n]].astype(float),
    ], axis=1)  # fmt: skip


def _most(candidates: Ints, hits: NDArray[np.int16]) -> Ints:
    """Return the candidates that have most triangles in common with an anchor."""
    return np.sort(candidates[np.argsort(-hits, kind="stable")[:N_CANDIDATES]])


def _ranked(
    start: Start, field: Field, unit: float, rx: Floats, ry: Floats, nr: int, nd: int,
    hypotheses: Floats,
) -> Iterator[Rough]:  # fmt: skip
    """Score hypotheses on the brightest stars and refine the best, one of each kind."""
    if len(hypotheses) == 0:
        return
    grid = Grid(rx[:nr], ry[:nr])
    area = max(float(np.ptp(grid.x) * np.ptp(grid.y)), 1.0)
    density = nr / area
    size = max(start.shape)
    tolerance = np.array([max(2.0, 0.002 * size), 0.012])
    score, matched = np.zeros(len(hypotheses)), np.zeros(len(hypotheses), np.int64)
    some = slice(0, nd, max(1, nd // 300))
    score_similarities(
        np.ascontiguousarray(field.wx[some]), np.ascontiguousarray(field.wy[some]),
        hypotheses, tolerance, density, SHARE, *grid.arguments, score, matched,
    )  # fmt: skip
    tried: list[Floats] = []
    for h in np.argsort(-score, kind="stable"):
        if score[h] < LEAST_SCORE or matched[h] < 3 or len(tried) >= 6:
            return
        hypothesis = hypotheses[h]
        corners = _corners(start, hypothesis)
        if any(np.abs(corners - other).max() < 0.02 * size for other in tried):
            continue
        tried.append(corners)
        if _outside(start, hypothesis, unit):
            continue
        rough = _refine(start, field, unit, hypothesis, nr, nd)
        if rough is not None:
            yield rough


def _apply(hypothesis: Floats, wx: Floats, wy: Floats) -> tuple[Floats, Floats]:
    dx, dy = wx - hypothesis[0], wy - hypothesis[1]
    if hypothesis[6] > 0.5:
        dx = -dx
    c, s = hypothesis[4], hypothesis[5]
    return hypothesis[2] + c * dx - s * dy, hypothesis[3] + s * dx + c * dy


def _corners(start: Start, hypothesis: Floats) -> Floats:
    half_x, half_y = 0.5 * start.shape[1], 0.5 * start.shape[0]
    x, y = np.array([-half_x, half_x, -half_x]), np.array([-half_y, -half_y, half_y])
    return np.concatenate(_apply(hypothesis, x, y))


def _outside(start: Start, hypothesis: Floats, unit: float) -> bool:
    """Whether the centre is clearly outside the limits; the final check is exact."""
    x, y = _apply(hypothesis, np.zeros(1), np.zeros(1))
    slack = 1.1 * start.position + 0.02 * max(start.shape) * unit
    return bool(max(abs(x[0]), abs(y[0])) * unit > slack)


def _refine(
    start: Start, field: Field, unit: float, hypothesis: Floats, nr: int, nd: int
) -> Rough | None:
    """Grow a hypothesis from its neighbourhood to the whole frame.

    The model of the distortion gets more terms as more pairs are found.
    """
    zx, zy = _apply(hypothesis, field.wx, field.wy)
    centre = _apply(hypothesis, np.zeros(1), np.zeros(1))
    ra0, dec0 = (float(v[0]) for v in stereographic_inverse(
        centre[0] * unit, centre[1] * unit, start.ra, start.dec))  # fmt: skip
    sky = stereographic_inverse(zx * unit, zy * unit, start.ra, start.dec)
    px, py = (v / unit for v in gnomonic(*sky, ra0, dec0))
    half = 0.55 * math.hypot(*start.shape) * math.hypot(hypothesis[4], hypothesis[5])
    near = field.around(start, ra0, dec0, 1.2 * half * unit)
    near = near[near < nr]
    tx, ty = (
        v / unit for v in gnomonic(field.reference.ra[near], field.reference.dec[near], ra0, dec0)
    )
    on_frame = np.hypot(tx, ty) < 1.2 * half
    near, tx, ty = near[on_frame], tx[on_frame], ty[on_frame]
    if len(near) < 3 or not np.all(np.isfinite(px)):
        return None
    density = len(near) / (math.pi * (1.2 * half) ** 2)
    bx, by = px[:nd], py[:nd]
    anchor = int(np.argmin(np.hypot(
        field.wx[:nd] - hypothesis[0], field.wy[:nd] - hypothesis[1])))  # fmt: skip
    distance = np.hypot(bx - bx[anchor], by - by[anchor])
    whole = float(distance.max())
    # Chance pairs stay below 15 % at the widest tolerance.
    widest = min(math.sqrt(0.15 / (math.pi * density)), max(5.0, 0.012 * max(start.shape)))
    reach = min(whole, max(0.25 * whole, float(np.sort(distance)[min(12, len(distance) - 1)])))
    qx, qy = bx, by
    tolerance = widest
    degree, coefficients = 0, np.zeros((2, 1))
    settled = 0
    first = second = np.zeros(0, np.int64)
    sigma = widest
    for _ in range(25):
        inside = np.flatnonzero(distance <= reach)
        first, second, _ = mutual_nearest(qx[inside], qy[inside], tx, ty, tolerance)
        first = inside[first]
        n = len(first)
        if n < 3:
            return None
        highest = 0 if n < 6 else 1 if n < 20 else 2 if n < 40 else 3
        degree, coefficients, keep, sigma = _robust(
            bx[first] / half, by[first] / half, tx[second], ty[second], highest
        )
        first, second = first[keep], second[keep]
        qx, qy = _evaluate(bx / half, by / half, degree, coefficients)
        if reach >= whole:
            settled += 1
            tolerance = min(widest, max(4.0 * sigma, 1.0))
            if settled >= 4:
                break
        else:
            reach = min(whole, 1.4 * reach)
            tolerance = min(widest, max(6.0 * sigma, 0.5 * widest))
    qx, qy = _evaluate(px / half, py / half, degree, coefficients)
    return Rough(
        ra0, dec0, unit, hypothesis[6] > 0.5, qx * unit, qy * unit, max(4.0 * sigma, 1.0),
        first, near[second],
    )  # fmt: skip


def _robust(
    u: Floats, v: Floats, tx: Floats, ty: Floats, degree: int
) -> tuple[int, Floats, NDArray[np.bool_], float]:
    """Fit polynomials (degree 0: a shift) with clipping; return also who is kept, and sigma."""
    keep = np.ones(len(u), bool)
    if degree == 0:
        # A similarity close to the identity, written as polynomials of degree 1.
        design = np.concatenate([
            np.stack([u, -v, np.ones_like(u), np.zeros_like(u)], axis=1),
            np.stack([v, u, np.zeros_like(u), np.ones_like(u)], axis=1),
        ])  # fmt: skip
    else:
        design = monomials(u, v, degree)
    target = np.stack([tx, ty], axis=1)
    sigma = 0.0
    for _ in range(6):
        if degree == 0:
            both = np.concatenate([keep, keep])
            a, b, c, d = _solved(design[both], target.T.ravel()[both])
            coefficients = np.array([[c, a, -b], [d, b, a]])
            distance = np.hypot(*(coefficients @ monomials(u, v, 1).T - target.T))
            free = max(2.0 * keep.sum() - 4.0, 1.0)
        else:
            coefficients = _solved(design[keep], target[keep]).T
            distance = np.hypot(*(coefficients @ design.T - target.T))
            free = max(2.0 * (keep.sum() - design.shape[1]), 1.0)
        # The median of a Rayleigh distribution is 1.1774 sigma per axis.
        sigma = float(np.median(distance[keep])) / 1.1774 * math.sqrt(2.0 * keep.sum() / free)
        again = distance <= max(3.5 * sigma, 0.05)
        least = 3 if degree == 0 else design.shape[1] + 2
        if np.array_equal(again, keep) or again.sum() < least:
            break
        keep = again
    return max(degree, 1), coefficients, keep, sigma


def _solved(design: Floats, target: Floats) -> Floats:
    """Least squares by normal equations: few and well-scaled columns, called many times."""
    return np.asarray(np.linalg.pinv(design.T @ design, hermitian=True) @ (design.T @ target))


def _evaluate(u: Floats, v: Floats, degree: int, coefficients: Floats) -> tuple[Floats, Floats]:
    x, y = coefficients @ monomials(u, v, degree).T
    return x, y
