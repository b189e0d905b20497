"""A PSF model in an exposure file: PSFEx's table PSF_DATA, without loss.

PSFEx's cards hold positions in FITS pixels and no polynomial for a constant PSF; the exact
numbers stand beside them (SKYPSF*), so that a model comes back bit by bit.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import Header, set_cards
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.errors import ImageError
from skyextract.io.psf.psfex import psf_header

_EXACT = {
    "SKYPSFX0": "x_zero",
    "SKYPSFXS": "x_scale",
    "SKYPSFY0": "y_zero",
    "SKYPSFYS": "y_scale",
    "SKYPSFSA": "sampling",
    "SKYPSFFW": "fwhm",
    "SKYPSFEL": "ellipticity",
    "SKYPSFC2": "chi2",
}
"""Card of each number of a model; a card without a value is NaN."""


def psf_table(psf: Psf) -> tuple[dict[str, F4 | F8], Header]:
    """Return columns and cards of the PSF_DATA table of a model."""
    header = psf_header(psf)
    for keyword, name in _EXACT.items():
        set_cards(header, {keyword: (float(getattr(psf, name)), f"exact {name}, 0-based")})
    header["SKYPSFDG"] = (psf.degree, "degree")
    header["SKYPSFXE"] = (psf.position_error, "[pix] error of positions by the model")
    header["SKYPSFLE"] = (psf.light_error, "relative error of fluxes by the model")
    header["SKYPSFN"] = (psf.n_stars, "number of stars")
    columns: dict[str, F4 | F8] = {"PSF_MASK": psf.basis[np.newaxis]}
    if psf.flux_variance is not None:
        columns["FLUX_VARIANCE"] = psf.flux_variance[np.newaxis]
    return columns, header


def psf_from_table(columns: Catalog, header: Header) -> Psf:
    """Return the model of a PSF_DATA table that `psf_table` made.

    Raises
    ------
    ImageError
        A card or the column is missing or contradicts the others.
    """

    def number(keyword: str) -> float:
        value = header.get(keyword)
        if keyword not in header or isinstance(value, str | bool):
            raise ImageError(f"PSF_DATA: card {keyword} is missing or no number")
        return math.nan if value is None else float(value)

    degree = int(number("SKYPSFDG"))
    shape = tuple(int(number(f"PSFAXIS{k}")) for k in (3, 2, 1))
    basis = columns.columns.get("PSF_MASK")
    if basis is None or basis.size != math.prod(shape):
        raise ImageError("PSF_DATA: PSF_MASK does not have the size that the cards say")
    if shape[0] != (degree + 1) * (degree + 2) // 2:
        raise ImageError(f"PSF_DATA: {shape[0]} terms are no polynomial of degree {degree}")
    variance = columns.columns.get("FLUX_VARIANCE")
    if variance is not None and variance.size != shape[0] ** 2:
        raise ImageError("PSF_DATA: FLUX_VARIANCE does not have the size that the cards say")
    source = str(header.get("PSFSRC") or "FILE")
    if source not in PsfSource.__members__:
        raise ImageError(f"PSF_DATA: PSFSRC = {source} is none of {', '.join(PsfSource)}")
    return Psf(
        basis=np.ascontiguousarray(basis.reshape(shape), np.float32),
        degree=degree,
        source=PsfSource(source),
        n_stars=int(number("SKYPSFN")),
        position_error=number("SKYPSFXE") if "SKYPSFXE" in header else 0.0,
        light_error=number("SKYPSFLE") if "SKYPSFLE" in header else 0.0,
        flux_variance=(
            None
            if variance is None
            else np.ascontiguousarray(variance.reshape(shape[0], shape[0]), np.float64)
        ),
        **{name: number(keyword) for keyword, name in _EXACT.items()},
    )
