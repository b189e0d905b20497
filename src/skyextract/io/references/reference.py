"""Read reference catalogues: find the columns, convert the units, keep what is near."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.errors import ReferenceCatalogError
from skyextract.io.references.tables import Table, numbers, read_tables
from skyextract.sky.angles import parse_angle
from skyextract.sky.healpix import disc_pixels

NSIDE = 32
"""HEALPix resolution of a directory of chunks."""

POSITION_KEYS = (
    ("ra", "dec"), ("RAJ2000", "DEJ2000"), ("_RAJ2000", "_DEJ2000"), ("RA_ICRS", "DE_ICRS"),
    ("RAdeg", "DEdeg"), ("RAmdeg", "DEmdeg"), ("ALPHA_J2000", "DELTA_J2000"),
    ("ALPHAWIN_J2000", "DELTAWIN_J2000"), ("X_WORLD", "Y_WORLD"), ("raMean", "decMean"),
    ("raStack", "decStack"), ("ra_deg", "dec_deg"), ("ra_j2000", "dec_j2000"),
    ("ra", "de"), ("RA(ICRS)", "DE(ICRS)"), ("_RA.icrs", "_DE.icrs"), ("_RA", "_DE"),
    ("alpha", "delta"), ("raj2000", "decj2000"), ("coord_ra", "coord_dec"),
)  # fmt: skip
"""Pairs of column names, any case, in order of preference."""

ERROR_KEYS = (
    ("ra_error", "dec_error", "mas"), ("e_RAJ2000", "e_DEJ2000", "mas"),
    ("e_RA_ICRS", "e_DE_ICRS", "mas"), ("e_RAmdeg", "e_DEmdeg", "mas"),
    ("e_RAdeg", "e_DEdeg", "mas"), ("ERRA_WORLD", "ERRB_WORLD", "deg"),
    ("ERRAWIN_WORLD", "ERRBWIN_WORLD", "deg"), ("raErr", "decErr", "arcsec"),
    ("raMeanErr", "decMeanErr", "arcsec"), ("ra_err", "dec_err", "arcsec"),
    ("err_maj", "err_min", "arcsec"), ("errMaj", "errMin", "arcsec"),
)  # fmt: skip
"""Pairs of position errors and their unit where the table does not name one."""

MOTION_KEYS = (
    ("pmra", "pmdec"), ("pmRA", "pmDE"), ("pm_ra", "pm_dec"), ("pmRA_cosDE", "pmDE"),
    ("PMALPHA_J2000", "PMDELTA_J2000"), ("mu_ra", "mu_dec"),
)  # fmt: skip
EPOCH_KEYS = ("ref_epoch", "epoch", "Epoch", "OBSDATE", "Ep", "epoch_year")

MAG_PREFERENCE = (
    "phot_g_mean_mag", "Gmag", "r", "rmag", "r_mag", "rMeanPSFMag", "rPSFMag", "VTmag", "Vmag",
    "MAG", "mag", "g", "gmag", "i", "imag", "Jmag", "j_m",
)  # fmt: skip
"""Which magnitude orders the stars, without ASTREFMAG_KEY."""

_ARCSEC = {
    "mas": 1e-3, "milliarcsec": 1e-3, "arcsec": 1.0, "arcs": 1.0, '"': 1.0, "deg": 3600.0,
    "d": 3600.0, "degree": 3600.0, "degrees": 3600.0, "rad": 206264.80624709636, "uas": 1e-6,
}  # fmt: skip


def read_reference(
    paths: Sequence[str], *, centre_keys: Sequence[str] = (), error_keys: Sequence[str] = (),
    motion_keys: Sequence[str] = (), mag_key: str = "", also: Sequence[str] = (),
    region: tuple[float, float, float] | None = None,
) -> RefCatalog:  # fmt: skip
    """Read one or more reference catalogues as one.

    Parameters
    ----------
    paths : sequence of str
        Files, or directories of HEALPix chunks `chunk-%05d.fits` (nside 32, RING order).
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
            part = _read_file(file, centre_keys, error_keys, motion_keys, mag_key, also)
            parts.append(replace(part, row=part.row + rows))
            rows += int(part.row.max(initial=-1)) + 1
    if not parts:
        raise ReferenceCatalogError("no reference catalogue given")
    catalog = _joined(parts, ", ".join(paths))
    if region is not None:
        catalog = catalog.take(_near(catalog, region))
    return catalog


def _files(path: str, region: tuple[float, float, float] | None) -> Iterable[str]:
    """Return the files of a catalogue: itself, or the chunks of a directory in the region."""
    if not Path(path).is_dir():
        return [path]
    if region is None:
        raise ReferenceCatalogError(f"{path}: a directory of chunks needs a known pointing")
    pixels = disc_pixels(NSIDE, *region)
    found = [str(Path(path) / f"chunk-{pixel:05d}.fits") for pixel in pixels]
    found = [name for name in found if Path(name).is_file()]
    if not found:
        raise ReferenceCatalogError(
            f"{path}: no chunk-%05d.fits (HEALPix nside {NSIDE}, RING) within {region[2]:.2f} deg "
            f"of {region[0]:.4f} {region[1]:+.4f}"
        )
    return found


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


def _read_file(
    path: str, centre_keys: Sequence[str], error_keys: Sequence[str],
    motion_keys: Sequence[str], mag_key: str, also: Sequence[str],
) -> RefCatalog:  # fmt: skip
    """Make a catalogue of the first table of a file that has positions."""
    wanted = [tuple(centre_keys)] if centre_keys else list(POSITION_KEYS)
    if len(wanted[0]) != 2:
        raise ReferenceCatalogError("ASTREFCENT_KEYS: two column names are needed")
    tables = read_tables(path)
    for table in tables:
        for keys in wanted:
            names = _find_all(table, keys)
            if names is not None:
                return _catalog(path, table, names, error_keys, motion_keys, mag_key, also)
    if centre_keys:
        raise ReferenceCatalogError(f"{path}: no columns {' and '.join(centre_keys)}")
    known = " ".join(list(tables[0].columns)[:20])
    raise ReferenceCatalogError(
        f"{path}: no columns of RA and Dec found (there are: {known}); name them: ASTREFCENT_KEYS"
    )


def _find_all(table: Table, keys: Sequence[str]) -> tuple[str, ...] | None:
    """Return the names of columns as the table spells them; None if one is missing."""
    exact = [key for key in keys if key in table.columns]
    if len(exact) == len(keys):
        return tuple(exact)
    spelled = {name.lower(): name for name in reversed(list(table.columns))}
    names = [spelled.get(key.lower(), "") for key in keys]
    return tuple(names) if all(names) else None


def _catalog(
    path: str, table: Table, names: tuple[str, ...], error_keys: Sequence[str],
    motion_keys: Sequence[str], mag_key: str, also: Sequence[str],
) -> RefCatalog:  # fmt: skip
    ra = _angle(table, names[0], hours=True)
    dec = _angle(table, names[1], hours=False)
    good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90.0) & (np.abs(ra) <= 360.0)
    if table.n_rows and not np.any(good):
        raise ReferenceCatalogError(f"{path}: {names[0]} and {names[1]} hold no sky positions")
    unknown = np.full(table.n_rows, np.nan)
    ra_error, dec_error = _errors(path, table, error_keys) or (unknown, unknown)
    pmra, pmdec, epoch = _motions(path, table, names[0], motion_keys)
    magnitudes, mag_errors = _magnitudes(table, {mag_key.lower(), *(key.lower() for key in also)})
    chosen = _chosen_magnitude(path, magnitudes, mag_key)
    return RefCatalog(
        ra % 360.0, dec, ra_error, dec_error, pmra, pmdec, epoch, magnitudes, mag_errors, chosen,
        np.arange(table.n_rows, dtype=np.int64), path,
    ).take(good)  # fmt: skip


def _angle(table: Table, name: str, *, hours: bool) -> F8:
    """Return a coordinate in degrees; numbers in hours and sexagesimal text are converted."""
    values, unit = table.columns[name], table.units.get(name, "").lower().strip()
    in_hours = unit in {"h", "hr", "hour", "hours", "hourangle"} or '"h:m:s"' in unit
    degrees = numbers(values)
    if values.dtype.kind in "OUS":
        text = ~np.isfinite(degrees)
        as_hours = hours and not unit.startswith("d")
        degrees[text] = [parse_angle(value, hours=as_hours) for value in values[text]]
        if in_hours:
            degrees[~text] *= 15.0
        return degrees
    if in_hours:
        return degrees * 15.0
    return np.rad2deg(degrees) if unit.startswith("rad") else degrees


def _errors(path: str, table: Table, keys: Sequence[str]) -> tuple[F8, F8] | None:
    """Return the position errors in arcsec; None if the table has none."""
    candidates = [(*keys[:2], "deg")] if len(keys) >= 2 else list(ERROR_KEYS)
    for first, second, default in candidates:
        names = _find_all(table, (first, second))
        if names is not None:
            factors = [
                _ARCSEC.get(table.units.get(name, "").lower() or default, 1.0) for name in names
            ]
            pair = [
                numbers(table.columns[name]) * f for name, f in zip(names, factors, strict=True)
            ]
            pair = [np.where(values > 0.0, values, np.nan) for values in pair]
            return pair[0], pair[1]
    if keys:
        raise ReferenceCatalogError(f"{path}: no columns {', '.join(keys)} (ASTREFERR_KEYS)")
    return None


def _motions(path: str, table: Table, ra_name: str, keys: Sequence[str]) -> tuple[F8, F8, F8]:
    """Return proper motions (mas/yr) and epochs; NaN where there are none."""
    unknown = np.full(table.n_rows, np.nan)
    pairs = [tuple(keys)] if keys else list(MOTION_KEYS)
    names = next((found for pair in pairs if (found := _find_all(table, pair))), None)
    if names is None:
        if keys:
            raise ReferenceCatalogError(f"{path}: no columns {', '.join(keys)} (ASTREFPROP_KEYS)")
        return unknown, unknown, _epoch(table, ra_name)
    motions = []
    for name in names:
        unit = re.split(r"[/ .]", table.units.get(name, "").strip().lower() or "mas")[0]
        motions.append(numbers(table.columns[name]) * _ARCSEC.get(unit, 1e-3) * 1000.0)
    return motions[0], motions[1], _epoch(table, ra_name)


def _epoch(table: Table, ra_name: str) -> F8:
    """Return the epoch of the positions, Julian years.

    VizieR's J2000 columns are at epoch 2000; Gaia's without an epoch column are taken as
    those of its third release (2016.0).
    """
    for key in EPOCH_KEYS:
        names = _find_all(table, (key,))
        if names is not None:
            years = numbers(table.columns[names[0]])
            return np.where((years > 1800.0) & (years < 2200.0), years, np.nan)
    names_lower = {name.lower() for name in table.columns}
    if "j2000" in ra_name.lower() or ra_name.lower() == "ramdeg":
        return np.full(table.n_rows, 2000.0)
    if {"phot_g_mean_mag", "gmag"} & names_lower and ra_name.lower() in {"ra", "ra_icrs"}:
        return np.full(table.n_rows, 2016.0)
    return np.full(table.n_rows, np.nan)


_MAG = re.compile(
    r"(?i)([ugrizyubvjhkcwoGRB]|[jhk]_m|mag(_?\w)?|\w{1,4}_?mag|phot_\w+_mean_mag|psfmag_\w|"
    r"[grizy](mean|stack)?(psf|kron|ap)mag|modelmag_\w|mag_(auto|psf|best))$"
)
_NOT_A_MAG = re.compile(r"(?i)(e_|s_|err|sig)")


def _magnitudes(table: Table, wanted: set[str]) -> tuple[dict[str, F8], dict[str, F8]]:
    """Collect columns that are wanted, or magnitudes by unit or name, and their errors."""
    magnitudes: dict[str, F8] = {}
    errors: dict[str, F8] = {}
    for name, values in table.columns.items():
        unit = table.units.get(name, "").lower().strip()
        named = _MAG.match(name) is not None and unit in {"", "mag", "abmag", "mag(ab)"}
        is_mag = (named or unit == "mag") and not _NOT_A_MAG.match(name)
        named = name.lower() in wanted
        if not named and not is_mag:
            continue
        if not named and unit == "mag" and re.search(r"(?i)(err(or)?|sigma|rms|std)", name):
            continue
        mag = numbers(values)
        magnitudes[name] = np.where((mag > -30.0) & (mag < 50.0), mag, np.nan)
        error = _mag_error(table, name)
        if error is not None:
            errors[name] = np.where((error >= 0.0) & (error < 50.0), error, np.nan)
    return magnitudes, errors


def _mag_error(table: Table, name: str) -> F8 | None:
    """Return the error of a magnitude; Gaia gives flux over error instead."""
    spellings = (
        f"{name}_err", f"{name}_error", f"{name}err", f"{name}error", f"e_{name}", f"e{name}",
        f"err_{name}", f"err{name}", f"{name}_sigma", name.replace("mag_", "magerr_"),
        name.replace("MAG_", "MAGERR_"), f"{name.removesuffix('_m')}_msigcom",
    )  # fmt: skip
    for key in spellings:
        found = _find_all(table, (key,))
        if found is not None and found[0] != name:
            return numbers(table.columns[found[0]])
    ratio = _find_all(table, (name.replace("_mag", "_flux_over_error"),))
    if ratio is not None and ratio[0] != name:
        values = numbers(table.columns[ratio[0]])
        with np.errstate(divide="ignore"):
            return np.asarray(2.5 / np.log(10.0) / values)
    return None


def _chosen_magnitude(path: str, magnitudes: dict[str, F8], mag_key: str) -> str:
    """Return the name of the magnitude that orders the stars; empty if there is none."""
    spelled = {name.lower(): name for name in reversed(list(magnitudes))}
    if mag_key:
        if mag_key in magnitudes:
            return mag_key
        if mag_key.lower() not in spelled:
            known = " ".join(magnitudes) or "none"
            raise ReferenceCatalogError(f"{path}: no magnitude {mag_key} (there are: {known})")
        return spelled[mag_key.lower()]
    for name in MAG_PREFERENCE:
        if name in magnitudes:
            return name
    return next((spelled[n.lower()] for n in MAG_PREFERENCE if n.lower() in spelled),
                next(iter(magnitudes), ""))  # fmt: skip
