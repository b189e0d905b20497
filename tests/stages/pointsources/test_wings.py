"""Light of stars far from their middles, by what is next to their cores."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.settings.keywords import Characterize
from skyextract.stages.pointsources import apercor
from skyextract.stages.pointsources.fit import FittedImage, psf_photometry
from skyextract.stages.pointsources.wings import light_within, ring_diameters

RADII = 0.5 * ring_diameters(6.0)[::-1]  # FWHM


def moffat(index):
    width = 0.5 / np.sqrt(2.0 ** (1.0 / index) - 1.0)
    return 1.0 - (1.0 + (RADII / width) ** 2) ** (1.0 - index)


PROFILES = {
    "Gaussian": 1.0 - 2.0 ** (-4.0 * RADII**2),
    "disc": np.minimum((RADII / 0.5) ** 2, 1.0),
    "Moffat 2": moffat(2.0),
    "Moffat 3": moffat(3.0),
}


def test_the_rings_end_at_the_reference_aperture():
    assert ring_diameters(6.0) == pytest.approx([6.0, 4.243, 3.0, 2.121, 1.5], abs=1e-3)
    assert ring_diameters(1.0).tolist() == [1.0]


@pytest.mark.parametrize("profile", PROFILES)
def test_light_that_noise_hides_is_found_from_within(profile):
    growth = PROFILES[profile]
    rng = np.random.default_rng(1)
    errors = 0.05 * np.diff(RADII**2) / np.diff(RADII**2)[-1]  # of a sky that is not well known
    noise = rng.normal(size=(400, errors.size)) * errors
    found, claimed = np.array(
        [light_within((growth[0], 0.0), np.diff(growth) + n, errors) for n in noise]
    ).T
    off = found - growth[-1]
    straight = np.std(noise.sum(axis=1))
    assert np.sqrt(np.mean(off**2)) < (0.5 if profile == "disc" else 0.75) * straight
    assert 0.8 < np.sqrt(np.mean((off / claimed) ** 2)) < 1.25


def test_light_that_is_well_known_stays_as_it_was_measured():
    halo = np.array([0.02, 0.04, 0.08, 0.16])  # as bright everywhere
    light, error = light_within((0.7, 0.001), halo, np.full(4, 0.002))
    assert light == pytest.approx(1.0, abs=0.001)
    assert error == pytest.approx(0.0041, abs=0.0005)


def test_corrections_of_stars_in_much_noise(monkeypatch):
    rng = np.random.default_rng(2)
    x, y = (
        45.0 + 90.0 * np.indices((5, 5)).reshape(2, -1) + rng.uniform(-0.5, 0.5, (2, 25))
    ).copy()
    psf, settings = Psf.gaussian(4.0), Characterize(apercor_degree=0)
    row, column = np.indices((450, 450))
    clean = np.zeros(row.shape)
    for a, b in zip(x, y, strict=True):
        star = np.exp(-4.0 * np.log(2.0) * ((column - a) ** 2 + (row - b) ** 2) / 16.0)
        clean += 3000.0 * star / star.sum()
    variance, mask = np.full(clean.shape, 100.0, np.float32), np.zeros(clean.shape, np.uint16)

    def measured():
        found = []
        for seed in range(8):
            noise = np.random.default_rng(seed).normal(0.0, 10.0, clean.shape)
            image = (clean + noise).astype(np.float32)
            fit = psf_photometry(image, variance, 0.0, mask, psf, x, y, Run())
            corrections = apercor.aperture_corrections(
                FittedImage(image, variance, 0.0, mask, psf, fit),
                np.arange(25),
                [8.0],
                settings,
                Run(),
            )
            found.append((corrections.coefficients[0, 0] - 1.0, corrections.errors[0]))
        return np.array(found).T

    off, claimed = measured()
    monkeypatch.setattr(apercor, "by_rings", lambda *_: (0.0, 1.0))
    before, claimed_before = measured()
    assert np.sqrt(np.mean(off**2)) < 0.6 * np.sqrt(np.mean(before**2))
    assert claimed.mean() < 0.7 * claimed_before.mean()
    assert np.sqrt(np.mean((off / claimed) ** 2)) < 1.5
