"""A PSF model as the PSF_DATA binary table of PSFEx, without loss.

PSFEx's cards hold positions in FITS pixels; the exact 0-based ones and what PSFEx has no
card for stand beside them (SKYPSF*), so that a model comes back bit by bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from skyextract.catalog import Catalog
from skyextract.errors import ImageError
from skyextract.header import Header
from skyextract.psf import Psf, PsfSource


def psf_table(psf: Psf) -> tuple[dict[str, NDArray[np.float32]], Header]:
    """Return columns and cards of the PSF_DATA table of a model."""
    n_terms, height, width = psf.basis.shape
    cards = Header()
    cards["LOADED"] = (psf.n_stars, "number of stars")
    cards["ACCEPTED"] = (psf.n_stars, "number of stars used")
    cards["CHI2"] = (psf.chi2 if math.isfinite(psf.chi2) else None, "reduced chi2")
    cards["POLNAXIS"] = 2
    for k, (name, zero, scale) in enumerate(
        (("X_IMAGE", psf.x_zero, psf.x_scale), ("Y_IMAGE", psf.y_zero, psf.y_scale)), start=1
    ):
        cards[f"POLGRP{k}"] = 1
        cards[f"POLNAME{k}"] = name
        cards[f"POLZERO{k}"] = (zero + 1.0, "offset, FITS pixels")
        cards[f"POLSCAL{k}"] = (scale, "scale")
    cards["POLNGRP"] = 1
    cards["POLDEG1"] = (psf.degree, "polynomial degree")
    cards["PSF_FWHM"] = (psf.fwhm, "FWHM in pixels")
    cards["PSF_SAMP"] = (psf.sampling, "sampling step in pixels")
    cards["PSFNAXIS"] = 3
    for k, length in enumerate((width, height, n_terms), start=1):
        cards[f"PSFAXIS{k}"] = length
    cards["SKYPSFX"] = (psf.x_zero, "x offset, 0-based pixels")
    cards["SKYPSFY"] = (psf.y_zero, "y offset, 0-based pixels")
    cards["SKYPSFE"] = (psf.ellipticity if math.isfinite(psf.ellipticity) else None, "ellipticity")
    cards["PSFSRC"] = (str(psf.source), "where the PSF comes from")
    return {"PSF_MASK": psf.basis[np.newaxis]}, cards


def psf_from_table(columns: Catalog, header: Header) -> Psf:
    """Return the model of a PSF_DATA table that `psf_table` made.

    Raises
    ------
    ImageError
        A card or the column is missing or contradicts the others.
    """

    def number(keyword: str) -> float:
        value = header.get(keyword)
        if value is None and keyword in ("CHI2", "SKYPSFE"):
            return math.nan
        if isinstance(value, str | bool) or value is None:
            raise ImageError(f"PSF_DATA: card {keyword} is missing or no number")
        return float(value)

    shape = tuple(int(number(f"PSFAXIS{k}")) for k in (3, 2, 1))
    degree = int(number("POLDEG1"))
    basis = columns.columns.get("PSF_MASK")
    if basis is None or basis.size != math.prod(shape):
        raise ImageError("PSF_DATA: PSF_MASK does not have the size that the cards say")
    if shape[0] != (degree + 1) * (degree + 2) // 2:
        raise ImageError(f"PSF_DATA: {shape[0]} terms are no polynomial of degree {degree}")
    return Psf(
        basis=np.ascontiguousarray(basis.reshape(shape), np.float32),
        sampling=number("PSF_SAMP"),
        degree=degree,
        x_zero=number("SKYPSFX"),
        x_scale=number("POLSCAL1"),
        y_zero=number("SKYPSFY"),
        y_scale=number("POLSCAL2"),
        fwhm=number("PSF_FWHM"),
        ellipticity=number("SKYPSFE"),
        source=PsfSource(str(header.get("PSFSRC") or "FILE")),
        n_stars=int(number("ACCEPTED")),
        chi2=number("CHI2"),
    )
