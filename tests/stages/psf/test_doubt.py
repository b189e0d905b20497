"""What is said of a PSF."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.stages.pointsources.sweeps import FittedSources, add_models
from skyextract.stages.psf import doubt
from skyextract.stages.psf.doubt import (
    about_calm_stars,
    doubt_of_length,
    noise_for_stars,
    tell_elongation,
)
from skyextract.stages.psf.photons import Growth
from skyextract.stages.starselection.candidates import find_candidates


@pytest.mark.parametrize(
    ("ellipticity", "height", "warned"),
    [(0.45, 2.0, False), (0.45, 1.0, True), (0.7, 2.0, True), (0.1, 2.0, False)],
)
def test_elongated_stars(ellipticity, height, warned):
    """Stars of frames that were binned along one axis are round on the sky."""
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "NAXIS1": 100,
        "NAXIS2": 100, "CRPIX1": 50.0, "CRPIX2": 50.0, "CD1_1": -1e-4, "CD2_2": 1e-4 * height,
    }  # fmt: skip
    run = Run()
    tell_elongation(
        replace(Psf.gaussian(3.0), ellipticity=ellipticity), SkyWcs.from_header(cards), run
    )
    assert bool(run.warnings) == warned


@pytest.mark.parametrize(("width", "length", "is_long"), [
    (3.3, 26.0, False), (3.3, 125.0, True), (1.2, 14.0, False), (3.3, 61.0, True),
])  # fmt: skip
def test_spectra_without_a_slit_are_no_trailed_stars(width, length, is_long):
    """Trails are measured up to 8 widths; of what is longer not even the direction is told."""
    round_one = Psf.gaussian((width * length) ** 0.5)
    psf, run = replace(round_one, ellipticity=1.0 - width / length), Run()
    message = doubt_of_length(psf)
    assert bool(message) == is_long
    if is_long:
        assert f"{length:.0f} pixels long, {length / width:.0f} times" in message
    tell_elongation(psf, None, run)
    assert bool(run.warnings) != is_long


@pytest.mark.parametrize("n_stars", [0, 40])
def test_noise_that_neighbours_share_is_no_wide_stars(n_stars):
    """Its dips are as deep as its peaks are high; those beside stars are shallow."""
    rng = np.random.default_rng(3)
    psf = Psf.gaussian(9.0)
    data = rng.normal(size=(300, 300))
    wave = np.hypot(np.fft.fftfreq(300)[:, None], np.fft.rfftfreq(300))
    data = np.fft.irfft2(np.fft.rfft2(data) * np.exp(-((8.0 * wave) ** 2)), s=data.shape)
    data = (10.0 * data / data.std()).astype(np.float32)
    sources = FittedSources.at(*rng.uniform(0, 299, (2, n_stars)))
    flux = 10 ** rng.uniform(4.0, 5.5, n_stars)
    fitted = np.column_stack([flux, sources.parameters[:, 1:]])
    reach = np.full(n_stars, psf.radius)
    add_models(data, psf, replace(sources, parameters=fitted, reach=reach), 1.0)
    data -= np.median(data)
    planes = np.full(data.shape, 100.0, np.float32), np.zeros(data.shape, np.uint16), 1.0
    found = find_candidates(
        data, planes[0], planes[1], fwhm=9.0, gain=1.0, min_snr=20.0, run=Run()
    )  # fmt: skip
    told = noise_for_stars(data, *planes, 9.0, found.peaks[2], Run())
    assert bool(told) == (n_stars == 0)


@pytest.mark.parametrize(
    ("fwhm", "part", "error", "told"),
    [(1.2, 0.4, 0.1, False), (3.0, 0.4, 0.1, True), (3, 1.3, 0.1, False), (3, 0.5, 0.2, False)],
)
def test_stars_of_few_pixels_or_upon_a_nebula_are_not_calm(fwhm, part, error, told, monkeypatch):
    """A nebula is in the noise of the sky, but noise grows with light as it should.

    Of few stars that is known to 20 % only.
    """
    n = 20
    monkeypatch.setattr(doubt, "growth_of_noise", lambda *_: Growth(part, 0.1, error))
    fit = SimpleNamespace(
        psf=Psf.gaussian(fwhm), flux=np.full(n, 1e5), used=np.ones(n, bool), chi2=np.full(n, 0.63)
    )
    assert bool(about_calm_stars(fit, 10.0, 2.0)) == told
