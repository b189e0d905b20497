"""The cards of a WCS as headers have them, made into standard ones."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from skyextract.errors import ImageError
from skyextract.sky.iraf import standard_cards

_PARTNER = {"DEC": "RA", "GLAT": "GLON", "ELAT": "ELON", "SLAT": "SLON"}
_PROJECTIONS = (
    "AZP SZP TAN TPV TPD TNX ZPX DSS STG SIN ARC ZPN ZEA AIR CYP CEA CAR MER COP COE COD COO SFL"
    " PAR MOL AIT BON PCO TSC CSC QSC HPX XPH GLS NCP"
)
"""Those of Calabretta & Greisen 2002 and of their conventions; GLS and NCP are of AIPS."""

_NO_STARS = re.compile(rf"([A-Z](LON|LAT)|[A-Z]{{2}}L[NT])-({_PROJECTIONS.replace(' ', '|')})\b")
"""Axes on a sphere that is not the sky of the stars: the Sun's or a planet's surface, or the sky
turned with the Sun."""


_DASHES = re.compile(r"[-_\s]+")
_CD_KEY, _PV_KEY = re.compile(r"CD\d_\d"), re.compile(r"PV\d")
_OTHER_KEY = re.compile(r"(PC\d|CDELT|CROTA)")
_WCS_KEY = re.compile(
    r"(WCSAXES|CTYPE\d|CRVAL\d|CRPIX\d|CDELT\d|CROTA\d|CUNIT\d|CD\d_\d|PC\d_\d|PC00\d00\d"
    r"|P[VS]\d_\d+|LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX|EPOCH|WCSDIM|WAT\d_\d{3}"
    r"|[AB]P?_(ORDER|\d+_\d+)|[AB]_DMAX|CPDIS\d|CQDIS\d|D2IMDIS\d)$"
)

_NUMERIC_KEY = re.compile(r"(CRVAL|CRPIX|CDELT|CROTA|CD\d_|PC\d|PV\d_|LONPOLE|LATPOLE|[AB]P?_)")


_PLATE_KEY = re.compile(
    r"(PLTRA[HMS]|PLTDECSN|PLTDEC[DMS]|PLTSCALE|CNPIX[12]|[XY]PIXELSZ|PPO[1-6]|AMD[XY]\d{1,2})$"
)
"""The plate solution of the Digitized Sky Survey, which wcslib knows."""


def is_wcs_keyword(keyword: str) -> bool:
    """Whether a card belongs to the primary celestial WCS of an image."""
    return _WCS_KEY.match(keyword) is not None


def _plate_cards(header: Any) -> dict[str, Any] | None:
    """Return the plate solution of a scanned plate that has no other WCS; None if it has none."""
    cards = {key: header[key] for key in header if _PLATE_KEY.match(key)}
    needed = {"PLTRAH", "PLTDECD", "CNPIX1", "CNPIX2", "XPIXELSZ", "YPIXELSZ", "PPO3", "PPO6",
              "AMDX1", "AMDX2", "AMDY1", "AMDY2"}  # fmt: skip
    if not needed <= set(cards):
        return None
    return cards | {"EQUINOX": header.get("EQUINOX") or 2000.0}


def wcs_cards(header: Any) -> dict[str, Any]:
    """Return the cards of the primary WCS that have a value."""
    found: dict[str, Any] = {}
    for keyword in header:
        if is_wcs_keyword(keyword) and keyword not in found and header[keyword] is not None:
            found[keyword] = header[keyword]
    return found


def _numbers(cards: dict[str, Any]) -> dict[str, Any]:
    """Return the cards with numbers that were written as text read as numbers."""
    checked = dict(cards)
    for keyword, value in cards.items():
        if not _NUMERIC_KEY.match(keyword):
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise ImageError(f"WCS card {keyword} = {value} is no number")
        if isinstance(value, str):
            checked[keyword] = number
    return checked


def read_cards(header: Any) -> tuple[dict[str, Any], list[str]] | None:
    """Return the standard cards of the celestial WCS of a header, and what was decided.

    - CTYPE in any case, with too few or too many dashes.
    - A CD matrix wins over PC, CDELT and CROTA beside it: programs that solve a frame write
      CD and forget the others.
    - TAN with SCAMP's PV coefficients becomes TPV, and TPV without any becomes TAN, as in
      SCAMP; PV coefficients that are no distortion are left out.  Missing ones among others
      are 0 for wcslib and for SCAMP, PVi_1 too.
    - IRAF's TNX and ZPX become TPV and ZPN-SIP.
    - An EPOCH that is no equinox is a date.
    - A scanned plate without CTYPE has the solution of the Digitized Sky Survey.

    Returns
    -------
    (dict, list of str) or None
        None if there are no celestial axes.

    Raises
    ------
    ImageError
        A WCS that is incomplete, contradictory or singular.
    """
    axes = [_axis_type(header.get(f"CTYPE{i}")) for i in range(1, 10)]
    if not any(axis[:4].rstrip("-") in _PARTNER and axis[4:5] == "-" for axis in axes):
        plate = _plate_cards(header)
        if plate is None and any(map(_NO_STARS.match, axes)):
            names = " and ".join(filter(None, axes[:2]))
            raise ImageError(f"WCS with the axes {names}, which are no frame of the stars")
        return (
            None
            if plate is None
            else (plate, ["the WCS is the solution of the plate (AMDX, AMDY)"])
        )
    cards = _numbers(wcs_cards(header))
    cards.update({f"CTYPE{i}": axis for i, axis in enumerate(axes, 1) if f"CTYPE{i}" in cards})
    notes: list[str] = []
    _one_matrix(cards, notes)
    _check_complete(cards, axes)
    kinds = {axis[4:] for axis in axes[:2]}
    if kinds == {"-TAN"} and "A_ORDER" not in cards and _has_scamp_pv(cards):
        if _is_distortion(cards):
            _rename(cards, axes, "-TPV")
        else:
            notes.append("the PV cards of the TAN projection are no distortion: not used")
            for key in [key for key in cards if _PV_KEY.match(key)]:
                del cards[key]
    elif kinds == {"-TPV"} and not any(key.startswith("PV") for key in cards):
        _rename(cards, axes, "-TAN")
    elif kinds in ({"-TNX"}, {"-ZPX"}):
        _from_iraf(cards, header, axes)
    _mend_epoch(cards, notes)
    return cards, notes


def _axis_type(value: Any) -> str:
    """Return CTYPE in capitals; of a celestial axis with the dashes at their places."""
    text = str(value or "").strip().upper()
    name, *rest = [word for word in _DASHES.split(text) if word] or [""]
    if name not in (*_PARTNER, *_PARTNER.values()) or not rest or rest[0] not in _PROJECTIONS:
        return text
    return "-".join([name.ljust(4, "-"), *rest[:1]]) + "".join(f"-{word}" for word in rest[1:])


def _rename(cards: dict[str, Any], axes: Sequence[str], projection: str) -> None:
    cards.update({f"CTYPE{i}": axes[i - 1][:4] + projection for i in (1, 2)})


def _one_matrix(cards: dict[str, Any], notes: list[str]) -> None:
    """Remove what stands beside a CD matrix and says something else."""
    if not any(_CD_KEY.match(key) for key in cards):
        return
    others = [key for key in cards if _OTHER_KEY.match(key)]
    matrix = any(key.startswith("PC") for key in others)
    for key in others:
        del cards[key]
    if matrix:
        notes.append("a CD matrix beside PC and CDELT: the CD matrix is used")


def _is_distortion(cards: Mapping[str, Any]) -> bool:
    """Tell whether PV cards describe a TPV: the linear terms of both axes are there."""
    return all(cards.get(f"PV{axis}_1", 0.0) != 0.0 for axis in (1, 2))


def _from_iraf(cards: dict[str, Any], header: Any, axes: Sequence[str]) -> None:
    """Replace the WAT cards of TNX and ZPX."""
    _to_cd(cards)
    lat = 1 if axes[0][:4].rstrip("-") in _PARTNER else 2
    kind = axes[0][5:8]
    try:
        cards.update(
            standard_cards(
                header | cards if isinstance(header, dict) else {**dict(header), **cards},
                3 - lat,
                lat,
                kind,
            )
        )
    except (ValueError, OverflowError) as error:
        raise ImageError(f"WCS of IRAF's {kind} with {error}, which is not supported") from None
    for key in [key for key in cards if key.startswith("WAT")]:
        del cards[key]


def _to_cd(cards: dict[str, Any]) -> None:
    """Write the linear part as a CD matrix."""
    if any(_CD_KEY.match(key) for key in cards):
        return
    steps = [float(cards.get(f"CDELT{i}", 1.0)) for i in (1, 2)]
    angle = math.radians(float(cards.get("CROTA2", 0.0)))
    pc = {(1, 1): math.cos(angle), (1, 2): -math.sin(angle) * steps[1] / steps[0],
          (2, 1): math.sin(angle) * steps[0] / steps[1], (2, 2): math.cos(angle)}  # fmt: skip
    given = any(key.startswith("PC") for key in cards)
    for (i, j), turned in pc.items():
        value = float(cards.get(f"PC{i}_{j}", float(i == j))) if given else turned
        cards[f"CD{i}_{j}"] = steps[i - 1] * value
    for key in [key for key in cards if _OTHER_KEY.match(key)]:
        del cards[key]


def _mend_epoch(cards: dict[str, Any], notes: list[str]) -> None:
    """Take an EPOCH that is no equinox for the date that it is: the frame then is ICRS.

    Equinoxes of catalogues are 1950, 2000 and round years before; EPOCH (deprecated) = 2023.45
    is the date of the exposure.
    """
    if "EPOCH" not in cards or "EQUINOX" in cards or "RADESYS" in cards or "RADECSYS" in cards:
        return
    year = re.search(r"\d+\.?\d*", str(cards["EPOCH"]))
    if year is None or float(year[0]) <= 2000.0 or float(year[0]) > 2500.0:
        return
    notes.append(f"EPOCH = {cards['EPOCH']} is a date, no equinox: the frame is taken as ICRS")
    del cards["EPOCH"]
    cards["RADESYS"] = "ICRS"


def _has_scamp_pv(cards: Mapping[str, Any]) -> bool:
    """Whether PV cards of a TAN header are SCAMP's old way to say TPV.

    A real TAN projection has no parameters on its latitude axis; on the longitude axis it may
    have PV1_0..PV1_4 (native reference point and pole), which SCAMP always writes with PV2.
    """
    return any(key.startswith("PV2_") for key in cards)


def _check_complete(cards: Mapping[str, Any], axes: Sequence[str]) -> None:
    kinds = {axis[:4].rstrip("-"): axis[5:8] for axis in axes if axis[4:5] == "-"}
    latitude = next(kind for kind in kinds if kind in _PARTNER)
    if kinds.get(_PARTNER[latitude]) != kinds[latitude]:
        raise ImageError(f"WCS without a pair of celestial axes ({' '.join(filter(None, axes))})")
    if kinds[latitude] not in _PROJECTIONS:
        raise ImageError(f"WCS with the unknown projection {kinds[latitude]}")
    missing = [key for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2") if key not in cards]
    if missing:
        raise ImageError(f"WCS without {' '.join(missing)}")
    if not any(key.startswith(("CD", "PC")) for key in cards):
        raise ImageError("WCS without CD matrix or CDELT: the pixel scale is unknown")
    keys = [f"CD{i}_{j}" for i in (1, 2) for j in (1, 2)]
    cd = [cards.get(key, 0.0) for key in keys]
    if any(key in cards for key in keys) and cd[0] * cd[3] == cd[1] * cd[2]:
        raise ImageError("WCS with a singular CD matrix")
    if 0.0 in (cards.get("CDELT1"), cards.get("CDELT2")) and not set(keys) & set(cards):
        raise ImageError("WCS with CDELT = 0")
    if any(key.startswith(("CPDIS", "CQDIS", "D2IMDIS")) for key in cards):
        raise ImageError("WCS with a distortion table (CPDIS, D2IMDIS), which is not supported")
