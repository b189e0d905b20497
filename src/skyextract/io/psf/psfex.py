"""PSF models in PSFEx's `.psf` format, as SExtractor reads them.

One binary table PSF_DATA per image extension, one row, column PSF_MASK with the samples of
every polynomial term; the polynomial and the sampling are in the header (PSFEx manual,
"Output files").  Models merged into one table, a row per detector and the header cards as
columns, as legacypipe writes them, are read as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import Cards, Header, extend_missing, set_cards
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.datamodel.psfshape import core_ellipticity, effective_fwhm
from skyextract.errors import ImageError, StepError
from skyextract.io.atomic import OpenOutput, atomic_output
from skyextract.io.fits.file import FitsFile, HeaderUnit, side_file
from skyextract.io.fits.rows import read_table
from skyextract.io.fits.table import table_unit
from skyextract.io.fits.writer import Unit, primary_unit, write_units
from skyextract.run import Run

_HIGHEST_DEGREE = 12
_MAX_FIELDS = 999
_SAMPLINGS = (0.01, 100.0)
_WIDEST = 1000
"""Pixels; memory and time grow as the square."""
_CONTEXTS = (
    {"X_IMAGE", "XWIN_IMAGE", "XPSF_IMAGE"},
    {"Y_IMAGE", "YWIN_IMAGE", "YPSF_IMAGE"},
)


def psf_header(psf: Psf) -> Header:
    """Return the cards that describe a PSF; positions are FITS pixels, as in PSFEx."""
    cards: dict[str, object] = {
        "LOADED": (psf.n_stars, "Number of loaded sources"),
        "ACCEPTED": (psf.n_stars, "Number of accepted sources"),
        "CHI2": (psf.chi2 if math.isfinite(psf.chi2) else 0.0, "Median reduced chi2"),
        "POLNAXIS": (2 if psf.degree else 0, "Number of context parameters"),
    }
    if psf.degree:
        axes = (("X_IMAGE", psf.x_zero, psf.x_scale), ("Y_IMAGE", psf.y_zero, psf.y_scale))
        for k, (name, zero, scale) in enumerate(axes, start=1):
            cards[f"POLGRP{k}"] = (1, "Polynom group for this context parameter")
            cards[f"POLNAME{k}"] = (name, "Name of this context parameter")
            cards[f"POLZERO{k}"] = (zero + 1.0, "Offset value for this context parameter")
            cards[f"POLSCAL{k}"] = (scale, "Scale value for this context parameter")
    cards["POLNGRP"] = (1 if psf.degree else 0, "Number of context groups")
    if psf.degree:
        cards["POLDEG1"] = (psf.degree, "Polynom degree for this context group")
    n_terms, n_y, n_x = psf.basis.shape
    cards |= {
        "PSF_FWHM": (float(psf.fwhm), "PSF FWHM in image pixels"),
        "PSF_SAMP": (float(psf.sampling), "Sampling step of the PSF data in image pixels"),
        "PSFNAXIS": (3, "Dimensionality of the PSF data"),
        "PSFAXIS1": (n_x, "Number of element along this axis"),
        "PSFAXIS2": (n_y, "Number of element along this axis"),
        "PSFAXIS3": (n_terms, "Number of element along this axis"),
        "PSF_ELLI": (float(psf.ellipticity), "1 - B/A of the core"),
        "PSFSRC": (psf.source.value, "MEASURED, FILE or DEFAULT"),
    }
    return set_cards(Header(), cards)


def psf_unit(psf: Psf, cards: Header | None = None, *, version: int = 0) -> Unit:
    """Return a PSF as a header unit PSF_DATA.

    Parameters
    ----------
    psf : Psf
    cards : Header, optional
        Further cards.
    version : int
        EXTVER, if given.
    """
    header = psf_header(psf)
    if cards is not None:
        extend_missing(header, cards)
    samples = np.asarray(psf.basis, dtype=np.float32)[None]
    return table_unit({"PSF_MASK": samples}, header, name="PSF_DATA", version=version)


def write_psf(
    path: str,
    psfs: Sequence[Psf],
    cards: Cards | None = None,
    open_output: OpenOutput = atomic_output,
) -> None:
    """Write a `.psf` file: one header unit per image extension, `cards` in the primary one.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with open_output(path) as stream:
        primary = primary_unit()
        set_cards(primary.header, cards or {})
        write_units(stream, [primary, *map(psf_unit, psfs)])


def psf_from_unit(file: FitsFile, unit: HeaderUnit) -> list[Psf]:
    """Read the PSFs of a header unit: one, or one per row of a merged table.

    Returns
    -------
    list of Psf
        Source FILE, or what the card PSFSRC says.

    Raises
    ------
    ImageError
        No PSF, or one that depends on more than the position.
    """
    table = read_table(file, unit)
    names = {name.upper(): name for name in table}
    if "PSF_MASK" not in names or table.n_rows == 0:
        raise ImageError(f"{file.path}: no PSF_MASK column: not a PSFEx model")
    psfs = []
    for row in range(table.n_rows):
        cards: Mapping[str, Any] = (
            _row_cards(table, row) if "PSF_SAMP" in names else dict(unit.header)
        )
        try:
            psfs.append(_psf(np.asarray(table[names["PSF_MASK"]][row]), cards))
        except (ImageError, StepError) as error:
            raise ImageError(f"{file.path}: {error}") from None
    return psfs


def read_psfs(path: str, run: Run) -> list[Psf]:
    """Read all PSFs of a `.psf` file, in order.

    Returns
    -------
    list of Psf
        Source FILE; DEFAULT where a guess stands in for a model, as PSFSRC says.

    Raises
    ------
    ImageError
        Missing or damaged file, or none that can be read as a PSFEx model.
    """
    with side_file(path) as file:
        run.note_opened(path)
        psfs = [
            psf if psf.source is PsfSource.DEFAULT else replace(psf, source=PsfSource.FILE)
            for unit in file.units
            if unit.kind == "BINTABLE" and (unit.name == "PSF_DATA" or "TFIELDS" in unit.header)
            if _has_psf(unit.header)
            for psf in psf_from_unit(file, unit)
        ]
    if not psfs:
        raise ImageError(f"{path}: no PSF in it: not a PSFEx model")
    return psfs


def psf_for_extension(psfs: Sequence[Psf], position: int, path: str = "") -> Psf:
    """Return the PSF of the image extension at `position` (0 is the first image).

    A single PSF serves all extensions.

    Raises
    ------
    ImageError
        Several PSFs, but none for this extension.
    """
    if len(psfs) == 1:
        return psfs[0]
    if position >= len(psfs):
        raise ImageError(f"{path}: {len(psfs)} PSFs, none for image extension {position + 1}")
    return psfs[position]


def _has_psf(header: Header) -> bool:
    given = header.get("TFIELDS")
    n_fields = given if isinstance(given, int) else 0
    return any(
        str(header.get(f"TTYPE{k}") or "").strip().upper() == "PSF_MASK"
        for k in range(1, min(n_fields, _MAX_FIELDS) + 1)
    )


def _row_cards(table: Catalog, row: int) -> dict[str, Any]:
    """Cards of a merged table: scalar columns, lower case there."""
    cards = {}
    for name, values in table.items():
        if values.ndim == 1:
            value = values[row]
            cards[name.upper()] = str(value) if values.dtype.kind in "US" else value.item()
    return cards


def _number(cards: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = cards.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ImageError(f"card {name} of the PSF model is missing or no number")
    return float(value)


def _polynomial(cards: Mapping[str, Any]) -> tuple[int, list[float], list[float]]:
    """Return the degree of the polynomial in x and y, and zero points (0-based) and scales."""
    n_axes = int(_number(cards, "POLNAXIS", 0))
    degree = int(_number(cards, "POLDEG1", 0)) if n_axes else 0
    zero, scale = [0.0, 0.0], [1.0, 1.0]
    if degree:
        if n_axes != 2 or int(_number(cards, "POLNGRP", 1)) != 1:
            raise ImageError("a PSF model must be a polynomial in X_IMAGE and Y_IMAGE, one group")
        for k in range(2):
            name = str(cards.get(f"POLNAME{k + 1}", "")).strip()
            if name not in _CONTEXTS[k]:
                raise ImageError(f"the PSF model depends on {name}; only X_IMAGE, Y_IMAGE can be")
            zero[k] = _number(cards, f"POLZERO{k + 1}") - 1.0
            scale[k] = _number(cards, f"POLSCAL{k + 1}")
    if not 0 <= degree <= _HIGHEST_DEGREE:
        raise ImageError(f"POLDEG1 = {degree} of the PSF model: must be 0 to {_HIGHEST_DEGREE}")
    return degree, zero, scale


def _basis(
    samples: np.ndarray[Any, Any], cards: Mapping[str, Any], degree: int, sampling: float
) -> F8:
    """Return the images of the polynomial's terms, of odd sides, (n_terms, n, m)."""
    n_terms = (degree + 1) * (degree + 2) // 2
    if samples.ndim == 1:
        n_x, n_y = int(_number(cards, "PSFAXIS1")), int(_number(cards, "PSFAXIS2"))
        if samples.size != n_terms * n_x * n_y:
            raise ImageError("PSFAXISn do not fit to the samples of the PSF model")
        samples = samples.reshape(n_terms, n_y, n_x)
    elif samples.ndim == 2:
        samples = samples[None]
    if samples.ndim != 3 or samples.shape[0] < n_terms or min(samples.shape[1:]) < 3:
        raise ImageError(f"PSF model of shape {samples.shape} for a polynomial of degree {degree}")
    width = max(samples.shape[1:]) * sampling
    if width > _WIDEST:
        raise ImageError(f"a PSF model {width:.0f} pixels wide: at most {_WIDEST} can be used")
    basis = np.asarray(samples[:n_terms], dtype=np.float64)
    # The centre is sample n // 2; an even side gets a further line.
    return np.pad(basis, ((0, 0), *((0, 1 - side % 2) for side in basis.shape[1:])))


def _psf(samples: np.ndarray[Any, Any], cards: Mapping[str, Any]) -> Psf:
    degree, zero, scale = _polynomial(cards)
    sampling = _number(cards, "PSF_SAMP")
    if not _SAMPLINGS[0] <= sampling <= _SAMPLINGS[1]:
        raise ImageError(f"PSF_SAMP = {sampling:g} of the PSF model: must be 0.01 to 100 pixels")
    basis = _basis(samples, cards, degree, sampling)
    total = float(basis[0].sum()) * sampling**2
    if not (np.isfinite(basis).all() and total > 0 and sampling > 0 and min(map(abs, scale)) > 0):
        raise ImageError("the PSF model has no finite positive sum, sampling or scale")
    own = "PSF_ELLI" in cards
    if not own:
        basis /= total
    source = str(cards.get("PSFSRC", "FILE"))
    fwhm = _number(cards, "PSF_FWHM") if own else effective_fwhm(basis[0], sampling)
    if not 0.0 < fwhm <= sampling * max(basis.shape[1:]):
        raise ImageError(f"a FWHM of {fwhm:g} pixels does not fit into the PSF model")
    return Psf(
        basis=np.ascontiguousarray(basis, dtype=np.float32),
        sampling=sampling,
        degree=degree,
        x_zero=zero[0],
        x_scale=scale[0],
        y_zero=zero[1],
        y_scale=scale[1],
        # PSFEx's PSF_FWHM is that of the sources it selected, not of the model.
        fwhm=fwhm,
        ellipticity=_number(cards, "PSF_ELLI") if own else core_ellipticity(basis[0]),
        source=PsfSource(source) if source in set(PsfSource) else PsfSource.FILE,
        n_stars=int(_number(cards, "ACCEPTED", 0)),
        chi2=_number(cards, "CHI2", 0.0),
        file_sum=1.0 if own else total,
    )
