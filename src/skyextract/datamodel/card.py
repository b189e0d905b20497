"""One card of a FITS header: its 80-character records, and what they say.

The syntax is that of the FITS Standard 4.0 (section 4), read as generously as `astropy.io.fits`
does: free format, keywords in any case, blanks inside numbers, D exponents.  Long text
(CONTINUE, section 4.2.1.2) and ESO's long keywords (HIERARCH) are cards like others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

CARD = 80

COMMENTARY = ("COMMENT", "HISTORY", "")
"""Keywords of cards that hold text alone, and may stand in a header many times."""

_KEYWORD = 8
TEXT_WIDTH = CARD - _KEYWORD
"""Characters of one card of commentary."""

_HIERARCH = "HIERARCH"
_NUMBER = r"[+-]? *(?:\.\d+|\d+(?:\.\d*)?) *(?:[deDE] *[+-]? *\d+)?"
# quotes in the text are doubled (FITS Standard 4.0, section 4.2.1.1); where they are not, the text
# ends at the first quote before a blank or a slash
_TEXT = r"'(?P<text>(?:''|[ -&(-~])*|[ -~]*?)'(?=$|[/ ])"
_COMMENT = r" *(?:/ *(?P<comment>.*))?$"
_VALUE = re.compile(
    rf" *(?:{_TEXT}|(?P<flag>[TF])|(?P<number>{_NUMBER})"
    rf"|\( *(?P<real>{_NUMBER}) *, *(?P<imaginary>{_NUMBER}) *\))?{_COMMENT}"
)
_CONTINUED = re.compile(rf" *(?:{_TEXT})?{_COMMENT}")
_PRINTABLE = re.compile(r"[ -~]*\Z")
_PLAIN = re.compile(r"[A-Z0-9_-]{1,8}\Z")
_FLOATING = (float, complex)
_OTHER = (bool, int, type(None))
_LAST_WORD = re.compile(r".* ", re.DOTALL)


class Card:
    """A card: keyword, value and comment, which never change.

    Parameters
    ----------
    keyword : str
        More than 8 characters, or others than A-Z, 0-9, - and _: a HIERARCH card.
    value : str, bool, int, float, complex or None
        None: undefined.  Numbers of numpy are taken, too.
    comment : str
        Blanks at its end are dropped: no reader could tell them from the filling of the record.

    Raises
    ------
    ValueError
        What no FITS card can hold: a number that is not finite, text with characters that are
        not printable ASCII, more than fits into 80 characters.
    TypeError
        A value of another type.
    """

    def __init__(self, keyword: str, value: Any = None, comment: str = "") -> None:
        self.keyword = normal(keyword)
        value = value.item() if hasattr(value, "item") else value
        _check(value)
        if not _PRINTABLE.match(comment):
            raise ValueError(f"the comment {comment!r} is not printable ASCII")
        comment = comment.rstrip()
        # as `_parsed` finds in the records of others
        self.__dict__["_parsed"] = value, comment, True
        self.records = "".join(_written(self.keyword, value, comment))

    @classmethod
    def read(cls, records: str) -> Card:
        """Return the card of 80-character records: one, or one and its CONTINUE records."""
        card = cls.__new__(cls)
        card.records = records
        card.keyword = _keyword(records)
        return card

    @cached_property
    def _parsed(self) -> tuple[Any, str, bool]:
        """Value and comment, and whether the value follows the syntax."""
        value = None if self.keyword in COMMENTARY else _value_field(self.records)
        if value is None:
            return self.records[_KEYWORD:].rstrip(), "", True
        if len(self.records) > CARD:
            return *_joined(value, self.records), True
        match = _VALUE.match(value)
        if match is None:
            value, _, comment = value.partition(" /")
            return value.strip().strip("'").strip(), comment.strip(), False
        return _value(match), (match["comment"] or "").rstrip(), True

    @property
    def readable(self) -> bool:
        """Whether the value follows the syntax: if not, it is the text that stands there."""
        return self._parsed[2]

    @property
    def value(self) -> Any:
        """Text without the blanks at its end, bool, int, float, complex; None: undefined."""
        value = self._parsed[0]
        return value.rstrip() if isinstance(value, str) else value

    @property
    def comment(self) -> str:
        """What stands behind the slash."""
        return self._parsed[1]

    def with_value(self, value: Any, comment: str | None = None) -> Card:
        """Return this card with another value, and comment if given; itself if nothing changes."""
        value = value.item() if hasattr(value, "item") else value
        same = type(value) is type(self.value) and value == self.value
        if same and comment in (None, self.comment):
            return self
        return Card(self.keyword, value, self.comment if comment is None else comment)

    def __repr__(self) -> str:
        return f"Card({self.keyword!r}, {self.value!r}, {self.comment!r})"


def normal(keyword: str) -> str:
    """Return a keyword as cards are looked up by it: in capitals, without HIERARCH.

    Raises
    ------
    TypeError
        No text.
    """
    if not isinstance(keyword, str):
        raise TypeError(f"the keyword {keyword!r} is no text")
    keyword = keyword.strip().upper()
    return keyword[len(_HIERARCH) :].strip() if keyword.startswith(f"{_HIERARCH} ") else keyword


def cards_of(text: str) -> Iterator[Card]:
    """Read the cards of 80-character records, up to END or to the end."""
    pending = ""
    for start in range(0, len(text), CARD):
        record = text[start : start + CARD].ljust(CARD)
        if record.rstrip() == "END":
            break
        if record.startswith("CONTINUE") and pending:
            pending += record
            continue
        if pending:
            yield Card.read(pending)
        pending = record
    if pending:
        yield Card.read(pending)


def _keyword(record: str) -> str:
    keyword = record[:_KEYWORD].strip()
    if keyword.upper() in COMMENTARY:
        return keyword.upper()
    if _is_hierarch(record):
        return record.split("=", 1)[0][_KEYWORD + 1 :].strip()
    if _value_field(record) is None:
        return keyword
    return record[: record.index("=")].strip().upper()


def _is_hierarch(record: str) -> bool:
    return record[: _KEYWORD + 1].upper() == f"{_HIERARCH} " and "=" in record[:CARD]


def _value_field(record: str) -> str | None:
    """Return what stands behind the equal sign; None if there is none where it belongs."""
    if _is_hierarch(record):
        return record[:CARD].split("=", 1)[1]
    if record[_KEYWORD] == "=":
        return record[_KEYWORD + 1 : CARD]
    place = record.find("= ", 0, _KEYWORD + 1)
    return None if place < 0 else record[place + 1 : CARD]


def _value(match: re.Match[str]) -> Any:
    if match["text"] is not None:
        return match["text"].replace("''", "'")
    if match["flag"]:
        return match["flag"] == "T"
    if match["number"]:
        return _number(match["number"])
    if match["real"]:
        return complex(_number(match["real"]), _number(match["imaginary"]))
    return None


def _number(text: str) -> int | float:
    text = text.replace(" ", "").upper().replace("D", "E")
    return float(text) if "." in text or "E" in text else int(text)


def _joined(first: str, records: str) -> tuple[str, str]:
    """Return text and comment of a card that goes on in CONTINUE records."""
    rest = [records[k + _KEYWORD : k + CARD] for k in range(CARD, len(records), CARD)]
    texts, comments = [], []
    for part in (first, *rest):
        match = _CONTINUED.match(part)
        if match is None:
            texts.append(part.strip())
            continue
        text = (match["text"] or "").rstrip()
        texts.append(text.removesuffix("&"))
        comments.append((match["comment"] or "").rstrip())
    return "".join(texts).replace("''", "'"), " ".join(filter(None, comments))


def _check(value: Any) -> None:
    """Raise a ValueError or TypeError for values that no card can hold."""
    if isinstance(value, _FLOATING):
        if not (math.isfinite(value.real) and math.isfinite(value.imag)):
            raise ValueError(f"{value} is no number that a header can hold")
    elif isinstance(value, str):
        if not _PRINTABLE.match(value):
            raise ValueError(f"{value!r} is not printable ASCII")
    elif not isinstance(value, _OTHER):
        raise TypeError(f"a header cannot hold {type(value).__name__}")


def _written(keyword: str, value: Any, comment: str) -> Iterator[str]:
    """Write a card as records (FITS Standard 4.0, section 4.2)."""
    if keyword in COMMENTARY:
        yield f"{keyword:<{_KEYWORD}}{value}"[:CARD].ljust(CARD)
        return
    plain = _PLAIN.match(keyword) is not None
    if (not plain and not _PRINTABLE.match(keyword)) or "=" in keyword:
        raise ValueError(f"{keyword!r} is no keyword")
    head = f"{keyword:<{_KEYWORD}}= " if plain else f"{_HIERARCH} {keyword} = "
    word = _word(value) if plain else _word(value).strip()
    if not plain and len(head) + len(word) == CARD + 1:
        head = f"{_HIERARCH} {keyword}= "
    record = head + word + (f" / {comment}" if comment else "")
    if len(head) + len(word) <= CARD:
        yield record[:CARD].ljust(CARD)
    elif isinstance(value, str) and len(head) < CARD // 2:
        yield from _long(head, value, comment)
    else:
        raise ValueError(f"card {keyword} is longer than {CARD} characters")


def _word(value: Any) -> str:
    """Return a value as it stands in a card: numbers end in column 30 (fixed format)."""
    if value is None:
        return ""
    if isinstance(value, str):
        quoted = value.replace("'", "''")
        return f"'{quoted:8}'".ljust(20) if value else "''"
    if isinstance(value, bool):
        return f"{'FT'[value]:>20}"
    if isinstance(value, complex):
        return f"({value.real!r}, {value.imag!r})".upper().rjust(20)
    return f"{value!r:>20}".upper()


def _long(head: str, text: str, comment: str) -> Iterator[str]:
    """Write text that does not fit into one record."""
    words = _broken(text.replace("'", "''"), [CARD - len(head) - 3, 67])
    for k, word in enumerate(words):
        more = "&" if comment or k < len(words) - 1 else ""
        yield f"{'CONTINUE  ' if k else head}'{word}{more}'".ljust(CARD)
    words = _broken(comment, [64])
    for k, word in enumerate(words):
        more = "&" if k < len(words) - 1 else ""
        yield f"CONTINUE  '{more}' / {word}".ljust(CARD)


def _broken(text: str, widths: Sequence[int]) -> list[str]:
    """Break text into pieces of at most a width, behind a blank where there is one."""
    pieces: list[str] = []
    while text:
        width = widths[min(len(pieces), len(widths) - 1)]
        match = None if len(text) <= width else _LAST_WORD.match(text[:width])
        end = width if match is None else match.end()
        pieces.append(text[:end])
        text = text[end:]
    return pieces
