"""The light beneath stars, on the tail of a comet, a galaxy and clouds, against the truth."""

import tracemalloc

import numpy as np
import pytest
import sep

from skyextract.run import Run
from skyextract.stages.pointsources.localsky import Subtracted, local_sky
from tests.simulate.lights import comet, galaxy, nebula
from tests.simulate.zeropointfields import process_field, simulate_field, star_profile

COLUMNS = """XPSF_IMAGE YPSF_IMAGE FLUX_PSF FLUXERR_PSF FLUX_APER FLUXERR_APER MAG_APER FLUX_AUTO
BACKGROUND FLAGS"""
APERTURE = 7.0


def pulls(light, seeds, folder, faintest, brightest=np.inf):
    """Pulls of FLUX_PSF and FLUX_APER of stars of S/N 5 to 100, alone, on so much light in ADU.

    And what FLUX_AUTO has beyond the truth where FLAGS does not say that neighbours are in it.
    """
    found = []
    for seed in seeds:
        field = simulate_field(seed, extra=light)
        sources = process_field(
            field, folder / f"{seed}.fits", COLUMNS, PHOT_APERTURES=APERTURE
        )  # fmt: skip
        table, truth = sources.table, field.sources
        place = np.stack([table["XPSF_IMAGE"], table["YPSF_IMAGE"]]) - 1.0
        diameter = float(sources.exposure.aperture_corrections["DIAMETER"][0])
        for k in np.flatnonzero(truth.is_star):
            away = np.hypot(truth.x - truth.x[k], truth.y - truth.y[k])
            i, j = round(truth.y[k]), round(truth.x[k])
            if truth.flux[away < 2.0 * field.fwhm].sum() > 1.02 * truth.flux[k]:
                continue
            if not (0 <= i < 512 and 0 <= j < 512):
                continue
            if not faintest < field.sky[i, j] - 300.0 < brightest:
                continue
            distance = np.hypot(place[0] - truth.x[k], place[1] - truth.y[k])
            row = int(np.nanargmin(distance))
            if distance[row] > 0.5 * field.fwhm:
                continue
            offset = np.arange(-9.0, 10.0)
            profile = star_profile(field.fwhm, offset + j - truth.x[k], offset + i - truth.y[k])
            within, _, _ = sep.sum_circle(
                profile, [9.0 + truth.x[k] - j], [9.0 + truth.y[k] - i], 0.5 * APERTURE, subpix=0
            )
            row = table[row]
            total = truth.flux[k] * field.light_within(diameter)
            if 5.0 < total / row["FLUXERR_PSF"] < 100.0:
                found.append((
                    (row["FLUX_PSF"] - total) / row["FLUXERR_PSF"],
                    (row["FLUX_APER"] - truth.flux[k] * within[0]) / row["FLUXERR_APER"],
                    0.0 if row["FLAGS"] & 1 else row["FLUX_AUTO"] / truth.flux[k] - 1.0,
                ))  # fmt: skip
    return np.array(found)


def width(values):
    low, high = np.percentile(values, [15.865, 84.135])
    return 0.5 * (high - low)


@pytest.mark.parametrize(
    ("light", "seeds", "range_", "n"),
    [(comet(100.0), range(1, 9), (4.0, 30.0), 15), (galaxy(400.0, 25.0), range(1, 4), (1.0,), 20)],
    ids=["comet", "galaxy"],
)
def test_stars_on_a_tail_or_a_disk_are_not_too_bright(light, seeds, range_, n, tmp_path):
    off = pulls(light, seeds, tmp_path, *range_)
    assert len(off) > n
    assert np.all(np.abs(np.median(off[:, :2], axis=0)) < 0.6)
    assert width(off[:, 0]) < 1.4
    assert width(off[:, 1]) < 1.5
    assert np.mean(off[:, 2] > 0.3) < 0.1  # light beneath, but in a few the noise


def test_stars_on_clouds_have_unbiased_fluxes_and_right_errors_in_apertures(tmp_path):
    off = pulls(nebula(60.0), range(1, 4), tmp_path, 20.0)
    assert len(off) > 60
    assert np.all(np.abs(np.median(off[:, :2], axis=0)) < 0.4)
    assert 0.8 < width(off[:, 1]) < 1.3
    assert np.mean(off[:, 2] > 0.3) < 0.15


def test_the_level_is_that_of_the_light_within_its_error():
    rng = np.random.default_rng(7)
    ny, nx, fwhm, noise = 400, 500, 4.0, 3.0
    v, u = np.indices((ny, nx))
    light = 3.0 * np.exp(-0.5 * ((v - 200 - 0.2 * (u - 250)) / 18.0) ** 2)
    image = (light + 0.25 + rng.normal(0.0, noise, (ny, nx))).astype(np.float32)
    x, y = rng.uniform(0.0, 1.0, (2, 150)) * [[nx - 1.0], [ny - 1.0]]
    for i, j in zip(np.rint(y).astype(int), np.rint(x).astype(int), strict=True):
        image[max(i - 5, 0) : i + 6, max(j - 5, 0) : j + 6] += np.float32(500.0) * (
            np.hypot(v - i, u - j)[max(i - 5, 0) : i + 6, max(j - 5, 0) : j + 6] < 5.0
        )
    variance = np.full((ny, nx), noise**2, np.float32)
    mask = np.zeros((ny, nx), np.uint16)
    left = Subtracted(image, x, y, np.full(x.size, 20.0))
    sky = local_sky(left, variance, mask, fwhm, Run())
    at_x, at_y = rng.uniform(60.0, 440.0, (2, 600))
    at_y = np.clip(200.0 + 0.2 * (at_x - 250.0) + rng.uniform(-20.0, 20.0, 600), 0, ny - 1)
    level, error = sky.at(at_x, at_y, Run())
    true = light[np.rint(at_y).astype(int), np.rint(at_x).astype(int)]
    pull = (level - true) / error
    assert abs(np.mean(pull)) < 0.35
    assert 0.7 < np.sqrt(np.mean(pull**2)) < 1.3
    far = np.abs(v - 200 - 0.2 * (u - 250)) > 100.0
    assert np.abs(sky.light(image, Run())[far]).max() < 1e-6
    ordinary = Subtracted(image - light.astype(np.float32), x, y, left.snr)
    assert local_sky(ordinary, variance, mask, fwhm, Run()) is None


@pytest.mark.parametrize("kind", [{}, {"n_galaxies": 150}, {"gradient": 1.9}, {"fwhm": 6.0}])
def test_ordinary_frames_have_none(kind, tmp_path, monkeypatch):
    from skyextract.stages.pointsources import columns

    found = []

    def spied(*args, **kwargs):
        found.append(local_sky(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(columns, "local_sky", spied)
    process_field(simulate_field(1, **kind), tmp_path / "1.fits")
    assert set(found) == {None}


def test_the_search_takes_little_memory():
    """It runs when most planes of a frame are there: less than a third of one is taken."""
    rng = np.random.default_rng(1)
    residual = rng.normal(size=(2000, 2000)).astype(np.float32)
    x, y = rng.uniform(0, 2000, (2, 800))
    sources = Subtracted(residual, x, y, rng.uniform(5, 100, 800))
    variance, mask = np.ones_like(residual), np.zeros(residual.shape, np.uint16)
    tracemalloc.start()
    assert local_sky(sources, variance, mask, 3.5, Run()) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < residual.nbytes / 3
