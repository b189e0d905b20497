"""Which magnitude of a reference catalogue belongs to the filter of a frame.

Names of columns as in the archives and VizieR tables of SDSS, PS1, Gaia, 2MASS, APASS and
Tycho-2; names of filters as cameras write them into headers.  A band is a passband of one
photometric system: Sloan-like u g r i z y (AB), Johnson-Cousins U B V R I, J H Ks,
Gaia G BP RP and Tycho BT VT (Vega).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from skyextract.errors import StepError
from skyextract.record import record

AB_BANDS = frozenset("ugrizy")

COLORS: dict[str, tuple[str, str]] = {
    "u": ("u", "g"), "g": ("g", "r"), "r": ("g", "r"), "i": ("r", "i"), "z": ("i", "z"),
    "y": ("z", "y"), "G": ("BP", "RP"), "BP": ("BP", "RP"), "RP": ("BP", "RP"),
    "U": ("U", "B"), "B": ("B", "V"), "V": ("B", "V"), "R": ("V", "R"), "I": ("V", "I"),
    "J": ("J", "Ks"), "H": ("J", "Ks"), "Ks": ("J", "Ks"), "BT": ("BT", "VT"), "VT": ("BT", "VT"),
}  # fmt: skip
"""The colour that goes with a band when COLOR_TERM is FIT and no columns are named."""

FILTER_KEYS = (
    "FILTER", "FILTNAM", "FILTNAME", "FILTERID", "FILTER1", "FILTER2", "FILTER3", "FILTER01",
    "INSFLNAM", "ESO INS FILT1 NAME", "ESO INS FILT2 NAME", "FILTERS", "BAND", "FILT", "WFFBAND",
    "ALFLTNM", "FAFLTNM", "FBFLTNM",
)  # fmt: skip

_OPEN = re.compile(
    r"(?i)(|air|blank|clear?|clear\d*[ls]?|empty|free|lum(inance)?|l|no(ne)?|open\d*(-\d+)?|unknown"
    r"|no[ _]filter"
    r"|.*-clear)$"
)
_SLOAN = r"(?:sdss|sloan|ps1?|pan-?starrs1?|apass|decam|des|lsst|ztf|hsc|sky_?mapper|refcat2?)"
_JOHNSON = r"(?:johnson|bessell?|cousins|kron|landolt|stetson|jkc|jc)"
_COLUMNS: tuple[tuple[str, str, int], ...] = (
    # pattern of the name (`_` stands for any of blank _ . and -), band ({}: the group), and
    # rank: of several columns of a band the lowest is taken
    (r"(?:wavg_)?(?:psf_?mag|mag_psf)_?([ugrizy])", "{}", 0),
    (r"([ugrizy])_?psf_?mag|([ugrizy])'?_?mag_?psf", "{}", 0),
    (r"([ugrizy])_?psf_?flux", "{}", 0),
    (r"([ugrizy])_?(?:c?model|cal)?_?flux|flux_([ugrizy])", "{}", 2),
    (r"([grizy])meanpsfmag", "{}", 0),
    (r"([ugrizy])'?(?:_?psf)?", "{}", 1),
    (r"([ugrizy])'?_?_?mag", "{}", 1),
    (rf"mag_?(?:{_SLOAN}_?)?([ugrizy])'?", "{}", 1),
    (rf"{_SLOAN}_?([ugrizy])'?(?:_?(?:psf_?)?mag)?", "{}", 1),
    (rf"([ugrizy])'?_?{_SLOAN}(?:_?(?:psf_?)?mag)?", "{}", 1),
    (r"c?model_?mag_?([ugriz])|([ugrizy])_?c?model_?mag", "{}", 2),
    (r"mag_?auto_?([ugrizy])", "{}", 2),
    (r"petro(?:sian)?_?mag_?([ugriz])|([ugriz])_?petro(?:mag)?", "{}", 3),
    (r"([grizy])meankronmag|([grizy])_?k(?:ron)?_?mag", "{}", 3),
    (
        r"([grizy])meanapmag|([ugrizy])_?ap(?:er)?_?mag|(?:mag_?aper|fiber_?mag)_?([ugrizy])",
        "{}",
        4,
    ),
    (r"phot_g_mean_mag", "G", 0),
    (r"phot_bp_mean_mag", "BP", 0),
    (r"phot_rp_mean_mag", "RP", 0),
    (r"gaia(?:_?g)?(?:_?mag)?|g_?gaia(?:_?mag)?", "G", 1),
    (r"(?:gaia_?g?_?)?bp(?:_?mag)?|g_?bp(?:_?mag)?", "BP", 1),
    (r"(?:gaia_?g?_?)?rp(?:_?mag)?|g_?rp(?:_?mag)?", "RP", 1),
    (r"bt_?(?:mag)?", "BT", 0),
    (r"vt_?(?:mag)?", "VT", 0),
    (rf"{_JOHNSON}_?([ubvri])c?(?:_?mag)?", "{upper}", 1),
    (rf"([ubvri])c?_?{_JOHNSON}(?:_?mag)?", "{upper}", 1),
    (r"(?:2mass_?|tm_?)?([jh])_?m(?:ag)?|2mass_?([jh])|([jh])_?2mass", "{upper}", 0),
    (r"(?:2mass_?|tm_?)?k_?s?_?m(?:ag)?|ks|2mass_?ks?|ks?_?2mass", "Ks", 0),
)
_CASED: tuple[tuple[str, str, int], ...] = (
    # These depend on upper and lower case.
    (r"G_?[Mm]ag|G_?MAG|G", "G", 1),
    (r"([UBVRI])_?[Mm]ag|([UBVRI])_?MAG|([UBVRI])", "{}", 1),
    (r"([RI])_?[cC](?:_?[Mm]ag|_?MAG)?", "{}", 1),
    (r"[Mm]ag_?([UBVRI])|MAG_([UBVRI])", "{}", 1),
    (r"S([UGRIZ])", "{lower}", 1),  # AAVSO's comparison stars
    (r"([ugriz])pmag", "{}", 2),  # VizieR's SDSS: PSF magnitudes; uPmag are Petrosian
    (r"([ugriz])Pmag", "{}", 3),
    (r"([JH])", "{}", 1),
    (r"K", "Ks", 1),
)
_PRIMES = re.compile("[\u2018\u2019\u2032\u02b9\u00b4`]|_?prime(?=_|mag|$)", re.IGNORECASE)
_SEPARATORS = re.compile(r"[ ._-]+")
_FILTERS: tuple[tuple[str, str], ...] = (
    (r"(?:sdss|sloan|ps1?|des|decam|hsc|lsst|lcogt?|sdt)[-_ .]*([ugrizy])'?(?:p|2)?", "{lower}"),
    (r"(?:pan-?starrs1?|ztf|sky_?mapper|apass)[-_ .]*([ugrizy])", "{lower}"),
    (r"([ugrizy])['_ .-]*(?:sdss|sloan|ps1?|des|decam|hsc|lsst)", "{lower}"),
    (r"(?:john(?:son)?|bessell?|cousins|kron|jc|bess?|harris|mould)[-_ .]*([ubvri])c?", "{upper}"),
    (r"([ubvri])[-_ .]*(?:john(?:son)?|bessell?|cousins|kron|jc|bess?|harris|mould)", "{upper}"),
    (r"odi_([ugriz])|w-s-([griz])\+", "{lower}"),  # WIYN, Suprime-Cam
    (r"w-[jc]-([ubvri])c?|([bvri])_special", "{upper}"),  # Suprime-Cam, FORS
    (r"bb#([ubvri])c?/\d+_eso\d+", "{upper}"),  # WFI
    (r"(?:2mass|mko)[-_ .]*([jh])", "{upper}"),
    (r"(?:2mass|mko)[-_ .]*ks?", "Ks"),
    (r"gaia[-_ .]*g", "G"),
    (r"gaia[-_ .]*(bp|rp)|g[-_ .]*(bp|rp)", "{upper}"),
)
_CASED_FILTERS: tuple[tuple[str, str], ...] = (
    (r"([ugrizUBVRI])#\d+", "{}"),  # EFOSC
    (r"([ugrizy])(?:'|p|2|_?prime|\.?00000|[._]MP\d+|_G\d+|\d)?", "{}"),
    (r"([UBVRI])[cjkJKC]?", "{}"),
    (r"zs", "z"),  # LCO
    (r"([JH])(?:_G\d+)?", "{}"),
    (r"K[s']?(?:_G\d+)?|Kshort(?:_G\d+)?", "Ks"),
    (r"(BP|RP|BT|VT)", "{}"),
)


class Cards(Protocol):
    """A header, or a mapping."""

    def get(self, keyword: str, /) -> object: ...  # noqa: D102


@record
class Band:
    """A magnitude column and its passband.

    Attributes
    ----------
    key : str
        Name of the column in the reference catalogue.
    name : str
        The band; empty if the column's name does not tell.
    system : str
        "AB", "Vega", or empty if unknown.
    """

    key: str
    name: str
    system: str


def card_text(value: object) -> str:
    """Return the text of a card: 2 of a filter wheel is "2"; nothing of one that has none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return value.strip() if isinstance(value, str) else ""


def frame_filter(header: Cards | None) -> str:
    """Return the name of the filter in a header, empty if there is none in the beam.

    A number is the place in a wheel: it is the name only where no card has a text.
    """
    cards = [] if header is None else [header.get(key) for key in FILTER_KEYS]
    names = [value for value in cards if isinstance(value, str)] or cards
    return next((text for text in map(card_text, names) if not _OPEN.fullmatch(text)), "")


def filter_band(name: str) -> str:
    """Return the band of a filter's name; empty if it is none of those known.

    A bare G is neither Sloan's g nor Gaia's G for certain, so that it is not known.
    """
    text = name.strip()
    # DECam writes "r DECam SDSS c0002 6415.0 1480.0": letter, camera, and more.
    words = text.split()
    for candidate in dict.fromkeys((text, " ".join(words[:2]), *words[:1])):
        for pattern, band in _FILTERS:
            if match := re.fullmatch(pattern, candidate, re.IGNORECASE):
                return _fill(band, match)
        for pattern, band in _CASED_FILTERS:
            if match := re.fullmatch(pattern, candidate):
                return _fill(band, match)
    return ""


def split_unit(name: str) -> tuple[str, str]:
    """Return a column's name without the unit that some tables write behind it, and the unit.

    ``g'mag (mag)``, ``RA [deg]``, ``raerr(")``.
    """
    match = re.fullmatch(r"\s*(.*?\S)\s*[(\[]([^()\[\]]*)[)\]]\s*", name)
    return (match[1], match[2].strip()) if match else (name.strip(), "")


def column_bands(names: Iterable[str]) -> dict[str, str]:
    """Return the band of each magnitude column whose name tells it, by column.

    Upper-case U G R I Z beside each other are Sloan's where nothing of Gaia or Johnson
    (BP, RP, B, V) stands with them, and a lower-case g beside BP and RP alone is Gaia's.
    """
    names = list(names)
    bands = {name: _ranked(name)[0] for name in names}
    upper = {band for band in bands.values() if band in {"G", "U", "R", "I", "B", "V", "BP", "RP"}}
    if {"BP", "RP"} <= upper and not {"G", "r", "i"} & set(bands.values()):
        bands |= dict.fromkeys((name for name in names if _plain_name(name) == "g"), "G")
    shouted = "G" in upper and not upper & {"B", "V", "BP", "RP"} and upper & {"U", "R", "I"}
    return {
        name: band.lower() if shouted and band in {"U", "G", "R", "I"} else band
        for name, band in bands.items()
        if band
    }


def resolve_band(filter_name: str, names: Iterable[str], key: str = "") -> Band:
    """Choose the magnitude column for a frame.

    Parameters
    ----------
    filter_name : str
        The frame's filter, see `frame_filter`.
    names : iterable of str
        Magnitude columns of the reference catalogue.
    key : str
        PHOTREF_MAG_KEY: the column, whatever the filter; empty to choose by the filter.

    Raises
    ------
    StepError
        The column does not exist, or the filter has none or more than one; lists the choices.
    """
    names = list(names)
    bands = column_bands(names)
    choices = f"the reference catalogue has: {' '.join(names) or 'no magnitudes'}"
    if key:
        found = [name for name in names if name == key] or [
            name for name in names if name.lower() == key.lower()
        ]
        if len(found) != 1:
            raise StepError(f"no magnitude column {key} (PHOTREF_MAG_KEY); {choices}")
        return _band(found[0], bands)
    hint = f"set PHOTREF_MAG_KEY; {choices}"
    if not filter_name:
        raise StepError(f"no FILTER card, or one without a band (Clear, L, none ...); {hint}")
    wanted = filter_band(filter_name)
    if not wanted:
        same = [name for name in names if _plain_name(name) == _plain_name(filter_name)]
        green = [name for name in names if bands.get(name) in {"g", "G", "V"}]
        if filter_name.strip() == "G" and {"B", "V"} & set(bands.values()) and green:
            # of a set of colours, beside Johnson's: the case of a letter tells nothing
            raise StepError(f"filter '{filter_name}' could be {' or '.join(green)}; {hint}")
        if len(same) == 1:
            return _band(same[0], bands)
        raise StepError(f"filter '{filter_name}' is not a known band; {hint}")
    matching = [name for name in names if bands.get(name) == wanted]
    if not matching:
        raise StepError(f"no magnitude for filter '{filter_name}' (band {wanted}); {hint}")
    best = min(_ranked(name)[1] for name in matching)
    matching = [name for name in matching if _ranked(name)[1] == best]
    if len(matching) > 1:
        raise StepError(f"filter '{filter_name}' could be {' or '.join(matching)}; {hint}")
    return _band(matching[0], bands)


def _plain_name(name: str) -> str:
    """Return the name of a filter or a magnitude without what names of columns add to it.

    `phot_g_mean_mag` is how Gaia's archive writes G.
    """
    plain = _SEPARATORS.sub("", split_unit(name)[0]).lower()
    return re.sub(r"^phot(?=.*meanmag$)|^mag|(?:mean)?mag$", "", plain)


def color_columns(band: str, names: Iterable[str]) -> tuple[str, str] | None:
    """Return the two columns of the usual colour of a band; None if one is missing."""
    bands = column_bands(names)
    pair = []
    for wanted in COLORS.get(band, ()):
        found = sorted((_ranked(name)[1], name) for name, b in bands.items() if b == wanted)
        if not found:
            return None
        pair.append(found[0][1])
    return (pair[0], pair[1]) if pair else None


def _band(name: str, bands: Mapping[str, str]) -> Band:
    band = bands.get(name, "")
    return Band(name, band, "" if not band else "AB" if band in AB_BANDS else "Vega")


def _fill(band: str, match: re.Match[str]) -> str:
    group = next((g for g in match.groups() if g), "")
    return band.format(group, upper=group.upper(), lower=group.lower())


def _ranked(name: str) -> tuple[str, int]:
    """Return band and rank of a column's name; empty and 9 if it tells nothing."""
    name = _PRIMES.sub("'", _SEPARATORS.sub("_", split_unit(name)[0]))
    for pattern, band, rank in _CASED:
        if match := re.fullmatch(pattern, name):
            return _fill(band, match), rank
    for pattern, band, rank in _COLUMNS:
        if match := re.fullmatch(pattern, name, re.IGNORECASE):
            text = _fill(band, match)
            return (text.lower() if band == "{}" else text), rank
    return "", 9
