"""Pixels and weights at the ends of single precision: no word of numpy, and the same sources."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from tests.simulate.starfield import simulate

SIZE = 160


@pytest.fixture
def field(tmp_path):
    image = simulate(SIZE, 50, 3.5, seed=3).image.astype(np.float32)
    fits.writeto(tmp_path / "f.fits", image, fits.Header({"GAIN": 2.0}))
    return image


@pytest.mark.parametrize("value", [1e20, 1e28, 3e38, -3e38])
def test_pixels_that_are_broken(skyextract, tmp_path, field, value):
    """The fixture takes any RuntimeWarning for a failure."""
    broken = np.random.default_rng(1).random(field.shape) < 1e-3
    field[broken] = value
    fits.writeto(tmp_path / "x.fits", field, fits.Header({"GAIN": 2.0}))
    assert skyextract("x.fits", "-NTHREADS", "1").status == 0


@pytest.mark.parametrize(
    ("kind", "value"), [("MAP_WEIGHT", 2.0**126), ("MAP_VAR", 2.0**-148), ("MAP_VAR", 2.0**94)]
)
def test_relative_weights_of_any_unit(skyextract, tmp_path, field, kind, value):
    """With units whose roots are powers of two nothing is rounded otherwise: all is equal."""
    tables = []
    for unit in (1.0, value):
        fits.writeto(tmp_path / "w.fits", np.full(field.shape, unit, np.float32), overwrite=True)
        words = ("-WEIGHT_TYPE", kind, "-WEIGHT_IMAGE", "w.fits", "-NTHREADS", "1")
        assert skyextract("f.fits", *words).status == 0
        tables.append(fits.getdata(tmp_path / "f.cat", 2))
    one, other = tables
    assert len(one) > 20
    for name in one.names:
        np.testing.assert_array_equal(other[name], one[name], err_msg=name)
