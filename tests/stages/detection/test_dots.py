"""Dots on a lattice about a bright star, and what is none."""

import numpy as np
import pytest

from skyextract.stages.detection.dots import find_dots

SIDE = 1000.0


def field(seed, n=300):
    """Stars at random: x, y, flux; the first is the brightest."""
    rng = np.random.default_rng(seed)
    flux = 10.0 ** rng.exponential(0.6, n) * 100.0
    flux[0] = 1e6
    return (*rng.uniform(0.0, SIDE, (2, n)), flux), rng


def dots(rng, centre, vectors, n_rings, scatter=0.3):
    """Nodes of a lattice within some rings, but for the middle, with places that noise scatters."""
    i, j = (v.ravel() for v in np.mgrid[-n_rings : n_rings + 1, -n_rings : n_rings + 1])
    keep = ((i != 0) | (j != 0)) & (rng.random(i.size) < 0.8)
    place = np.asarray(centre)[:, None] + np.array(vectors).T @ np.stack([i, j])[:, keep]
    place += rng.normal(0.0, scatter, place.shape)
    inside = ((place > 0.0) & (place < SIDE)).all(axis=0)
    return place[:, inside]


def joined(sources, place, rng):
    flux = 10.0 ** rng.uniform(2.0, 3.0, place.shape[1])
    x, y, f = sources
    return np.append(x, place[0]), np.append(y, place[1]), np.append(f, flux)


def turned(angle, *vectors):
    c, s = np.cos(angle), np.sin(angle)
    return [(c * x - s * y, s * x + c * y) for x, y in vectors]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("vectors", "n_rings"),
    [
        (((41.0, 0.0), (0.0, 41.0)), 4),
        (((24.0, 0.0), (12.0, 20.8)), 3),
        (((70.0, 0.0), (0.0, 60.0)), 3),
    ],
)  # fmt: skip
def test_square_and_hexagonal_lattices(seed, vectors, n_rings):
    sources, rng = field(seed)
    n = sources[0].size
    vectors = turned(rng.uniform(0.0, 1.5), *vectors)
    place = dots(rng, (sources[0][0], sources[1][0]), vectors, n_rings)
    found = find_dots(*joined(sources, place, rng))
    assert found.rows[n:].mean() > 0.9
    assert found.rows[:n].mean() < 0.06  # 12.6 of 499 pixels are on nodes of the closest one
    assert not found.rows[0]
    pitch = min(np.hypot(*v) for v in vectors)
    assert f"{pitch:.0f}" in {f"{float(found.doubt.split(': ')[1].split()[0]):.0f}"}
    assert found.are_many == (found.rows.mean() > 0.1)


@pytest.mark.parametrize("seed", range(4))
def test_few_dots_about_each_of_several_stars(seed):
    sources, rng = field(seed)
    x, y, flux = sources
    n = x.size
    flux[:4] = 1e6 * np.array([1.0, 0.7, 0.6, 0.5])
    flux[4:] = np.minimum(flux[4:], 2e5)
    places = [dots(rng, (x[k], y[k]), ((24.0, 0.0), (0.0, 24.0)), 2) for k in range(4)]
    found = find_dots(*joined(sources, np.concatenate(places, axis=1), rng))
    assert found.rows[n:].mean() > 0.9
    assert found.rows[:n].mean() < 0.1  # 12.6 of 576 pixels are on nodes
    assert found.doubt.count("pixels apart about") >= 3


def test_stars_at_random_and_in_clusters():
    for seed in range(150):
        sources, rng = field(seed, n=int(10.0 ** (1.0 + 2.0 * (seed / 150))))
        assert find_dots(*sources) is None
        cluster = (
            sources[0][0] + rng.normal(0.0, 40.0, 80),
            sources[1][0] + rng.normal(0.0, 40.0, 80),
        )
        assert find_dots(*joined(sources, np.array(cluster), rng)) is None


def test_stars_that_somebody_set_on_a_grid():
    """The brightest stars are not among them."""
    sources, rng = field(1)
    place = dots(rng, (507.0, 511.0), ((50.0, 0.0), (0.0, 50.0)), 9)
    x, y = sources[0].copy(), sources[1].copy()
    x[:3], y[:3] = (432.0, 232.0, 682.0), (486.0, 736.0, 236.0)
    flux = np.append(1e6, np.append([9e5, 8e5], sources[2][3:]))
    assert find_dots(*joined((x, y, flux), place, rng)) is None


def test_few_sources():
    nothing = np.zeros(0)
    assert find_dots(nothing, nothing, nothing) is None
    assert find_dots(np.arange(5.0), np.arange(5.0), np.arange(5.0)) is None
