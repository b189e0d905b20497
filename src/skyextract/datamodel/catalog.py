"""A catalogue: named columns of equal length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

import numpy as np

from skyextract.datamodel.arrays import AnyArray
from skyextract.record import record


@record
class Catalog(Mapping[str, AnyArray]):
    """Columns by name, in order; a vector column is an array [row, element].

    Frozen: `with_columns`, `select` and `take` give new catalogues that share arrays.
    Positions in *_IMAGE columns are FITS pixels (first pixel centre = 1, 1).
    """

    columns: dict[str, AnyArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of unequal length: {lengths}")

    def __getitem__(self, name: str) -> AnyArray:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    __eq__ = object.__eq__  # of arrays there is no one answer
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"Catalog({self.n_rows} rows, {len(self.columns)} columns)"

    def __len__(self) -> int:
        """Return the number of columns, as for any mapping; rows are `n_rows`."""
        return len(self.columns)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def with_columns(self, **columns: AnyArray) -> Catalog:
        """Return a catalogue with these columns added or replaced."""
        return Catalog({**self.columns, **columns})

    def select(self, names: list[str]) -> Catalog:
        """Return the named columns, in this order; KeyError for an unknown one."""
        return Catalog({name: self.columns[name] for name in names})

    def take(self, rows: AnyArray) -> Catalog:
        """Return the given rows (a boolean mask or indices)."""
        rows = np.asarray(rows)
        return Catalog({name: values[rows] for name, values in self.columns.items()})

    def append(self, other: Catalog) -> Catalog:
        """Return the rows of both, in the columns of this one; KeyError if one is missing."""
        return Catalog(
            {name: np.concatenate([values, other[name]]) for name, values in self.columns.items()}
        )
