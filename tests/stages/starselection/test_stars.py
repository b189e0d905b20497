"""The stellar ridge among sizes, and what is rejected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.settings.keywords import Characterize
from skyextract.stages.psf.doubt import doubt_of_stars
from skyextract.stages.starselection.candidates import Candidates, find_candidates
from skyextract.stages.starselection.ridges import find_ridges
from skyextract.stages.starselection.stars import select_stars

SHAPE = (1000, 1000)


def candidates(fwhm, snr, seed=1, **columns):
    """Candidates far from each other, round unless said otherwise."""
    fwhm = np.asarray(fwhm, dtype=float)
    n = fwhm.size
    random = np.random.default_rng(seed)
    cell = random.permutation(400)[:n]
    x, y = 25.0 + 50 * (cell % 20), 25.0 + 50 * (cell // 20)
    snr = np.broadcast_to(np.asarray(snr, dtype=float), n).copy()
    order = np.argsort(y, kind="stable")
    values = {
        "ellipticity": np.full(n, 0.02), "flux": snr, "broadening": np.full(n, 1.65),
        "angle": np.zeros(n), "flags": np.zeros(n, dtype=np.int64), **columns,
    }  # fmt: skip
    peaks = np.stack([x, y, snr, np.full(n, 5.0)])[:, order]
    return Candidates(x=x, y=y, fwhm=fwhm, snr=snr, height=snr, peaks=peaks, **values)


def mixture(n_stars, n_galaxies, seed, n_rays=0):
    """Sizes and S/N; bright galaxies are larger, cosmic rays smaller than stars."""
    random = np.random.default_rng(seed)
    n = n_stars + n_galaxies + n_rays
    snr = 10 ** random.uniform(1.4, 2.8, n)
    extent = random.lognormal(-0.2, 0.5, n_galaxies)
    extent *= (snr[n_stars : n_stars + n_galaxies] / 80) ** 0.35
    size = np.concatenate(
        [
            np.full(n_stars, 3.0),
            3.0 * np.hypot(1, extent),
            10 ** random.uniform(0.02, 0.4, n_rays),
        ]
    )
    return size * (1 + random.normal(0, 1, n) * np.hypot(1 / snr, 0.005)), snr


@pytest.mark.parametrize(
    ("n_stars", "n_galaxies", "n_rays"),
    [(8, 0, 0), (15, 100, 0), (20, 300, 0), (300, 100, 0), (12, 0, 60), (30, 60, 60)],
)
def test_the_ridge_is_found_among_galaxies_and_cosmic_rays(n_stars, n_galaxies, n_rays):
    found = 0
    for seed in range(20):
        size, snr = mixture(n_stars, n_galaxies, seed, n_rays)
        ridges = find_ridges(np.log10(size), snr, 1)
        found += bool(ridges) and abs(10 ** ridges[0][0] / 3.0 - 1.0) < 0.05
    assert found >= 18


def test_no_ridge_without_sources():
    assert find_ridges(np.zeros(0), np.zeros(0), 1) == []
    assert find_ridges(np.array([0.4]), np.array([100.0]), 1) == []


def test_selected_are_stars_and_best_first():
    size, snr = mixture(30, 60, 3)
    selection = select_stars(candidates(size, snr), Characterize(), SHAPE, 100)
    assert selection.fwhm == pytest.approx(3.0, rel=0.02)
    assert (selection.stars < 30).mean() > 0.85
    assert selection.stars.size > 20
    few = select_stars(candidates(size, snr), Characterize(), SHAPE, 5)
    np.testing.assert_array_equal(few.stars, selection.stars[:5])


def test_cosmic_rays_smaller_than_stars_are_left_out():
    random = np.random.default_rng(4)
    size = np.concatenate([random.normal(3, 0.02, 12), 10 ** random.uniform(0.05, 0.35, 60)])
    selection = select_stars(candidates(size, 100.0), Characterize(), SHAPE, 100)
    assert selection.stars.max() < 12
    assert selection.stars.size >= 10


def test_flagged_elongated_faint_and_out_of_range_are_left_out():
    size = np.random.default_rng(5).normal(3, 0.01, 40)
    flags = np.zeros(40, dtype=np.int64)
    flags[0] = 2
    ellipticity = np.full(40, 0.02)
    ellipticity[1] = 0.5
    snr = np.full(40, 100.0)
    snr[2] = 10.0
    size[3] = np.nan
    broadening = np.full(40, 1.65)
    broadening[4] = 2.5
    sources = candidates(size, snr, flags=flags, ellipticity=ellipticity, broadening=broadening)
    chosen = set(select_stars(sources, Characterize(), SHAPE, 100).stars)
    assert chosen <= set(range(5, 40))
    assert len(chosen) > 25
    narrow = replace(Characterize(), sample_fwhmrange=(4.0, 10.0))
    assert select_stars(sources, narrow, SHAPE, 100).stars.size == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("wider", [0.4, 0.9])
def test_a_width_that_most_stars_are_far_from_is_followed(seed, wider):
    """Most stars are sharp, those of one edge up to 90 per cent wider, as of a fast lens."""
    sources = candidates(np.full(150, 3.0), 200.0, seed)
    size = 3.0 * (1 + wider * (sources.x / SHAPE[1]) ** 2)
    sources = replace(sources, fwhm=size * np.random.default_rng(seed).normal(1, 0.005, 150))
    assert select_stars(sources, Characterize(), SHAPE, 200).stars.size > 135


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_stars_of_which_few_have_one_size_are_found(seed):
    """Wider by the square of the distance to the axis: as many of each size; and galaxies."""
    random = np.random.default_rng(seed)
    sources = candidates(np.full(150, 3.0), 200.0, seed)
    square = np.sum([(axis / SHAPE[0] - 0.5) ** 2 for axis in (sources.x, sources.y)], axis=0)
    size = 3.0 * (1.0 + 1.6 * square) * random.normal(1.0, 0.005, 150)
    size[130:] = 10.0 ** random.uniform(0.5, 1.1, 20)
    chosen = select_stars(replace(sources, fwhm=size), Characterize(), SHAPE, 200)
    assert (chosen.stars < 130).sum() > 115
    assert (chosen.stars >= 130).sum() < 4
    assert chosen.fwhm == pytest.approx(np.median(size[:130]), rel=0.02)


def test_a_width_that_varies_over_the_field_is_followed():
    sources = candidates(np.full(150, 3.0), 200.0)
    size = 3.0 * (1 + 0.2 * (sources.x / SHAPE[1] - 0.5))
    sources = replace(sources, fwhm=size * np.random.default_rng(6).normal(1, 0.005, 150))
    assert select_stars(sources, Characterize(), SHAPE, 300).stars.size > 135


def test_stars_with_neighbours_are_left_out():
    sources = candidates(np.random.default_rng(7).normal(3, 0.01, 60), 100.0)
    peaks = np.concatenate(
        [sources.peaks, [[sources.x[7] + 4], [sources.y[7]], [40.0], [5.0]]], axis=1
    )
    sources = replace(sources, peaks=np.ascontiguousarray(peaks[:, np.argsort(peaks[1])]))
    chosen = select_stars(sources, Characterize(), SHAPE, 100).stars
    assert 7 not in chosen
    assert chosen.size > 50


def test_nothing_selected_from_nothing():
    empty = candidates(np.zeros(0), np.zeros(0))
    assert select_stars(empty, Characterize(), SHAPE, 10).stars.size == 0


def test_candidates_of_a_frame(starfield):
    field = starfield.simulate(300, 25, 2.5, separation=20)
    data = field.image - np.float32(1000)
    variance = np.full(data.shape, 25.0, dtype=np.float32)
    mask = np.zeros(data.shape, dtype=np.uint16)
    found = [
        find_candidates(
            data, variance, mask, fwhm=2.5, gain=2.0, min_snr=20.0, run=Run(n_threads=k)
        )
        for k in (1, 4)
    ]
    for name in ("x", "fwhm", "snr", "peaks"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))
    got = found[0]
    assert got.x.size == 25
    distance = np.hypot(got.x[:, None] - field.x, got.y[:, None] - field.y)
    match = distance.argmin(axis=1)
    assert distance.min(axis=1).max() < 0.1
    np.testing.assert_allclose(got.flux, field.flux[match], rtol=0.1)
    np.testing.assert_allclose(got.snr, field.snr[match], rtol=0.15)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("n_stars", "n_spots", "width"),
    [(40, 60, (2.1, 2.1)), (25, 120, (2.4, 2.4)), (40, 60, (1.5, 3.2)), (15, 60, (1.3, 1.3))],
)
def test_spots_that_are_narrower_than_the_stars_are_none(n_stars, n_spots, width, seed):
    """Ions and clusters of hot pixels did not pass the optics, be they more than the stars."""
    random = np.random.default_rng(seed)
    size = np.concatenate([np.full(n_stars, 4.1), random.uniform(*width, n_spots)])
    sources = candidates(size * random.normal(1.0, 0.005, size.size), 150.0, seed)
    chosen = select_stars(sources, Characterize(), SHAPE, 200)
    assert chosen.fwhm == pytest.approx(4.1, rel=0.01)
    assert chosen.stars.max() < n_stars
    assert chosen.stars.size > 0.8 * n_stars
    assert "spots of the detector" in doubt_of_stars(chosen) or width == (1.5, 3.2)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("edge", [0.3, 0.5, 0.7])
def test_stars_of_a_part_with_another_focus_are_no_spots(edge, seed):
    sources = candidates(np.full(80, 3.0), 150.0, seed)
    size = np.where(sources.x < edge * SHAPE[1], 3.0, 4.2)
    size *= np.random.default_rng(seed).normal(1.0, 0.005, 80)
    assert not select_stars(replace(sources, fwhm=size), Characterize(), SHAPE, 200).n_spots


@pytest.mark.parametrize("seed", range(4))
def test_few_galaxies_of_one_size_beside_stars_are_no_stars(seed):
    random = np.random.default_rng(seed)
    size = np.concatenate([np.full(40, 3.0), random.normal(4.5, 0.05, 12)])
    flat = np.concatenate([np.full(40, 0.02), random.uniform(0.0, 0.3, 12)])
    sources = candidates(size * random.normal(1.0, 0.005, 52), 150.0, seed, ellipticity=flat)
    chosen = select_stars(sources, Characterize(), SHAPE, 200)
    assert chosen.fwhm == pytest.approx(3.0, rel=0.01)
    assert not chosen.n_spots
