"""The local store: reference catalogues as HEALPix tiles, safe for several processes.

`<folder>/<catalogue>/Norder<k>/Npix<n>.fits` (NESTED order) holds the stars of one pixel, as a
FITS table with columns as `references.columns` finds them.  A tile appears complete or not at
all; its header says what was asked of whom, when, and that all of the answer is there.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skyextract.columns.families import Column
from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.header import set_cards
from skyextract.errors import OutputError, ReferenceCatalogError
from skyextract.io.atomic import atomic_output, recover
from skyextract.io.fits.table import table_unit
from skyextract.io.fits.writer import primary_unit, write_units
from skyextract.record import record

_BLOCK = 2880
_UNITS = {
    "ra": "deg", "dec": "deg", "ra_error": "mas", "dec_error": "mas", "pmra": "mas/yr",
    "pmdec": "mas/yr", "epoch": "yr",
}  # fmt: skip


@record
class Tile:
    """A HEALPix pixel of a catalogue: order and number, NESTED."""

    order: int
    pixel: int

    @property
    def area(self) -> float:
        """Square degrees."""
        return 129600.0 / (12.0 * math.pi * 4.0**self.order)


@record
class Facts:
    """What a tile says of itself."""

    n_stars: int
    date: str
    server: str


class Store:
    """A folder of tiles.

    Parameters
    ----------
    folder : str or Path
        Empty: `skyextract/catalogs` in XDG_DATA_HOME (~/.local/share).
    """

    def __init__(self, folder: str | Path = "") -> None:
        self.folder = Path(folder) if str(folder) else default_folder()

    def path(self, name: str, tile: Tile) -> Path:
        """Return the file of a tile."""
        return self.folder / name / f"Norder{tile.order}" / f"Npix{tile.pixel}.fits"

    def facts(self, name: str, tile: Tile) -> Facts | None:
        """Return what a tile says of itself; None if it is not there or not whole."""
        try:
            with self.path(name, tile).open("rb") as file:
                start = file.read(_BLOCK).decode("ascii", "replace")
                size = os.fstat(file.fileno()).st_size
        except OSError:
            return None
        cards = {m[1].rstrip(): m[2] for m in re.finditer(r"(.{8})= (.{70})", start)}
        text = {key: value.partition("/")[0].strip(" '") for key, value in cards.items()}
        if (text.get("CATALOG"), text.get("COMPLETE")) != (name, "T"):
            return None
        if text.get("TILE") != f"{tile.order} {tile.pixel}" or size % _BLOCK or size < 2 * _BLOCK:
            return None
        return Facts(int(text.get("NSTARS", "0")), text.get("DATE", ""), text.get("SERVER", ""))

    def write(
        self, name: str, tile: Tile, columns: Mapping[str, AnyArray], cards: Mapping[str, Any]
    ) -> None:
        """Put a tile in its place.

        Raises
        ------
        ReferenceCatalogError
            The store cannot be written.
        """
        path = self.path(name, tile)
        head = primary_unit()
        n_stars = len(next(iter(columns.values())))
        known = {
            "CATALOG": (name, "reference catalogue"),
            "TILE": (f"{tile.order} {tile.pixel}", "HEALPix order and pixel, NESTED"),
            "COMPLETE": (True, "all stars that the query has are here"),
            "NSTARS": (n_stars, "number of stars"),
            "DATE": (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()), "UTC of the fetch"),
        }
        set_cards(head.header, known | dict(cards))
        described = {key: Column(key, "", unit=_UNITS.get(key, "mag")) for key in columns}
        table = table_unit(columns, name="STARS", described=described)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_output(path) as stream:
                write_units(stream, [head, table])
        except (OSError, OutputError) as error:
            raise self._unwritable(error) from None

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Let no other process fetch the same catalogue at the same time.

        Raises
        ------
        ReferenceCatalogError
            The store cannot be written.
        """
        folder = self.folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / ".lock").open("a")
        except OSError as error:
            raise self._unwritable(error) from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for order in folder.glob("Norder*"):
                recover(order)
            yield

    def _unwritable(self, error: Exception) -> ReferenceCatalogError:
        reason = getattr(error, "strerror", None) or str(error)
        return ReferenceCatalogError(
            f"the store of reference catalogues {self.folder} cannot be written ({reason}); "
            "see REFOUT_CATPATH"
        )

    def note_failure(self, name: str, reason: str) -> None:
        """Leave word for those who wait for the lock that nobody answers."""
        (self.folder / name / ".failed").write_text(reason, "utf-8")

    def failure_since(self, name: str, start: float) -> str:
        """Return why another process got no answer after `start` (seconds); empty if none did."""
        path = self.folder / name / ".failed"
        try:
            return path.read_text("utf-8") if path.stat().st_mtime >= start else ""
        except OSError:
            return ""

    def tiles(self) -> Iterator[tuple[str, Tile, Path]]:
        """Yield catalogue, tile and file of all that is there."""
        for path in sorted(self.folder.glob("*/Norder*/Npix*.fits")):
            match = re.fullmatch(r"Norder(\d+)/Npix(\d+)\.fits", "/".join(path.parts[-2:]))
            if match:
                yield path.parts[-3], Tile(int(match[1]), int(match[2])), path


def default_folder() -> Path:
    """Return the folder of the store where REFOUT_CATPATH names none."""
    home = os.environ.get("XDG_DATA_HOME", "")
    base = Path(home) if home and Path(home).is_absolute() else Path("~/.local/share").expanduser()
    return base / "skyextract" / "catalogs"
