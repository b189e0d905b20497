"""Errors of point sources that have several others within their fit regions.

The kernel of errors takes each neighbour's parameters out of a source's normal matrix as if the
neighbour had no others.  Of stars in the core of a cluster that takes too much, and no matrix is
left; for these the normal equations of the whole group are solved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.kernels.psf.groups import group_covariances as covariances_of_groups
from skyextract.kernels.psf.records import Fits

if TYPE_CHECKING:
    from skyextract.run import Run
    from skyextract.stages.pointsources.sweeps import FittedSources, PointFit


def group_covariances(fit: PointFit, sources: FittedSources, rows: I8, run: Run) -> F8:
    """Return the covariance of flux, x, y of some sources, fitted with all of their neighbours.

    Parameters
    ----------
    fit : PointFit
        With the residual of the fit.
    sources : FittedSources
    rows : (k,) int64

    Returns
    -------
    (k, 3, 3) float64
        NaN where sources cannot be told apart, and of positions that were not fitted.
    """
    out = np.full((rows.size, 3, 3), np.nan)
    fits = Fits(**sources.columns())

    def covariances(span: tuple[int, int]) -> None:
        some = slice(*span)
        covariances_of_groups(
            rows[some], fit.tiles, fit.planes, fit.model, fit.positions, fits, out[some]
        )

    run.map(covariances, run.bands(rows.size))
    return out
