"""Sources that were found beneath others: which of them have profiles of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skyextract
from skyextract.datamodel.flags import FlagsSky
from skyextract.kernels.galaxies.source import RADIUS, SPHEROID
from skyextract.run import Run
from skyextract.stages.galaxies.beneath import POINT_ALONE, Beneath
from skyextract.stages.galaxies.columns import columns_of
from skyextract.stages.galaxies.fit import NO_PIXELS, ModelFits, Profile, fit_models
from skyextract.stages.galaxies.reported import reported
from tests.simulate.crowds import draw
from tests.stages.galaxies.test_fit import frame, grid_of, sersic, sky_of

galsim = pytest.importorskip("galsim")

HOST = 20000.0


def fitted(
    index: float, offsets: list[Any], beneath: list[Any], lost: bool = False
) -> tuple[ModelFits, Any]:
    """Fit galaxies with rows beneath them, at offsets; those that are no light are None."""
    hosts, shape = grid_of(9, 61)
    objects, positions = [sersic(HOST, 4.0, index)] * 9, [hosts]
    for profile, offset in zip(beneath, offsets, strict=True):
        objects += [profile] * 9
        positions.append(hosts + offset)
    there = np.concatenate(positions)
    seen = [k for k, profile in enumerate(objects) if profile is not None]
    image, variance, _ = frame([objects[k] for k in seen], there[seen], shape, 31)
    nothing = galsim.DeltaFunction(flux=0.0)
    _, _, found = frame([profile or nothing for profile in objects], there, shape, 31)
    found.x[9:], found.y[9:] = there[9:].T
    points = np.arange(found.n) >= 9
    sky = sky_of(image, variance)
    roles = Beneath(points, points & lost)
    return fit_models(sky, found, Profile(True, False), Run(), beneath=roles), sky


@pytest.mark.parametrize("lost", [False, True])
def test_rows_beneath_a_galaxy_take_none_of_its_light(lost: bool) -> None:
    """A search for point sources finds some where there is one galaxy."""
    fits, sky = fitted(4.0, [(4.0, 1.0), (-3.0, 3.5), (0.5, -4.5)], [None] * 3, lost)
    flux = fits.parameters[:, SPHEROID]
    np.testing.assert_allclose(flux[:9], HOST, rtol=0.12)
    assert np.mean(flux[:9]) == pytest.approx(HOST, rel=0.03)
    if lost:
        assert np.all(np.isnan(flux[9:]))
        assert np.all(fits.flags[9:] & NO_PIXELS)
        return
    assert np.abs(flux[9:]).max() < 0.05 * HOST
    assert np.all(fits.flags[9:] & POINT_ALONE)
    assert not np.any(fits.flags[:9] & POINT_ALONE)
    names = frozenset({"FLUX_MEAN_MODEL", "SPHEROID_REFFERR_IMAGE"})
    columns = columns_of(reported(fits, sky), names)
    for name in ("SPHEROID_REFF_IMAGE", "SPHEROID_SERSICN", "FLUX_MEAN_MODEL", *names):
        assert np.all(np.isnan(columns[name][9:]))
        assert np.all(np.isfinite(columns[name][:9]))
    assert np.all(np.isfinite(columns["FLUX_MODEL"]))


def test_what_stands_upon_a_galaxy_has_its_own_light() -> None:
    """A cluster of stars stays a point, a satellite galaxy has a profile."""
    cluster, satellite = galsim.DeltaFunction(flux=1500.0), sersic(8000.0, 2.5, 1.0)
    fits, _ = fitted(1.0, [(-6.0, 3.0), (8.0, 5.0)], [cluster, satellite])
    flux = fits.parameters[:, SPHEROID]
    np.testing.assert_allclose(flux[:9], HOST, rtol=0.06)
    np.testing.assert_allclose(flux[9:18], 1500.0, rtol=0.25)
    np.testing.assert_allclose(flux[18:], 8000.0, rtol=0.12)
    assert np.count_nonzero(fits.flags[9:18] & POINT_ALONE) >= 8
    assert not np.any(fits.flags[18:] & POINT_ALONE)
    np.testing.assert_allclose(np.exp(fits.parameters[18:, SPHEROID + RADIUS]), 2.5, rtol=0.2)


def test_members_of_a_cluster_keep_their_light(tmp_path: Path) -> None:
    """Beneath a cD galaxy the search for hidden sources finds some that are the members."""
    rng, side = np.random.default_rng(4), 360
    image, psf = galsim.ImageD(side, side), galsim.Moffat(beta=4.0, fwhm=3.5)

    def add(profile: Any, x: float, y: float, reach: int) -> None:
        draw(image, galsim.Convolve(profile, psf), x, y, reach)

    add(sersic(6e5, 25 * 0.75**0.5, 4.0, 0.75, 40.0), 180.0, 180.0, 180)
    members: list[tuple[float, float, float]] = []
    while len(members) < 10:
        x, y = rng.normal(180, 50, 2)
        if np.hypot(x - 180, y - 180) < 15 or min(x, y) < 15 or max(x, y) > 345:
            continue
        if all(np.hypot(x - other[0], y - other[1]) > 20 for other in members):
            members.append((x, y, 10 ** rng.uniform(4.0, 4.7)))
            shape = rng.choice([1.0, 2.0, 4.0]), rng.uniform(2, 6), rng.uniform(0.4, 1)
            index, radius, q = (float(value) for value in shape)
            add(sersic(members[-1][2], radius * q**0.5, index, q, rng.uniform(0, 180)), x, y, 60)
    for k in range(12):
        turn = 2.0 * np.pi * k / 12
        x, y = 180 + 155 * np.cos(turn), 180 + 155 * np.sin(turn)
        add(galsim.DeltaFunction(flux=1000.0 * 1.4**k), x, y, 40)
    noise = np.sqrt(25.0 + image.array / 2.0)
    pixels = 100.0 + image.array + noise * rng.normal(size=image.array.shape)
    (tmp_path / "p.param").write_text("X_IMAGE\nY_IMAGE\nFLUX_MODEL\nFLAGS_SKY\n")
    exposure = skyextract.exposure(pixels.astype(np.float32), header={"GAIN": 2.0})
    table = skyextract.process(exposure, PARAMETERS_NAME=str(tmp_path / "p.param")).table
    ratio = []
    for x, y, flux in members:
        distance = np.hypot(table["X_IMAGE"] - 1 - x, table["Y_IMAGE"] - 1 - y)
        ratio.append(table["FLUX_MODEL"][distance.argmin()] / flux)
    assert np.any(table["FLAGS_SKY"] & FlagsSky.HIDDEN)
    assert np.all(np.abs(np.array(ratio) - 1.0) < 0.3)
