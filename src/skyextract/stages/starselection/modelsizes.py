"""Sizes of a PSF over the frame, beside which those of sources are seen."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.psf import Psf
from skyextract.datamodel.psfshape import core_shapes

REACH = 1.5
"""FWHM to which the PSF's sizes are measured."""


class ModelSizes:
    """Log10 of the sizes of a PSF in a frame, but for a constant.

    They vary as smoothly as the PSF: a polynomial through those at Chebyshev's nodes, of twice the
    degree of the PSF along both axes, is right to 1e-4.

    Parameters
    ----------
    psf : Psf
    shape : (int, int)
        Of the image.
    """

    def __init__(self, psf: Psf, shape: tuple[int, int]) -> None:
        self.psf, self.shape = psf, shape
        n = 2 * psf.degree + 1
        self.nodes: F8 = np.cos((np.arange(n) + 0.5) * np.pi / n)

    def at(self, x: F8, y: F8) -> F8:
        """Return those at some places, 0-based pixels (n,) float64."""
        if x.size <= self.nodes.size**2:
            return _sizes_at(self.psf, x, y)
        along, across = (
            _lagrange(2.0 * at / max(size - 1, 1) - 1.0, self.nodes)
            for at, size in ((x, self.shape[1]), (y, self.shape[0]))
        )
        out: F8 = np.einsum("ki,kj,ij->k", across, along, self._at_nodes)
        return out

    @cached_property
    def _at_nodes(self) -> F8:
        n = self.nodes.size
        x, y = (0.5 * (size - 1) * (1.0 + self.nodes) for size in self.shape[::-1])
        return _sizes_at(self.psf, np.tile(x, n), np.repeat(y, n)).reshape(n, n)


def _lagrange(at: F8, nodes: F8) -> F8:
    """Return the weights (n, n_nodes) of the values at nodes in the polynomial through them."""
    weights = np.ones((at.size, nodes.size))
    for k, node in enumerate(nodes):
        for other in np.delete(nodes, k):
            weights[:, k] *= (at - other) / (node - other)
    return weights


def _sizes_at(psf: Psf, x: F8, y: F8) -> F8:
    """Return log10 of the sizes of the PSF at some places, but for a constant."""
    side = 2 * min(psf.radius, math.ceil(REACH * psf.fwhm)) + 1
    nothing = np.zeros(x.size)
    _, _, xx, yy, xy = core_shapes(psf.stamps(x, y, nothing, nothing, side)).T
    return np.asarray(0.25 * np.log10(xx * yy - xy * xy))
