"""What FITS headers need beyond `astropy.io.fits.Header`: which cards belong together.

astropy is imported by the functions that make headers, not here.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astropy.io.fits import Header

CARD = 80
BLOCK = 2880

Cards = Mapping[str, Any]
"""Header cards: values, or (value, comment); None and NaN are cards without a value."""

_WIDTH = 20  # of a number in the fixed format
_COMMENTARY = ("COMMENT", "HISTORY", "")
_CONTINUED = re.compile(r"&'\s*(/.*)?$")
_STRUCTURE = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|EXTEND|BLOCKED|BSCALE|BZERO|BLANK"
    r"|CHECKSUM|DATASUM|EXTNAME|EXTVER|EXTLEVEL|INHERIT|NEXTEND|TFIELDS|END|CONTINUE)$"
)


_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d+)?)")


def is_structural(keyword: str) -> bool:
    """Whether a card describes the storage of its own header unit, not the observation."""
    return _STRUCTURE.match(keyword) is not None


def repaired(text: str) -> Header:
    """Return a header from the records of a file, in which every card can be read.

    The value of an unparsable card becomes text, a CONTINUE with nothing to continue becomes a
    COMMENT; all other cards keep their bytes.

    Parameters
    ----------
    text : str
        80-character records, up to END or to the end.
    """
    from astropy.io import fits

    records: list[str] = []
    for start in range(0, len(text), CARD):
        record = text[start : start + CARD].ljust(CARD)
        if record.rstrip() == "END":
            break
        if record.startswith("CONTINUE") and not (records and _CONTINUED.search(records[-1])):
            record = "COMMENT " + record[8:]
        records.append(_ascii(record))
    while records and not records[-1].strip():
        records.pop()
    result = fits.Header()
    for card in fits.Header.fromstring("".join(records)).cards:
        try:
            readable = (card.keyword, card.value, card.comment)
        except (fits.VerifyError, ValueError):
            readable = None
        result.append(_as_text(card.image) if readable is None else card, end=True)
    return result


def _as_text(record: str) -> tuple[str, str, str]:
    """Return keyword, value as text and comment of a card that cannot be parsed."""
    keyword, _, rest = record[:CARD].partition("=")
    value, _, comment = rest.partition(" /")
    return keyword[:8].strip().upper(), value.strip().strip("'").strip(), comment.strip()


def _ascii(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def set_cards(header: Header, cards: Cards) -> Header:
    """Put cards into a header and return it; numbers that FITS cannot hold become undefined."""
    for keyword, item in cards.items():
        value, comment = item if isinstance(item, tuple) else (item, None)
        if hasattr(value, "item"):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        if isinstance(value, str):
            value = _ascii(value)
        name = keyword if len(keyword) <= 8 else f"HIERARCH {keyword}"
        header.set(name, value, comment)
        if isinstance(value, float) and len(repr(value)) > _WIDTH and len(keyword) <= 8:
            _set_all_digits(header, keyword, value)
    return header


def common_cards(headers: Sequence[Cards]) -> Cards:
    """Return the cards that all have, with one value: those of a file with several extensions."""
    first, *others = headers or [{}]
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def _set_all_digits(header: Header, keyword: str, value: float) -> None:
    """Replace the number of a card, which astropy cuts to 20 characters, by one that is exact."""
    from astropy.io import fits

    place, comment = header.index(keyword), header.comments[keyword]
    record = f"{keyword:<8}= {value!r}".upper() + (f" / {comment}" if comment else "")
    del header[place]
    header.insert(place, fits.Card.fromstring(record[:CARD]))


def extend_missing(
    header: Header, other: Header, skip: Callable[[str], bool] = lambda _: False
) -> Header:
    """Append copies of the cards of `other` whose keywords are missing in `header`; return it.

    HISTORY, COMMENT and blank cards are appended always, cards for which `skip` holds never.
    """
    known = set(header)
    for card in other.cards:
        if not skip(card.keyword) and (card.keyword in _COMMENTARY or card.keyword not in known):
            header.append(copy.copy(card), end=True)
    return header


def remove(header: Header, keywords: Iterable[str]) -> None:
    """Delete all cards of some keywords, as far as there are any."""
    for keyword in set(keywords):
        header.remove(keyword, ignore_missing=True, remove_all=True)


def observation(header: Header | None) -> Header:
    """Return the cards of a header that do not describe the storage of its own unit."""
    from astropy.io import fits

    result = fits.Header()
    return result if header is None else extend_missing(result, header, is_structural)


def card_lines(header: Header) -> list[str]:
    """Return the 80-character records of a header, END included."""
    text = header.tostring(padding=False, endcard=True)
    return [text[k : k + CARD].ljust(CARD) for k in range(0, len(text), CARD)]


def header_number(value: object) -> float | None:
    """Return the number of a header value, also as text with a unit; None if there is none."""
    if isinstance(value, str):
        match = _NUMBER.match(value)
        value = float(match[1].upper().replace("D", "E")) if match else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


OBJECT_KEYS = ("OBJECT", "OBJNAME", "TARGNAME", "TARGET")


def header_text(header: Mapping[str, Any], *keywords: str) -> str | None:
    """Return the text of the first of some cards that has any."""
    for keyword in keywords:
        value = header.get(keyword)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None
