"""What Python callers give: keywords and arrays, checked and brought into form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.header import Header, remove, set_cards
from skyextract.datamodel.wcscards import is_wcs_keyword
from skyextract.inputs.sidefiles import listed_columns
from skyextract.settings.grammar import Setting, declarations, split_values, suggest
from skyextract.settings.resolve import Settings, resolve


def settings_of(caller: str, keywords: Mapping[str, Any], *, steps: bool = False) -> Settings:
    """Resolve keyword arguments by the table of the configuration file.

    Raises
    ------
    TypeError
        An unknown keyword, or one that has no meaning here.
    ConfigError
        A value is wrong.
    """
    table = declarations()
    given: dict[str, Setting] = {}
    for argument, value in keywords.items():
        name = argument.upper()
        if name in given:
            raise TypeError(f"{caller}() got {name} twice, in capitals and in small letters")
        if name not in table:
            raise TypeError(
                f"{caller}() got an unexpected keyword argument {argument!r}{suggest(name, table)}"
            )
        if table[name].group == "output" and name != "PARAMETERS_NAME":
            raise TypeError(f"{caller}() writes no files: {argument} has no meaning")
        if name == "STEPS" and not steps:
            raise TypeError(f"{caller}() is one step: {argument} has no meaning")
        origin = f"{caller}()"
        single = table[name].keyword.size is None and table[name].type == "str"
        try:
            words = _words(value, origin, single=single)
            if name == "PARAMETERS_NAME" and isinstance(value, list | tuple | np.ndarray):
                words = (listed_columns(words),)
        except TypeError:
            raise TypeError(
                f"{caller}(): {argument} must be text, a number, a bool or a sequence of these, "
                f"not {type(value).__name__}"
            ) from None
        given[name] = Setting(name, words, origin)
    return resolve(None, list(given.values()))


def _words(value: Any, origin: str, *, single: bool) -> tuple[str, ...]:
    """Return a Python value as the words of the configuration file."""
    if isinstance(value, str | Path):
        text = str(value)
        return (text,) if single and text else split_values(text, origin)
    if isinstance(value, bool | np.bool_):
        return ("Y" if value else "N",)
    if value is None:
        return ("NONE",)
    if isinstance(value, int | float | np.number):
        return (repr(value.item() if isinstance(value, np.number) else value),)
    if isinstance(value, bytes | bytearray | Mapping) or hasattr(value, "write"):
        raise TypeError(type(value).__name__)  # an open file, a table, bytes
    words: tuple[str, ...] = ()
    for item in value:
        words += _words(item, origin, single=True)
    return words


def plane_of(array: Any, name: str, shape: tuple[int, ...] | None = None) -> AnyArray:
    """Return a 2-D array of real numbers; masked elements are NaN."""
    if hasattr(array, "uncertainty") and not hasattr(array, "__array__"):  # NDData
        array = np.ma.array(array.data, mask=array.mask if array.mask is not None else False)
    values: AnyArray = np.asarray(getattr(array, "value", array))
    if values.dtype.kind not in "biuf":
        held = hasattr(array, "data") and not isinstance(array, np.ndarray)
        hint = f": pass the .data of the {type(array).__name__}" if held else ""
        raise TypeError(f"{name} must hold real numbers, not {values.dtype}{hint}")
    if values.dtype.kind == "b" or values.dtype.name in ("float16", "longdouble", "float128"):
        values = values.astype(np.float64)
    if values.ndim != 2:
        raise ValueError(f"{name} must be 2-D, not of shape {values.shape}")
    if not values.size:
        raise ValueError(f"{name} has no pixels, its shape is {values.shape}")
    if shape is not None and values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, the array {shape}")
    # masked arrays of numpy and astropy, CCDData
    hidden = getattr(array, "mask", None)
    if isinstance(hidden, np.ndarray | np.bool_ | bool) and np.any(hidden):
        values = np.where(hidden, np.nan, values)
    return values


def variance_of(array: Any) -> AnyArray | None:
    """Return the variance that an array brings along (CCDData); None if it brings none.

    Raises
    ------
    TypeError
        An uncertainty of an unknown type.
    """
    uncertainty = getattr(array, "uncertainty", None)
    if uncertainty is None:
        return None
    values = np.asarray(uncertainty.array, np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        match uncertainty.uncertainty_type:
            case "std":
                return values**2
            case "var":
                return values
            case "ivar":
                return 1.0 / values
    raise TypeError(f"an uncertainty of type {uncertainty.uncertainty_type}: pass variance=")


def header_of(array: Any, header: Any = None) -> Header:
    """Return a header of the cards that a caller gives, or else of those that an array brings.

    The WCS of an NDData or CCDData (whose read takes it out of the header) and the unit of one,
    or of a Quantity, become cards; a WCS among the cards that are given stays.
    """
    brought = getattr(array, "header", getattr(array, "meta", None))
    cards = _header_of(brought if header is None else header)
    solved = _wcs_of(array)
    if solved and (header is None or "CTYPE1" not in cards):
        remove(cards, [keyword for keyword in cards if is_wcs_keyword(keyword)])
        set_cards(cards, solved)
    if (unit := getattr(array, "unit", None)) is not None and str(unit):
        cards["BUNIT"] = str(unit)
    return cards


def _wcs_of(array: Any) -> dict[str, Any]:
    """Return the cards of the WCS that an array brings along; none if it brings none."""
    wcs: Any = getattr(array, "wcs", None)
    if not hasattr(wcs, "to_header"):
        return {}
    cards = {key: value for key, value in wcs.to_header(relax=True).items() if is_wcs_keyword(key)}
    tables = ("cpdis1", "cpdis2", "det2im1", "det2im2")
    if any(getattr(wcs, table, None) is not None for table in tables):
        cards["CPDIS1"] = "LOOKUP"  # which to_header leaves out
    return cards


def _header_of(header: Any) -> Header:
    """Return a copy of a header, ours or astropy's, or one with the cards of a mapping."""
    if isinstance(header, Header) or hasattr(header, "tostring"):
        return Header.of(header)
    if not isinstance(header, Mapping | None):
        raise TypeError(f"header must be a Header or a mapping, not {type(header).__name__}")
    cards = Header()
    for key, value in (header or {}).items():
        try:
            cards[key] = value
        except (ValueError, TypeError) as error:
            raise ValueError(f"header card {key!r}: {error}") from None
    return cards


def number_of(value: Any, name: str) -> float:
    """Return a real number."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    return float(value)
