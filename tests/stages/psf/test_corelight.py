"""Fluxes of stars whose shapes the model does not have, beside the light in their cores."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.stages.psf import corelight
from skyextract.stages.psf.corelight import (
    OFF,
    core_light,
    doubt_of_fluxes,
    flux_misfit,
    with_flux_misfit,
)
from skyextract.stages.psf.model import build_psf
from skyextract.stages.psf.sample import StarSample


def fit_of(away, n_rejected, error=0.003):
    """Stars all over a field, whose cores have a part `away` more light than their fits."""
    random = np.random.default_rng(3)
    x, y = random.uniform(0, 1000, (2, away.size))
    order = np.argsort(x, kind="stable")
    used = np.ones(away.size, np.bool_)
    used[:n_rejected] = False
    light = 1.0 + away + random.normal(0.0, error, away.size)
    return SimpleNamespace(
        x=x[order], y=y[order], used=used, flux=np.full(away.size, 1e4),
        flux_error=np.full(away.size, 100.0), of_cores=(light, np.full(away.size, error)),
    )  # fmt: skip


@pytest.fixture
def known_cores(monkeypatch):
    monkeypatch.setattr(corelight, "core_light", lambda fit: fit.of_cores)


@pytest.mark.usefixtures("known_cores")
@pytest.mark.parametrize("n_rejected", [2, 12])
def test_stars_that_fit_are_not_doubted(n_rejected):
    away = np.zeros(60)
    away[: n_rejected // 2] = 0.3  # blends
    fit = fit_of(away, n_rejected)
    off = flux_misfit(fit)
    assert off < 0.003
    assert not doubt_of_fluxes(fit, off)


@pytest.mark.usefixtures("known_cores")
@pytest.mark.parametrize(
    "away", [np.linspace(-0.06, 0.06, 60), np.where(np.arange(60) < 15, 0.06, 0.0)]
)
def test_fluxes_that_differ_over_the_field_are_told(away):
    fit = fit_of(away, 9)
    off = flux_misfit(fit)
    assert off == pytest.approx(away.std(), rel=0.35)
    message = doubt_of_fluxes(fit, off)
    assert "rejects 9 of 60" in message
    # Few stars are rejected: not looked at.
    assert flux_misfit(fit_of(away, 2)) == 0.0


def test_the_error_is_that_of_all_fluxes():
    psf = replace(Psf.gaussian(3.0), source=PsfSource.MEASURED)
    place = np.array([10.0])
    assert with_flux_misfit(psf, 0.0) is psf
    assert with_flux_misfit(psf, OFF).flux_error(place, place) == pytest.approx(OFF)


def test_cores_of_stars_that_are_wider_than_the_others():
    """A quarter has twice the width: a fit of the others has another flux than their cores."""
    random = np.random.default_rng(1)
    n, cell = 48, 30
    column, row = np.arange(n) % 8, np.arange(n) // 8
    x, y = (cell * (v + 0.5) + random.uniform(-0.5, 0.5, n) for v in (column, row))
    wide = np.arange(n) % 4 == 0
    flux = 10.0 ** random.uniform(3.8, 5.0, n)
    rows, columns = np.mgrid[: 6 * cell, : 8 * cell]
    image = random.normal(0.0, 5.0, rows.shape)
    for k in range(n):
        sigma2 = (2.6 if wide[k] else 1.3) ** 2
        r2 = (columns - x[k]) ** 2 + (rows - y[k]) ** 2
        image += flux[k] / (2.0 * np.pi * sigma2) * np.exp(-0.5 * r2 / sigma2)
    height = flux / (2.0 * np.pi * 1.3**2)
    peaks = np.stack([x, y, height, np.zeros(n)])
    sample = StarSample(x, y, flux, fwhm=3.06, height=height, peaks=peaks)
    data = image.astype(np.float32)
    fit = build_psf(data, np.full_like(data, 25.0), sample, gain=0.0, degree=0, run=Run(1))
    light, error = core_light(fit)
    assert not fit.used[wide].any()
    assert np.abs(light[~wide] - 1.0).max() < 0.01
    # As by numpy, of the pixels within the core.
    for k in np.flatnonzero(wide):
        inside = np.hypot(columns - fit.x[k], rows - fit.y[k]) <= fit.solver.core
        at = round(float(fit.x[k])), round(float(fit.y[k]))
        dx, dy = fit.x[k] - at[0], fit.y[k] - at[1]
        model = fit.psf.stamp(fit.x[k], fit.y[k], dx, dy, size=29)
        fitted = np.zeros(image.shape)
        fitted[at[1] - 14 : at[1] + 15, at[0] - 14 : at[0] + 15] = fit.flux[k] * model
        assert light[k] == pytest.approx(image[inside].sum() / fitted[inside].sum(), rel=0.003)
    assert (light[wide] > 1.1).all()
    assert 0.0 < error.max() < 0.02
