"""A model of the PSF, how its stars fit to it, and what it was solved from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.datamodel.psfshape import core_ellipticity, core_shape, effective_fwhm
from skyextract.record import record
from skyextract.stages.psf.modelerrors import Evidence
from skyextract.stages.psf.scaled import ScaledProfile
from skyextract.stages.psf.solver import Solver
from skyextract.stages.psf.splines import normalise, samples_of

CONSTANT = 1.03
"""Median chi2 of the brighter half of the stars over that of the fainter, up to which the same PSF
is theirs."""

MISFIT = 1.15
"""Median chi2 of the brightest quarter over that of the fainter half, from which the shapes of
stars are not those of the model."""


@record
class Variation:
    """How a model varies over the field.

    Attributes
    ----------
    degree : int
        Of the polynomial in x, y (PSFVAR_DEGREES), at most.
    scaled : bool
        It is drawn to one profile of local width and shape, as widths vary much.
    """

    degree: int
    scaled: bool = False


@record
class Solution:
    """What the equations of a model gave, from where others can go on.

    Attributes
    ----------
    prior, coefficients : (n_terms, n, n) float64
        What it was drawn to, and what it is, as splines.
    stray : (n_terms, n_cells, n_cells) float64
        The unknowns of `Solver.solve`.
    profile : ScaledProfile, optional
        What the prior was drawn from.
    """

    prior: F8
    coefficients: F8
    stray: F8
    profile: ScaledProfile | None


@record
class PsfFit:
    """A PSF model and how the stars fit to it.

    Attributes
    ----------
    psf : Psf
    used : (n,) bool
        Stars of the sample that the model was built from.
    x, y, flux, flux_error, chi2 : (n,) float64
        Fitted 0-based positions and fluxes, and reduced chi2 within 2 FWHM.
    free_share : float
        Of the pixels of the stars, what no neighbour and no defect took away.
    evidence : Evidence
        What the stars say of the model.
    solver : Solver
        Holds the pixels of the stars.
    solution : Solution
    variation : Variation
        Of the model.
    """

    psf: Psf
    used: Bools
    x: F8
    y: F8
    flux: F8
    flux_error: F8
    chi2: F8
    free_share: float
    evidence: Evidence
    solver: Solver
    solution: Solution
    variation: Variation


def bright_misfit(fit: PsfFit, parts: int = 4) -> float:
    """Return the median chi2 of the brightest part of the stars over that of the fainter half."""
    rows = np.flatnonzero(fit.used)
    chi2 = fit.chi2[rows[np.argsort(fit.flux[rows], kind="stable")]]
    n_bright = max(1, chi2.size // parts)
    bright, faint = chi2[-n_bright:], chi2[: (chi2.size + 1) // 2]
    return float(median(bright) / median(faint))


def is_constant(fit: PsfFit) -> bool:
    """Tell whether one PSF fits bright stars, where a varying one would show, as well as faint."""
    return bright_misfit(fit, 2) <= CONSTANT


def with_misfit(fit: PsfFit) -> Psf:
    """Return the PSF with the error of positions by what is left of bright stars."""
    if bright_misfit(fit) < MISFIT:
        return fit.psf
    error = fit.solver.position_misfit(fit.psf, fit.x, fit.y)
    return replace(fit.psf, position_error=error)


def described(solver: Solver, solution: Solution, variation: Variation) -> PsfFit:
    """Return the model, and how the stars fit to it."""
    assert solver.evidence is not None
    step = solver.step
    basis = normalise(samples_of(solution.coefficients), step)
    shape = core_shape(basis[0])
    chi2 = solver.fit_numbers[:, 0] / np.maximum(solver.fit_numbers[:, 1], 1)
    psf = Psf(
        basis=np.ascontiguousarray(basis, dtype=np.float32),
        sampling=step,
        degree=variation.degree,
        x_zero=solver.zero[0],
        x_scale=solver.scale[0],
        y_zero=solver.zero[1],
        y_scale=solver.scale[1],
        fwhm=effective_fwhm(basis[0], step, shape),
        ellipticity=core_ellipticity(basis[0], shape),
        source=PsfSource.MEASURED,
        n_stars=int(solver.used.sum()),
        chi2=median(chi2[solver.used]),
    )
    return PsfFit(
        psf=psf,
        used=solver.used,
        x=solver.cx + solver.origin_x,
        y=solver.cy + solver.origin_y,
        flux=solver.flux,
        flux_error=np.sqrt(solver.fit_numbers[:, 2]),
        chi2=chi2,
        free_share=solver.free_share,
        evidence=solver.evidence,
        solver=solver,
        solution=solution,
        variation=variation,
    )
