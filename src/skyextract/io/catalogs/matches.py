"""The match table: which source was paired with which reference star."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skyextract.datamodel.catalog import Catalog
from skyextract.io.atomic import OpenOutput, atomic_output


def write_matches(
    path: str | Path,
    pairs: Sequence[tuple[Catalog, Catalog]],
    open_output: OpenOutput = atomic_output,
) -> None:
    """Write the pairs with the reference catalogues as FITS tables.

    Parameters
    ----------
    path : str or Path
    pairs : sequence of (astrometric, photometric) matches
        One per image extension, counted by EXTVER; a step that did not match has no table.
    open_output : callable
        What opens the file; default: by itself, see `atomic_output`.
    """
    from astropy.io import fits
    from astropy.table import Table

    hdus = [fits.PrimaryHDU()]
    for version, tables in enumerate(pairs, start=1):
        for name, table in zip(("ASTROMETRY", "PHOTOMETRY"), tables, strict=True):
            if table.columns:
                hdu = fits.BinTableHDU(Table(dict(table)), name=name, ver=version)
                hdus.append(hdu)
    with open_output(path) as stream:
        fits.HDUList(hdus).writeto(stream)
