"""VOTable catalogues and the XML summary (IVOA VOTable 1.3, UCD1+ words), by astropy."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import Cards
from skyextract.io.catalogs.tables import as_table
from skyextract.io.catalogs.text import plain_cards
from skyextract.messages import encoded, quiet

if TYPE_CHECKING:
    from astropy.io.votable.tree import Param, TableElement, VOTableFile


def _clean(text: str) -> str:
    """Drop characters that XML 1.0 does not allow, and write out bytes that are no text."""
    return "".join(c for c in encoded(text).decode() if c >= " " or c in "\t\n\r")


def _param(file: VOTableFile, name: str, value: Any, **attributes: str) -> Param:
    """Return a PARAM element of the type of the value; an unknown number is NaN."""
    from astropy.io.votable.tree import Param

    kind = {"datatype": "char", "arraysize": "*"}
    if isinstance(value, bool):
        kind = {"datatype": "boolean"}
    elif isinstance(value, int):
        kind = {"datatype": "int" if abs(value) < 1 << 31 else "long"}
    elif isinstance(value, float) or value is None:
        kind, value = {"datatype": "double"}, np.nan if value is None else value
    else:
        value = _clean(str(value))
    return Param(file, name=name, value=value, **kind, **attributes)


def _table(file: VOTableFile, catalog: Catalog, name: str, cards: Cards) -> TableElement:
    from astropy.io.votable.tree import TableElement

    table = as_table(catalog, {})
    for column in table.itercols():
        if column.dtype.kind == "U":
            # VOTable's char is a byte.
            cleaned = [_clean(str(text)).encode() for text in column]
            table[column.name] = np.array(cleaned, dtype="S") if cleaned else np.array([], "S1")
    element = TableElement.from_table(file, table)
    element.name = name
    element.params.extend(_param(file, *card) for card in plain_cards(cards).items())
    return element


def _text(file: VOTableFile) -> str:
    stream = io.BytesIO()
    with quiet():
        file.to_xml(stream)
    return stream.getvalue().decode("utf-8")


def votable(extensions: Sequence[tuple[Catalog, Cards]]) -> str:
    """Return a VOTable with one TABLE per image extension, header cards as PARAMs."""
    from astropy.io.votable.tree import CooSys, Resource, VOTableFile

    file = VOTableFile(version="1.3")
    resource = Resource(name="skyextract", type="results")
    resource.description = "Sources extracted with skyextract"
    frame = CooSys(ID="J2000", equinox="J2000", epoch="J2000", system="ICRS")
    resource.coordinate_systems.append(frame)
    file.resources.append(resource)
    for number, (catalog, cards) in enumerate(extensions, start=1):
        name = "Source_List" if len(extensions) == 1 else f"Source_List_{number}"
        resource.tables.append(_table(file, catalog, name, cards))
    return _text(file)


def xml_summary(
    software: Mapping[str, Any],
    extensions: Sequence[Cards],
    warnings: Sequence[str],
    config: Mapping[str, Any],
) -> str:
    """Return the XML summary of a run (WRITE_XML), with the tables that SExtractor's has.

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
    from astropy.io.votable.tree import Info, Resource, VOTableFile

    file = VOTableFile(version="1.3")
    meta, settings = Resource(name="MetaData"), Resource(name="Config")
    meta.description = "skyextract meta-data"
    meta.infos.append(Info(name="QUERY_STATUS", value="OK"))
    file.resources.append(meta)
    meta.resources.append(settings)
    meta.params.extend(_param(file, name, value) for name, value in software.items())
    messages = Catalog({"Msg": np.array(list(warnings), dtype=str)})
    meta.tables.append(_table(file, _columns(extensions), "Extension_Data", {}))
    meta.tables.append(_table(file, messages, "Warnings", {}))
    settings.params.extend(
        _param(file, name, str(value), ucd="obs.param") for name, value in config.items()
    )
    return _text(file)


def _columns(extensions: Sequence[Cards]) -> Catalog:
    """Return cards as columns, one row per extension; an unknown number is NaN."""
    plain = [plain_cards(cards) for cards in extensions]
    columns = {}
    for name in plain[0] if plain else ():
        values = [cards[name] for cards in plain]
        if all(value is None or isinstance(value, int | float) for value in values):
            whole = all(isinstance(v, int) and not isinstance(v, bool) for v in values)
            numbers = [np.nan if value is None else value for value in values]
            columns[name] = np.array(numbers, dtype="i8" if whole else "f8")
        else:
            columns[name] = np.array(["" if v is None else str(v) for v in values])
    return Catalog(columns)
