"""Bright stars that lost their cores are flagged, left out, and told of; no others are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from tests.simulate.badframes import SIZE, ZERO_POINT, good_frame

SATURATED, BLENDED = 4, 2
CARD = 60_000.0


def hollow(level):
    """A stack that clips: what is above the level becomes half of it, and a little random."""
    return lambda s, rng: np.where(s > level, level * rng.uniform(0.5, 0.6, s.shape), s)


def flat(level):
    """A converter's limit that a flat field has spread by 1 per cent."""
    return lambda s, rng: np.where(s > level, level * rng.normal(1.0, 0.01, s.shape), s)


def run_on(skyextract, folder, frame, damage, seed):
    """Return the outcome, the sources with the magnitudes of their stars, and the steps."""
    rng = np.random.default_rng(seed + 1000)
    frame.header["SATURATE"] = CARD
    image = damage(frame.image.astype(float), rng).astype(np.float32)
    done = skyextract(*replace(frame, image=image).write(folder))
    with fits.open(folder / "f.cat") as units:
        found = Table(units[2].data)
    distance = np.hypot(
        np.asarray(found["X_IMAGE"])[:, None] - 1.0 - frame.truth.x,
        np.asarray(found["Y_IMAGE"])[:, None] - 1.0 - frame.truth.y,
    )
    # Beside a hollow star may be rows of its rim: its own is the nearest that is measured.
    distance[~np.isfinite(found["MAG_PSF"])] += 1.0
    nearest = found[distance.argmin(0)]
    nearest["truth"] = frame.truth.r
    row, column = np.rint([frame.truth.y, frame.truth.x]).astype(int)
    near = np.arange(-1, 2)
    around = frame.image[row[:, None, None] + near[:, None], column[:, None, None] + near]
    nearest["peak"] = around.max((1, 2))
    return done, nearest[distance.min(0) < 3.0], done.summary("f.json")[0]["steps"]


CUTS = [
    *((damage, 1, 3.2) for damage in ("hollow", "flat", "deep")),
    *((damage, 3, 1.8) for damage in ("hollow", "flat", "deep")),
    *((damage, 4, 5.0) for damage in ("hollow", "flat")),
]
"""Damage, seed, FWHM; cores deeper below the noise than these are not known as such."""


@pytest.mark.parametrize(("damage", "seed", "fwhm"), CUTS)
def test_stars_without_their_cores_are_flagged(skyextract, tmp_path, damage, seed, fwhm):
    frame = good_frame(seed, fwhm=fwhm)
    # As many stars are cut at any width.
    level = {"hollow": 0.3, "flat": 0.3, "deep": 0.2}[damage] * frame.image.max()
    cut = flat(level) if damage == "flat" else hollow(level)
    done, found, steps = run_on(skyextract, tmp_path, frame, cut, seed)
    assert "lack" in done.stderr, done.stderr
    assert "their cores are taken as saturated" in done.stderr
    # Fainter ones are those that noise and neighbours move.
    off = np.abs(found["MAG_PSF"] - found["truth"]) > np.maximum(0.05, 5 * found["MAGERR_PSF"])
    off &= found["truth"] < 18.5
    assert not np.any(off & (found["FLAGS"] & SATURATED == 0)), found[off]
    photometry = steps["photometry"]
    # Where a third of the stars are cut, what is left are faint ones.
    assert photometry["status"] == "complete" or damage == "deep"
    error = photometry["zero_point"] - ZERO_POINT
    # Light beyond the reference aperture, of these wings, is .01 mag on a frame that is whole, too.
    assert abs(error) < 4.0 * photometry["zero_point_error"] + 0.01
    # What was cut has the flag, and what is far below the level has none.
    is_flagged = found["FLAGS"] & SATURATED > 0
    is_part = found["FLAGS"] & BLENDED > 0  # of a star that was taken apart at its hole
    assert np.all((is_flagged | is_part)[found["peak"] > 1.5 * level])
    assert np.mean(is_flagged[found["peak"] > 1.5 * level]) > 0.85
    assert not np.any(is_flagged[found["peak"] < 0.6 * level])


@pytest.mark.parametrize(("seed", "fwhm", "n"), [(2, 1.8, 150), (3, 8.0, 80), (4, 3.2, 20)])
def test_stars_that_kept_their_cores_are_not(skyextract, tmp_path, seed, fwhm, n):
    frame = good_frame(seed, fwhm=fwhm, n=n)
    done, found, _ = run_on(skyextract, tmp_path, frame, lambda s, rng: s, seed)
    assert "lack" not in done.stderr
    assert not np.any(found["FLAGS"] & SATURATED)


def test_galaxies_are_no_stars_without_cores(skyextract, tmp_path):
    """The brightest sources are exponential disks and flat-topped blobs, of any brightness."""
    frame = good_frame(1, n=60)
    rng = np.random.default_rng(8)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    image = frame.image.astype(float)
    for k in range(30):
        x, y = rng.uniform(20, SIZE - 20, 2)
        size = rng.uniform(2.0, 8.0)
        r = np.hypot(xx - x, yy - y) / size
        profile = np.exp(-r) if k % 2 else 1.0 / (1.0 + r**4)
        image += 4000.0 * rng.uniform(0.3, 1.0) * profile
    galaxies = replace(frame, image=image.astype(np.float32))
    done, _, _ = run_on(skyextract, tmp_path, galaxies, lambda s, rng: s, 1)
    assert "their cores are taken" not in done.stderr
