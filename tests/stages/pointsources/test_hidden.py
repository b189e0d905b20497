"""Sources that hide in stars against fits to images with sources at random."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.stages.pointsources.hidden import DEBLENDED, HiddenLight, shares_in_fit

FWHM, SIZE = 3.5, 400


def shares_of_fits(x, y, psf, stamp):
    """Return what the fit of a star at (0, 0) takes of unit light at other places."""
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    half = stamp.shape[0] // 2
    light = psf.stamps(np.zeros_like(x), np.zeros_like(x), x - column, y - row, stamp.shape[0])
    out = np.empty(len(x))
    for k, (one, i, j) in enumerate(zip(light, column, row, strict=True)):
        own = np.pad(stamp, half)[half + j : 3 * half + 1 + j, half + i : 3 * half + 1 + i]
        out[k] = np.sum(own * one) / np.sum(stamp**2)
    return out


def test_shares_are_those_of_a_fit():
    psf = Psf.gaussian(FWHM)
    stamp = psf.stamp(psf.x_zero, psf.y_zero).astype(float)
    shares, pixels = shares_in_fit(psf, DEBLENDED)
    random = np.random.default_rng(1)
    side = 2.0 * DEBLENDED * FWHM
    x, y = random.uniform(-0.5 * side, 0.5 * side, (2, 4000))
    near = np.hypot(x, y) < DEBLENDED * FWHM
    mean = shares_of_fits(x[near], y[near], psf, stamp).mean() * np.pi * (DEBLENDED * FWHM) ** 2
    assert shares @ pixels == pytest.approx(mean, rel=0.04)
    # Gaussians: exp(-r^2 / 4 s^2), 4 pi s^2 noise pixels, nearly all of them within two FWHM.
    assert shares @ pixels == pytest.approx(1.0 / np.sum(stamp**2), rel=0.02)


def test_mean_and_scatter_of_hidden_light():
    """Stars among sources at random: what each has of those that make it no outlier."""
    random = np.random.default_rng(2)
    psf = Psf.gaussian(FWHM)
    stamp = psf.stamp(psf.x_zero, psf.y_zero).astype(float)
    shares, pixels = shares_in_fit(psf, DEBLENDED)
    n = 1500
    flux = 100.0 * (1.0 - random.random(n)) ** -1.0
    # So few that none hides another.
    others = HiddenLight.of_sources(flux, (SIZE, SIZE), 0.01)
    error = np.array([150.0])
    mean, scatter = others.within(error, shares, pixels)
    area, n_stars = np.pi * (DEBLENDED * FWHM) ** 2, 20_000
    number = random.poisson(n * area / SIZE**2, n_stars)
    star = np.repeat(np.arange(n_stars), number)
    r, angle = DEBLENDED * FWHM * np.sqrt(random.random(star.size)), 7.0 * random.random(star.size)
    light = random.choice(flux, star.size)
    light *= shares_of_fits(r * np.cos(angle), r * np.sin(angle), psf, stamp)
    light[light > 3.0 * error] = 0.0
    total = np.bincount(star, light, n_stars)
    assert mean[0] == pytest.approx(total.mean(), rel=0.06)
    assert scatter[0] == pytest.approx(total.std(), rel=0.06)


def test_sources_that_are_found_stand_for_those_that_brighter_ones_hide():
    """Of sources at random those with none brighter within one FWHM are found."""
    random = np.random.default_rng(3)
    n = 4000
    x, y = random.uniform(0.0, SIZE, (2, n))
    flux = 100.0 * (1.0 - random.random(n)) ** -1.0
    order = np.argsort(-flux)
    x, y, flux = x[order], y[order], np.minimum(flux[order], 1e4)
    apart = np.hypot(x[:, None] - x, y[:, None] - y) < FWHM
    kept = np.zeros(n, bool)
    for k in range(n):
        kept[k] = not (apart[k, :k] & kept[:k]).any()
    assert kept.mean() < 0.75
    found = HiddenLight.of_sources(flux[kept], (SIZE, SIZE), FWHM)
    true = flux.sum() / SIZE**2
    assert found.light[-1] == pytest.approx(true, rel=0.05)
    assert flux[kept].sum() / SIZE**2 < 0.9 * true


def test_brighter_ones_that_are_seen_do_not_count():
    others = HiddenLight.of_sources(np.array([np.nan, -5.0, 10.0, 40.0]), (10, 10), 1e-6)
    shares, pixels = np.array([0.5, 1.0]), np.array([4.0, 2.0])
    mean, scatter = others.within(np.array([100.0]), shares, pixels, np.array([[20.0, 50.0]]))
    assert mean[0] == pytest.approx((0.5 * 4.0 * 10.0 + 2.0 * 50.0) / 100.0)
    assert scatter[0] == pytest.approx(np.sqrt((0.25 * 4.0 * 100.0 + 2.0 * 1700.0) / 100.0))
