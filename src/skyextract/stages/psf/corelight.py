"""What a PSF model that stars do not follow does to their fluxes: measured in their cores.

A model of another shape than a star, as that of a pupil's image whose diameter changes faster over
the field than a polynomial of pixels can, is fitted to it with another flux.  The light in the
core, which no model changes, tells how far it is off.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.psf import Psf
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.stages.psf.fitted import PsfFit
from skyextract.stages.starselection.patches import alike_among_neighbours

MANY_REJECTED = 0.05
"""Share of the stars that a model rejects from which it is looked at what their fluxes are."""

MIN_STARS, MIN_SNR = 30, 50.0
"""So many tell it, of this S/N."""

LEAST_CORE = 0.8
"""Share of the light of a core that has to be in good pixels."""

OFF = 0.015
"""Relative scatter of fluxes about the light of the cores that is told."""


def flux_misfit(fit: PsfFit) -> float:
    """Return the relative error of fluxes by shapes that the model does not have.

    Of what neighbours have alike: the light of hidden stars in the cores is as it comes.

    Parameters
    ----------
    fit : PsfFit
        Few models reject many stars: of others nothing is asked.
    """
    bright = fit.flux > MIN_SNR * fit.flux_error
    if np.mean(~fit.used) < MANY_REJECTED or np.count_nonzero(bright) < MIN_STARS:
        return 0.0
    light, _ = core_light(fit)
    rows = np.flatnonzero(bright & np.isfinite(light))
    return alike_among_neighbours(light[rows] - 1.0, fit.x[rows], fit.y[rows])


def core_light(fit: PsfFit) -> tuple[F8, F8]:
    """Return the light in the cores of all stars over that of their fits, and its error.

    Of the pixels that no defect or neighbour took away; (n,) each, NaN where few are left.
    """
    solver = fit.solver
    size = solver.stamps.shape[1]
    axis = np.arange(size)
    at = np.stack([solver.cx, solver.cy])
    dx, dy = at - size // 2
    shapes = fit.psf.stamps(fit.x, fit.y, dx, dy, size)
    models = fit.flux[:, None, None] * shapes
    r2 = (axis - at[0][:, None])[:, None, :] ** 2 + (axis - at[1][:, None])[:, :, None] ** 2
    core = r2 <= solver.core**2
    good = core & (solver.noise < MAX_VARIANCE)
    light, fitted, whole, noise = (
        np.where(pixels, values, 0.0).sum(axis=(1, 2))
        for pixels, values in (
            (good, solver.stamps),
            (good, models),
            (core, models),
            (good, solver.noise + solver.inverse_gain * np.maximum(models, 0.0)),
        )
    )
    known = (fit.flux > 0.0) & (fitted > LEAST_CORE * whole)
    fitted = np.where(known, fitted, np.nan)
    return light / fitted, np.sqrt(noise) / fitted


def doubt_of_fluxes(fit: PsfFit, off: float) -> str:
    """Tell that fluxes of stars are not those of the light in their cores; empty if they are.

    Parameters
    ----------
    fit : PsfFit
    off : float
        As of `flux_misfit`.
    """
    message = ""
    if off > OFF:
        message = (
            f"the PSF does not follow the shapes of the stars: it rejects "
            f"{np.count_nonzero(~fit.used)} of {fit.used.size}, and their fluxes differ by "
            f"{off:.1%} (rms) from the light in their cores (out of focus, tilted?)"
        )
    return message


def with_flux_misfit(psf: Psf, off: float) -> Psf:
    """Return a PSF whose fluxes have an error more, relative, all over the field."""
    if not off:
        return psf
    n_terms = psf.basis.shape[0]
    known = psf.flux_variance
    variance = np.zeros((n_terms, n_terms)) if known is None else known.copy()
    variance[0, 0] += off**2
    return replace(psf, flux_variance=variance)
