"""Errors of sky positions where no star holds the plate."""

from dataclasses import replace

import numpy as np
import pytest

from skyextract.sky.plate import gnomonic
from skyextract.stages.astrometry import bend, solve
from skyextract.stages.astrometry.extent import extent_of as of
from tests.stages.astrometry.test_corners import NOISE, SCALE, Lens


class Wide(Lens):
    """A lens of which half is of the fifth power, and a reference of stars with x below `part`."""

    def __init__(self, corner, n, seed, part=1.0):
        super().__init__(corner, n, seed)
        known = self.seen(*self.plate.to_pixel(*self.plane()))[0] < part * 1499.0
        self.reference = self.reference.take(np.flatnonzero(known))

    def plane(self):
        """Return the reference in the tangent plane, deg."""
        return gnomonic(self.reference.ra, self.reference.dec, self.plate.ra0, self.plate.dec0)

    def seen(self, x, y):
        u, v = x - 749.5, y - 749.5
        square = u * u + v * v
        shrunk = 1.0 - 0.5 * self.bend * square * (1.0 + square / (2.0 * 749.5**2))
        return 749.5 + u * shrunk, 749.5 + v * shrunk

    def places(self):
        """Return pixels all over the frame."""
        return self.seen(*(axis.ravel() for axis in np.mgrid[0.0:1499.0:25j, 0.0:1499.0:25j]))

    def pulls(self, result):
        """Return distances from the middle, pixels, and errors of the plate over those claimed."""
        x, y = (axis.ravel() for axis in np.mgrid[0.0:1499.0:25j, 0.0:1499.0:25j])
        ra, dec = self.plate.to_sky(x, y)
        place = self.places()
        own = result.plate.to_sky(*place)
        east = (own[0] - ra) * np.cos(np.deg2rad(dec))
        off = 3600.0 * np.hypot(east, own[1] - dec) / np.sqrt(2.0)
        return np.hypot(x - 749.5, y - 749.5), off / result.error_at(*place)


@pytest.mark.parametrize(("n", "seed"), [(40, 1), (70, 2), (120, 3)])
def test_the_error_grows_into_corners_that_a_polynomial_does_not_follow(n, seed):
    lens = Wide(30.0, n, seed)
    result = lens.solve()
    distance, pull = lens.pulls(result)
    outer = pull[distance > 0.75 * 1060.0]
    # Without: 3 to 30.
    assert np.median(outer) < 2.0


@pytest.mark.parametrize("seed", [1, 2])
def test_restrained_terms_follow_a_lens_that_few_stars_show(seed):
    lens = Wide(20.0, 110, seed)
    result = lens.solve()
    assert result.status == "COMPLETE"
    distance, pull = lens.pulls(result)
    outer = distance > 0.75 * 1060.0
    off = pull * result.error_at(*lens.places()) / SCALE
    # Without: half a pixel.
    assert np.median(off[outer]) < 0.1
    assert np.median(pull[outer]) < 1.5


@pytest.mark.parametrize("seed", [1, 2])
def test_the_error_grows_away_from_a_reference_of_a_part_of_the_frame(seed):
    lens = Wide(12.0, 120, seed, part=0.5)
    result = lens.solve()
    _, pull = lens.pulls(result)
    # Without: 90 % within 18 to 56.
    assert np.median(pull) < 2.0
    assert np.percentile(pull, 90) < 5.0


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("n", "part"), [(6, 1.0), (12, 1.0), (25, 1.0), (40, 0.5), (100, 0.5)])
def test_few_stars_of_a_frame_without_distortion_are_enough(n, part, seed):
    lens = Wide(0.0, n, seed, part)
    result = lens.solve()
    assert result.status == "COMPLETE", result.reason
    _, pull = lens.pulls(result)
    assert 0.05 < np.median(pull) < 2.5
    corners = np.array([0.0, 1499.0, 0.0, 1499.0]), np.array([0.0, 0.0, 1499.0, 1499.0])
    assert result.error_at(*corners).max() < 3.0 * NOISE * SCALE


def test_terms_that_were_looked_at_are_not_looked_for_again(monkeypatch):
    lens = Wide(0.0, 100, 1)
    expected = lens.solve()
    looks = []
    for module in (bend, solve):
        monkeypatch.setattr(
            module, "extent_of", lambda *given: looks.append(given[0]) or of(*given)
        )
    result = lens.solve()
    assert len(looks) == 1
    place = lens.places()
    assert result.error_at(*place).tobytes() == expected.error_at(*place).tobytes()


def test_outer_stars_without_a_partner_are_told():
    rng = np.random.default_rng(5)
    lens = Wide(0.0, 120, 5)
    solved = lens.solve()
    assert solved.metrics["checks"]["n_alone_outside"] == 0
    # Beyond 700 pixels sources are where no partner is near.
    x, y = lens.sources["XWIN_IMAGE"].copy(), lens.sources["YWIN_IMAGE"].copy()
    far = np.hypot(x - 750.5, y - 750.5) > 700.0
    angle = rng.uniform(0.0, 2.0 * np.pi, len(x))
    x[far] = np.clip(x[far] + 40.0 * np.cos(angle[far]), 2.0, 1499.0)
    y[far] = np.clip(y[far] + 40.0 * np.sin(angle[far]), 2.0, 1499.0)
    sources = lens.sources
    lens.sources = sources.with_columns(XWIN_IMAGE=x, YWIN_IMAGE=y)
    moved = lens.solve()
    assert moved.status == "FALLBACK"
    assert moved.metrics["checks"]["n_alone_outside"] > 5
    assert moved.metrics["checks"]["n_alone_alike"] == 0  # by no one vector
    # A seventh of the frame, blocks anywhere, is of another exposure.
    x, y = (sources[name].copy() for name in ("XWIN_IMAGE", "YWIN_IMAGE"))
    block = rng.choice(100, 15, replace=False)
    inside = np.isin(y // 150 * 10 + x // 150, block)
    x[inside] += 14.0
    y[inside] -= 9.0
    lens.sources = sources.with_columns(XWIN_IMAGE=x, YWIN_IMAGE=y)
    moved = lens.solve()
    assert moved.status == "FALLBACK"
    assert moved.metrics["checks"]["n_alone_alike"] >= 0.5 * np.count_nonzero(inside)
    assert "sources +14.0, -9.0 pixels away" in moved.reason
    # An area without sources is none, nor one without reference stars.
    lens.sources = sources.take(np.flatnonzero(~far))
    assert lens.solve().status == "COMPLETE"
    lens.sources = sources
    kept = np.hypot(*np.subtract(lens.plate.to_pixel(*lens.plane()), 749.5)) < 700.0
    lens.reference = lens.reference.take(np.flatnonzero(kept))
    assert lens.solve().status == "COMPLETE"


@pytest.mark.parametrize("n", [3, 4])
def test_three_or_four_stars_do_not_tell_a_lens(n):
    """As far from the middle as each other they fit; 2 to 6 pixels off at a twelfth to a fifth."""
    for seed in range(12):
        lens = Wide(20.0, n, seed + 100 * n)
        result = lens.solve()
        if result.plate is not None and result.metrics["n_used"] < 5:
            assert result.status == "FALLBACK"
            assert result.reason


def test_errors_of_the_reference_that_are_far_beyond_its_scatter_are_named():
    lens = Lens(0.0, 100, 4)
    lens.reference = replace(
        lens.reference, ra_error=np.full(lens.reference.n_stars, 150.0),
        dec_error=np.full(lens.reference.n_stars, 150.0),
    )  # fmt: skip
    result = lens.solve()
    assert result.status == "FALLBACK"
    assert result.reason.startswith("the reference catalogue quotes errors of 1.5e+02 arcsec")
    assert "distortion" not in result.reason
