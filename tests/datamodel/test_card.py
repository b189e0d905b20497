"""Cards of FITS headers, beside astropy's: what they say, and how they are written."""

import re
import warnings

import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from skyextract.datamodel.card import CARD, Card, cards_of
from skyextract.datamodel.header import Header, repaired

FIELD = "sdss_stripe82/fpC-004192-r4-0300.fit.gz"
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=150)
KEYWORDS = st.from_regex(r"[A-Z][A-Z0-9_-]{0,7}", fullmatch=True).filter(
    lambda name: name not in ("COMMENT", "HISTORY", "END", "CONTINUE", "HIERARCH")
)
NUMBERS = (
    st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
)


@pytest.mark.parametrize(
    ("record", "keyword", "value", "comment"),
    [
        ("EXPTIME =              1.50D+01 / [s]", "EXPTIME", 15.0, "[s]"),
        ("lower   = 7", "LOWER", 7, ""),
        ("OBJECT  = 'O''Neill '  / it's / far", "OBJECT", "O'Neill", "it's / far"),
        ("OBJECT  = 'O'Neill'", "OBJECT", "O'Neill", ""),
        ("EMPTY   = ''", "EMPTY", "", ""),
        ("SIMPLE  =                    T", "SIMPLE", True, ""),
        ("UNKNOWN =                      / nothing", "UNKNOWN", None, "nothing"),
        ("GAIN= 1.5", "GAIN", 1.5, ""),
        ("GAIN    =1.5", "GAIN", 1.5, ""),
        ("COMPLEX = (1.0, -2)", "COMPLEX", 1 - 2j, ""),
        ("SPACED  = - 12 34", "SPACED", "- 12 34", ""),
        ("MINUS   = - 12", "MINUS", -12, ""),
        ("EXP     = 1.5 E -3", "EXP", 1.5e-3, ""),
        ("HIERARCH ESO DET OUT1 GAIN = 2.1 / e-/ADU", "ESO DET OUT1 GAIN", 2.1, "e-/ADU"),
        ("HISTORY = is no value", "HISTORY", "= is no value", ""),
        ("        some words", "", "some words", ""),
        ("NOEQUAL 15", "NOEQUAL", "15", ""),
    ],
)
def test_what_a_record_says(record, keyword, value, comment):
    card = Card.read(record.ljust(CARD))
    assert (card.keyword, card.value, card.comment) == (keyword, value, comment)
    assert type(card.value) is type(value)
    assert card.records == record.ljust(CARD)


# astropy before 7 looks for the end of an empty text in the comment
@given(KEYWORDS, NUMBERS | TEXT | st.booleans() | st.none(), TEXT.map(lambda t: t.replace("'", "")))
def test_what_is_written_is_read_by_astropy_and_by_us(keyword, value, comment):
    text = Card(keyword, value, comment).records
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = fits.Header.fromstring(text).cards[0]
        again = theirs.value
    (ours,) = cards_of(text)
    expected = value.rstrip() if isinstance(value, str) else value
    found = [ours.value]
    # astropy ends a text at a doubled quote before a slash
    if not (isinstance(value, str) and re.search("' */", value)):
        found.append(None if isinstance(again, fits.card.Undefined) else again)
    for each in found:
        assert each == expected
        assert type(each) is type(expected)
    assert ours.keyword == theirs.keyword == keyword
    assert len(text) % CARD == 0


@given(KEYWORDS, NUMBERS | TEXT | st.booleans(), TEXT)
def test_what_astropy_writes_is_read_and_written_in_the_same_bytes(keyword, value, comment):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = fits.Card(keyword, value, comment.rstrip())  # newer astropy does it itself
        records = str(theirs)
    (card,) = cards_of(records)
    assert card.records == records
    # astropy cuts numbers to 20 characters, ours keep their digits
    if not (isinstance(value, float) and len(repr(value)) > 20):
        kept = theirs.value
        assert card.value == kept
        assert Card(keyword, value, comment).records == records


@given(st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=400))
def test_any_bytes_are_a_header(text):
    header = repaired(text)
    for card in header.cards:
        assert isinstance(card.value, str | bool | int | float | complex | None)
        assert isinstance(card.comment, str)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = fits.Header.fromstring(header.tostring())
    assert len(again) <= len(header)


@pytest.mark.parametrize(
    ("keyword", "value", "error"),
    [
        ("A", float("nan"), ValueError),
        ("A", "Ångström", ValueError),
        ("A", b"bytes", TypeError),
        ("A", [1, 2], TypeError),
        ("A=B", 1, ValueError),
        ("A VERY LONG KEYWORD " * 4, 1, ValueError),
        (7, 1, TypeError),
    ],
)
def test_what_no_card_can_hold(keyword, value, error):
    with pytest.raises(error):
        Header({keyword: value})


def test_cards_stay_in_order_and_new_ones_stand_before_the_commentary():
    ours, theirs = Header(), fits.Header()
    for header in (ours, theirs):
        header["A"] = (1, "first")
        header["HISTORY"] = "one"
        header["B"] = 2.5
        header["COMMENT"] = "said"
        header["HISTORY"] = "two " * 30
        header["C"] = "three"
        header["a"] = 4
        header["C"] = ("three", "with a comment")
        del header["B"]
    assert ours.tostring() == theirs.tostring()
    assert list(ours) == list(theirs)
    assert ours["HISTORY"] == list(theirs["HISTORY"])
    assert ours.comments["A"] == "first"
    assert ours.copy().tostring() == ours.tostring()


def test_a_header_of_astropy(shared_data):
    with fits.open(shared_data / FIELD) as units:
        theirs = units[0].header
        ours = Header.of(theirs)
    assert ours.tostring() == theirs.tostring()
    assert dict(ours) == dict(theirs)
