"""Find the rough place of a frame on the sky from the pattern of its stars.

Three steps: hypotheses (similarities from votes of local patterns), their scores on the
bright stars, and refinement of the best ones (`refine`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from skyextract.datamodel.arrays import F8, I2, I8
from skyextract.kernels.astrometry.match import Grid, score_similarities
from skyextract.kernels.astrometry.points import Pairs, Patterns
from skyextract.kernels.astrometry.similarity import common_triangles, vote
from skyextract.sky.angles import ARCSEC
from skyextract.stages.astrometry.fields import Field
from skyextract.stages.astrometry.pointing import Start
from skyextract.stages.astrometry.refine import Rough, Similarity, refine

N_NEIGHBOURS = 20
BIN = 0.02
"""Width of a vote's bin in log scale and in rotation (rad)."""

N_CANDIDATES = 400
"""Stars that an anchor is compared with, at most."""

N_HYPOTHESES = 64
SHARE = 0.3
"""Share of the bright detections that must be in the reference, about, to be recognized."""

TURN = 0.012
"""Rotation and change of scale, about, that a hypothesis may be off by."""

SPARSE_TURN = 0.003
"""The same of the header's place, where only few reference stars can tell."""

N_SHIFTED = 200
"""Bright detections that the header's place is judged by; all where the reference is sparse."""

N_VOTES = 20_000
"""Pairs of a detection and a reference star that vote for a shift of the header's place, about."""

MIN_SCORE = 6.0
"""Log likelihood ratio below which a hypothesis is not pursued; it is verified later."""

DEPTHS = ((50, 50), (50, 120), (120, 50), (120, 120), (300, 150), (150, 300), (400, 400))
"""Numbers of detections and of reference stars per frame area, tried in this order."""

RATIOS = (1.0, 2.0, 0.5, 4.0, 0.25, 8.0, 0.125)
"""Detections per reference star, where the brightness of either is not known."""

N_DEPTHS = 1 + len(DEPTHS)
"""The header's place first, without patterns."""


def attempts(start: Start, fields: list[Field]) -> list[tuple[float, Field, int]]:
    """Return nominal scales, their fields, and depths for `match_patterns`, the likeliest first.

    At the true scale the two lists are about equally dense.  A step in depth counts as a
    factor e in density.
    """
    ranked = []
    for scale, field in zip(start.scales, fields, strict=True):
        ratio = max(len(field.x), 1) / max(field.per_frame(start, scale), 0.1)
        ranked += [(abs(math.log(ratio)) + k, (scale, field, k)) for k in range(N_DEPTHS)]
    return [attempt for _, attempt in sorted(ranked, key=lambda pair: pair[0])]


def match_patterns(start: Start, field: Field, scale: float, depth: int) -> Iterator[Rough]:
    """Yield rough solutions at a nominal scale (arcsec), the likeliest first.

    `depth` counts from 0 to `N_DEPTHS` - 1: how many of the stars are used, in which ratio.
    """
    if len(field.x) < 3 or len(field.sx) < 3:
        return
    unit = scale / ARCSEC
    rx, ry = field.sx / unit, field.sy / unit
    if depth == 0:
        if start.wcs is not None:
            share, turn, nd = SHARE, TURN, N_SHIFTED
            expected = 0.5 * min(field.per_frame(start, scale), len(rx))
            if expected < SHARE * min(nd, len(field.x)):
                share, turn, nd = expected / len(field.x), SPARSE_TURN, len(field.x)
            shifts = _shifts(start, field, rx, ry)
            yield from _ranked(start, field, unit, rx, ry, len(rx), nd, shifts, share, turn)
        return
    per_frame = field.per_frame(start, scale)
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


def _shifts(start: Start, field: Field, rx: F8, ry: F8) -> Similarity:
    """Return the likeliest pure shifts of the header's WCS, and none."""
    n = min(len(field.x), max(100, N_VOTES // len(rx)))
    unit = start.scales[0] / ARCSEC
    reach = start.position / unit
    size = max(2.0, reach / 500.0)
    inside = (np.abs(rx) < np.abs(field.wx).max() + reach) & (
        np.abs(ry) < np.abs(field.wy).max() + reach
    )
    bright = np.flatnonzero(inside)[: max(400, 2 * n)]
    dx = rx[bright][None, :] - field.wx[:n, None]
    dy = ry[bright][None, :] - field.wy[:n, None]
    near = (np.abs(dx) <= reach) & (np.abs(dy) <= reach)
    bins = int(2.0 * reach / size) + 2
    i, j = ((dx[near] + reach) / size).astype(int), ((dy[near] + reach) / size).astype(int)
    votes = np.bincount(i * bins + j, minlength=bins * bins).reshape(bins, bins)
    blocks = votes[:-1, :-1] + votes[1:, :-1] + votes[:-1, 1:] + votes[1:, 1:]
    best = np.argsort(blocks, axis=None, kind="stable")[::-1][:8]
    none, one = np.zeros(len(best) + 1), np.ones(len(best) + 1)
    to_x = np.append(0.0, (best // (bins - 1) + 1) * size - reach)
    to_y = np.append(0.0, (best % (bins - 1) + 1) * size - reach)
    return Similarity(none, none, to_x, to_y, one, none, none)


def _seeds(
    start: Start, field: Field, unit: float, rx: F8, ry: F8, n_detections: int
) -> Similarity:
    """Return the hypotheses that the patterns of bright stars suggest."""
    wx, wy = field.wx[:n_detections], field.wy[:n_detections]
    stars, detections = Grid(rx, ry), Grid(wx, wy)
    least = 0.005 * max(start.shape)
    star_patterns = stars.patterns(np.arange(len(rx)), 0.5 * least, N_NEIGHBOURS)
    # Stars away from the edge see their neighbours on all sides.
    central = np.argsort(np.hypot(wx, wy), kind="stable")[: max(16, (2 * len(wx)) // 3)]
    at = np.sort(central)[: int(np.clip(400_000 // len(rx), 6, 16))]
    seen = detections.patterns(at, least, N_NEIGHBOURS)
    own, mirrored = np.tile(at, len(start.flips)), np.repeat(start.flips, len(at)) == 1
    anchors = Patterns(
        np.tile(seen.size, len(start.flips)),
        np.tile(seen.log_r, (len(start.flips), 1)),
        np.concatenate([math.pi - seen.angle if flip else seen.angle for flip in start.flips]),
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
        common_triangles(anchors, star_patterns, limits, BIN, hits)
        near = [_most(candidates, hits[candidates, k]) for k, candidates in enumerate(near)]
    first = np.cumsum([0, *(len(candidates) for candidates in near)])
    votes, anchor, star = (np.zeros(N_HYPOTHESES, np.int64) for _ in range(3))
    log_scale, rotation = np.zeros(N_HYPOTHESES), np.zeros(N_HYPOTHESES)
    pairs = Pairs(votes, anchor, star, log_scale, rotation)
    n = vote(
        anchors, first, np.concatenate(near), star_patterns, limits, BIN, min(3, len(wx) - 1), pairs
    )
    factor, at = np.exp(log_scale[:n]), own[anchor[:n]]
    return Similarity(
        wx[at], wy[at], rx[star[:n]], ry[star[:n]],
        factor * np.cos(rotation[:n]), factor * np.sin(rotation[:n]),
        mirrored[anchor[:n]].astype(float),
    )  # fmt: skip


def _most(candidates: I8, hits: I2) -> I8:
    """Return the candidates that have most triangles in common with an anchor."""
    return np.sort(candidates[np.argsort(-hits, kind="stable")[:N_CANDIDATES]])


def _ranked(
    start: Start, field: Field, unit: float, rx: F8, ry: F8, nr: int, nd: int,
    hypotheses: Similarity, share: float = SHARE, turn: float = TURN,
) -> Iterator[Rough]:  # fmt: skip
    """Score hypotheses on the brightest stars and refine the best, one of each kind."""
    n = len(hypotheses.x)
    if n == 0:
        return
    grid = Grid(rx[:nr], ry[:nr])
    # Few stars do not reach the edges of what they were taken from: of the frame, at least.
    area = max(float(np.ptp(grid.cells.x) * np.ptp(grid.cells.y)), float(math.prod(start.shape)))
    density = nr / area
    size = max(start.shape)
    tolerance = np.array([max(2.0, 0.002 * size), turn])
    score, matched = np.zeros(n), np.zeros(n, np.int64)
    some = slice(0, nd, 1 if share < SHARE else max(1, nd // 300))
    score_similarities(
        np.ascontiguousarray(field.wx[some]), np.ascontiguousarray(field.wy[some]),
        np.ascontiguousarray(np.stack(hypotheses, axis=1)), tolerance, density, share,
        grid.cells, score, matched,
    )  # fmt: skip
    tried: list[F8] = []
    for h in np.argsort(-score, kind="stable"):
        if score[h] < MIN_SCORE or matched[h] < 3 or len(tried) >= 6:
            return
        hypothesis = Similarity(*(values[h] for values in hypotheses))
        corners = _corners(start, hypothesis)
        if any(np.abs(corners - other).max() < 0.02 * size for other in tried):
            continue
        tried.append(corners)
        if _outside(start, hypothesis, unit):
            continue
        rough = refine(start, field, unit, hypothesis, nr, nd, sparse=share < SHARE)
        if rough is not None:
            yield rough


def _corners(start: Start, hypothesis: Similarity) -> F8:
    half_x, half_y = 0.5 * start.shape[1], 0.5 * start.shape[0]
    x, y = np.array([-half_x, half_x, -half_x]), np.array([-half_y, -half_y, half_y])
    return np.concatenate(hypothesis.transformed(x, y))


def _outside(start: Start, hypothesis: Similarity, unit: float) -> bool:
    """Whether the centre is clearly outside the limits; the final check is exact."""
    x, y = hypothesis.transformed(np.zeros(1), np.zeros(1))
    slack = 1.1 * start.position + 0.02 * max(start.shape) * unit
    return bool(max(abs(x[0]), abs(y[0])) * unit > slack)
