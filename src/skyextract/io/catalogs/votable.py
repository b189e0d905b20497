"""VOTable catalogues and the XML summary (IVOA VOTable 1.3, UCD1+ words)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import Cards
from skyextract.io.catalogs.text import described, plain_cards, row_chunks

_TYPES = {
    "i2": "short", "i4": "int", "i8": "long", "f4": "float", "f8": "double", "u1": "unsignedByte",
    "b1": "boolean",
}  # fmt: skip
_UNITS = {
    "count": "ct", "pixel": "pix", "pixel**2": "pix2", "pixel**(-2)": "pix-2",
    "deg**2": "deg2", "deg**(-2)": "deg-2", "mag * arcsec**(-2)": "mag.arcsec-2",
}  # fmt: skip
_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">
"""


def _param(name: str, value: Any, **attributes: str) -> str:
    """Return a PARAM element of the type of the value."""
    if isinstance(value, bool):
        kind, text = 'datatype="boolean"', "T" if value else "F"
    elif isinstance(value, int):
        kind, text = f'datatype="{"int" if abs(value) < 1 << 31 else "long"}"', str(value)
    elif isinstance(value, float):
        kind, text = 'datatype="double"', f"{value:.17g}"
    elif value is None:
        kind, text = 'datatype="double"', "NaN"
    else:
        kind, text = 'datatype="char" arraysize="*"', str(value)
    more = "".join(f" {key}={quoteattr(item)}" for key, item in attributes.items() if item)
    return f"<PARAM name={quoteattr(name)} {kind}{more} value={quoteattr(_clean(text))}/>\n"


def _clean(text: str) -> str:
    """Drop characters that XML 1.0 does not allow."""
    return "".join(c for c in text if c >= " " or c in "\t\n\r")


def _cells(values: AnyArray) -> list[str]:
    """Return the TD element of each row."""
    if values.dtype.kind in "US":
        return [f"<TD>{quoteattr(_clean(str(v)))[1:-1]}</TD>" for v in values.tolist()]
    form = {"f4": "%.9g", "f8": "%.17g"}.get(values.dtype.str[1:], "%d")
    rows = values.reshape(len(values), -1) if values.size else values.reshape(len(values), 0)
    row_form = "<TD>" + " ".join([form] * rows.shape[1]) + "</TD>"
    texts = [row_form % tuple(row) for row in rows.tolist()]
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return texts
    return [t.replace("nan", "NaN").replace("inf", "+Inf").replace("-+", "-") for t in texts]


def _table(catalog: Catalog, name: str, cards: Cards) -> Iterator[str]:
    yield f"<TABLE name={quoteattr(name)}>\n"
    for keyword, value in plain_cards(cards).items():
        yield _param(keyword, value)
    for column, values in described(catalog):
        attributes = f'name="{column.name}" datatype="{_TYPES.get(values.dtype.str[1:], "char")}"'
        shape = values.shape[1:]
        if values.dtype.kind in "US":
            attributes += ' arraysize="*"'
        elif int(np.prod(shape)) > 1:
            attributes += f' arraysize="{"x".join(map(str, reversed(shape)))}"'
        if column.ucd:
            attributes += f' ucd="{column.ucd}"'
        if column.unit:
            attributes += f' unit="{_UNITS.get(column.unit, column.unit)}"'
        yield f"<FIELD {attributes}>"
        yield f"<DESCRIPTION>{_text(column.description)}</DESCRIPTION></FIELD>\n"
    yield "<DATA><TABLEDATA>\n"
    for chunk in row_chunks(catalog):
        cells = [_cells(values) for _, values in described(chunk)]
        for row in zip(*cells, strict=True):
            yield f"<TR>{''.join(row)}</TR>\n"
    yield "</TABLEDATA></DATA>\n</TABLE>\n"


def _text(text: str) -> str:
    return quoteattr(_clean(text))[1:-1].replace("&quot;", '"')


def votable(extensions: Sequence[tuple[Catalog, Cards]]) -> Iterator[str]:
    """Yield a VOTable with one TABLE per image extension, header cards as PARAMs."""
    yield _HEAD
    yield '<RESOURCE name="skyextract" type="results">\n'
    yield "<DESCRIPTION>Sources extracted with skyextract</DESCRIPTION>\n"
    yield '<COOSYS ID="J2000" equinox="J2000" epoch="J2000" system="ICRS"/>\n'
    for number, (catalog, cards) in enumerate(extensions, start=1):
        name = "Source_List" if len(extensions) == 1 else f"Source_List_{number}"
        yield from _table(catalog, name, cards)
    yield "</RESOURCE>\n</VOTABLE>\n"


def xml_summary(
    software: Mapping[str, Any],
    extensions: Sequence[Cards],
    warnings: Sequence[str],
    config: Mapping[str, Any],
) -> Iterator[str]:
    """Yield the XML summary of a run (WRITE_XML), with the tables that SExtractor's has.

    Parameters
    ----------
    software : mapping
        Facts about the run: Software, Version, Image_Name, Duration ...
    extensions : sequence of mapping
        What was found in each extension; all with the same keys.
    warnings : sequence of str
    config : mapping
        Keywords and their values as text.
    """
    yield _HEAD
    yield '<RESOURCE name="MetaData">\n<DESCRIPTION>skyextract meta-data</DESCRIPTION>\n'
    yield '<INFO name="QUERY_STATUS" value="OK"/>\n'
    for name, value in software.items():
        yield _param(name, value)
    plain = [plain_cards(cards) for cards in extensions]
    names = list(plain[0]) if plain else []
    columns = {}
    for name in names:
        values = [cards[name] for cards in plain]
        if all(value is None or isinstance(value, int | float) for value in values):
            whole = all(isinstance(v, int) and not isinstance(v, bool) for v in values)
            numbers = [np.nan if value is None else value for value in values]
            columns[name] = np.array(numbers, dtype="i8" if whole else "f8")
        else:
            columns[name] = np.array(["" if v is None else str(v) for v in values])
    yield from _table(Catalog(columns), "Extension_Data", {})
    yield from _table(Catalog({"Msg": np.array(list(warnings), dtype=str)}), "Warnings", {})
    yield '<RESOURCE name="Config">\n'
    for name, value in config.items():
        yield _param(name, str(value), ucd="obs.param")
    yield "</RESOURCE>\n</RESOURCE>\n</VOTABLE>\n"
