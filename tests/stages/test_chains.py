"""Light of filaments, arms and rims that was taken apart into sources."""

import numpy as np
import pytest

from skyextract.datamodel.flags import FlagsSky
from skyextract.settings.steps import Status
from skyextract.stages.chains import find_chains
from skyextract.stages.pointsources.pairs import pairs_within
from tests.compare.lights import NEAR, measured
from tests.simulate.lights import FWHM, LitFrame, make, remnant


def crowd(density, seed, size=512, spread=1.0):
    """Stars per 100 FWHM^2, the brighter one of those that cannot be told apart."""
    rng = np.random.default_rng(seed)
    n = int(density * size**2 / 100.0 / FWHM**2)
    x, y = rng.uniform(0.0, size, (2, n))
    flux = 100.0 * np.exp(spread * rng.exponential(size=n))
    first, second = pairs_within(x, y, 0.8 * FWHM)
    kept = np.ones(n, np.bool_)
    kept[np.where(flux[first] < flux[second], first, second)] = False
    return x[kept], y[kept], flux[kept]


@pytest.mark.parametrize("spread", [0.03, 1.0, 2.0])
@pytest.mark.parametrize("density", [1.0, 5.0, 20.0, 40.0])
def test_stars_at_random_are_none(density, spread):
    rows = total = 0
    for seed in range(4):
        x, y, flux = crowd(density, seed, spread=spread)
        found = find_chains(x, y, flux, FWHM)
        rows += 0 if found is None else np.count_nonzero(found.rows)
        total += x.size
    assert rows < 0.01 * total


def test_one_chain_among_stars():
    """The disk of a galaxy that is seen edge-on; the stars about it are none of it."""
    x, y, flux = crowd(2.0, 3)
    t = 1.2 * FWHM * np.arange(14)
    disk = np.stack([200.0 + 0.8 * t, 150.0 + 0.6 * t])
    away = np.hypot(x[:, None] - disk[0], y[:, None] - disk[1]).min(axis=1) > 3.0 * FWHM
    x, y = (np.append(at[away], of) for at, of in zip((x, y), disk, strict=True))
    flux = np.append(flux[away], 300.0 * np.exp(-(((t - t.mean()) / 40.0) ** 2)))
    flux[0] = x[1] = np.nan
    found = find_chains(x, y, flux, FWHM)
    assert found is not None
    assert np.flatnonzero(found.rows).tolist() == list(range(x.size - 14, x.size))
    assert found.doubt.startswith("14 of ")


def clean_rows(frame: LitFrame, rows) -> tuple[int, int]:
    """Return how many rows without NO_POINT are bright stars, and are none at all."""
    x, y = rows["X_IMAGE"] - 1.0, rows["Y_IMAGE"] - 1.0
    distance = np.hypot(x[:, None] - frame.x, y[:, None] - frame.y)
    star, near = distance.argmin(axis=1), distance.min(axis=1) < NEAR * FWHM
    clean = (rows["FLAGS_SKY"] & FlagsSky.NO_POINT) == 0
    bright = clean & near & (frame.snr[star] > 20.0)
    return int(np.count_nonzero(bright)), int(np.count_nonzero(clean & ~near))


@pytest.mark.parametrize("seed", [1, 2])
def test_filaments_of_a_remnant(seed, monkeypatch):
    """What chains of sources stand for is flagged, and the list of sources is doubtful."""
    frame = make(remnant(6.0), seed, size=320, n=80)
    found = measured(frame)
    stars, false = clean_rows(frame, found.sources)
    assert found.status is Status.FALLBACK
    assert "chains of neighbours as bright as they are" in found.reason
    monkeypatch.setattr("skyextract.stages.chains.CHAIN", 10**6)
    before, without = clean_rows(frame, measured(frame).sources)
    assert without > 300
    assert false < 0.25 * without
    assert stars > 0.8 * before > 15  # those no brighter than the filament about them are flagged
