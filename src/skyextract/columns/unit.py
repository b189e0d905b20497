"""Any unit of the pixels: everything that depends on it, converted to another one.

Single precision holds 1e-38 to 1e38, and the variance of pixels in erg/s/cm2/A is 1e-41: such
images are worked on in a unit of their own noise, a power of two, so that no digit changes.
"""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from skyextract.columns.table import COLUMNS
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.imageunit import (
    FLUX,
    INSTRUMENTAL,
    PER_FLUX,
    ZERO_POINT,
    ImageUnit,
    image_units,
)

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8

T = TypeVar("T")

OTHER_COLUMNS: dict[str, ImageUnit] = {"MAG_INSTRUMENTAL": INSTRUMENTAL}
"""Columns that are not of the catalogue's table."""
METRICS: dict[str, ImageUnit] = {
    "background": FLUX,
    "background_rms": FLUX,
    "zero_point": ZERO_POINT,
    "zero_point_1s": ZERO_POINT,
    "nanojansky": PER_FLUX,
}
"""Numbers of the steps."""


def in_unit(thing: T, unit: float) -> T:
    """Return a dataclass with all that depends on the unit of the pixels in another one.

    Fields that say so are converted (`datamodel.imageunit`), and catalogues and metrics by the
    names in them; dataclasses are looked into.  What is shared stays shared.

    Parameters
    ----------
    unit : float
        Size of the new unit in the present one, a power of two.
    """
    converted: T = _Conversion(unit).of(thing)
    return converted


def over_exposure(catalog: Catalog, exposed: F4, x: F8, y: F8) -> Catalog:
    """Return a catalogue with all that is in the unit of the pixels divided by the exposure.

    Parameters
    ----------
    exposed : (ny, nx) float32
        Relative exposure.
    x, y : (n,) float64
        Places of the rows, 0-based pixels.
    """
    rows, columns = (
        np.clip(np.rint(at), 0, size - 1).astype(np.int64)
        for at, size in zip((y, x), exposed.shape, strict=True)
    )
    at_places = exposed[rows, columns]
    changed = {
        name: (catalog[name].T / at_places).T.astype(catalog[name].dtype)
        for name in catalog
        if _kind_of_column(name) is FLUX
    }
    return catalog.with_columns(**changed)


class _Conversion:
    """A change of unit, which remembers what it has converted."""

    def __init__(self, unit: float) -> None:
        self.unit = unit
        self._known: dict[tuple[int, ImageUnit | None], Any] = {}

    def of(self, value: Any, kind: ImageUnit | None = None) -> Any:
        """Return a value in the new unit; the same object if nothing changes."""
        key = id(value), kind
        if key not in self._known:
            self._known[key] = self._convert(value, kind)
        return self._known[key]

    def _convert(self, value: Any, kind: ImageUnit | None) -> Any:
        if kind is not None and value is not None:
            return kind.convert(value, self.unit)
        if isinstance(value, Catalog):
            return self._catalog(value)
        if not is_dataclass(value) or isinstance(value, type):
            return value
        changes = {}
        for name, unit in image_units(type(value)).items():
            old = getattr(value, name)
            new = self._metrics(old) if name == "metrics" else self.of(old, unit)
            if new is not old:
                changes[name] = new
        return replace(value, **changes) if changes else value

    def _catalog(self, catalog: Catalog) -> Catalog:
        kinds = {name: _kind_of_column(name) for name in catalog}
        return Catalog({name: self.of(catalog[name], kinds[name]) for name in catalog})

    def _metrics(self, numbers: Any) -> Any:
        """Convert the numbers of one step, or of several by step."""
        return {
            name: self._metrics(value)
            if isinstance(value, dict)
            else self.of(value, METRICS.get(name))
            for name, value in numbers.items()
        }


def _kind_of_column(name: str) -> ImageUnit | None:
    column = COLUMNS.get(name)
    if column is None:
        return OTHER_COLUMNS.get(name)
    return FLUX if column.unit.startswith("count") else None
