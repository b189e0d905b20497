"""Read reference catalogues: find the columns, convert the units, keep what is near."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.errors import ReferenceCatalogError
from skyextract.io.references.columns import (
    POSITION_KEYS,
    angle,
    find_columns,
    magnitude_columns,
    motions,
    ordering_magnitude,
    position_errors,
    with_joined_angles,
)
from skyextract.io.references.tables import Table, read_tables
from skyextract.run import Run
from skyextract.sky.bands import split_unit

NSIDE = 32
"""HEALPix resolution of a directory of chunks."""


def read_reference(
    paths: Sequence[str], run: Run, *,
    centre_keys: Sequence[str] = (), error_keys: Sequence[str] = (),
    motion_keys: Sequence[str] = (), mag_key: str = "", also: Sequence[str] = (),
    region: tuple[float, float, float] | None = None, name: str = "",
) -> RefCatalog:  # fmt: skip
    """Read one or more reference catalogues as one.

    Parameters
    ----------
    paths : sequence of str
        Files, or directories of HEALPix chunks `chunk-%05d.fits` (nside 32, RING order).
    run : Run
        Takes note of the files.
    centre_keys, error_keys, motion_keys : sequence of str
        Names of the columns of RA and Dec, their errors, and proper motions; empty: found
        by common names.
    mag_key : str
        The magnitude that orders the stars; empty: the first of `MAG_PREFERENCE`.
    also : sequence of str
        Columns that are wanted beside the magnitudes and their errors: they are kept under
        their names in `magnitudes`.
    region : tuple of float, optional
        Centre and radius (deg) outside which stars are left out; needed for chunks, of which
        only those in the region are read.
    name : str
        Of the catalogue; empty: the paths.

    Returns
    -------
    RefCatalog

    Raises
    ------
    ReferenceCatalogError
        A file that cannot be read, or columns that are missing.
    """
    parts = []
    rows = 0
    for path in paths:
        for file in _files(path, region):
            run.note_opened(file)
            part = _read_file(file, run, centre_keys, error_keys, motion_keys, mag_key, also)
            parts.append(replace(part, row=part.row + rows))
            rows += int(part.row.max(initial=-1)) + 1
    if not parts:
        raise ReferenceCatalogError("no reference catalogue given")
    catalog = _once(_joined(parts, name or ", ".join(paths)))
    if region is not None:
        catalog = catalog.take(_near(catalog, region))
    return catalog


def _files(path: str, region: tuple[float, float, float] | None) -> Iterable[str]:
    """Return the files of a catalogue: itself, or the chunks of a directory in the region."""
    if not Path(path).is_dir():
        return [path]
    if region is None:
        raise ReferenceCatalogError(f"{path}: a directory of chunks needs a known pointing")
    pixels = _touched(*region)
    found = [str(Path(path) / f"chunk-{pixel:05d}.fits") for pixel in pixels]
    found = [name for name in found if Path(name).is_file()]
    if not found:
        raise ReferenceCatalogError(
            f"{path}: no chunk-%05d.fits (HEALPix nside {NSIDE}, RING) within {region[2]:.2f} deg "
            f"of {region[0]:.4f} {region[1]:+.4f}"
        )
    return found


def _touched(ra: float, dec: float, radius: float) -> I8:
    """Return the pixels, in RING order, that a disc (deg) touches, and perhaps a few more."""
    try:
        import hpgeom
    except ImportError:
        raise ReferenceCatalogError(
            "a directory of HEALPix chunks needs the extra skyextract[healpix]"
        ) from None
    if radius >= 180.0:
        return np.arange(12 * NSIDE**2)
    pixels = hpgeom.query_circle(NSIDE, ra, dec, radius, inclusive=True, nest=False)
    return np.asarray(pixels, np.int64)


def _near(catalog: RefCatalog, region: tuple[float, float, float]) -> Bools:
    ra, dec, radius = region
    half_ra = 0.5 * np.deg2rad(catalog.ra - ra)
    half_dec = 0.5 * np.deg2rad(catalog.dec - dec)
    haversine = np.sin(half_dec) ** 2 + (
        np.cos(np.deg2rad(catalog.dec)) * np.cos(np.deg2rad(dec)) * np.sin(half_ra) ** 2
    )
    return np.asarray(haversine <= np.sin(0.5 * np.deg2rad(min(radius, 180.0))) ** 2)


def _joined(parts: list[RefCatalog], name: str) -> RefCatalog:
    """Concatenate catalogues; a magnitude that one of them lacks is NaN there."""
    filled = [part for part in parts if part.n_stars] or parts[:1]
    if len(filled) == 1:
        return replace(filled[0], name=name)
    keys = list(dict.fromkeys(key for part in filled for key in part.magnitudes))
    errors = list(dict.fromkeys(key for part in filled for key in part.magnitude_errors))

    def column(tables: list[dict[str, F8]], key: str) -> F8:
        return np.concatenate([
            table.get(key, np.full(part.n_stars, np.nan))
            for table, part in zip(tables, filled, strict=True)
        ])  # fmt: skip

    arrays = ("ra", "dec", "ra_error", "dec_error", "pmra", "pmdec", "epoch", "row")
    return RefCatalog(
        **{key: np.concatenate([getattr(part, key) for part in filled]) for key in arrays},
        magnitudes={key: column([part.magnitudes for part in filled], key) for key in keys},
        magnitude_errors={
            key: column([part.magnitude_errors for part in filled], key) for key in errors
        },
        mag_key=next((part.mag_key for part in filled if part.mag_key), ""),
        name=name,
    )


def _once(catalog: RefCatalog) -> RefCatalog:
    """Leave out rows that repeat another one in all that is known of them."""
    order = np.lexsort((catalog.dec, catalog.ra))
    same = (np.diff(catalog.ra[order]) == 0.0) & (np.diff(catalog.dec[order]) == 0.0)
    if not np.any(same):
        return catalog
    rows = np.sort(order[np.append(same, False) | np.append(False, same)])
    arrays = ("ra", "dec", "ra_error", "dec_error", "pmra", "pmdec", "epoch")
    columns = [getattr(catalog, key) for key in arrays]
    columns += [*catalog.magnitudes.values(), *catalog.magnitude_errors.values()]
    known = np.stack([np.nan_to_num(values[rows], nan=np.inf) for values in columns])
    order = np.lexsort(known)
    again = np.all(known[:, order[1:]] == known[:, order[:-1]], axis=0)
    kept = np.ones(catalog.n_stars, dtype=np.bool_)
    kept[rows[order[1:][again]]] = False
    return catalog.take(kept)


def _read_file(
    path: str, run: Run, centre_keys: Sequence[str], error_keys: Sequence[str],
    motion_keys: Sequence[str], mag_key: str, also: Sequence[str],
) -> RefCatalog:  # fmt: skip
    """Make a catalogue of the first table of a file that has positions."""
    wanted = [tuple(centre_keys)] if centre_keys else list(POSITION_KEYS)
    if len(wanted[0]) != 2:
        raise ReferenceCatalogError("ASTREFCENT_KEYS: two column names are needed")
    tables = [with_joined_angles(table) for table in read_tables(path)]
    for table in tables:
        for keys in wanted:
            names = find_columns(table, keys)
            if names is not None:
                return _catalog(path, table, names, error_keys, motion_keys, mag_key, also)
    if centre_keys:
        raise ReferenceCatalogError(f"{path}: no columns {' and '.join(centre_keys)}")
    if tables[0].by_position:
        ra, dec, *rest = tables[0].by_position
        run.tell(
            f"{path}: no line of names: columns {ra} and {dec} are taken for RA and Dec"
            + f", {rest[0]} for a magnitude" * bool(rest)
            + " (ASTREFCENT_KEYS, ASTREFMAG_KEY)"
        )
        mag_key = mag_key or "".join(rest)
        return _catalog(path, tables[0], (ra, dec), error_keys, motion_keys, mag_key, also)
    known = " ".join(list(tables[0].columns)[:20])
    raise ReferenceCatalogError(
        f"{path}: no columns of RA and Dec found (there are: {known}); name them: ASTREFCENT_KEYS"
    )


def _catalog(
    path: str, table: Table, names: tuple[str, ...], error_keys: Sequence[str],
    motion_keys: Sequence[str], mag_key: str, also: Sequence[str],
) -> RefCatalog:  # fmt: skip
    ra = angle(table, names[0], hours=True)
    dec = angle(table, names[1], hours=False)
    good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90.0) & (np.abs(ra) <= 360.0)
    if table.n_rows and not np.any(good):
        swapped = bool(np.any((np.abs(ra) <= 90.0) & (dec >= 0.0) & (dec <= 360.0)))
        hint = ": are they swapped? (ASTREFCENT_KEYS)" if swapped else ""
        raise ReferenceCatalogError(
            f"{path}: {names[0]} and {names[1]} hold no sky positions{hint}"
        )
    unknown = np.full(table.n_rows, np.nan)
    ra_error, dec_error = position_errors(path, table, error_keys) or (unknown, unknown)
    pmra, pmdec, epoch = motions(path, table, names[0], motion_keys)
    magnitudes, mag_errors = magnitude_columns(
        table, {split_unit(key)[0].lower() for key in (mag_key, *also)}
    )
    chosen = ordering_magnitude(path, magnitudes, mag_key)
    return RefCatalog(
        ra % 360.0, dec, ra_error, dec_error, pmra, pmdec, epoch, magnitudes, mag_errors, chosen,
        np.arange(table.n_rows, dtype=np.int64), path,
    ).take(good)  # fmt: skip
