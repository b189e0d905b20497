"""The PSF of a crowd: what neighbours added to its wings goes, unresolved light stays out."""

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.stages.crowded import refine, search
from tests.stages.crowded.test_search import FWHM, recovered, run_measure, simulate


def with_wings(psf, light, source=PsfSource.MEASURED):
    """Return a PSF with so much of its light in wings."""
    basis = psf.basis.astype(float)
    offset = (np.arange(basis.shape[1]) - basis.shape[1] // 2) * psf.sampling
    wings = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * (0.8 * FWHM) ** 2))
    basis[0] = (1 - light) * basis[0] + light * wings / wings.sum() / psf.sampling**2
    return replace(psf, basis=basis.astype(np.float32), source=source)


def error(psf, truth):
    """Root mean square difference from the true PSF, as a share of it."""
    difference = psf.basis[0] - truth.basis[0]
    return np.sqrt((difference**2).sum() / (truth.basis[0] ** 2).sum())


@pytest.fixture(scope="module")
def crowd():
    return simulate(12, seed=3)


def test_light_of_neighbours_leaves_the_wings(crowd):
    exposure, x, y, flux, _ = crowd
    truth = Psf.gaussian(FWHM)
    exposure = replace(exposure, psf=with_wings(truth, 0.15))
    after = run_measure(exposure)
    refined = after.exposure.psf
    assert error(exposure.psf, truth) > 0.09
    assert error(refined, truth) < 0.03
    assert refined.basis[0].sum() * refined.sampling**2 == pytest.approx(1.0, abs=1e-5)
    assert refined.source is PsfSource.MEASURED
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "REFINED", 0)
        before = run_measure(exposure)
    found = [recovered(m.sources, x, y, flux)[0][flux > 1000.0].mean() for m in (before, after)]
    assert found[1] > found[0] + 0.05


def test_a_good_psf_stays_good(crowd):
    truth = Psf.gaussian(FWHM)
    exposure = replace(crowd[0], psf=replace(truth, source=PsfSource.MEASURED))
    assert error(run_measure(exposure).exposure.psf, truth) < 0.01


def test_unresolved_light_about_stars_is_none_of_theirs(crowd):
    """Wings that are too faint for what lies about the stars are left as they are."""
    exposure = replace(crowd[0], psf=with_wings(Psf.gaussian(FWHM), -0.03))
    assert run_measure(exposure).exposure.psf is exposure.psf


def test_a_given_psf_is_left_alone(crowd):
    exposure = replace(crowd[0], psf=with_wings(Psf.gaussian(FWHM), 0.15, PsfSource.FILE))
    assert run_measure(exposure).exposure.psf is exposure.psf


@pytest.mark.parametrize("light", ["hole", "ring", "flat", "nan"])
def test_what_is_no_psf_of_stars_is_dropped(crowd, light, monkeypatch):
    """Whatever is left about the stars, the PSF before stays and the sources are measured."""
    exposure = replace(crowd[0], psf=replace(Psf.gaussian(FWHM), source=PsfSource.MEASURED))
    psf = exposure.psf
    offset = (np.arange(psf.basis.shape[1]) - psf.basis.shape[1] // 2) * psf.sampling
    distance = np.hypot(offset[:, None], offset) / FWHM
    peak = float(psf.basis[0].max())
    left = {
        "hole": -2.0 * peak * np.exp(-(distance**2) / 0.05),
        "ring": 3.0 * peak * np.exp(-((distance - 1.0) ** 2) / 0.02) - 1e-3 * peak,
        "flat": np.where(distance < 1.5, 3.0 * peak, -1e-3 * peak),
        "nan": np.full(distance.shape, np.nan),
    }[light]
    monkeypatch.setattr(refine, "_clipped_mean", lambda *_: (left, np.full(left.shape, 1e-12)))
    measured = run_measure(exposure)
    assert measured.exposure.psf is psf
    assert measured.sources.n_rows > 500
