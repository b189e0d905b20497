"""Positions of undersampled stars: the place in the pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.datamodel.catalog import Catalog
from skyextract.run import Run
from skyextract.stages.psf.pixelphase import with_pixel_phase, with_psf_positions

N, NOISE = 400, 0.01


def moments_of_stars(fwhm: float) -> tuple[Catalog, np.ndarray]:
    """Return sources whose windowed positions are moments of sampled Gaussians, and the truth."""
    rng = np.random.default_rng(2)
    sigma = fwhm / 2.3548
    true = rng.uniform(50.0, 60.0, N)
    pixels = np.arange(40, 72)
    edges = (np.append(pixels, 72) - 0.5 - true[:, None]) / (sigma * math.sqrt(2.0))
    light = np.diff(np.vectorize(math.erf)(edges), axis=1)
    moment = true.copy()
    for _ in range(40):  # SExtractor's iteration with a window of the same width
        weight = light * np.exp(-0.5 * ((pixels - moment[:, None]) / sigma) ** 2)
        step = (weight * (pixels - moment[:, None])).sum(axis=1) / weight.sum(axis=1)
        moment += 2.0 * step
    noise = rng.normal(0.0, NOISE, N)
    columns = {
        "FLAGS": np.zeros(N, np.int16), "FLUX_PSF": np.full(N, 1e4), "FLUXERR_PSF": np.full(N, 50.0)
    }  # fmt: skip
    for axis in "XY":
        columns |= {
            f"{axis}WIN_IMAGE": moment + noise, f"{axis}PSF_IMAGE": true + noise,
            f"ERR{axis}2WIN_IMAGE": np.full(N, NOISE**2),
            f"ERR{axis}2PSF_IMAGE": np.full(N, NOISE**2),
        }  # fmt: skip
    return Catalog(columns), true


@pytest.mark.parametrize("fwhm", [0.9, 1.2, 1.6])
def test_errors_of_windowed_positions_hold_the_place_in_the_pixel(fwhm, caplog):
    sources, true = moments_of_stars(fwhm)
    found = with_pixel_phase(sources, Run())
    pull = (found["XWIN_IMAGE"] - true) / np.sqrt(found["ERRX2WIN_IMAGE"])
    assert 0.9 < pull.std() < 1.1
    before = (sources["XWIN_IMAGE"] - true) / np.sqrt(sources["ERRX2WIN_IMAGE"])
    told = any("undersampled" in record.getMessage() for record in caplog.records)
    assert told == (before.std() > 2.3)


def test_astrometry_takes_the_positions_of_the_psf():
    sources, _ = moments_of_stars(1.2)
    sources["XPSF_IMAGE"][3] = np.nan
    found = with_psf_positions(sources)
    np.testing.assert_array_equal(found["XWIN_IMAGE"][4:], sources["XPSF_IMAGE"][4:])
    assert found["XWIN_IMAGE"][3] == sources["XWIN_IMAGE"][3]
    alone = Catalog({name: sources[name] for name in ("XWIN_IMAGE", "YWIN_IMAGE")})
    assert with_psf_positions(alone) is alone


def test_few_stars_tell_nothing():
    sources, _ = moments_of_stars(1.2)
    sources["FLAGS"][5:] = 4
    assert with_pixel_phase(sources, Run()) is sources
