"""Background stage: against SExtractor's files, and on awkward input."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.flags import Mask
from skyextract.run import Run
from skyextract.settings.keywords import Background
from skyextract.stages.background.estimate import estimate_background, estimate_weighted_background
from skyextract.stages.background.interpolate import (
    background_at,
    background_image,
    background_rows,
    mesh_variance,
    rms_image,
    subtract_background,
)


@pytest.mark.filterwarnings("ignore:The following header keyword")
def test_bit_equal_to_sextractor(shared_data):
    folder = shared_data / "ntt_emmi"
    image = fits.getdata(folder / "upstream_tests" / "galaxies.fits").astype(np.float32)
    background = estimate_background(image, None, None, Background(), Run(2))
    for name, ours in (("bkg", background_image), ("rms", rms_image)):
        want = fits.getdata(folder / "sextractor_2.25_output" / f"galaxies_{name}.fits.gz")
        np.testing.assert_array_equal(ours(background, Run(2)), want)


@pytest.mark.parametrize("shape", [(300, 170), (64, 64), (5, 5), (1, 1), (1, 200)])
def test_sky_is_recovered(shape):
    rng = np.random.default_rng(1)
    image = rng.normal(500, 4, shape).astype(np.float32)
    background = estimate_background(image, None, None, Background(back_size=(32, 48)), Run(1))
    assert background.shape == shape
    assert background.level.shape == (-(-shape[0] // 48), -(-shape[1] // 32))
    assert background.mean == pytest.approx(500, abs=4 * 4 / np.sqrt(min(image.size, 500)) + 2)
    out = subtract_background(image, None, background, Run(1))
    np.testing.assert_allclose(out, image - background_image(background, Run(1)), atol=1e-4)


def test_threads_change_nothing():
    image = np.random.default_rng(2).normal(10, 3, (500, 300)).astype(np.float32)
    one = estimate_background(image, None, None, Background(), Run(1))
    three = estimate_background(image, None, None, Background(), Run(3))
    np.testing.assert_array_equal(one.level, three.level)
    np.testing.assert_array_equal(background_image(one, Run(1)), background_image(three, Run(3)))


def test_chosen_rows_are_those_of_the_whole():
    image = np.random.default_rng(2).normal(10, 3, (300, 200)).astype(np.float32)
    background = estimate_background(image, None, None, Background(), Run(1))
    rows = np.array([0, 1, 2, 150, 299])
    some = background_rows(background, rows, Run(2))
    np.testing.assert_array_equal(some[rows], background_image(background, Run(1))[rows])
    background_rows(background, rows[:0], Run(1))


def test_variances_are_written_to_the_memory_that_is_given():
    image = np.random.default_rng(2).normal(10, 3, (300, 200)).astype(np.float32)
    background = estimate_background(image, None, None, Background(), Run(1))
    room = np.full(image.shape, 7, np.int32).view(np.float32)
    assert mesh_variance(background, Run(2), out=room) is room
    np.testing.assert_array_equal(room, mesh_variance(background, Run(1)))
    np.testing.assert_allclose(room, rms_image(background, Run(1)) ** 2, rtol=1e-6)


def test_manual():
    image = np.random.default_rng(3).normal(10, 3, (100, 100)).astype(np.float32)
    config = Background(back_type=("AUTO", "MANUAL"), back_value=(0.0, 7.0))
    assert estimate_background(image, None, None, config, Run(1)).mean == pytest.approx(10, abs=0.3)
    manual = estimate_background(image, None, None, config, Run(1), index=1)
    assert manual.mean == 7.0
    assert manual.sigma == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(background_image(manual, Run(1)), 7.0, rtol=1e-6)


def test_weights_are_scaled_to_the_noise():
    rng = np.random.default_rng(4)
    variance = np.where(np.arange(256)[:, None] < 128, 1.0, 4.0) * np.ones((1, 256))
    image = (rng.normal(size=(256, 256)) * np.sqrt(variance) * 5).astype(np.float32)
    weight = (variance * 100).astype(np.float32)
    weight[10:20] = 1e30
    image[10:20] = 1e6
    background, scale = estimate_weighted_background(image, None, weight, Background(), Run(1))
    assert scale == pytest.approx(0.5, rel=0.03)
    assert abs(background.mean) < 0.5


def test_masked_nan_constant():
    rng = np.random.default_rng(5)
    image = rng.normal(20, 2, (200, 200)).astype(np.float32)
    clean = estimate_background(image, None, None, Background(), Run(1))
    image[50:120, 60:150] = np.nan
    mask = np.where(np.isnan(image), Mask.NO_DATA, 0).astype(np.uint16)
    for given in (mask, None):
        some = estimate_background(image, given, None, Background(), Run(1))
        assert some.mean == pytest.approx(clean.mean, abs=0.3)
        assert np.isfinite(some.level).all()
        assert np.isfinite(some.rms).all()
    assert (subtract_background(image, mask, some, Run(1))[60:70, 70:80] == 0).all()

    run = Run(1)
    nothing = estimate_background(
        np.full((99, 99), np.nan, np.float32), None, None, Background(), run
    )
    assert (nothing.mean, nothing.sigma) == (0, 1)
    assert "no mesh" in run.warnings[0]
    run = Run(1)
    flat = estimate_background(np.full((99, 99), 7, np.float32), None, None, Background(), run)
    assert (flat.mean, flat.sigma) == (7, 1)
    assert "constant" in run.warnings[0]


def test_few_photons_over_an_exposure_are_no_constant_image():
    rng = np.random.default_rng(1)
    exposure = np.linspace(5000.0, 10000.0, 256)
    image = (rng.poisson(0.06, (256, 256)) / exposure).astype(np.float32)
    run = Run(1)
    estimate_background(image, None, None, Background(), run)
    (told,) = run.warnings
    assert told.startswith("all but 5.")
    assert "constant" not in told


def test_where_sources_fill_a_small_frame_the_mode_of_all_pixels_is_its_sky():
    image = np.random.default_rng(3).normal(400, 20, (32, 32)).astype(np.float32)
    image[8:12, 8:12] += np.float32(5000.0)
    everywhere = np.ones(image.shape, np.uint8)
    background = estimate_background(image, None, None, Background(), Run(1), sources=everywhere)
    assert background.mean == pytest.approx(400, abs=5)
    assert background.sigma == pytest.approx(20, rel=0.1)


def test_value_at_positions():
    x = np.arange(320) * np.ones((320, 1))
    image = (100 + 0.1 * x).astype(np.float32)
    image += np.random.default_rng(6).normal(0, 0.5, image.shape).astype(np.float32)
    background = estimate_background(image, None, None, Background(), Run(1))
    columns = np.array([0, 31, 100, 200, 319])
    values = background_at(background, columns, np.full(5, 160))
    np.testing.assert_allclose(values[1:4], 100 + 0.1 * columns[1:4], atol=0.3)
