"""Cleaning against a plain list, searched from end to end."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.detection import shape
from skyextract.kernels.detection.clean import ZONE, clean_sources
from skyextract.kernels.detection.queue import Scan

COLUMNS = {
    "x": shape.X, "y": shape.Y, "a": shape.A, "b": shape.B, "cxx": shape.CXX, "cyy": shape.CYY,
    "cxy": shape.CXY, "abcor": shape.ABCOR, "flux": shape.FDFLUX, "threshold": shape.DTHRESH,
    "limit": shape.MTHRESH,
}  # fmt: skip


def reference(s, beta, scan):
    """Clean in order, all sources kept in one list that loses them as the image is read."""
    flux, area = s["flux"].copy(), s["area"].astype(float)
    into = np.full(len(flux), -1)
    kept, left = [], []
    first, last = s["first"].copy(), s["last"].copy()
    begin, end = {}, {}
    # the strip moves from one of these rows to the next
    moves = list(range(scan.strip - scan.margin, scan.height - scan.margin))
    if scan.strip == scan.height:
        moves = [scan.height]
    n_moves = 0

    def remove(j):
        place = kept.index(j)
        moved = kept.pop()
        if place < len(kept):
            kept[place] = moved

    def wing(j, dx, dy):
        unit = np.pi * s["a"][j] * s["b"][j]
        amplitude = flux[j] / (2 * unit * s["abcor"][j])
        alpha = ((amplitude / s["threshold"][j]) ** (1 / beta) - 1) * unit / area[j]
        base = 1 + alpha * (s["cxx"][j] * dx**2 + s["cyy"][j] * dy**2 + s["cxy"][j] * dx * dy)
        return amplitude * base**-beta if 1 < base < 1e10 else 0.0

    # the image is read to its end, whatever is there
    read = np.append(s["last"] + 1, scan.height)
    for i in range(len(read)):
        while n_moves < len(moves) and moves[n_moves] <= read[i]:
            for j in kept[::-1]:
                if begin[j] <= n_moves:
                    left.append(j)
                    remove(j)
            n_moves += 1
        if i == len(flux):
            break
        if len(kept) == scan.room:
            left.append(min(kept, key=lambda j: end[j]))
            remove(left[-1])
        victims = []
        for j in kept:
            dx, dy = s["x"][i] - s["x"][j], s["y"][i] - s["y"][j]
            if np.hypot(dx, dy) >= ZONE * (s["a"][i] + s["a"][j]):
                continue
            if flux[j] < flux[i]:
                if wing(i, dx, dy) > s["limit"][j]:
                    victims.append(j)
            elif wing(j, dx, dy) > s["limit"][i]:
                into[i] = j
                flux[j] += flux[i]
                area[j] += area[i]
                first[j], last[j] = min(first[j], first[i]), max(last[j], last[i])
                break
        if into[i] >= 0:
            continue
        for j in reversed(victims):
            into[j] = i
            flux[i] += flux[j]
            area[i] += area[j]
            first[i], last[i] = min(first[j], first[i]), max(last[j], last[i])
            remove(j)
        kept.append(i)
        extent = max(1 / np.sqrt(3 * s["cyy"][i]), last[i] - first[i] + 1)
        margin = int(2 * extent + 4.5)
        begin[i] = min(first[i] - margin, int(s["y"][i] + 0.49999) - scan.aperture)
        end[i] = max(last[i] + margin, int(s["y"][i] + 0.49999) + scan.aperture)
    while kept:
        left.append(kept[0])
        remove(kept[0])
    return into, left


def sources(n, seed):
    rng = np.random.default_rng(seed)
    a = rng.uniform(0.5, 2, n) * 10 ** (rng.random(n) ** 4 * 1.5)
    b = a * rng.uniform(0.4, 1, n)
    flux = 20 * a * b * 10 ** rng.uniform(0, 2.5, n)
    y = np.sort(rng.uniform(0, 300, n))
    last = np.maximum.accumulate(y.astype(np.int32) + rng.integers(0, 3, n, np.int32))
    first = np.maximum(last - rng.integers(0, 20, n, np.int32), 0)
    return {
        "x": rng.uniform(0, 300, n), "y": y, "a": a, "b": b, "first": first, "last": last,
        "cxx": 1 / a**2, "cyy": 1 / b**2, "cxy": np.zeros(n),
        "abcor": rng.uniform(0.7, 1, n), "area": (8 * a * b + 5).astype(np.int32),
        "flux": flux, "threshold": np.full(n, 1.5), "limit": rng.uniform(0.05, 3, n),
    }  # fmt: skip


def clean(s, candidate, beta, scan):
    """Return `into` and the order from the kernel, which takes tables."""
    n = len(s["x"])
    real, integer = np.zeros((n, shape.N_REAL)), np.zeros((n, shape.N_INTEGER), np.int32)
    for name, k in COLUMNS.items():
        real[:, k] = s[name]
    integer[:, shape.FDNPIX] = s["area"]
    integer[:, shape.YMIN], integer[:, shape.YMAX] = s["first"], s["last"]
    integer[:, shape.PARENT] = np.arange(1, n + 1)
    into, order = np.empty(n, np.int32), np.empty(n, np.int32)
    n_kept = clean_sources(real, integer, candidate, beta, scan, into, order)
    return into, order[:n_kept]


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    "scan",
    [
        Scan(303, 303, 2, 3000, 0, 1), Scan(303, 100, 2, 3000, 0, 1), Scan(303, 302, 2, 3000, 0, 1),
        Scan(303, 303, 2, 20, 0, 1), Scan(303, 60, 20, 15, 40, 1),
    ],
)  # fmt: skip
def test_same_as_a_plain_search(beta, scan):
    s = sources(300, 1)
    into, order = clean(s, np.ones(300, np.bool_), beta, scan)
    assert 10 < (into >= 0).sum() < 290
    expected, left = reference(s, beta, scan)
    np.testing.assert_array_equal(into, expected)
    np.testing.assert_array_equal(order, left)
    assert sorted(order) == np.flatnonzero(into < 0).tolist()


def test_without_cleaning_nothing_is_lost():
    s = sources(200, 3)
    scan = Scan(303, 80, 2, 50, 0, 0)
    into, order = clean(s, np.ones(200, np.bool_), 0.0, scan)
    assert (into == -1).all()
    np.testing.assert_array_equal(order, reference({**s, "limit": np.full(200, 1e9)}, 1.0, scan)[1])


def test_left_out_and_none():
    s = sources(50, 2)
    scan = Scan(303, 303, 2, 3000, 0, 1)
    into, order = clean(s, np.zeros(50, np.bool_), 1.0, scan)
    assert (into == -1).all()
    assert not order.size
    empty = {name: values[:0] for name, values in s.items()}
    assert not clean(empty, np.ones(0, np.bool_), 1.0, scan)[0].size
