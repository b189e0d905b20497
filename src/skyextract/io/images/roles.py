"""What the images of a file are to each other, as their names and cards say.

Names are those of HST and JWST (SCI, ERR, DQ, WHT ...), BANZAI (SCI, BPM, ERR, CAT), DES (SCI,
MSK, WGT), DRAGONS (SCI, VAR, DQ), Euclid (name.SCI, name.RMS, name.FLG), LSST (IMAGE, MASK,
VARIANCE, as EXTNAME or as EXTTYPE), the Legacy Survey (INVVAR, MASKBITS), MUSE (DATA, STAT),
CASU (confidence maps), WISE and Spitzer (UNC, COV) and astropy's CCDData (MASK, UNCERT with
UTYPE).  ESO's files say it by cards: HDUCLAS2 (DATA, ERROR,
QUALITY), HDUCLAS3 (MSE, RMSE, INVMSE, INVRMSE; MASKZERO, MASKONE, FLAG32BIT ...), and by name
what belongs to what: ERRDATA and QUALDATA of an image, SCIDATA of its planes (ESO Science Data
Products Standard; Data Interface Control Document).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum

from skyextract.io.fits.file import HeaderUnit
from skyextract.messages import quiet


class Role(StrEnum):
    """What an image extension is."""

    IMAGE = "image"
    ERROR = "error"
    VARIANCE = "variance"
    WEIGHT = "weight"
    MASK = "mask"
    OTHER = "other"
    """Something about an image that is not used: exposure times, contexts, samples."""


_NAMES = {
    Role.IMAGE: ("SCI", "IMAGE", "SCIENCE", "DATA", "PRIMARY", "COMPRESSED_IMAGE", ""),
    Role.ERROR: (
        "ERR", "ERROR", "RMS", "UNC", "UNCERT", "UNCERTAINTY", "SIGMA", "STD", "STDEV", "STDDEV",
    ),
    Role.VARIANCE: ("VAR", "VARIANCE"),
    Role.WEIGHT: ("WHT", "WGT", "WEIGHT", "INVVAR", "IVAR", "CONF", "CONFIDENCE"),
    Role.MASK: ("DQ", "MASK", "MSK", "BPM", "FLG", "FLAGS", "BADPIX", "QUAL", "QUALITY"),
    Role.OTHER: (
        "SAMP", "TIME", "CON", "CTX", "EXP", "AREA", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "CAT",
        "OBJMASK", "BKG", "BACKGROUND", "CROSSTALK", "WEIGHTS", "NOISE", "PSF", "WAVELENGTH",
        "SKY", "MASKBITS", "NEXP", "EXPMAP", "STAT", "EXPTIME", "EXPOSURE", "COVERAGE", "COV",
        "NCOMBINE", "NIMAGES", "CHI2", "SEG", "SEGM", "SEGMAP", "SEGMENTATION", "THUMBNAIL",
        "THUMB", "PREVIEW", "QUICKLOOK",
    ),
}  # fmt: skip
_ROLE = {name: role for role, names in _NAMES.items() for name in names}
_PREFIXED = re.compile(r"(.+)[._](SCI|RMS|FLG|ERR|VAR|DQ|WHT|MASK|BKG)$")
_UNCERTAINTIES = {
    "STDDEVUNCERTAINTY": Role.ERROR, "STD": Role.ERROR, "VARIANCEUNCERTAINTY": Role.VARIANCE,
    "VAR": Role.VARIANCE, "INVERSEVARIANCE": Role.WEIGHT, "IVAR": Role.WEIGHT,
}  # fmt: skip
_ESO_ERRORS = {
    "MSE": Role.VARIANCE, "RMSE": Role.ERROR, "INVMSE": Role.WEIGHT, "INVRMSE": Role.WEIGHT,
}  # fmt: skip
INVERSE_ERROR = "INVRMSE"
"""HDUCLAS3 of a plane whose square is a weight."""
_SQUARED = ("**2", "^2", "2")


def card_text(unit: HeaderUnit, keyword: str) -> str:
    """Return a card as text in capitals; empty without it."""
    return str(unit.header.get(keyword) or "").strip().upper()


def kinds_of(units: Sequence[HeaderUnit]) -> list[tuple[str, Role | None]]:
    """Return the name of the set that each image belongs to, and its role; None: not named.

    Parameters
    ----------
    units : sequence of HeaderUnit
        The images of a file.
    """
    kinds = [_kind(unit) for unit in units]
    named = {_name(unit): k for k, unit in reversed(list(enumerate(units))) if _name(unit)}
    for unit in units:
        for keyword in ("ERRDATA", "QUALDATA"):
            k = named.get(card_text(unit, keyword))
            if k is None or units[k] is unit or kinds[k][1] not in (None, Role.OTHER):
                continue
            kinds[k] = "", _error(units[k]) if keyword == "ERRDATA" else Role.MASK
    images = [unit for unit in units if _name(unit) == "DATA"]
    for k, unit in enumerate(units):
        if _name(unit) == "STAT" and any(_is_square(unit, image) for image in images):
            kinds[k] = kinds[k][0], Role.VARIANCE
    return kinds


def named_owner(units: Sequence[HeaderUnit], plane: HeaderUnit) -> int | None:
    """Return which image a plane belongs to by the cards SCIDATA, ERRDATA and QUALDATA.

    Parameters
    ----------
    units : sequence of HeaderUnit
        The images of a file.
    plane : HeaderUnit
        One of them.
    """
    own, image = _name(plane), card_text(plane, "SCIDATA")
    for k, unit in enumerate(units):
        if unit is plane or unit.shape[:2] != plane.shape[:2]:
            continue
        if image and _name(unit) == image:
            return k
        if own and own in (card_text(unit, "ERRDATA"), card_text(unit, "QUALDATA")):
            return k
    return None


def _kind(unit: HeaderUnit) -> tuple[str, Role | None]:
    eso = _eso_role(unit)
    if eso is not None:
        return "", eso
    name = _name(unit)
    prefixed = _PREFIXED.match(name)
    if name not in _ROLE and prefixed:
        return prefixed[1], _ROLE[prefixed[2]]
    return "", _UNCERTAINTIES.get(card_text(unit, "UTYPE"), _ROLE.get(name))


def _name(unit: HeaderUnit) -> str:
    return unit.name or card_text(unit, "EXTTYPE")


def _eso_role(unit: HeaderUnit) -> Role | None:
    """Return what the cards of ESO's convention say; None without them."""
    if card_text(unit, "HDUCLASS") != "ESO":
        return None
    what = card_text(unit, "HDUCLAS2")
    if what == "ERROR":
        return _ESO_ERRORS.get(card_text(unit, "HDUCLAS3")) or _error(unit)
    return {"DATA": Role.IMAGE, "QUALITY": Role.MASK}.get(what)


def _error(unit: HeaderUnit) -> Role:
    """Return which kind of errors a plane has that is known to have some."""
    role = _ROLE.get(_name(unit))
    if role in (Role.VARIANCE, Role.WEIGHT):
        return role
    return Role.VARIANCE if _name(unit) == "STAT" else Role.ERROR


def _is_square(unit: HeaderUnit, of: HeaderUnit) -> bool:
    """Tell whether the BUNIT of a plane is the square of that of an image."""
    texts = [re.sub(r"\s", "", card_text(x, "BUNIT")) for x in (unit, of)]
    if not all(texts):
        return False
    if texts[0] in {f"{x}{power}" for x in (texts[1], f"({texts[1]})") for power in _SQUARED}:
        return True
    from astropy.units import Unit

    with suppress(ValueError), quiet():
        own, image = (Unit(str(x.header["BUNIT"])) for x in (unit, of))
        return bool((own / image**2).is_equivalent(""))
    return False
