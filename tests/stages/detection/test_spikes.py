"""Pieces of diffraction spikes are told by the light along rays of all bright stars."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.detection import spikes as looked_for
from skyextract.stages.detection.spikes import find_spikes

SIZE, FWHM = 600, 3.2
V, U = np.mgrid[:SIZE, :SIZE].astype(float)


def field(n_bright, seed=1):
    """Return a frame of sigma 1 without spikes, and x, y, peak of its stars, bright ones first."""
    rng = np.random.default_rng(seed)
    n = n_bright + 150
    x, y = rng.uniform(20.0, SIZE - 20.0, (2, n))
    peak = np.append(10.0 ** rng.uniform(2.8, 3.6, n_bright), 10.0 ** rng.uniform(0.4, 1.9, 150))
    image = rng.normal(size=(SIZE, SIZE))
    for cx, cy, height in zip(x, y, peak, strict=True):
        part = (
            slice(max(0, int(cy) - 40), int(cy) + 40),
            slice(max(0, int(cx) - 40), int(cx) + 40),
        )
        r2 = (U[part] - cx) ** 2 + (V[part] - cy) ** 2
        image[part] += height / (1.0 + r2 * (2.0**0.25 - 1.0) / (FWHM / 2.0) ** 2) ** 4
    return image, x, y, peak


def spikes(x, y, peak, angle):
    along = np.abs((U - x) * np.cos(angle) + (V - y) * np.sin(angle))
    across = (V - y) * np.cos(angle) - (U - x) * np.sin(angle)
    return 0.5 * peak / (4.0 + along) ** 1.5 * np.exp(-0.5 * (across / 1.3) ** 2)


def found(image, x, y, peak):
    """Look among sources as round as stars."""
    round_ = np.full(x.size, FWHM / 2.3548)
    bad = np.zeros(image.shape, np.bool_)
    return find_spikes(
        image.astype(np.float32), 1.0, bad, x, y, round_, round_, peak.astype(np.float32), FWHM
    )


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.3])
def test_pieces_of_spikes_are_told_and_few_others(angle):
    image, x, y, peak = field(12)
    for k in range(12):
        for turn in (angle, angle + np.pi / 2.0):
            image += spikes(x[k], y[k], peak[k], turn)
    rng = np.random.default_rng(2)
    star = rng.integers(0, 12, 80)
    turn = angle + rng.integers(0, 4, 80) * np.pi / 2.0
    r = rng.uniform(20.0, 50.0, 80)
    px, py = x[star] + r * np.cos(turn), y[star] + r * np.sin(turn)
    light = 0.5 * peak[star] / (4.0 + r) ** 1.5
    shining = light > 1.0
    everything = np.append(x, px), np.append(y, py), np.append(peak, 4.0 + light)
    spiked = found(image, *everything)
    assert spiked is not None
    assert spiked.rows[x.size :][shining].mean() > 0.9
    assert not spiked.rows[:12].any()
    assert spiked.rows[12 : x.size].mean() < 0.15
    degrees = sorted(round(np.degrees(turn)) % 180 for turn in (angle, angle + np.pi / 2.0))
    told = spiked.doubt.split(" at ")[1].split(" degrees")[0].split(", ")
    assert np.allclose([int(d) for d in told], degrees, atol=1.0)


@pytest.mark.parametrize("seed", range(6))
def test_frames_without_spikes(seed):
    assert found(*field(12 if seed % 2 else 30, seed=10 + seed)) is None


def test_no_long_rays_are_made_where_no_star_shows_a_cross(monkeypatch):
    made, original = [], looked_for._rays

    def rays(*arguments):
        made.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(looked_for, "_rays", rays)
    monkeypatch.setattr(np, "median", None)  # imports `numpy.ma`, which takes as long as the rest
    assert found(*field(12)) is None
    assert len(made) == 1


def test_a_neighbour_and_light_on_one_side_are_no_spikes():
    image, x, y, peak = field(12)
    for k in range(12):
        one_side = spikes(x[k], y[k], peak[k], 0.6) * ((U - x[k]) * np.cos(0.6) > 0.0)
        image += one_side
    assert found(image, x, y, peak) is None


def lone(arms, n_stars=1, reach=120.0):
    """Return a frame whose brightest star has long arms, faint pieces on these, and how far."""
    image, x, y, peak = field(n_stars, seed=5)
    x[0], y[0], peak[0] = 300.2, 290.6, 4000.0
    image += 4000.0 * np.exp(-0.5 * ((U - x[0]) ** 2 + (V - y[0]) ** 2) / 2.0)
    for turn in arms:
        u = (U - x[0]) * np.cos(turn) + (V - y[0]) * np.sin(turn)
        v = (V - y[0]) * np.cos(turn) - (U - x[0]) * np.sin(turn)
        image += 20.0 * np.exp(-np.abs(u) / reach - 0.5 * (v / 1.8) ** 2) * (u > 0.0)
    r = np.linspace(180.0, 270.0, 8)
    px, py = (np.append(p, [c + r * f(turn) for turn in arms])
              for p, c, f in ((x, x[0], np.cos), (y, y[0], np.sin)))  # fmt: skip
    return image, px, py, np.append(peak, np.full(r.size * len(arms), 4.5)), x.size


@pytest.mark.parametrize("n_arms", [4, 6])
def test_one_star_with_a_cross_is_enough(n_arms):
    """Its pieces lie farther out than the rays of many stars are followed."""
    arms = 0.3 + 2.0 * np.pi * np.arange(n_arms) / n_arms
    image, x, y, peak, n = lone(arms)
    spiked = found(image, x, y, peak)
    assert spiked is not None
    assert spiked.rows[n:].mean() > 0.9
    assert spiked.rows[:n].mean() < 0.1


@pytest.mark.parametrize(
    "arms", [[0.3, 0.3 + np.pi], [0.3, 0.3 + np.pi / 2.0, 0.3 + np.pi], [0.3, 2.1, 4.0, 5.5]]
)
def test_a_bar_or_arms_on_one_side_of_one_star_are_none(arms):
    image, x, y, peak, _ = lone(arms)
    assert found(image, x, y, peak) is None
