"""Stars that are displaced by their brightness: measured, told, and no other cause is."""

import dataclasses

import numpy as np
import pytest

from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.run import Run
from skyextract.settings.keywords import Astrometry as Config
from skyextract.stages.astrometry.brightness import find_trend
from skyextract.stages.astrometry.solve import solve_astrometry
from tests.simulate.astrometry import SCALE, SHAPE, make_field


def solved(slope):
    """Solve a frame whose stars are displaced in x, pixels per mag; returns the warnings, too."""
    field = make_field(n=300, missing=0.1, seed=3, turn=0.0)
    error = np.full(field.reference.n_stars, 0.02)
    reference = dataclasses.replace(field.reference, ra_error=error, dec_error=error)
    mag = 25.0 - 2.5 * np.log10(field.sources["FLUX_AUTO"])
    x = field.sources["XWIN_IMAGE"] + slope * (mag - 18.0)
    sources = field.sources.with_columns(XWIN_IMAGE=x)
    run = Run()
    result = solve_astrometry(sources, field.header, SHAPE, None, reference, Config(), run)
    return result, [message for message in run.warnings if "faint stars" in message]


def test_bright_stars_that_are_displaced_against_faint_ones():
    result, told = solved(0.2)
    checks = result.metrics["checks"]
    error = checks["trend_mag_error"]
    assert checks["trend_mag"] == pytest.approx(0.2 * SCALE, abs=4.0 * error)
    assert error < 0.01
    assert len(told) == 1
    # The frame has east to the left: faint stars lie to the west.
    assert "position angle 27" in told[0] or "position angle 26" in told[0]
    result, told = solved(0.0)
    assert not told
    assert result.metrics["checks"]["trend_mag"] < 4.0 * result.metrics["checks"]["trend_mag_error"]


def trend(seed, colour=0.0, n=150):
    """Residuals of stars of mixed errors, a tenth of them blended, and displaced by colour."""
    rng = np.random.default_rng(seed)
    mag = 20.0 + 2.0 * np.log10(rng.uniform(1e-3, 1.0, n))
    red = 0.2 * (mag - 16.0) + rng.normal(0.0, 0.3, n)
    own = 0.01 * 10.0 ** (0.3 * (mag - 18.0))
    off = rng.normal(0.0, own, (2, n))
    off[0] += colour * red
    blended = rng.random(n) < 0.1
    off[:, blended] += rng.normal(0.0, 0.3, (2, blended.sum()))
    stars = RefCatalog.from_arrays(np.zeros(n), np.zeros(n), mag)
    stars.magnitudes["other"] = mag + red
    return find_trend(tuple(off), own, own, stars, np.arange(n)).told(0.5, 0.0)


@pytest.mark.parametrize("colour", [0.0, 0.2])
def test_neither_chance_nor_blends_nor_colours_are_brightness(colour):
    assert not any(trend(seed, colour) for seed in range(300))
