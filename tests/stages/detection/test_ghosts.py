"""Images of brighter sources are found, and ordinary fields have none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.stages.detection.ghosts import find_ghosts

SIDE = 600.0


def field(n, seed, side=SIDE):
    rng = np.random.default_rng(seed)
    return *rng.uniform(0.0, side, (2, n)), 10.0 ** rng.exponential(0.4, n), rng


def with_images(x, y, flux, rng, place, share, faintest=1.0):
    """Every source with its image where that is bright enough and in the frame."""
    px, py = place(x, y)
    px, py = px + rng.normal(0.0, 0.2, x.size), py + rng.normal(0.0, 0.2, x.size)
    dim = share * flux * 10.0 ** rng.normal(0.0, 0.05, x.size)
    seen = (dim > faintest) & (px > 0.0) & (px < SIDE) & (py > 0.0) & (py < SIDE)
    columns = [np.append(a, b[seen]) for a, b in ((x, px), (y, py), (flux, dim))]
    return columns, np.arange(x.size + np.count_nonzero(seen)) >= x.size


PLACES = {
    "pixels from them": lambda x, y: (x + 31.0, y - 23.0),
    "opposite to them about 29": lambda x, y: (580.0 - x, 640.0 - y),
    "times as far)": lambda x, y: (290.0 - 0.98 * (x - 290.0), 320.0 - 0.98 * (y - 320.0)),
    "mirrored in column 300.": lambda x, y: (SIDE - 1.0 - x, y),
    "mirrored in row 300.": lambda x, y: (x, SIDE - 1.0 - y),
}


@pytest.mark.parametrize("words", PLACES)
@pytest.mark.parametrize(("n", "share"), [(120, 0.2), (600, 0.1)])
def test_images_of_bright_sources(words, n, share):
    (x, y, flux), is_image = with_images(*field(n, 1), PLACES[words], share)
    found = find_ghosts(x, y, flux)
    assert found is not None
    assert words in found.doubt
    assert len(found.families) == 1
    assert found.families[0].fainter == pytest.approx(-2.5 * math.log10(share), abs=0.15)
    right = np.count_nonzero(found.rows & is_image)
    assert right >= 0.9 * is_image.sum()
    assert right >= 0.9 * found.rows.sum() - 1


def test_four_that_are_mirrored_in_the_middle_of_the_frame_are_enough():
    x, y, flux, rng = field(150, 3)
    flux = np.minimum(flux, 20.0)
    flux[:4] = rng.uniform(2000.0, 6000.0, 4)
    x[:4] = rng.uniform(20.0, 250.0, 4)
    (x, y, flux), is_image = with_images(x, y, flux, rng, PLACES["mirrored in column 300."], 2e-3)
    shape = int(SIDE), int(SIDE)
    assert find_ghosts(x, y, flux) is None  # they might be mirrored anywhere
    found = find_ghosts(x, y, flux, shape=shape)
    assert found is not None
    np.testing.assert_array_equal(found.rows, is_image)
    assert find_ghosts(x[~is_image], y[~is_image], flux[~is_image], shape=shape) is None


def test_two_kinds_of_images():
    x, y, flux, rng = field(300, 2)
    shifted, opposite = list(PLACES.values())[:2]
    (x, y, flux), _ = with_images(x, y, flux, rng, shifted, 0.1)
    (x, y, flux), _ = with_images(x, y, flux, rng, opposite, 0.1)
    found = find_ghosts(x, y, flux)
    assert found is not None
    assert len(found.families) == 2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_further_amplifiers_show_the_stars_by_the_factor_of_the_first(seed):
    """Ten bright stars: no kind but the first has images enough to be seen by itself."""
    x, y, flux, rng = field(150, seed)
    flux = np.minimum(flux, 20.0)
    flux[:10] *= 3000.0 / flux[:10] * rng.uniform(0.7, 2.0, 10)
    x[:6] = rng.uniform(155.0, 290.0, 6)  # that have theirs in the amplifier beside
    number, stars = np.floor(x / 150.0), slice(0, 10)
    for step in (-3, -2, -1, 1, 2, 3):
        to = number[stars] + step
        there = np.where(step % 2, (2.0 * number[stars] + step + 1.0) * 150.0 - 1.0 - x[stars],
                         x[stars] + 150.0 * step)  # fmt: skip
        seen = (to >= 0) & (to < 4)
        x, y = np.append(x, there[seen]), np.append(y, y[stars][seen])
        flux = np.append(flux, 2e-3 * flux[stars][seen])
    found = find_ghosts(x, y, flux)
    assert found is not None
    assert np.count_nonzero(found.rows[150:]) == 30
    assert np.count_nonzero(found.rows[:150]) <= 1
    mirrored = {f"mirrored in column {column}" for column in ("150.5", "300.5", "450.5")}
    assert mirrored <= {family.words for family in found.families}


def test_many_and_alike():
    (x, y, flux), _ = with_images(*field(100, 3), PLACES["pixels from them"], 0.6, 0.0)
    found = find_ghosts(x, y, flux)
    assert found is not None
    assert found.are_many
    assert found.are_alike
    (x, y, flux), _ = with_images(*field(600, 3), PLACES["pixels from them"], 0.03)
    found = find_ghosts(x, y, flux)
    assert found is not None
    assert not found.are_many
    assert not found.are_alike


def test_images_within_the_psf_are_told_where_it_is_known():
    """At 4.2 pixels, taken apart with fluxes that are one or the other: photometry is doubtful."""
    x, y, flux, rng = field(250, 4)
    image, is_image = with_images(x, y, flux, rng, lambda x, y: (x + 3.5, y + 2.4), 0.06, 0.1)
    image[2] = np.where(is_image & (rng.random(is_image.size) < 0.5), 2.5, 1.0) * image[2]
    assert find_ghosts(*image) is None  # parts of one source, for all that is known
    found = find_ghosts(*image, 2.6)
    assert found is not None
    assert found.are_many
    assert found.are_alike
    right = np.count_nonzero(found.rows & is_image)
    assert right >= 0.9 * is_image.sum()
    assert right >= 0.9 * found.rows.sum() - 1


@pytest.mark.parametrize("fwhm", [1.6, 2.6, 3.5])
def test_ordinary_fields_have_none_within_the_psf(fwhm):
    """Nor have stars that are taken apart at any side of them."""
    for seed in range(12):
        x, y, flux, rng = field(400, seed)
        angle = rng.uniform(0.0, 2.0 * math.pi, 60)
        part = rng.choice(400, 60, replace=False)
        x = np.append(x, x[part] + 1.7 * fwhm * np.cos(angle))
        y = np.append(y, y[part] + 1.7 * fwhm * np.sin(angle))
        assert find_ghosts(x, y, np.append(flux, 0.06 * flux[part]), fwhm) is None


@pytest.mark.parametrize("kind", ["even", "one cluster", "clumps", "parts of bright ones"])
def test_ordinary_fields(kind):
    for seed in range(25):
        for n in (15, 40, 150, 1000):
            x, y, flux, rng = field(n, seed)
            if kind == "one cluster":
                x, y = 300.0 + 40.0 * rng.standard_normal((2, n))
            elif kind == "clumps":
                centres = rng.uniform(0.0, SIDE, (2, 5))
                x, y = centres[:, rng.integers(0, 5, n)] + 18.0 * rng.standard_normal((2, n))
            elif kind == "parts of bright ones":
                whole, part = rng.integers(0, n // 10, n // 3), slice(n - n // 3, n)
                flux[: n // 10] *= 30.0
                x[part] = x[whole] + rng.normal(0.0, 12.0, whole.size)
                y[part] = y[whole] + rng.normal(0.0, 12.0, whole.size)
            assert find_ghosts(x, y, flux) is None


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_stars_on_a_grid_are_no_images(spread):
    rng = np.random.default_rng(4)
    x, y = (np.indices((14, 14)).reshape(2, -1) * 40.0) + rng.normal(0.0, 0.2, (2, 196))
    assert find_ghosts(x, y, 10.0 ** (spread * rng.uniform(0.0, 1.0, 196))) is None


def test_numbers_that_are_none():
    nothing = np.empty(0)
    assert find_ghosts(nothing, nothing, nothing) is None
    assert find_ghosts(*np.full((2, 50), 7.0), np.full(50, -1.0)) is None
    assert find_ghosts(*np.full((2, 50), 7.0), np.ones(50)) is None
