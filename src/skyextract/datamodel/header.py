"""Headers of FITS units: cards in their order, looked up by keyword.

Methods have the names that they have in `astropy.io.fits.Header`, of which this is the part that
is needed, in a fiftieth of the time to import: a run that reads a plain image and writes a
catalogue needs nothing of astropy.  `Header.of` takes a header of its users.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from skyextract.datamodel.card import CARD, COMMENTARY, TEXT_WIDTH, Card, cards_of, normal
from skyextract.sky.bands import card_text

BLOCK = 2880

Cards = Mapping[str, Any]
"""Header cards: values, or (value, comment); None and NaN are cards without a value."""

_CONTINUED = re.compile(r"&'\s*(/.*)?$")
_STRUCTURE = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|EXTEND|BLOCKED|BSCALE|BZERO|BLANK"
    r"|CHECKSUM|DATASUM|EXTNAME|EXTVER|EXTLEVEL|INHERIT|NEXTEND|TFIELDS|END|CONTINUE)$"
)
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d+)?)")
# words with exponents, as in e-/ADU, [m s-2] or (seconds); other digits are another number
_UNIT = re.compile(
    r"""\s*(?:[A-Za-z/%"'\[(](?:[^\d:,;=<>~]|(?<=[A-Za-z^*+-])[1-9](?![\dA-Za-z]))*)?\s*"""
)


class Header(Mapping[str, Any]):
    """The cards of a header unit.

    Keywords are looked up in any case, HIERARCH ones with or without this word.  Of a keyword
    that stands there several times the first card counts; HISTORY, COMMENT and blank cards
    come as a list of texts.

    Parameters
    ----------
    cards : iterable of Card, or mapping
        In their order; of a mapping values, or (value, comment).
    """

    def __init__(self, cards: Iterable[Card] | Cards = ()) -> None:
        self._cards: list[Card] = []
        self._places: dict[str, int] | None = {}
        if isinstance(cards, Mapping):
            for keyword, value in cards.items():
                self[keyword] = value
        else:
            self._cards.extend(cards)
            self._places = None

    @classmethod
    def of(cls, header: Any) -> Header:
        """Return a copy of a header, ours or an `astropy.io.fits.Header`, or of a mapping.

        Raises
        ------
        ValueError, TypeError
            A mapping with what no card can hold.
        """
        if isinstance(header, Header):
            return header.copy()
        if hasattr(header, "tostring"):
            return repaired(header.tostring(padding=False))
        return cls(header)

    @property
    def cards(self) -> Sequence[Card]:
        """All cards, in their order."""
        return tuple(self._cards)

    @property
    def comments(self) -> Mapping[str, str]:
        """The comments of the cards, by keyword."""
        return _Comments(self)

    def _place(self, keyword: str) -> int | None:
        """Return the place of the first card of a keyword."""
        if self._places is None:
            self._places = {}
            for k, card in enumerate(self._cards):
                self._places.setdefault(card.keyword.upper(), k)
        return self._places.get(normal(keyword))

    def _first(self, keyword: str) -> Card:
        place = self._place(keyword)
        if place is None:
            raise KeyError(f"no card {keyword}")
        return self._cards[place]

    def __getitem__(self, keyword: str) -> Any:
        card = self._first(keyword)
        if card.keyword in COMMENTARY:
            return [other.value for other in self._cards if other.keyword == card.keyword]
        return card.value

    def __iter__(self) -> Iterator[str]:
        return (card.keyword for card in self._cards)

    def __len__(self) -> int:
        return len(self._cards)

    def __contains__(self, keyword: object) -> bool:
        return isinstance(keyword, str) and self._place(keyword) is not None

    def __setitem__(self, keyword: str, value: Any) -> None:
        self.set(keyword, *(value if isinstance(value, tuple) else (value,)))

    def __delitem__(self, keyword: str) -> None:
        """Delete all cards of a keyword."""
        if keyword not in self:
            raise KeyError(f"no card {keyword}")
        self.remove(keyword)

    def set(self, keyword: str, value: Any = None, comment: str | None = None) -> None:
        """Change the card of a keyword, or add one before the last commentary.

        Parameters
        ----------
        comment : str, optional
            Default: the one that the card had.

        Raises
        ------
        ValueError
            What no card can hold.
        """
        place = self._place(keyword)
        if place is not None and self._cards[place].keyword not in COMMENTARY:
            self._cards[place] = self._cards[place].with_value(value, comment)
        elif normal(keyword) in COMMENTARY:
            self._add_commentary(normal(keyword), str(value))
        else:
            make = _text_card if isinstance(value, str) else Card
            card = make(keyword, value, comment or "")
            self._insert(self._end(lambda old: old.keyword not in COMMENTARY), card)

    def _add_commentary(self, keyword: str, text: str) -> None:
        """Add as many cards as a text takes, behind the others of their kind."""
        place = self._end(lambda old: old.keyword == keyword) or len(self)
        for start in range(0, max(len(text), 1), TEXT_WIDTH):
            self._insert(place, Card(keyword, text[start : start + TEXT_WIDTH]))
            place += 1

    def _end(self, of_kind: Callable[[Card], bool]) -> int:
        """Return the place behind the last card of a kind; 0 if there is none."""
        for k in range(len(self._cards), 0, -1):
            if of_kind(self._cards[k - 1]):
                return k
        return 0

    def _insert(self, place: int, card: Card) -> None:
        if self._places is not None:
            if place < len(self._cards):
                self._places = {name: k + (k >= place) for name, k in self._places.items()}
            name = card.keyword.upper()
            self._places[name] = min(place, self._places.get(name, place))
        self._cards.insert(place, card)

    def append(self, card: Card) -> None:
        """Put a card at the end."""
        self._insert(len(self._cards), card)

    def add_history(self, text: str) -> None:
        """Add a HISTORY card behind the others."""
        self.set("HISTORY", text)

    def remove(self, *keywords: str) -> None:
        """Delete all cards of some keywords, if there are any."""
        names = {normal(keyword) for keyword in keywords if keyword in self}
        if names:
            self._cards = [card for card in self._cards if card.keyword.upper() not in names]
            self._places = None

    def copy(self) -> Header:
        """Return a header with the same cards."""
        return Header(self._cards)

    def tostring(self, *, endcard: bool = True, padding: bool = True) -> str:
        """Return the 80-character records, with END and filled up to blocks of 2880 if asked."""
        text = "".join(card.records for card in self._cards)
        if endcard:
            text += "END".ljust(CARD)
        return text.ljust(-(-len(text) // BLOCK) * BLOCK) if padding else text

    def __repr__(self) -> str:
        return f"<Header: {len(self)} cards>"


class _Comments(Mapping[str, str]):
    """The comments of the cards of a header."""

    def __init__(self, header: Header) -> None:
        self._header = header

    def __getitem__(self, keyword: str) -> str:
        return self._header._first(keyword).comment

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)


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
    return Header(map(_readable, cards_of("".join(records))))


def _readable(card: Card) -> Card:
    if card.readable:
        return card
    try:
        return Card(card.keyword, card.value, card.comment)
    except ValueError:
        return Card("COMMENT", card.records)


@lru_cache(4096)
def _text_card(keyword: str, text: str, comment: str) -> Card:
    """Return a card with text: those that describe columns are the same in all frames."""
    return Card(keyword, text, comment)


def _ascii(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
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
        header.set(keyword, value, comment)
    return header


def common_cards(headers: Sequence[Cards]) -> Cards:
    """Return the cards that all have, with one value: those of a file with several extensions."""
    first, *others = headers or [{}]
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def extend_missing(
    header: Header, other: Header, skip: Callable[[str], bool] = lambda _: False
) -> Header:
    """Append copies of the cards of `other` whose keywords are missing in `header`; return it.

    HISTORY, COMMENT and blank cards are appended always, cards for which `skip` holds never.
    """
    known = set(header)
    for card in other.cards:
        if not skip(card.keyword) and (card.keyword in COMMENTARY or card.keyword not in known):
            header.append(card)
    return header


def remove(header: Header, keywords: Iterable[str]) -> None:
    """Delete all cards of some keywords, as far as there are any."""
    header.remove(*keywords)


def observation(header: Header | None) -> Header:
    """Return the cards of a header that do not describe the storage of its own unit."""
    result = Header()
    return result if header is None else extend_missing(result, header, is_structural)


def card_lines(header: Header) -> list[str]:
    """Return the 80-character records of a header, END included."""
    text = header.tostring(padding=False, endcard=True)
    return [text[k : k + CARD].ljust(CARD) for k in range(0, len(text), CARD)]


def header_number(value: object) -> float | None:
    """Return the number of a header value, also as text with a unit; None if there is none."""
    return number_and_unit(value)[0]


def number_and_unit(value: object) -> tuple[float | None, str]:
    """Return the number of a header value, and the unit that stands behind it in a text.

    Text that goes on with anything but a unit, as ``1:40``, ``1,5`` or ``3 x 100 s``, is no number.
    """
    unit = ""
    if isinstance(value, str):
        match = _NUMBER.match(value)
        rest = value[match.end() :] if match else ""
        unit = rest.strip().strip("[()].").strip()
        value = None
        if match and _UNIT.fullmatch(rest):
            value = float(match[1].upper().replace("D", "E"))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None, ""
    return float(value), unit


OBJECT_KEYS = ("OBJECT", "OBJNAME", "TARGNAME", "TARGET")
IMAGE_TYPE_KEYS = ("IMAGETYP", "IMAGETYPE", "OBSTYPE", "FRAME")


def binning_of(header: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the binning (x, y) that a header states, or None.

    CCDSUM or BINNING name both, else XBINNING and YBINNING.
    """
    words = re.findall(r"\d+", str(header.get("CCDSUM") or header.get("BINNING") or ""))
    if len(words) >= 2:
        return int(words[0]), int(words[1])
    pair = header.get("XBINNING"), header.get("YBINNING")
    if isinstance(pair[0], int | float) and isinstance(pair[1], int | float):
        return int(pair[0]), int(pair[1])
    return None


def header_text(header: Mapping[str, Any], *keywords: str) -> str | None:
    """Return the text of the first of some cards that has any; a number is a text, too."""
    for keyword in keywords:
        text = card_text(header.get(keyword))
        if text:
            return text
    return None
