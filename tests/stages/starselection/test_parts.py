"""Parts of the field whose stars have a size of their own."""

import re
from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.datamodel.psfshape import core_shape
from skyextract.stages.starselection.modelsizes import ModelSizes
from skyextract.stages.starselection.parts import (
    Sizes,
    _chance_of_directions,
)
from skyextract.stages.starselection.parts import doubt_of_parts as doubt_and_part
from skyextract.stages.starselection.patches import alike_in_bands
from skyextract.stages.starselection.together import part_of_few

SHAPE = (2000, 1000)
PSF = Psf.gaussian(3.0)


def doubt_of_parts(sizes, psf, shape):
    return doubt_and_part(sizes, psf, shape)[0]


def sizes(seed, n, size, is_star=None, scatter=0.003):
    """Sizes of sources over the field, `size(u, v)`, with places of -0.5 to 0.5."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-0.5, 0.5, (2, n))
    error = 0.4343 / 10.0 ** rng.uniform(1.7, 3.5, n)
    log = np.log10(size(u, v)) + np.hypot(error, scatter) * rng.standard_normal(n)
    stars = np.ones(n, dtype=bool) if is_star is None else is_star(u, v)
    round_ = np.ones(n, dtype=bool)
    angle = rng.uniform(-np.pi / 2, np.pi / 2, n)
    return Sizes(SHAPE[1] * (u + 0.5), SHAPE[0] * (v + 0.5), log, error, angle, stars, round_)


@pytest.mark.parametrize("n", [15, 60, 500])
def test_a_field_of_one_size_is_not_doubted(n):
    for seed in range(100):
        assert not doubt_of_parts(sizes(seed, n, lambda u, v: 2.8 + 0.0 * u), PSF, SHAPE)


@pytest.mark.parametrize("n", [60, 500])
def test_what_varies_smoothly_is_not_doubted(n):
    """A polynomial of the second degree follows it."""

    def size(u, v):
        return 3.0 * (1.0 + 0.3 * u + 0.4 * (u**2 + v**2))

    assert not any(doubt_of_parts(sizes(seed, n, size), PSF, SHAPE) for seed in range(100))


@pytest.mark.parametrize(("wider", "n"), [(1.1, 150), (1.2, 60), (0.8, 60)])
def test_a_half_with_another_size(wider, n):
    """Whether the PSF stars are those of one half, or of all the frame."""

    def size(u, v):
        return np.where(v > 0.0, 3.0 * wider, 3.0)

    for seed in range(30):
        one = doubt_of_parts(sizes(seed, n, size, lambda u, v: v < 0.0), PSF, SHAPE)
        assert f"{'wider' if wider > 1.0 else 'narrower'} than the PSF there" in one
        low, high = (int(word) for word in re.search(r"y (\d+) to (\d+)", one).groups())
        assert low + high > SHAPE[0]
        percent = float(re.search(r"are ([\d.]+) %", one).group(1))
        assert percent == pytest.approx(100.0 * abs(wider - 1.0), abs=2.0)
        assert doubt_of_parts(sizes(seed, 2 * n, size), PSF, SHAPE)


@pytest.mark.parametrize("kind", ["half", "quarter", "stripe"])
def test_few_stars_of_another_seeing(kind):
    """Seven beside those of the PSF; the part is told place by place."""
    told, right = 0, []
    for seed in range(20):
        some = sizes(seed, 60, lambda u, v: 3.0 + 0.0 * u)
        u, v = some.x / SHAPE[1] - 0.5, some.y / SHAPE[0] - 0.5
        parts = {"half": u > 0.1, "quarter": (u > 0.1) & (v > 0.1), "stripe": abs(u) < 0.08}
        wide = parts[kind]
        keep = ~wide | (np.cumsum(wide) <= 7)
        size = some.size + np.log10(1.4) * wide
        some, wide = replace(some, size=size, is_star=~wide).take(keep), wide[keep]
        message, part = doubt_and_part(some, PSF, SHAPE)
        if part is not None:
            told += "a focus or seeing of their own" in message
            right.append(np.mean(part.covers(some.x, some.y) == wide))
        # Neither sources of that size at any place, nor a cluster of galaxies of many sizes.
        away = some.size - np.log10(3.0)
        rng = np.random.default_rng(seed)
        order, many = rng.permutation(wide.size), wide * rng.uniform(-0.1, 0.2, wide.size)
        u, v = some.x / SHAPE[1] - 0.5, some.y / SHAPE[0] - 0.5
        assert part_of_few(away, some.error, some.is_star, u[order], v[order]) is None
        assert part_of_few(away + many, some.error, some.is_star, u, v) is None
    assert told >= 18
    assert np.mean(right) > 0.95


def test_galaxies_are_no_part():
    """A cluster of galaxies in a corner: they are larger, but not of one size."""
    rng = np.random.default_rng(1)
    stars = sizes(1, 100, lambda u, v: 3.0 + 0.0 * u)
    galaxies = Sizes(
        rng.uniform(700.0, 1000.0, 80), rng.uniform(1400.0, 2000.0, 80),
        np.log10(3.0 * rng.uniform(1.05, 2.5, 80)), np.full(80, 0.003), np.zeros(80),
        np.zeros(80, dtype=bool), np.ones(80, dtype=bool),
    )  # fmt: skip
    names = ("x", "y", "size", "error", "angle", "is_star", "is_round")
    both = [np.append(getattr(stars, name), getattr(galaxies, name)) for name in names]
    assert not doubt_of_parts(Sizes(*both), PSF, SHAPE)


@pytest.mark.parametrize("n", [40, 150])
def test_stars_that_are_trailed_in_a_part(n):
    for seed in range(20):
        half = sizes(seed, n, lambda u, v: np.where(v > 0.1, 8.0, 3.0), lambda u, v: v < 0.1)
        half = replace(half, is_round=half.is_star, angle=np.full(n, 0.3))
        assert "parts of the frame have trailed stars" in doubt_of_parts(half, PSF, SHAPE)


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("middle", [0.3, 0.5, 0.62])
def test_trails_in_a_strip(axis, middle):
    """Of a frame that was shaken while it was read, wherever the strip lies."""
    n_false = 0
    for seed in range(20):
        some = sizes(seed, 150, lambda u, v: 3.0 + 0.0 * u)
        place = some.x / SHAPE[1] if axis == "x" else some.y / SHAPE[0]
        is_trail = np.abs(place - middle) < 0.1
        random = np.random.default_rng(seed)
        is_round = ~is_trail & (random.random(150) > 0.1)
        angle = np.where(is_trail, 0.4 + 0.05 * random.standard_normal(150), some.angle)
        strip = replace(some, is_round=is_round, is_star=is_round, angle=angle)
        told = doubt_of_parts(strip, PSF, SHAPE)
        low, high = (int(word) for word in re.search(rf"{axis} (\d+) to (\d+)", told).groups())
        size = SHAPE[1] if axis == "x" else SHAPE[0]
        assert abs(low / size - middle + 0.1) < 2 / 12
        assert abs(high / size - middle - 0.1) < 2 / 12
        n_false += bool(doubt_of_parts(replace(strip, angle=some.angle), PSF, SHAPE))
    assert n_false <= 1  # galaxies, which have no direction but by chance


@pytest.mark.parametrize("n", [40, 100])
def test_trails_of_one_direction_and_any_size(n):
    """As where they become longer from row to row; galaxies have no direction of their own."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        factor = random.uniform(1.2, 3.5, n)
        some = sizes(
            seed, n, lambda u, v, f=factor: 3.0 * np.where(v > 0.1, f, 1.0), lambda u, v: v < 0.1
        )
        galaxies = replace(some, is_round=some.is_star)
        assert not doubt_of_parts(galaxies, PSF, SHAPE)
        is_trail = random.random(n) < 0.9
        angle = np.where(is_trail, 0.5 + 0.03 * random.standard_normal(n), some.angle)
        trails = replace(galaxies, angle=angle)
        assert "parts of the frame have trailed stars" in doubt_of_parts(trails, PSF, SHAPE)


@pytest.mark.parametrize("n", [4, 9])
def test_directions_are_near_to_each_other_by_chance_as_often_as_it_says(n):
    random = np.random.default_rng(n)
    chance = [_chance_of_directions(random.uniform(0.0, np.pi, n)) for _ in range(40_000)]
    assert np.mean(np.array(chance) < np.log(1e-3)) == pytest.approx(1.2e-3, abs=0.5e-3)


def test_elongated_galaxies_are_no_part():
    """Neither those all over the field, nor a cluster of them."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        size = 3.0 * rng.uniform(1.05, 2.5, 200)
        size[:60] = 3.0
        u = rng.uniform(-0.5, 0.5, 200)
        u[60:120] = rng.uniform(0.2, 0.5, 60)
        galaxies = sizes(seed, 200, lambda u, v, size=size: size, lambda u, v: np.arange(200) < 60)
        some = replace(galaxies, is_round=(np.arange(200) < 60) | (rng.random(200) < 0.2))
        some = replace(some, x=SHAPE[1] * (u + 0.5))
        assert not doubt_of_parts(some, PSF, SHAPE)


def test_few_stars_tell_nothing():
    assert not doubt_of_parts(None, PSF, SHAPE)
    few = sizes(1, 7, lambda u, v: np.where(u > 0.0, 6.0, 3.0), lambda u, v: u < 0.0)
    assert not doubt_of_parts(few, PSF, SHAPE)


def test_few_stars_of_a_crowd_do_not_tell_of_a_corner_without_them():
    """Sizes that neighbours scatter: the PSF through few stars is off by chance where none is."""
    radius = (np.arange(41) - 20) * 0.5
    square = radius[:, None] ** 2 + radius**2
    wide, narrow = (np.exp(-0.5 * square / sigma**2) / sigma**2 for sigma in (1.35, 1.3))
    step = 0.5 * np.log10(np.array([core_shape(s)[2] for s in (wide, narrow)])) @ [1.0, -1.0]
    for seed in range(25):
        rng = np.random.default_rng(seed)
        u, v = rng.uniform(-0.5, 0.5, (2, 400))
        is_star = (np.arange(400) < 60) & ((u < 0.25) | (v < 0.25))
        error = 0.4343 / 10.0 ** rng.uniform(1.7, 3.0, 400)
        scatter = np.where(is_star, 0.003, 0.012)
        log = np.log10(3.0) + rng.exponential(scatter) + error * rng.standard_normal(400)
        terms = np.array([np.ones(400), u, u**2, v, u * v, v**2])
        fitted = np.linalg.lstsq(terms[:, is_star].T, log[is_star] - np.log10(3.0), rcond=None)[0]
        basis = fitted[:, None, None] / step * (wide - narrow)
        basis[0] += narrow
        psf = replace(
            PSF, basis=basis.astype(np.float32), sampling=0.5, degree=2, x_zero=500.0,
            x_scale=1000.0, y_zero=1000.0, y_scale=2000.0,
        )  # fmt: skip
        places = SHAPE[1] * (u + 0.5), SHAPE[0] * (v + 0.5)
        assert not doubt_of_parts(
            Sizes(*places, log, error, 0.0 * log, is_star, np.ones(400, dtype=bool)), psf, SHAPE
        )
        # ... nor does that hide a corner with a seeing of its own
        log[(u > 0.25) & (v > 0.25)] += np.log10(1.15)
        assert doubt_of_parts(
            Sizes(*places, log, error, 0.0 * log, is_star, np.ones(400, dtype=bool)), psf, SHAPE
        )


@pytest.mark.parametrize("n", [20, 300])
def test_sizes_of_a_psf_that_varies(n):
    """Those of the stamps at the places, whether each is drawn or only those of a grid."""
    radius = (np.arange(41) - 20) * 0.5
    square = radius[:, None] ** 2 + radius**2
    wide, narrow = (np.exp(-0.5 * square / sigma**2) / sigma**2 for sigma in (1.6, 1.3))
    more, none = wide - narrow, np.zeros_like(wide)
    # terms 1, u, u^2, v, u v, v^2, for u and v of -0.5 to 0.5
    psf = replace(
        PSF, basis=np.array([wide, 0.6 * more, none, -0.4 * more, none, 0.8 * more], np.float32),
        sampling=0.5, degree=2, x_zero=500.0, x_scale=1000.0, y_zero=1000.0, y_scale=2000.0,
    )  # fmt: skip
    rng = np.random.default_rng(n)
    x, y = rng.uniform(0.0, 999.0, n), rng.uniform(0.0, 1999.0, n)
    nothing = np.zeros(n)
    shapes = [core_shape(s.astype(float)) for s in psf.stamps(x, y, nothing, nothing, 19)]
    true = np.array([0.25 * np.log10(xx * yy - xy * xy) for _, _, xx, yy, xy in shapes])
    sizes = ModelSizes(psf, SHAPE).at(x, y)
    assert np.ptp(true) > 0.01
    np.testing.assert_allclose(sizes, true, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("n", [90, 400])
def test_tiles_of_another_size_each(n):
    """A mosaic of 3 x 3 exposures: PSF stars are those of about the median size."""
    told = 0
    for seed in range(20):
        of_tile = np.random.default_rng(seed).uniform(2.8, 4.2, (3, 3))

        def size(u, v, of_tile=of_tile):
            column, row = (np.floor(3.0 * (w + 0.5)).astype(int) for w in (u, v))
            return of_tile[row, column]

        told += bool(doubt_of_parts(sizes(seed, n, size), PSF, SHAPE))
    assert told >= 19


@pytest.mark.parametrize("axis", ["x", "y"])
def test_seeing_that_changes_from_line_to_line(axis):
    """A drift scan: no polynomial of low degree follows, and the rows are those of its crests."""
    n, told = 90, 0
    for seed in range(10):

        def size(u, v):
            return 3.0 * (1.0 + 0.12 * np.sin(26.0 * (u if axis == "x" else v)))

        some = sizes(seed, n, size, lambda u, v: np.arange(n) % 3 > 0)
        message, bands = doubt_and_part(some, PSF, SHAPE)
        assert message
        if bands is None or bands.scale == (1.0, 1.0):  # a part by chance
            continue
        told += 1
        assert f"from {'column' if axis == 'x' else 'row'} to" in message
        # A band goes through all of the frame.
        place = np.linspace(20.0, 980.0, 60)
        one, other = (np.full(60, at) for at in (3.0, 503.0))
        first, second = (
            bands.covers(*((place, at) if axis == "x" else (at, place))) for at in (one, other)
        )
        assert (first == second).all()
        assert 0.3 < first.mean() < 1.0
    assert told >= 5


def test_sizes_in_any_order_are_no_bands():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        away, x, y = rng.normal(0.0, 0.04, 40), *rng.uniform(0, 1000, (2, 40))
        assert alike_in_bands(away, away, x, y) == ("", None)


def test_stars_upon_the_light_of_a_galaxy_are_no_part_of_the_frame():
    """Its slope widens them, all about one place, and the fainter they are the more."""
    told = 0
    for seed in range(20):
        field = sizes(seed, 90, lambda u, v: 3.0 + 0.0 * u)
        away = np.hypot(field.x - 500.0, field.y - 1000.0)
        far = away > 200.0
        x, y, size, error = field.x.copy(), field.y.copy(), field.size.copy(), field.error.copy()
        upon = ~far | (np.arange(90) < 20)
        angle = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, 90)
        x[upon] = 500.0 + 120.0 * np.cos(angle[upon])
        y[upon] = 1000.0 + 120.0 * np.sin(angle[upon])
        size[upon] += np.clip(6.0 * error[upon], 0.02, 0.06)
        x[0], y[0], size[0], error[0] = 500.0, 1000.0, np.log10(20.0), 1e-4
        is_star = ~upon
        upon_it = replace(field, x=x, y=y, size=size, error=error, is_star=is_star)
        assert not doubt_of_parts(upon_it, PSF, SHAPE)
        size[0] = np.log10(3.0)  # without the galaxy they are a part with a focus of its own
        told += bool(doubt_of_parts(replace(upon_it, size=size), PSF, SHAPE))
    assert told > 10


def test_stars_that_were_left_out_as_sizes_bend_too_far():
    """Widths grow by 60 % to one side; galaxies there follow no parabola."""

    def size(u, v):
        return 3.0 * (1.0 + 1.2 * np.maximum(u + 0.2, 0.0) ** 2)

    told = 0
    for seed in range(20):
        field = sizes(seed, 20, size, lambda u, v: u < 0.2)
        told += bool(doubt_of_parts(field, PSF, SHAPE))
        wider = np.random.default_rng(seed).uniform(0.02, 0.3, 20)
        among = replace(field, size=np.where(field.is_star, np.log10(3.0), np.log10(3.0) + wider))
        assert "are not among the PSF stars" not in doubt_of_parts(among, PSF, SHAPE)
    assert told >= 18


def test_elongated_galaxies_all_over_a_frame_are_no_trails():
    """Half of the sources, a little more of them along one axis of the PSF: in some part they are
    aligned by chance (in 6 of these 20 frames where only the alignment counts).
    """
    n_told = 0
    for seed in range(20):
        random = np.random.default_rng(seed + 1000)
        some = sizes(seed, 400, lambda u, v: 3.0 + 0.0 * u)
        is_round = random.random(400) > 0.5
        angle = 0.5 * random.vonmises(0.4, 0.7, 400)
        galaxies = replace(some, is_round=is_round, is_star=is_round, angle=angle)
        n_told += "trailed" in doubt_of_parts(galaxies, PSF, SHAPE)
    assert n_told <= 1
