"""Trailed stars have ends, lines of spectra have none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.settings.steps import Status
from skyextract.stages.characterize import characterize
from skyextract.stages.starselection.endless import run_on

SIZE, LENGTH, WIDTH, NOISE = 500, 36.0, 4.0, 5.0


def elongated(angle):
    """A Gaussian PSF of LENGTH x WIDTH (FWHM), whose ends lack light."""
    y, x = np.mgrid[-45:46, -45:46].astype(float)
    along = (x * np.cos(angle) + y * np.sin(angle)) / LENGTH
    across = (y * np.cos(angle) - x * np.sin(angle)) / WIDTH
    stamp = np.exp(-4 * np.log(2) * (along**2 + across**2))
    stamp -= 0.1 * ((np.abs(along) > 0.9) & (np.abs(across) < 4))
    return replace(
        Psf.gaussian(12.0), basis=(stamp / stamp.sum())[None].astype(np.float32), sampling=1.0,
        fwhm=float(np.sqrt(LENGTH * WIDTH)), ellipticity=(LENGTH - WIDTH) / (LENGTH + WIDTH),
    )  # fmt: skip


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.9])
@pytest.mark.parametrize("seed", [1, 2])
def test_only_lines_go_on_beyond_both_ends(angle, seed) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    centres = rng.uniform(60, SIZE - 60, (2, 25))
    stars, lines = (rng.normal(0, NOISE, (SIZE, SIZE)) for _ in range(2))
    for cx, cy in centres.T:
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        peak = rng.uniform(20, 500)
        light = peak * np.exp(-4 * np.log(2) * (across / WIDTH) ** 2)
        stars += light * np.exp(-4 * np.log(2) * (along / LENGTH) ** 2)
        lines += light * (1 + 0.3 * np.cos(along / 15.0))
    psf = elongated(angle)
    assert not run_on(stars.astype(np.float32), psf, *centres)
    assert run_on(lines.astype(np.float32), psf, *centres)
    assert not run_on(lines.astype(np.float32), Psf.gaussian(12.0), *centres)


def test_orders_of_spectra_make_no_psf() -> None:
    """They had one of e = 0.9, and hundreds of fits that never came to rest."""
    rng = np.random.default_rng(5)
    size = 768
    x, y = np.arange(size), np.arange(size)[:, None]
    image = rng.normal(500, 16, (size, size))
    for number in range(14):
        place = (number + 0.5) * size / 14 + rng.uniform(-9, 9)
        light = rng.uniform(100, 2000) * np.exp(-((y - place) ** 2) / 8.0)
        image += light * (1.0 + 0.3 * np.sin(x / rng.uniform(5, 12)))
    exposure = Exposure(
        image.astype(np.float32), np.zeros(image.shape, np.uint16), detector=Detector(gain=2.0)
    )
    done = characterize(exposure, Config(), Run())
    assert done.status is Status.FALLBACK
    assert "lines without ends" in done.reason
