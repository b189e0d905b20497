"""Find pairs of points whose neighbourhoods look alike, whatever the scale and the rotation.

The pattern of a star's neighbours, in log distance and position angle, is shifted by a
change of scale and rotation and otherwise unchanged.  `vote` compares the pattern of
each anchor with that of each candidate and lets every pair of neighbours vote for the
shift it implies; a true pair of stars collects the votes of all common neighbours in one
place, whatever fraction is missing.  The local, spoke-like comparison follows Tabur
(2007, PASA 24, 189) and the pessimistic pattern matcher of Morrison (DMTN-031); the vote in
(log scale, rotation) is a generalized Hough transform (Ballard 1981, Pattern
Recognition 13, 111).

`common_triangles` picks the candidates out of many stars.  A triangle of a star and two of its
neighbours has a shape that neither scale nor rotation changes, so that the triangles of all
anchors stand in one table, in which those of each star are looked up (Groth 1986, AJ 91, 1244;
the table is geometric hashing: Lamdan & Wolfson 1988, ICCV, 238).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.astrometry.points import Pairs, Patterns
from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I2, I4, I8


MAX_LOG_RATIO = 2.0
"""Triangles with sides of a larger ratio are not looked at."""


@kernel
def _fill_table(
    anchors: Patterns, width: float, n_ratio: int, n_angle: int, start: I4, owner: I4, nearer: I4,
) -> None:  # fmt: skip
    """Sort the triangles of the anchors into bins of their shape, four bins each.

    The triangles of bin c are ``owner[start[c]:start[c + 1]]``; `nearer` is the nearer of the
    two neighbours.
    """
    size, log_r, angle = anchors.size, anchors.log_r, anchors.angle
    per_width = 1.0 / width
    per_angle = n_angle / (2.0 * math.pi)
    n_bins = n_ratio * n_angle
    start[:] = 0
    for fill in range(2):
        for a in range(size.shape[0]):
            for i in range(size[a]):
                for j in range(i + 1, size[a]):
                    low = math.floor((log_r[a, j] - log_r[a, i]) * per_width - 0.5)
                    left = math.floor((angle[a, j] - angle[a, i]) * per_angle - 0.5)
                    for row in range(max(low, 0), min(low + 2, n_ratio)):
                        for column in range(left, left + 2):
                            c = row * n_angle + (column + 2 * n_angle) % n_angle
                            if fill == 0:
                                start[c + 1] += 1
                            else:
                                start[c + 1] -= 1
                                owner[start[c + 1]] = a
                                nearer[start[c + 1]] = i
        if fill == 0:
            for c in range(n_bins):
                start[c + 1] += start[c]
            total = start[n_bins]
    for c in range(n_bins):
        start[c] = start[c + 1]
    start[n_bins] = total


@kernel
def common_triangles(
    anchors: Patterns, stars: Patterns, limits: F8, width: float, hits: I2
) -> None:
    """Count the triangles that stars have in common with anchors.

    Parameters
    ----------
    anchors, stars : Patterns
        Of na and of nr points.
    limits : float64 (3,)
        Least and largest log scale; half range of the rotation (pi: any).
    width : float
        Tolerance of the log ratio of two sides, and of the angle between them.
    hits : (nr, na) int16
        Result (changed).
    """
    n_ratio = int(MAX_LOG_RATIO / width)
    n_angle = int(2.0 * math.pi / width)
    per_width = 1.0 / width
    per_angle = n_angle / (2.0 * math.pi)
    full = limits[2] >= math.pi - width
    start = np.empty(n_ratio * n_angle + 1, np.int32)
    # k (k - 1) / 2 triangles in four bins
    n_triangles = 2 * anchors.log_r.size * anchors.log_r.shape[1]
    owner = np.empty(n_triangles, np.int32)
    nearer = np.empty(n_triangles, np.int32)
    _fill_table(anchors, width, n_ratio, n_angle, start, owner, nearer)
    hits[:] = 0
    for r in range(stars.size.shape[0]):
        for i in range(stars.size[r]):
            for j in range(i + 1, stars.size[r]):
                row = int((stars.log_r[r, j] - stars.log_r[r, i]) * per_width)
                if row >= n_ratio:
                    break
                turn = stars.angle[r, j] - stars.angle[r, i]
                if turn < 0.0:
                    turn += 2.0 * math.pi
                c = row * n_angle + min(int(turn * per_angle), n_angle - 1)
                for k in range(start[c], start[c + 1]):
                    a = owner[k]
                    s = stars.log_r[r, i] - anchors.log_r[a, nearer[k]]
                    if s < limits[0] or s > limits[1]:
                        continue
                    if not full:
                        t = stars.angle[r, i] - anchors.angle[a, nearer[k]]
                        t -= 2.0 * math.pi * math.floor((t + math.pi) / (2.0 * math.pi))
                        if abs(t) > limits[2]:
                            continue
                    hits[r, a] += 1


class _Bins(NamedTuple):
    """Bins of log scale and rotation.

    A vote counts in the four blocks of 2 x 2 bins that its bin is part of: block (i, j) has
    the bins i - 1 and i in scale, j - 1 and j in rotation (block 0 is block n_rot of a
    full circle).

    Attributes
    ----------
    low, high : float
        Range of the log scale.
    turn : float
        Half range of the rotation, which begins at `first`.
    full : bool
        Any rotation is allowed.
    per_width, per_turn : float
        Bins per unit of log scale, and of rotation.
    n_scale, n_rot : int
        Number of bins.
    """

    low: float
    high: float
    turn: float
    first: float
    full: bool
    per_width: float
    per_turn: float
    n_scale: int
    n_rot: int


class _Votes(NamedTuple):
    """The votes of one pair of points, (n,) each: their bins, and the shift that they are for.

    `blocks` counts those of all pairs; a pair counts from where no other has come to, so that
    nothing is cleared.
    """

    row: I4
    column: I4
    scale: F8
    turn: F8
    blocks: I4


@helper
def _make_bins(limits: F8, width: float) -> _Bins:
    """Return bins of about `width` for the limits of `vote`."""
    full = limits[2] >= math.pi - width
    n_rot = int(2.0 * math.pi / width)
    rot_width = 2.0 * math.pi / n_rot
    if not full:
        rot_width = width
        n_rot = int(2.0 * limits[2] / width) + 2
    first = -math.pi if full else -limits[2]
    n_scale = int((limits[1] - limits[0]) / width) + 2
    return _Bins(
        limits[0], limits[1], limits[2], first, full, 1.0 / width, 1.0 / rot_width, n_scale, n_rot
    )


@helper
def _cast(
    anchors: Patterns, a: int, stars: Patterns, r: int, bins: _Bins, base: int, votes: _Votes
) -> tuple[int, int, int]:
    """Let all pairs of neighbours vote, counting from `base`.

    Returns the number of votes, those in the block that has most, and which one that is.
    """
    low, high, turn, first, full, per_width, per_turn, _, n_rot = bins
    row, column, scales, turns, blocks = votes
    columns = n_rot + 1
    n = 0
    best = base
    where = 0
    begin = 0
    for i in range(anchors.size[a]):
        own = anchors.log_r[a, i]
        # Distances rise: skip the neighbours that are too near for any scale.
        while begin < stars.size[r] and stars.log_r[r, begin] < own + low:
            begin += 1
        for j in range(begin, stars.size[r]):
            s = stars.log_r[r, j] - own
            if s > high:
                break
            t = stars.angle[r, j] - anchors.angle[a, i]
            # The difference of the two angles is within -3 pi and 2 pi.
            if t >= math.pi:
                t -= 2.0 * math.pi
            elif t < -math.pi:
                t += 2.0 * math.pi
            if not full and abs(t) > turn:
                continue
            b = min(int((t - first) * per_turn), n_rot - 1)
            c = int((s - low) * per_width)
            left = b if b > 0 or not full else n_rot
            for block in (
                c * columns + left, c * columns + b + 1,
                (c + 1) * columns + left, (c + 1) * columns + b + 1,
            ):  # fmt: skip
                total = max(blocks[block], base) + 1
                blocks[block] = total
                if total > best:
                    best = total
                    where = block
            row[n] = c
            column[n] = b
            scales[n] = s
            turns[n] = t
            n += 1
    return n, best - base, where


@helper
def _mean_vote(votes: _Votes, n: int, block: int, bins: _Bins) -> tuple[float, float]:
    """Return the mean log scale and rotation of the first n votes that are in a block."""
    row, column, scales, turns, _ = votes
    n_rot = bins.n_rot
    high = block // (n_rot + 1)
    right = block - high * (n_rot + 1)
    begin = 0.0
    sum_s = 0.0
    sum_t = 0.0
    m = 0
    for v in range(n):
        b = column[v]
        in_block = b == right or b == right - 1 or (b == 0 and right == n_rot and bins.full)
        if in_block and (row[v] == high or row[v] == high - 1):
            if m == 0:
                begin = turns[v]
            t = turns[v] - begin
            t -= 2.0 * math.pi * math.floor((t + math.pi) / (2.0 * math.pi))
            sum_t += t
            sum_s += scales[v]
            m += 1
    return sum_s / m, begin + sum_t / m


@helper
def _insert(
    pairs: Pairs, n: int, votes: int, anchor: int, star: int, log_scale: float, rotation: float
) -> int:
    """Put a pair in its place among n, the last of a full list goes; return their number."""
    n_list = len(pairs.votes)
    pos = n if n < n_list else n_list - 1
    while pos > 0 and pairs.votes[pos - 1] < votes:
        pairs.votes[pos] = pairs.votes[pos - 1]
        pairs.anchor[pos] = pairs.anchor[pos - 1]
        pairs.star[pos] = pairs.star[pos - 1]
        pairs.log_scale[pos] = pairs.log_scale[pos - 1]
        pairs.rotation[pos] = pairs.rotation[pos - 1]
        pos -= 1
    pairs.votes[pos] = votes
    pairs.anchor[pos] = anchor
    pairs.star[pos] = star
    pairs.log_scale[pos] = log_scale
    pairs.rotation[pos] = rotation
    return min(n + 1, n_list)


@kernel
def vote(
    anchors: Patterns, first: I8, candidates: I8, stars: Patterns, limits: F8, width: float,
    least: int, pairs: Pairs,
) -> int:  # fmt: skip
    """Find the pairs (anchor, reference star) whose neighbourhoods look alike.

    Parameters
    ----------
    anchors : Patterns
        Of na points.
    first, candidates : int64 (na + 1,), (n,)
        The stars to compare anchor a with are ``candidates[first[a]:first[a + 1]]``.
    stars : Patterns
        Of the reference stars.
    limits : float64 (3,)
        Least and largest log scale; half range of the rotation (pi: any).
    width : float
        Width of a bin in log scale and in rotation.
    least : int
        Fewest votes of a pair to be listed.
    pairs : Pairs
        The best pairs; `votes` is 0 before (changed).

    Returns
    -------
    int
        Number of pairs listed.
    """
    na, ka = anchors.log_r.shape
    most = ka * stars.log_r.shape[1]
    n_list = pairs.votes.shape[0]
    bins = _make_bins(limits, width)
    votes = _Votes(
        np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most), np.empty(most),
        np.zeros((bins.n_scale + 1) * (bins.n_rot + 1), np.int32),
    )  # fmt: skip
    base = 0
    n = 0
    for a in range(na):
        for k in range(first[a], first[a + 1]):
            r = candidates[k]
            base += most
            if base > 2_000_000_000:
                votes.blocks[:] = 0
                base = 0
            n_votes, best, block = _cast(anchors, a, stars, r, bins, base, votes)
            if best >= max(least, pairs.votes[n_list - 1] + 1 if n == n_list else 0):
                log_scale, rotation = _mean_vote(votes, n_votes, block, bins)
                n = _insert(pairs, n, best, a, r, log_scale, rotation)
    return n
