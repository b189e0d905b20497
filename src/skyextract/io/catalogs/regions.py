"""DS9 region files of the sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.positions import kron_ellipses, positions
from skyextract.io.atomic import OpenOutput, atomic_output

_PSF_STAR, _CLEAN, _FLAGGED = "cyan", "green", "red"
_RADIUS = 5.0
"""Radius (pixels) of a source of unknown shape."""


def _column(catalog: Catalog, name: str) -> F8:
    return np.asarray(catalog[name] if name in catalog else np.zeros(catalog.n_rows), np.float64)


def regions(catalogs: Sequence[Catalog]) -> Iterator[str]:
    """Yield the lines of a region file, one ellipse or circle per source, in pixels.

    The Kron ellipse (A and B times KRON_RADIUS) at the windowed position where these columns
    are there, else 3 A by 3 B, else a circle of 5 pixels.  Cyan are PSF stars, red sources
    with FLAGS of 4 and more (saturated, cut off, incomplete), green all others.

    Parameters
    ----------
    catalogs : sequence of Catalog
        One per image extension; of several, each goes to its DS9 tile.
    """
    yield "# Region file format: DS9\n"
    yield "global color=green width=1 select=1 edit=1 move=1 delete=1\n"
    for tile, catalog in enumerate(catalogs, start=1):
        yield "image\n" if len(catalogs) == 1 else f"tile {tile}\nimage\n"
        places = positions(catalog)
        if places is None:
            continue
        a, b, theta = kron_ellipses(catalog)
        number = _column(catalog, "NUMBER").astype(int).tolist()
        star = _column(catalog, "FLAGS_SKY").astype(int) & FlagsSky.PSF_STAR
        bad = _column(catalog, "FLAGS").astype(int) >= 4
        colour = np.where(star, _PSF_STAR, np.where(bad, _FLAGGED, _CLEAN)).tolist()
        elliptic = (np.isfinite(a) & np.isfinite(b) & np.isfinite(theta)).tolist()
        for k, place in enumerate(zip(*(axis.tolist() for axis in places[:2]), strict=True)):
            if not np.isfinite(place).all():
                continue
            shape = f"circle({place[0]:.3f},{place[1]:.3f},{_RADIUS:g})"
            if elliptic[k]:
                shape = (
                    f"ellipse({place[0]:.3f},{place[1]:.3f},{a[k]:.2f},{b[k]:.2f},{theta[k]:.2f})"
                )
            label = f" text={{{number[k]}}}" if number[k] else ""
            yield f"{shape} # color={colour[k]}{label}\n"


def write_regions(
    path: str | Path, catalogs: Sequence[Catalog], open_output: OpenOutput = atomic_output
) -> None:
    """Write the region file of the sources of all extensions; see `regions`.

    Raises
    ------
    SkyextractError
        It cannot be written.
    """
    with open_output(path) as stream:
        stream.writelines(line.encode("ascii") for line in regions(catalogs))
