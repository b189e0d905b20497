"""Bright galaxies are not filled with point sources pass by pass; blends of stars stay open."""

from dataclasses import replace

import galsim
import numpy as np
import pytest

from skyextract.stages.crowded import regions, search
from tests.compare.crowds import matched, measured
from tests.simulate.crowds import FWHM, GAIN, draw, simulate

COLUMNS = "X_IMAGE Y_IMAGE FLUX_PSF XPSF_IMAGE YPSF_IMAGE"


@pytest.fixture
def seen(monkeypatch):
    """What every pass finds, and what is seen to be smooth after the first."""
    peaks, smooth = [], []
    new_peaks, plainly_extended = search.new_peaks, search.plainly_extended

    def counted(*arguments, **options):
        x, y = new_peaks(*arguments, **options)
        peaks.append(x.size)
        return x, y

    def judged(*arguments):
        smooth.append(plainly_extended(*arguments))
        return smooth[-1]

    monkeypatch.setattr(search, "new_peaks", counted)
    monkeypatch.setattr(search, "plainly_extended", judged)
    return peaks, smooth


def with_galaxies(side, apart):
    """A field of 2 stars per 100 FWHM^2 with bright discs on a grid, and their centres."""
    frame = simulate("2", side, 3, galsim.Gaussian(fwhm=FWHM))
    rng = np.random.default_rng(8)
    image = galsim.ImageF(side, side)
    middle = np.arange(apart // 2, side, apart)
    centres = np.array([(x, y) for y in middle for x in middle]) + rng.uniform(-4, 4, (25, 2))
    for x, y in centres:
        disc = galsim.Exponential(half_light_radius=rng.uniform(4, 7), flux=6e4)
        disc = galsim.Convolve(disc.shear(q=0.6, beta=rng.uniform(0, 3) * galsim.radians),
                               galsim.Gaussian(fwhm=FWHM))  # fmt: skip
        draw(image, disc, x, y, 100)
    light = np.maximum(image.array, 0.0)
    noise = rng.normal(0.0, np.sqrt(light / GAIN))
    return replace(frame, image=(frame.image + light + noise).astype(np.float32)), centres


def test_galaxies_are_not_filled_pass_by_pass(seen, monkeypatch):
    field, centres = with_galaxies(320, 64)
    for module in (regions, search):  # by itself it is no crowd
        monkeypatch.setattr(module, "is_crowded", lambda *_: True)
    sources = measured(field, COLUMNS)
    peaks, smooth = seen
    row, column = np.divmod(smooth[0][1], 320)
    closed = np.zeros((320, 320), np.bool_)
    closed[row, column] = True
    x, y = np.rint(centres).astype(int).T
    assert closed[y, x].mean() > 0.6
    assert closed.mean() < 0.2
    n_added = sum(peaks)
    distance = np.hypot(sources["X_IMAGE"][:, None] - 1 - centres[:, 0],
                        sources["Y_IMAGE"][:, None] - 1 - centres[:, 1])  # fmt: skip
    star = matched(field, sources)[0].any(axis=1)
    assert np.mean(((distance < 4.0) & ~star[:, None]).sum(axis=0) <= 1) > 0.9
    peaks.clear()
    monkeypatch.setattr(
        search, "plainly_extended",
        lambda _, hidden, *__: (np.zeros(hidden.x.size, np.bool_), np.zeros(0, np.int64), 0),
    )  # fmt: skip
    measured(field, COLUMNS)
    assert n_added < 0.5 * sum(peaks)


def test_blends_of_stars_stay_open(seen):
    measured(simulate("20", 256, 2, galsim.Gaussian(fwhm=FWHM)), COLUMNS)
    torn, pixels, _ = seen[1][0]
    assert torn.size > 200
    assert torn.sum() == 0
    assert pixels.size == 0
