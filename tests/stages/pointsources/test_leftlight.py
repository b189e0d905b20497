"""Pixels about positions against distances of all pixels."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.pointsources.leftlight import LeftLight, _by_cells, mean_of_rings, within


@pytest.mark.parametrize(("shape", "step"), [((70, 90), 1), ((200, 61), 4), ((5, 300), 7)])
@pytest.mark.parametrize("n", [0, 1, 25])
def test_pixels_within_reach(shape, step, n):
    random = np.random.default_rng(n)
    x, y = (random.uniform(-15.0, size + 15.0, n) for size in shape[::-1])
    reach = random.uniform(0.2, 14.0, n)
    rows, columns = np.mgrid[0 : shape[0] : step, 0 : shape[1]]
    expected = np.zeros(rows.shape, bool)
    for a, b, r in zip(x, y, reach, strict=True):
        expected |= (columns - a) ** 2 + (rows - b) ** 2 <= r * r
    np.testing.assert_array_equal(within(x, y, reach, shape, step), expected)


@pytest.mark.parametrize("step", [1, 3])
def test_means_of_rings(step):
    random = np.random.default_rng(step)
    n, radius, nx = 12, 6.0, 80
    values, noise = random.normal(size=(60, nx)), random.uniform(1.0, 2.0, (60, nx))
    use = random.random((60, nx)) < 0.6
    x, y = random.uniform(-9.0, nx + 9.0, n), random.uniform(-9.0, 60 * step + 9.0, n)
    x[0] = -50.0
    means, errors = mean_of_rings(values, noise, use, (x, y / step), radius, step)
    rows, columns = np.mgrid[0:60, 0:nx]
    for k in range(n):
        distance = np.hypot(step * (rows - y[k] / step), columns - x[k])
        ring = use & (distance > radius) & (distance < 2.0 * radius)
        if step * ring.sum() < 30:
            assert np.isnan(means[k])
            assert np.isnan(errors[k])
            continue
        assert means[k] == pytest.approx(values[ring].mean())
        assert errors[k] == pytest.approx(np.sqrt(noise[ring].sum()) / ring.sum())
    assert 0 < np.isnan(means).sum() < n


@pytest.mark.parametrize(("other", "expected"), [(0.35, 0.102), (0.7, 0.69), (-0.6, -0.595)])
def test_light_about_stars_overrules_only_where_it_is_surely_another(other, expected):
    """Within three errors of the difference it is one more measurement, of small weight."""
    none = np.zeros(0)
    light = LeftLight(0.1, 0.01, 0.0, none, none).beneath_stars(other, 0.1)
    assert light.level == pytest.approx(expected, abs=0.05)
    assert light.error < 0.1
    if expected == 0.102:
        assert light.level == pytest.approx(0.1 + 0.25 * 0.01**2 / (0.1**2 + 0.01**2), abs=1e-3)


@pytest.mark.parametrize("halo", [0.0, 500.0])
def test_the_halo_of_a_bright_star_is_no_scatter_of_the_sky(halo):
    """Level and scatter are those of the other places; these scatter by 0.5."""
    random = np.random.default_rng(4)
    places = random.normal(2.0, 0.5, (8, 8))
    values = np.kron(places, np.ones((32, 32))) + random.normal(0.0, 3.0, (256, 256))
    values[96:160, 96:160] += halo
    noise = np.full(values.shape, 9.0)
    level, error, scatter = _by_cells(values, noise, np.ones(values.shape, np.bool_))
    others = np.ones((8, 8), np.bool_)
    others[3:5, 3:5] = halo == 0.0
    assert level == pytest.approx(places[others].mean(), abs=0.05)
    assert scatter[others] == pytest.approx(places[others].std(), rel=0.1)
    assert scatter[3:5, 3:5] == pytest.approx(halo or scatter[0, 0], rel=0.01)
    assert error == pytest.approx(3.0 / 32.0 / np.sqrt(others.sum()))


def test_moonlight_on_one_side_is_no_scatter_of_the_other():
    """Its own noise does not make it like other places, and stars there have what is theirs."""
    random = np.random.default_rng(5)
    values, noise = random.normal(0.0, 3.0, (256, 256)), np.full((256, 256), 9.0)
    values[96:128, :32] += 400.0
    noise[96:128, :32] = 2000.0**2
    values[:, 32:64] += 6.0
    none = np.zeros(0)
    light = LeftLight(*_by_cells(values, noise, np.ones(values.shape, np.bool_)), none, none)
    x, y = np.array([10.0, 40.0, 100.0, 250.0]), np.array([100.0, 200.0, 30.0, 255.4])
    scatter = light.scatter_at(x, y, values.shape)
    assert scatter[:2] == pytest.approx([400.0, 6.0], abs=15.0)
    assert scatter[1] == pytest.approx(6.0, abs=1.5)
    assert (scatter[2:] < 0.2).all()
