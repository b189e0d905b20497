"""Cleaning against a plain list, searched from end to end."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.detection import shape
from skyextract.kernels.detection.clean import ZONE, clean_sources

COLUMNS = {
    "x": shape.X, "y": shape.Y, "a": shape.A, "b": shape.B, "cxx": shape.CXX, "cyy": shape.CYY,
    "cxy": shape.CXY, "abcor": shape.ABCOR, "flux": shape.FDFLUX, "threshold": shape.DTHRESH,
    "limit": shape.MTHRESH,
}  # fmt: skip


def reference(s, beta):
    """Clean in order, all sources kept in one list."""
    flux, area = s["flux"].copy(), s["area"].astype(float)
    into = np.full(len(flux), -1)
    kept = []

    def wing(j, dx, dy):
        unit = np.pi * s["a"][j] * s["b"][j]
        amplitude = flux[j] / (2 * unit * s["abcor"][j])
        alpha = ((amplitude / s["threshold"][j]) ** (1 / beta) - 1) * unit / area[j]
        base = 1 + alpha * (s["cxx"][j] * dx**2 + s["cyy"][j] * dy**2 + s["cxy"][j] * dx * dy)
        return amplitude * base**-beta if 1 < base < 1e10 else 0.0

    for i in range(len(flux)):
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
                break
        if into[i] >= 0:
            continue
        for j in reversed(victims):
            into[j] = i
            flux[i] += flux[j]
            area[i] += area[j]
            place = kept.index(j)
            last = kept.pop()
            if place < len(kept):
                kept[place] = last
        kept.append(i)
    return into


def sources(n, seed):
    rng = np.random.default_rng(seed)
    a = rng.uniform(0.5, 2, n) * 10 ** (rng.random(n) ** 4 * 1.5)
    b = a * rng.uniform(0.4, 1, n)
    flux = 20 * a * b * 10 ** rng.uniform(0, 2.5, n)
    return {
        "x": rng.uniform(0, 300, n), "y": np.sort(rng.uniform(0, 300, n)), "a": a, "b": b,
        "cxx": 1 / a**2, "cyy": 1 / b**2, "cxy": np.zeros(n),
        "abcor": rng.uniform(0.7, 1, n), "area": (8 * a * b + 5).astype(np.int32),
        "flux": flux, "threshold": np.full(n, 1.5), "limit": rng.uniform(0.05, 3, n),
    }  # fmt: skip


def clean(s, candidate, beta):
    """Return `into` from the kernel, which takes tables."""
    n = len(s["x"])
    real, integer = np.zeros((n, shape.N_REAL)), np.zeros((n, shape.N_INTEGER), np.int32)
    for name, k in COLUMNS.items():
        real[:, k] = s[name]
    integer[:, shape.FDNPIX] = s["area"]
    into = np.empty(n, np.int32)
    clean_sources(real, integer, candidate, beta, into)
    return into


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_same_as_a_plain_search(beta):
    s = sources(300, 1)
    into = clean(s, np.ones(300, np.bool_), beta)
    assert 10 < (into >= 0).sum() < 290
    np.testing.assert_array_equal(into, reference(s, beta))


def test_left_out_and_none():
    s = sources(50, 2)
    assert (clean(s, np.zeros(50, np.bool_), 1.0) == -1).all()
    empty = {name: values[:0] for name, values in s.items()}
    assert not clean(empty, np.ones(0, np.bool_), 1.0).size
