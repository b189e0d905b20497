"""Parts of the frame that are out of place, and distortions that are not."""

import numpy as np
import pytest

from skyextract.sky.plate import monomials
from skyextract.stages.astrometry.seam import find_seam

SHAPE, SCALE = (1000, 1200), 0.4


def stars(seed, n=60, chance=0.05, bend=lambda u, v: (0.0 * u, 0.0 * v)):
    """Pixels, true places in arcsec, and errors; `chance` of them are matched with others."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, SHAPE[1], n), rng.uniform(0, SHAPE[0], n)
    errors = rng.uniform(0.01, 0.04, n)
    u, v = (x - 600) / 600, (y - 500) / 600
    turn = 0.02
    at = np.stack([
        SCALE * (x * np.cos(turn) - y * np.sin(turn)), SCALE * (x * np.sin(turn) + y * np.cos(turn))
    ])  # fmt: skip
    at += np.stack(bend(u, v)) + rng.normal(0.0, np.hypot(errors, 0.01), (2, n))
    wrong = rng.random(n) < chance
    at[:, wrong] += rng.uniform(-3.0, 3.0, (2, wrong.sum()))
    return (x, y), at, errors


def search(pixels, at, errors, degree, clip=2.0):
    """Fit polynomials as the plate does, clipping far stars, and look for a seam."""
    x, y = pixels
    design = monomials((x - 600) / 600, (y - 500) / 600, degree)
    keep = np.ones(len(x), bool)
    for _ in range(6):
        solved = np.linalg.lstsq(design[keep], at[:, keep].T, rcond=None)[0]
        off = design @ solved - at.T
        distance = np.hypot(*off.T)
        keep = distance < max(4.0 * np.median(distance[keep]) / 1.18, 0.02)
    return find_seam(pixels, tuple(at), tuple(off.T), errors, SHAPE, SCALE, degree)


@pytest.mark.parametrize("degree", [1, 3])
@pytest.mark.parametrize("n", [25, 60, 300])
def test_stars_in_place_have_no_seam(n, degree):
    assert not any(search(*stars(seed, n), degree).axis for seed in range(20))


@pytest.mark.parametrize(
    "bend",
    [
        lambda u, v: (0.5 * u * (u * u + v * v), 0.5 * v * (u * u + v * v)),
        lambda u, v: (0.2 * u * (u * u + v * v) ** 2, 0.2 * v * (u * u + v * v) ** 2),
        lambda u, v: (0.1 * np.sin(4.0 * v), 0.1 * np.cos(4.0 * u)),
    ],
    ids=["cubic", "of fifth order", "waves"],
)
def test_distortions_are_no_seams(bend):
    found = [search(*stars(seed, 200, bend=bend), 3).axis for seed in range(12)]
    assert not any(found)


@pytest.mark.parametrize(("axis", "edge"), [("row", 880), ("row", 480), ("column", 200)])
@pytest.mark.parametrize("step", [(1.6, 0.0), (0.0, -0.8)])
def test_a_part_that_is_out_of_place(axis, edge, step):
    for seed in range(10):
        (x, y), at, errors = stars(seed, 80)
        beyond = (y if axis == "row" else x) > edge
        at = at + np.outer(step, beyond)
        seam = search((x, y), at, errors, 3 if edge == 480 else 1)
        assert seam.axis == axis
        assert abs(seam.place - edge) < 100
        assert (seam.x, seam.y) == pytest.approx((-step[0], -step[1]), abs=0.1)
        assert seam.share == pytest.approx(min(beyond.mean(), 1.0 - beyond.mean()), abs=0.05)
        assert seam.error > 0.3 * np.hypot(*step) * np.sqrt(seam.share)
