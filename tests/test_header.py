"""FITS headers against astropy's reading of the same cards."""

import math
import warnings

import pytest
from astropy.io import fits

from skyextract.header import Header

CARDS = {
    "TRUTH": True,
    "LIES": False,
    "COUNT": -42,
    "BIG": 12345678901234567,
    "SMALL": -1.23456789012e-100,
    "PI": math.pi,
    "WHOLE": 3.0,
    "HUGE": 1e300,
    "NAME": "O'Neill's star / not a comment",
    "EMPTY": "",
    "LONG": "it's a very long 'string' & more;" * 12,
}


def test_reads_as_astropy():
    theirs = fits.Header()
    for keyword, value in CARDS.items():
        theirs[keyword] = (value, "what it is")
    theirs["HIERARCH ESO DET OUT1 GAIN"] = (2.1, "e-/ADU")
    theirs["HISTORY"] = "once"
    theirs["HISTORY"] = "twice"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = Header.fromstring(theirs.tostring())
    for keyword in theirs:
        if keyword != "HISTORY":
            assert ours[keyword] == theirs[keyword], keyword
    assert ours["ESO DET OUT1 GAIN"] == ours["hierarch eso det out1 gain"] == 2.1
    assert [card.value for card in ours.cards if card.keyword == "HISTORY"] == ["once", "twice"]
    assert ours.tostring() == theirs.tostring()


def test_writes_what_astropy_reads():
    ours = Header()
    for keyword, value in CARDS.items():
        ours[keyword] = (value, "what it is")
    ours["NOTHING"] = None
    ours["ESO INS FILT1 NAME"] = "r_Gunn"
    ours.add_history("h" * 100)
    theirs = fits.Header.fromstring(ours.tostring())
    for keyword, value in CARDS.items():
        assert theirs[keyword] == value
        assert type(theirs[keyword]) is type(value)
    assert theirs["NOTHING"] is None
    assert theirs["HIERARCH ESO INS FILT1 NAME"] == "r_Gunn"
    assert "".join(theirs["HISTORY"]) == "h" * 100
    assert theirs.comments["PI"] == "what it is"
    assert len(ours.tostring()) % 2880 == 0


def test_untouched_cards_keep_their_bytes():
    records = [
        "RA      = 12:34:56.7  / unquoted",
        "EXPTIME =              1.50D+01",
        "BADCARD   has no equals sign",
        "CONTINUE 'nothing to continue'",
        "lower   =                    1",
        "FLOAT   = 1.e-3 / free format",
        "COMPLEX = (1.0, 2.0)",
        "QUOTE   = 'unclosed string",
    ]
    text = "".join(record.ljust(80) for record in records)
    header = Header.fromstring(text)
    assert header.tostring(padding=False) == text + "END".ljust(80)
    assert header["RA"] == "12:34:56.7"
    assert header["EXPTIME"] == 15.0
    assert header["LOWER"] == 1
    assert header["FLOAT"] == 1e-3
    assert header["QUOTE"] == "unclosed string"
    assert len(header.cards) == len(records)


def test_changing_cards():
    header = Header({"A": 1, "B": (2, "two")})
    header["B"] = 3
    header["C"] = 4.5
    assert header.get_card("B") == ("B", 3, "two")
    assert list(header) == ["A", "B", "C"]
    copy = header.copy()
    del copy["A"]
    assert "A" in header
    assert "A" not in copy
    assert copy["C"] == 4.5
    assert header.get("X") is None
    assert header.get("X", 7) == 7
    with pytest.raises(KeyError):
        header["X"]
    with pytest.raises(KeyError):
        header.remove("X")
    header.remove("X", ignore_missing=True)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_refuses_what_fits_cannot_hold(value):
    with pytest.raises(ValueError, match="cannot hold"):
        Header({"A": value})


def test_missing_cards_from_another():
    ours, other = Header({"A": 1}), Header({"A": 2, "B": 3, "C": 4})
    other.add_history("was there")
    ours.extend_missing(other, frozenset({"C"}))
    assert list(ours) == ["A", "B", "HISTORY"]
    assert ours["A"] == 1
