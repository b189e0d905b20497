"""The point spread function: pixel basis times a polynomial in image position."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class PsfSource(StrEnum):
    """Where a PSF comes from: the value of the PSFSRC card."""

    MEASURED = "MEASURED"
    FILE = "FILE"
    DEFAULT = "DEFAULT"
    NONE = "NONE"


@dataclass(frozen=True)
class Psf:
    """A PSF model as PSFEx writes it.

    The PSF at 0-based pixel position (x, y) is the sum over polynomial terms k of
    ``basis[k] * u**i * v**j`` with ``u = (x - x_zero) / x_scale``, v likewise, and
    the terms ordered as in PSFEx (for j in 0..degree, for i in 0..degree-j).

    Attributes
    ----------
    basis : (n_terms, n_y, n_x) float32
        Images with odd sides, centred on the middle sample; the constant term sums to 1
        over pixels (that is, samples x sampling**2 of surface brightness per pixel).
    sampling : float
        Size of a sample in pixels; 1 is the pixel grid, below 1 oversampled.
    degree : int
        Degree of the polynomial; 0 is a constant PSF.
    x_zero, x_scale, y_zero, y_scale : float
        Normalisation of positions, 0-based pixels.
    fwhm : float
        Full width at half maximum in pixels of the effective (pixel-integrated) PSF.
    ellipticity : float
        1 - b/a of the core at the centre of the field.
    source : PsfSource
    """

    basis: NDArray[np.float32]
    sampling: float
    degree: int
    x_zero: float
    x_scale: float
    y_zero: float
    y_scale: float
    fwhm: float
    ellipticity: float
    source: PsfSource
    n_stars: int = 0
    chi2: float = float("nan")
