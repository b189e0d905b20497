"""FITS headers: the 80-character cards, kept as they are in the file.

A small stand-in for `astropy.io.fits.Header`, with the same habits of use.  Two reasons:
importing astropy.io.fits costs as much time as reading and extracting a 2k x 2k frame, and
headers of the wild (illegal CONTINUE, unparsable values) must neither stop the program nor
be changed by it: a card that nobody touches is written back byte by byte.

The grammar is that of the FITS Standard 4.0, sections 4.1-4.2, with the CONTINUE
convention for long strings and the HIERARCH convention of ESO.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

Value = bool | int | float | str | None
"""None is a card without a value."""

CARD = 80
BLOCK = 2880
_COMMENTARY = ("COMMENT", "HISTORY", "")
_STRING = re.compile(r"\s*'((?:[^']|'')*)'\s*(?:/(.*))?$", re.DOTALL)
_PLAIN = re.compile(r"([^/]*)(?:/(.*))?$", re.DOTALL)
_STRUCTURE = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|EXTEND|BLOCKED|BSCALE|BZERO|BLANK"
    r"|CHECKSUM|DATASUM|EXTNAME|EXTVER|EXTLEVEL|INHERIT|NEXTEND|TFIELDS|END)$"
)
_INTEGER = re.compile(r"[+-]?\d+$")
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([EDed][+-]?\d+)?$")


def is_structural(keyword: str) -> bool:
    """Whether a card describes the storage of its own header unit, not the observation."""
    return _STRUCTURE.match(keyword) is not None


class Card(NamedTuple):
    """One card: for COMMENT and HISTORY the value is the text."""

    keyword: str
    value: Value
    comment: str


def _keyword(record: str) -> str:
    if record.startswith("HIERARCH ") and "=" in record:
        return record[9:].split("=", 1)[0].strip().upper()
    return record[:8].rstrip().upper()


def _normal(keyword: str) -> str:
    keyword = keyword.strip().upper()
    return keyword[9:].strip() if keyword.startswith("HIERARCH ") else keyword


def _parse_value(text: str) -> tuple[Value, str]:
    """Return value and comment of what follows the '='; an odd value comes as its text."""
    match = _STRING.match(text)
    if match is not None:
        return match[1].replace("''", "'").rstrip(), (match[2] or "").strip()
    plain = _PLAIN.match(text)
    token = (plain[1] if plain else text).strip()
    comment = ((plain[2] if plain else "") or "").strip()
    if not token:
        return None, comment
    if token in ("T", "F"):
        return token == "T", comment
    if _INTEGER.match(token):
        return int(token), comment
    if _FLOAT.match(token):
        return float(token.upper().replace("D", "E")), comment
    return token.strip("'").strip(), comment


def _format_value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"{'T' if value else 'F':>20}"
    if isinstance(value, int):
        return f"{value:>20}"
    if isinstance(value, float) or hasattr(value, "__float__"):
        number = value.item() if hasattr(value, "item") else value
        if isinstance(number, bool | int):
            return _format_value(number)
        number = float(number)
        if not math.isfinite(number):
            raise ValueError(f"a FITS header cannot hold {number}")
        text = repr(number).upper()
        if "." not in text:
            text = text.replace("E", ".0E") if "E" in text else text + ".0"
        return f"{text:>20}"
    return "'" + str(value).replace("'", "''").ljust(8) + "'"


def _ascii(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _format_card(keyword: str, value: object, comment: str) -> list[str]:
    """Return the 80-character records of one card; long strings use CONTINUE."""
    keyword = _normal(keyword)
    comment = _ascii(comment)
    if keyword in _COMMENTARY:
        text = _ascii(str(value))
        lines = [text[k : k + 72] for k in range(0, max(len(text), 1), 72)]
        return [f"{keyword:<8}{line:<72}" for line in lines]
    standard = len(keyword) <= 8 and re.fullmatch(r"[A-Z0-9_-]+", keyword) is not None
    head = f"{keyword:<8}= " if standard else f"HIERARCH {keyword} = "
    body = _format_value(_ascii(value) if isinstance(value, str) else value)
    if len(head) + len(body) <= CARD:
        record = head + body
        if comment and len(record) + 4 <= CARD:
            record = f"{record:<30} / {comment}" if standard else f"{record} / {comment}"
        return [record[:CARD].ljust(CARD)]
    if not isinstance(value, str) or not standard:
        raise ValueError(f"header card too long: {keyword} = {value!r}")
    text = _ascii(value)
    records: list[str] = []
    while True:
        prefix = head if not records else "CONTINUE  "
        n = min(len(text), 67)
        while len(text[:n].replace("'", "''")) > 67:
            n -= 1
        piece, text = text[:n].replace("'", "''"), text[n:]
        records.append(f"{prefix}'{piece}{'&' if text else ''}'".ljust(CARD))
        if not text:
            return records


class Header:
    """An ordered list of FITS cards with look-up by keyword (any case).

    Reading follows `astropy.io.fits.Header`: ``header["GAIN"]``, ``header.get("GAIN", 1.0)``,
    ``"GAIN" in header``, ``header["GAIN"] = 2.0`` or ``= (2.0, "comment")``, `copy`, `cards`.
    Where a keyword occurs twice, the first card counts.
    """

    def __init__(self, cards: Mapping[str, object] | None = None) -> None:
        self._cards: list[list[str]] = []  # the records of each card
        self._index: dict[str, int] | None = None
        for keyword, value in (cards or {}).items():
            self[keyword] = value

    @classmethod
    def fromstring(cls, text: str | bytes) -> Header:
        """Read cards from 80-character records, up to END if there is one."""
        if isinstance(text, bytes):
            text = text.decode("latin-1")
        header = cls()
        for start in range(0, len(text), CARD):
            record = text[start : start + CARD].ljust(CARD)
            if record.rstrip() == "END":
                break
            if record.startswith("CONTINUE") and header._cards and header._continues():
                header._cards[-1].append(record)
            else:
                header._cards.append([record])
        while header._cards and not header._cards[-1][0].strip():
            header._cards.pop()
        return header

    def _continues(self) -> bool:
        """Whether the last card is a string that a CONTINUE record may extend."""
        text = self._cards[-1][-1][8:].rstrip()
        return "'" in text and "&" in text

    def _find(self, keyword: str) -> int | None:
        if self._index is None:
            self._index = {}
            for k, records in enumerate(self._cards):
                self._index.setdefault(_keyword(records[0]), k)
        return self._index.get(_normal(keyword))

    @staticmethod
    def _card(records: list[str]) -> Card:
        record = records[0]
        keyword = _keyword(record)
        hierarch = record.startswith("HIERARCH ") and "=" in record
        if keyword in _COMMENTARY or not (hierarch or record[8:9] == "="):
            return Card(keyword, record[8:].rstrip(), "")
        value, comment = _parse_value(record.split("=", 1)[1])
        for extra in records[1:]:
            more, comment = _parse_value(extra[8:])
            if isinstance(value, str) and isinstance(more, str):
                value = value.removesuffix("&") + more
        return Card(keyword, value, comment)

    @property
    def cards(self) -> list[Card]:
        """All cards, parsed, in order."""
        return [self._card(records) for records in self._cards]

    def __contains__(self, keyword: object) -> bool:
        return isinstance(keyword, str) and self._find(keyword) is not None

    def __iter__(self) -> Iterator[str]:
        return (_keyword(records[0]) for records in self._cards)

    def __len__(self) -> int:
        return len(self._cards)

    def keys(self) -> list[str]:
        """Keywords in order; a keyword that occurs twice comes twice."""
        return list(self)

    def get_card(self, keyword: str) -> Card | None:
        """Return the card of a keyword, or None."""
        k = self._find(keyword)
        return None if k is None else self._card(self._cards[k])

    def __getitem__(self, keyword: str) -> Value:
        card = self.get_card(keyword)
        if card is None:
            raise KeyError(f"Keyword {keyword!r} not found.")
        return card.value

    def get(self, keyword: str, default: Value = None) -> Value:
        """Return the value of a card, or `default`."""
        card = self.get_card(keyword)
        return default if card is None else card.value

    def __setitem__(self, keyword: str, value: object) -> None:
        comment: str | None = None
        if isinstance(value, tuple):
            value, comment = value
        self.set(keyword, value, comment)

    def set(self, keyword: str, value: object, comment: str | None = None) -> None:
        """Change a card in place (keeping its comment if none is given) or add one at the end.

        Raises
        ------
        ValueError
            Infinite or NaN value, or a card that cannot be made to fit.
        """
        k = self._find(keyword) if _normal(keyword) not in _COMMENTARY else None
        if k is None:
            records = _format_card(keyword, value, comment or "")
            cards = [[r] for r in records] if _normal(keyword) in _COMMENTARY else [records]
            self._cards += cards
            if self._index is not None:
                self._index.setdefault(_normal(keyword), len(self._cards) - len(cards))
        else:
            if comment is None:
                comment = self._card(self._cards[k]).comment
            self._cards[k] = _format_card(keyword, value, comment)

    def add_history(self, text: str) -> None:
        """Append HISTORY cards."""
        self.set("HISTORY", text)

    def remove(self, keyword: str, ignore_missing: bool = False) -> None:
        """Delete all cards of a keyword; KeyError if there is none and it must be there."""
        name = _normal(keyword)
        kept = [records for records in self._cards if _keyword(records[0]) != name]
        if len(kept) == len(self._cards) and not ignore_missing:
            raise KeyError(f"Keyword {keyword!r} not found.")
        self._cards, self._index = kept, None

    def __delitem__(self, keyword: str) -> None:
        self.remove(keyword)

    def copy(self) -> Header:
        """Return an independent copy."""
        header = Header()
        header._cards = [list(records) for records in self._cards]
        return header

    def extend_missing(self, other: Header, skip: frozenset[str] = frozenset()) -> None:
        """Append the cards of `other` whose keywords are missing here and not in `skip`.

        HISTORY, COMMENT and blank cards are appended always.
        """
        own = set(self)
        for records in other._cards:
            keyword = _keyword(records[0])
            if keyword not in skip and (keyword in _COMMENTARY or keyword not in own):
                self._cards.append(list(records))
        self._index = None

    def tostring(self, padding: bool = True) -> str:
        """Return the records with END, filled up to whole blocks of 2880 characters."""
        text = "".join(record for records in self._cards for record in records)
        text += "END".ljust(CARD)
        return text.ljust(-(-len(text) // BLOCK) * BLOCK) if padding else text

    def tobytes(self) -> bytes:
        """Return `tostring` as it goes into the file."""
        return self.tostring().encode("latin-1")
