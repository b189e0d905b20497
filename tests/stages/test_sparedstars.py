"""Rings of bright stars are no cosmic rays, though they are sharper than the PSF's core."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Cosmics
from skyextract.stages import characterize
from skyextract.stages.repair import repair

SIZE, FWHM, NOISE = 320, 1.9, 10.0


def frame(n_bright, ring, n_rays, seed=4):
    """Return a frame of bright stars with rings, and where rays of one to three pixels are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    image = np.zeros((SIZE, SIZE))
    column, row = rng.uniform(20.0, SIZE - 20.0, (2, n_bright))
    for cx, cy in zip(column, row, strict=True):
        r = np.hypot(x - cx, y - cy)
        spots = 1.0 + np.cos(8.0 * np.arctan2(y - cy, x - cx))
        image += 1e5 * np.exp(-0.5 * (r * 2.3548 / FWHM) ** 2)
        image += 1e4 * ring * spots * np.exp(-0.5 * ((r - 3.5) / 0.5) ** 2)
    image = rng.poisson(image + NOISE**2) - NOISE**2
    rays = np.zeros(image.shape, np.bool_)
    for _ in range(n_rays):
        i, j = rng.integers(5, SIZE - 5, 2)
        rays[i, j : j + rng.integers(1, 4)] = True
    image[rays] += 3000.0
    return image.astype(np.float32), rays, (column, row)


def cosmic_rays(image):
    repaired = repair(
        image, np.zeros(image.shape, np.uint16), np.zeros_like(image),
        np.full_like(image, NOISE**2), 1.0, Psf.gaussian(FWHM, PsfSource.MEASURED), Cosmics(),
        Run(1),
    )  # fmt: skip
    return (repaired.mask & int(Mask.CR)) != 0, repaired.image


@pytest.mark.parametrize("n_rays", [0, 60])
def test_rings_of_stars_stay_and_cosmic_rays_go(n_rays):
    image, rays, (column, row) = frame(20, 1.0, n_rays)
    found, repaired = cosmic_rays(image)
    y, x = np.mgrid[:SIZE, :SIZE]
    near = np.min([np.hypot(x - cx, y - cy) for cx, cy in zip(column, row, strict=True)], axis=0)
    assert not found[near < 6.0].any()
    assert (repaired[near < 6.0] == image[near < 6.0]).all()
    sky = near > 10.0
    assert not (found & ~rays)[sky].any()
    assert n_rays == 0 or found[rays & sky].mean() > 0.95


def test_cosmic_rays_upon_stars_are_repaired_where_these_are_what_the_psf_says():
    image, rays, (column, row) = frame(40, 0.0, 400)
    found, _ = cosmic_rays(image)
    y, x = np.mgrid[:SIZE, :SIZE]
    near = np.min([np.hypot(x - cx, y - cy) for cx, cy in zip(column, row, strict=True)], axis=0)
    beside = rays & (near > 3.0) & (near < 6.0)
    assert np.count_nonzero(beside) > 15
    assert found[beside].mean() > 0.9


def test_parts_of_stars_that_stay_are_no_warning(monkeypatch, caplog):
    """Ordinary frames of good stars have some."""
    spared = SimpleNamespace(n_spared=64, cosmic=None, undo=lambda planes: None)
    monkeypatch.setattr(characterize, "repair_planes", lambda *_: spared)
    monkeypatch.setattr(characterize, "touches_stars", lambda *_: False)
    sky = SimpleNamespace(planes=None)
    passes = SimpleNamespace(sky=sky, fit=object(), repairs=spared, cosmics=None)
    caplog.set_level(logging.INFO, "skyextract")
    run = Run()
    source = SimpleNamespace(shape=(5, 5))
    assert characterize._final_repairs(source, passes, None, run) is spared
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "64 pixels that look like cosmic rays" in record.getMessage()
