"""Corners of distorted frames: right positions, or told of."""

import dataclasses

import numpy as np
import pytest

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.settings.keywords import Astrometry as Config
from skyextract.sky.plate import Plate
from skyextract.stages.astrometry.corners import find_corners
from skyextract.stages.astrometry.solve import solve_astrometry

SHAPE = (1500, 1500)
SCALE = 15.0
NOISE = 0.05
CORNER = 749.5 * np.sqrt(2.0)


class Lens:
    """A frame of 6 degrees whose corners are `corner` pixels nearer to the middle (barrel)."""

    def __init__(self, corner: float, n: int = 600, seed: int = 1):
        rng = np.random.default_rng(seed)
        self.bend = corner / CORNER**3
        step = 750.0 * SCALE / 3600.0
        linear = np.array([[0.0, -step, 0.0], [0.0, 0.0, step]])
        self.plate = Plate(150.0, 20.0, 749.5, 749.5, 750.0, linear)
        flat = rng.uniform(-60.0, 1559.0, (2, n))
        x, y = self.seen(*flat)
        inside = (x > 0) & (x < 1499) & (y > 0) & (y < 1499)
        ra, dec = self.plate.to_sky(*flat)
        mag = rng.uniform(10.0, 15.0, n)
        error = np.full(n, 0.1)
        self.reference = dataclasses.replace(
            RefCatalog.from_arrays(ra, dec, mag), ra_error=error, dec_error=error
        )
        x, y, mag = x[inside], y[inside], mag[inside]
        flux = 10.0 ** (0.4 * (25.0 - mag))
        self.sources = Catalog({
            "NUMBER": np.arange(len(x)) + 1,
            "XWIN_IMAGE": x + rng.normal(0.0, NOISE, len(x)) + 1.0,
            "YWIN_IMAGE": y + rng.normal(0.0, NOISE, len(x)) + 1.0,
            "ERRAWIN_IMAGE": np.full(len(x), NOISE), "ERRBWIN_IMAGE": np.full(len(x), NOISE),
            "FLUX_AUTO": flux, "FLUXERR_AUTO": flux / 50.0,
            "FLAGS": np.zeros(len(x), np.int16),
        })  # fmt: skip
        self.header = self.plate.cards("TAN", SHAPE) | {"NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}

    def seen(self, x, y):
        """Where the lens puts what would be at these pixels."""
        u, v = x - 749.5, y - 749.5
        shrunk = 1.0 - self.bend * (u * u + v * v)
        return 749.5 + u * shrunk, 749.5 + v * shrunk

    def solve(self, **settings):
        wcs = SkyWcs.from_header(self.header)
        return solve_astrometry(
            self.sources, self.header, SHAPE, wcs, self.reference, Config(**settings), Run()
        )

    def errors(self, result):
        """Return distances from the middle, pixels, and errors of a plate there, arcsec."""
        x, y = (axis.ravel() for axis in np.mgrid[0.0:1499.0:25j, 0.0:1499.0:25j])
        ra, dec = self.plate.to_sky(x, y)
        place = self.seen(x, y)
        own = result.plate.to_sky(*place)
        east = (own[0] - ra) * np.cos(np.deg2rad(dec))
        distance = np.hypot(place[0] - 749.5, place[1] - 749.5)
        return distance, np.hypot(east, own[1] - dec) * 3600.0


@pytest.mark.parametrize(("corner", "seed"), [(24.0, 1), (72.0, 2)])
def test_the_degree_grows_with_the_distortion(corner, seed):
    lens = Lens(corner, seed=seed)
    result = lens.solve()
    assert result.status == "COMPLETE", result.reason
    assert result.plate.degree >= 5
    assert lens.errors(result)[1].max() < 0.25 * SCALE
    assert result.metrics["n_used"] > 0.95 * lens.sources.n_rows


@pytest.mark.parametrize("corner", [36.0, 72.0])
def test_a_degree_that_is_set_stays_and_is_told_of(corner):
    lens = Lens(corner)
    result = lens.solve(distort_degrees=3)
    assert result.plate.degree == 3
    assert result.status == "FALLBACK"
    assert "Raise DISTORT_DEGREES" in result.reason
    # The errors of sky positions are those that corners have.
    distance, errors = lens.errors(result)
    true = np.sqrt(np.mean(errors[distance > 0.75 * CORNER] ** 2) / 2.0)
    assert 0.6 * true < result.metrics["checks"]["error_of_field"] < 1.6 * true


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settings", [{}, {"distort_degrees": 3}])
def test_no_alarm_without_distortion(seed, settings):
    result = Lens(0.0, n=(60, 600)[seed % 2], seed=seed).solve(**settings)
    assert result.status == "COMPLETE", result.reason
    assert result.plate.degree <= 2
    assert result.metrics["checks"]["n_lost_in_corners"] == 0


def test_what_corners_are_told_of():
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0.0, 1499.0, (2, 2000))
    u, v = x - 749.5, y - 749.5
    r = np.hypot(u, v)
    corner = r > 0.8 * CORNER
    noise = rng.normal(0.0, 0.1, (2, 2000))
    # Outward by 2 arcsec in the corners: told; as much in any direction: not.
    out = noise + np.where(corner, 2.0 / r, 0.0) * np.array([u, v])
    found = find_corners((x, y), tuple(out), np.full(2000, 0.1), SHAPE, 3.0, 3)
    assert found.number == pytest.approx(corner.sum(), abs=10)
    assert found.offset == pytest.approx(2.0, abs=0.1)
    turn = rng.uniform(0.0, 2.0 * np.pi, 2000)
    spread = noise + np.where(corner, 2.0, 0.0) * np.array([np.cos(turn), np.sin(turn)])
    for offset in (noise, spread):
        assert not find_corners((x, y), tuple(offset), np.full(2000, 0.1), SHAPE, 3.0, 3).told
    # A direction that corners do not have alone is no corner's.
    everywhere = noise + np.where(rng.random(2000) < 0.4, 2.0 / r, 0.0) * np.array([u, v])
    assert not find_corners((x, y), tuple(everywhere), np.full(2000, 0.1), SHAPE, 3.0, 3).told
