"""The match table: which source was paired with which reference star."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from skyextract.datamodel.catalog import Catalog
from skyextract.io.atomic import atomic_output


def write_matches(
    path: str | Path,
    pairs: Sequence[tuple[Catalog, Catalog]],
    inputs: Iterable[str | Path] = (),
) -> None:
    """Write the pairs with the reference catalogues as FITS tables.

    Parameters
    ----------
    path : str or Path
    pairs : sequence of (astrometric, photometric) matches
        One per image extension, counted by EXTVER; a step that did not match has no table.
    inputs : iterable of paths
        Files that must not be overwritten.
    """
    from astropy.io import fits
    from astropy.table import Table

    hdus = [fits.PrimaryHDU()]
    for version, tables in enumerate(pairs, start=1):
        for name, table in zip(("ASTROMETRY", "PHOTOMETRY"), tables, strict=True):
            if table.columns:
                hdu = fits.BinTableHDU(Table(dict(table)), name=name, ver=version)
                hdus.append(hdu)
    with atomic_output(path, inputs) as stream:
        fits.HDUList(hdus).writeto(stream)
