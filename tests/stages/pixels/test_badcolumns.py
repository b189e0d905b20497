"""Columns that are offset or noisy, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.pixels.badcolumns import bad_columns, bad_rows
from tests.compare.marked import marked_by
from tests.simulate.crowds import simulate

NY, NX, SIGMA = 400, 500, 10.0


def sky_frame(seed, n_stars=80):
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:NY, :NX]
    image = rng.normal(300.0, SIGMA, (NY, NX))
    for x, y in zip(rng.uniform(8, NX - 9, n_stars), rng.uniform(8, NY - 9, n_stars), strict=True):
        part = np.s_[int(y) - 8 : int(y) + 9, int(x) - 8 : int(x) + 9]
        r2 = (xx[part] - x) ** 2 + (yy[part] - y) ** 2
        image[part] += 10 ** rng.uniform(1.5, 4.5) * np.exp(-0.5 * r2 / 2.0)
    return image, rng, yy, xx


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("height", [20.0, 40.0, -25.0, 400.0])
def test_offset_columns(seed, height):
    image, rng, *_ = sky_frame(seed)
    columns = np.sort(rng.choice(np.arange(10, 490, 12), 5, replace=False))
    image[:, columns[:3]] += height
    image[150:, columns[3]] += height
    image[:, columns[4] : columns[4] + 2] += height
    n, marked = marked_by(bad_columns, image)
    assert n == 6
    whole = [*columns[:3], columns[4], columns[4] + 1]
    assert marked[:, whole].mean() > 0.85  # stars upon them stay
    assert marked[190:, columns[3]].mean() > 0.85
    assert not marked[:100, columns[3]].any()
    others = np.setdiff1d(np.arange(NX), [*whole, columns[3]])
    assert not marked[:, others].any()


def test_rows_that_go_on_to_an_edge():
    """Of a detector that is read along them, and not the spectra that a grating draws."""
    image, *_ = sky_frame(1)
    image[100] += 40.0
    image[200, 150:] += 40.0
    image[300, 120:280] += 40.0
    n, marked = marked_by(bad_rows, image)
    assert n == 2
    assert marked[100].mean() > 0.9
    assert marked[200, 192:].mean() > 0.9
    assert marked.sum() == marked[[100, 200]].sum()
    assert marked_by(bad_columns, image)[0] == 0


def test_stars_of_a_crowd_are_no_columns():
    """20 stars per 100 FWHM^2, of which some had a noisy column by chance."""
    image = simulate("20", 400, 3).image
    assert [marked_by(find, image)[0] for find in (bad_columns, bad_rows)] == [0, 0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noisy_columns(seed):
    image, rng, *_ = sky_frame(seed)
    columns = np.sort(rng.choice(np.arange(10, 490, 12), 8, replace=False))
    image[:, columns] += rng.normal(0.0, 5.0 * SIGMA, (NY, 8))
    n, marked = marked_by(bad_columns, image)
    assert n == 8
    assert marked[:, columns].mean() > 0.85
    assert marked.sum() == marked[:, columns].sum()


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_what_is_no_bad_column(seed):
    image, _, yy, xx = sky_frame(seed)
    spike = image + 3000.0 / (1.0 + np.abs(yy - 200.0)) * np.exp(-0.5 * (xx - 250.3) ** 2 / 1.5)
    galaxy = image + 300.0 * np.exp(-np.abs(yy - 200.0) / 60.0 - 0.5 * (xx - 120.0) ** 2 / 9.0)
    amplifiers = image + 40.0 * (xx >= 250)
    trail = image + 80.0 * np.exp(-0.5 * ((xx - 0.2 * yy - 100.0) / 1.3) ** 2)
    fringes = image + 30.0 * np.sin(xx / 3.0 + yy / 40.0)
    crowd = sky_frame(seed, 1500)[0]
    bayer = image + 50.0 * ((xx % 2) ^ (yy % 2))
    for frame in (image, spike, galaxy, amplifiers, trail, fringes, crowd, bayer, image[:90, :40]):
        assert marked_by(bad_columns, frame)[0] == 0
    assert marked_by(bad_columns, np.zeros((NY, NX)))[0] == 0
    # What is saturated is known.
    bleeding = image.copy()
    bleeding[:, 300] = 60_000.0
    assert marked_by(bad_columns, bleeding, bleeding == 60_000.0)[0] == 0


def wide_stars(rng, image, n, fwhm, low, high, sign=1.0, shift=0):
    """Add Moffat stars, whose wings fill the frame."""
    yy, xx = np.mgrid[: image.shape[0], : image.shape[1]]
    core = fwhm / 2.0 / np.sqrt(2.0 ** (1.0 / 3.0) - 1.0)
    x, y = rng.uniform(0, image.shape[1], n), rng.uniform(0, image.shape[0], n)
    for at_x, at_y, flux in zip(x, y, 10 ** rng.uniform(low, high, n), strict=True):
        a, b = int(max(at_y - 40, 0)), int(max(at_x - 40, 0))
        part = np.s_[a : a + 80, b : b + 80]
        r2 = (xx[part] - at_x) ** 2 + (yy[part] - at_y) ** 2
        star = flux * 2.0 / np.pi / core**2 * (1.0 + r2 / core**2) ** -3.0
        image[part] += star
        if shift:
            image[:, shift:][part] += sign * star[:, : image[:, shift:][part].shape[1]]


def test_light_that_many_rows_share_is_no_bad_column():
    """Wide stars, nodded frames, clumps of a spiral: by chance a column stands out of those beside.

    That is rare; one of 120 such frames is shown here.
    """
    rng = np.random.default_rng(14)
    frames = []
    for sigma in (15.0, 17.0, 15.0):
        frames.append(rng.normal(0.0, sigma, (1024, 1024)))
        if sigma == 17.0:
            wide_stars(rng, frames[-1], 500, 3.0, 2.5, 5.5, -1.0, 30)
        elif len(frames) == 1:
            wide_stars(rng, frames[-1], 2000, 4.0, 2.0, 5.2)
        else:
            wide_stars(rng, frames[-1][100:900, 100:900], 7000, 3.0, 2.5, 4.2)
    assert [marked_by(bad_columns, frame)[0] for frame in frames] == [0, 0, 0]
    frames[1][:, 700] += 150.0
    assert marked_by(bad_columns, frames[1])[1][:, 700].mean() > 0.8
