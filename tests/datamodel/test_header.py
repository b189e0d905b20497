"""Cards of FITS headers: damaged ones, missing ones, numbers that FITS cannot hold."""

import math

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.card import Card
from skyextract.datamodel.header import (
    Header,
    card_lines,
    extend_missing,
    is_structural,
    observation,
    remove,
    repaired,
    set_cards,
)


def test_damaged_cards_become_readable_and_others_keep_their_bytes():
    records = [
        "RA      = 12:34:56.7  / unquoted",
        "EXPTIME =              1.50D+01",
        "lower   =                    1",
        "FLOAT   = 1.e-3 / free format",
        "QUOTE   = 'unclosed string",
        "HIERARCH ESO DET OUT1 GAIN = 2.1 / e-/ADU",
        "CONTINUE 'nothing to continue'",
        "HISTORY once",
        "HISTORY twice",
    ]
    header = repaired("".join(record.ljust(80) for record in records))
    lines = card_lines(header)
    assert header["RA"] == "12:34:56.7"
    assert header["EXPTIME"] == 15.0
    assert header["LOWER"] == 1
    assert header["FLOAT"] == 1e-3
    assert header["QUOTE"] == "unclosed string"
    assert header["ESO DET OUT1 GAIN"] == 2.1
    assert list(header["HISTORY"]) == ["once", "twice"]
    assert header["COMMENT"][0].strip() == "'nothing to continue'"
    for k in (1, 7, 8):
        assert lines[k].rstrip() == records[k]
    assert lines[-1] == "END".ljust(80)


def test_set_cards():
    header = set_cards(
        Header(),
        {
            "A": (np.float64(1.5), "comment"), "B": math.nan, "C": np.int16(3), "D": None,
            "E": "Ångström", "A LONG NAME": 1.0,
        },
    )  # fmt: skip
    assert header["A"] == 1.5
    assert header.comments["A"] == "comment"
    assert header["B"] is header["D"] is None
    assert header["C"] == 3
    assert header["E"] == "?ngstr?m"
    assert header["A LONG NAME"] == 1.0
    for value in (-1 / 3e5, 1 / 3e300):  # all digits, which take more than 20 characters
        set_cards(header, {"B": (value, "all digits"), "C": value})
        again = fits.Header.fromstring(header.tostring())
        assert again["B"] == again["C"] == value
        assert again.comments["B"] == "all digits"
        assert list(again)[:4] == ["A", "B", "C", "D"]
    set_cards(header, {"A": 2.5})
    assert header.comments["A"] == "comment"


def test_missing_cards_from_another():
    ours, other = Header({"A": 1}), Header({"A": 2, "B": 3, "C": 4})
    other["HISTORY"] = "was there"
    extend_missing(ours, other, lambda keyword: keyword == "C")
    assert list(ours) == ["A", "B", "HISTORY"]
    assert ours["A"] == 1
    ours["B"] = 7
    assert other["B"] == 3


def test_remove_takes_all_cards_of_a_keyword():
    header = Header([Card("A", 1), Card("B", 2), Card("A", 3)])
    remove(header, ["A", "X"])
    assert list(header) == ["B"]


@pytest.mark.parametrize("keyword", ["NAXIS2", "BZERO", "EXTNAME", "CHECKSUM"])
def test_storage_is_no_observation(keyword):
    assert is_structural(keyword)
    assert list(observation(Header({keyword: 1, "OBJECT": "m31"}))) == ["OBJECT"]
    assert list(observation(None)) == []


def test_cards_are_found_after_any_changes():
    """The place of the first card of each keyword, as reading all cards tells it."""
    rng = np.random.default_rng(1)
    for _ in range(40):
        header = Header()
        for step in rng.integers(6, size=40):
            keyword, other = (f"K{k}" for k in rng.integers(12, size=2))
            if step < 2:
                header[keyword] = int(step)
            elif step == 2:
                header.add_history("x" * int(rng.integers(1, 150)))
            elif step == 3:
                header.append(Card(keyword, 1))
            elif step == 4:
                header.set("COMMENT", "text")
            else:
                header.remove(keyword, other)
            first: dict[str, Card] = {}
            for card in header.cards:
                first.setdefault(card.keyword, card)
            for k in range(12):
                assert (f"K{k}" in header) == (f"K{k}" in first)
                if f"K{k}" in first:
                    assert header[f"k{k}"] == first[f"K{k}"].value
