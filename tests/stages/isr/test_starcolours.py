"""Stars tell whether a mosaic's card was left in the header of what is none any more."""

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.stages.isr.mosaic import colour_plane
from tests.stages.isr.test_mosaic import exposure_of

COLOURS = {"R": 0, "G": 1, "B": 2}


def frame(pattern, responses, *, fwhm=3.0, n=40, colours=0.0, seed=1, shape=(400, 501)):
    """Simulate stars on a dark sky, in pixels behind filters of these responses.

    Stars are redder or bluer than others by the scatter `colours`; a response of 0 is none.
    """
    rng = np.random.default_rng(seed)
    v, u = np.indices(shape)
    which = np.array([[COLOURS[letter] for letter in pattern[k : k + 2]] for k in (0, 2)])
    which = np.tile(which, (shape[0] // 2 + 1, shape[1] // 2 + 1))[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for x, y in rng.uniform(12, np.array(shape[::-1]) - 13, (n, 2)):
        colour = rng.normal(0.0, colours)
        light = np.array(responses) * (1.0 + colour, 1.0, 1.0 - colour)
        near = tuple(slice(max(0, int(at) - 20), int(at) + 21) for at in (y, x))
        distance2 = (u[near] - x) ** 2 + (v[near] - y) ** 2
        spot = np.exp(-4.0 * np.log(2.0) * distance2 / fwhm**2)
        image[near] += rng.uniform(800.0, 9000.0) * spot * light[which[near]]
    return rng.poisson(image + 300.0) + rng.normal(0.0, 4.0, shape) + 200.0


def measured(image, pattern):
    exposure, run = exposure_of(image, pattern), Run()
    return colour_plane(exposure, "GREEN", run) is exposure, run.warnings


@pytest.mark.parametrize("pattern", ["RGGB", "GBRG"])
@pytest.mark.parametrize("fwhm", [2.5, 3.5, 6.0])
def test_stars_without_colours(pattern, fwhm):
    for seed in range(3):
        is_whole, warnings = measured(
            frame(pattern, (1.0, 1.0, 1.0), fwhm=fwhm, seed=seed), pattern
        )
        assert is_whole
        assert "BAYERPAT was left" in warnings[0]


@pytest.mark.parametrize("pattern", ["RGGB", "GBRG"])
@pytest.mark.parametrize("fwhm", [1.6, 3.0, 6.0])
@pytest.mark.parametrize(("responses", "colours"), [
    ((0.5, 1.0, 0.45), 0.1), ((0.8, 1.0, 1.0), 0.0), ((1.0, 1.0, 1.0), 0.3), ((1.0, 0.0, 0.0), 0.0),
])  # fmt: skip
def test_stars_in_colours(pattern, fwhm, responses, colours):
    """Also where levels are balanced, so that red and blue differ by the stars' colours alone."""
    for seed in range(3):
        image = frame(pattern, responses, fwhm=fwhm, colours=colours, seed=seed)
        assert measured(image, pattern) == (False, [])


def test_narrow_stars_and_few_tell_nothing():
    assert measured(frame("RGGB", (1.0, 1.0, 1.0), fwhm=1.6), "RGGB") == (False, [])
    assert measured(frame("RGGB", (1.0, 1.0, 1.0), n=5), "RGGB") == (False, [])


@pytest.mark.parametrize("offset", [4.0, -40.0])
def test_a_checkerboard_is_no_mosaic(offset):
    """Two converters have levels of their own, which are no light."""
    image = frame("RGGB", (1.0, 1.0, 1.0), fwhm=3.5)
    v, u = np.indices(image.shape)
    exposure, run = exposure_of(image + offset * np.where((u + v) % 2, -1.0, 1.0), ""), Run()
    plane = colour_plane(exposure, "GREEN", run)
    assert plane.shape == exposure.shape
    np.testing.assert_allclose(plane.image, image, atol=0.5)
    assert float(run.warnings[0].split()[6]) == pytest.approx(2.0 * abs(offset), abs=0.5)
