"""Cosmic rays on frames whose stars are nearly as sharp: tracks go, stars stay."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from tests.simulate.cosmics import draw_tracks
from tests.simulate.starfield import simulate

SIZE = 600


def draw_sharp_tracks(shape, n, rng):
    """Draw tracks of one to eleven pixels, without diffusion of the charge."""
    image = np.zeros(shape)
    for x, y in rng.integers(12, shape[0] - 12, (n, 2)):
        angle, charge = rng.uniform(0, np.pi), rng.exponential(1500.0) + 150.0
        for k in range(rng.integers(1, 12)):
            image[int(y + k * np.sin(angle)), int(x + k * np.cos(angle))] += charge
    return image


def found_among(skyextract, tracks, fwhm):
    """Return FWHM, number of repairs, the step measure, false rows and stars that have a row."""
    scene = simulate(SIZE, 90, fwhm, beta=3.0, snr=(15.0, 700.0), separation=20.0, seed=2)
    image = (scene.image + tracks).astype(np.float32)
    fits.writeto("f.fits", image, fits.Header({"GAIN": scene.gain}))
    done = skyextract("f.fits")
    rows = fits.getdata("f.cat", 2)
    x, y = rows["X_IMAGE"][:, None] - 1, rows["Y_IMAGE"][:, None] - 1
    is_star = np.hypot(x - scene.x, y - scene.y).min(axis=1) < 2.0
    is_clean = rows["FLAGS_SKY"] & (8 | 1024) == 0
    steps = done.summary("f.json")[0]["steps"]
    n_false = np.count_nonzero(~is_star & is_clean)
    return steps["characterize"], steps["measure"], n_false, np.count_nonzero(is_star)


@pytest.mark.parametrize(("fwhm", "n"), [(1.0, 400), (1.15, 400), (1.15, 0)])
def test_tracks_among_sharp_stars(skyextract, fwhm, n):
    """The measured PSF, which has the pixel in it, is 1.3 to 1.5 pixels wide."""
    tracks = draw_sharp_tracks((SIZE, SIZE), n, np.random.default_rng(5))
    image, _, n_false, n_stars = found_among(skyextract, tracks, fwhm)
    assert 1.3 < image["fwhm_pix"] < 1.5
    assert n_false <= 0.03 * n
    assert n_stars >= 88
    assert image["n_cosmic_rays"] > 0.9 * n if n else image["n_cosmic_rays"] == 0


@pytest.mark.parametrize(("fwhm", "n"), [(1.15, 300), (1.6, 300), (1.6, 0)])
def test_pieces_of_tracks_are_told(skyextract, fwhm, n):
    """What diffusion has made as wide as the stars stays, and is told."""
    tracks = draw_tracks((SIZE, SIZE), n, np.random.default_rng(5))
    _, sources, n_false, _ = found_among(skyextract, tracks, fwhm)
    told = "some are what is left of tracks" in (sources.get("reason") or "")
    assert told == (sources["status"] == "fallback") == (n > 0)
    assert (n_false > 20) == (n > 0)


@pytest.mark.parametrize("n", [0, 9])
def test_flashes_of_an_aircraft_are_told(skyextract, n):
    """They are as round as stars."""
    scene = simulate(448, 90, 3.0, beta=3.0, snr=(15.0, 700.0), separation=20.0, seed=2)
    image = scene.image.copy()
    y, x = np.mgrid[:448, :448]
    flash = 30.0 + 40.0 * np.arange(n), 100.0 + 16.0 * np.arange(n)
    for at_x, at_y in zip(*flash, strict=True):
        square = (x - at_x) ** 2 + (y - at_y) ** 2
        image += np.float32(30.0 * scene.sky_sigma) * np.exp(-4.0 * np.log(2.0) * square / 9.0)
    fits.writeto("f.fits", image.astype(np.float32), fits.Header({"GAIN": scene.gain}))
    done = skyextract("f.fits")
    rows = fits.getdata("f.cat", 2)
    marked = rows[(rows["FLAGS_SKY"] & 2048) != 0]
    away = np.hypot(
        marked["X_IMAGE"][:, None] - 1 - flash[0], marked["Y_IMAGE"][:, None] - 1 - flash[1]
    )
    assert len(marked) == n == done.summary("f.json")[0]["steps"]["measure"]["n_tracks"]
    assert n == 0 or np.all(away.min(axis=1) < 1.0)
    assert ("at equal steps on a line" in done.stderr) == (n > 0)
