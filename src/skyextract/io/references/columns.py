"""Which columns of a reference catalogue are what: positions, motions, epochs, magnitudes.

Names and units as in VizieR's tables, the archives of Gaia, Pan-STARRS, SDSS and SkyMapper,
ATLAS-REFCAT2, 2MASS, and what AAVSO and APASS export.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, AnyArray
from skyextract.errors import ReferenceCatalogError
from skyextract.io.references.tables import Table, numbers
from skyextract.sky.angles import parse_angle
from skyextract.sky.bands import column_bands, split_unit

POSITION_KEYS = (
    ("ra", "dec"), ("RAJ2000", "DEJ2000"), ("_RAJ2000", "_DEJ2000"), ("RA_ICRS", "DE_ICRS"),
    ("RAICRS", "DECICRS"), ("RAdeg", "DEdeg"), ("RAdeg", "Decdeg"), ("RAmdeg", "DEmdeg"),
    ("ALPHA_J2000", "DELTA_J2000"), ("ALPHAWIN_J2000", "DELTAWIN_J2000"),
    ("X_WORLD", "Y_WORLD"), ("raMean", "decMean"), ("raStack", "decStack"),
    ("raJ2000", "decJ2000"), ("RA2000", "DE2000"), ("RA2000", "DEC2000"), ("ra", "de"),
    ("_RA.icrs", "_DE.icrs"), ("_RA", "_DE"), ("alpha", "delta"), ("coord_ra", "coord_dec"),
    ("right_ascension", "declination"), ("RA_d", "DEC_d"),
)  # fmt: skip
"""Pairs of column names, any case and with any of blank _ . and -, in order of preference."""

ERROR_KEYS = (
    ("ra_error", "dec_error", "mas"), ("e_RAJ2000", "e_DEJ2000", "mas"),
    ("e_RA_ICRS", "e_DE_ICRS", "mas"), ("e_RAmdeg", "e_DEmdeg", "mas"),
    ("e_RAdeg", "e_DEdeg", "mas"), ("ERRA_WORLD", "ERRB_WORLD", "deg"),
    ("ERRAWIN_WORLD", "ERRBWIN_WORLD", "deg"), ("raErr", "decErr", "arcsec"),
    ("raMeanErr", "decMeanErr", "arcsec"), ("ra_err", "dec_err", "arcsec"),
    ("err_maj", "err_min", "arcsec"), ("errMaj", "errMin", "arcsec"),
    ("e_RAICRS", "e_DEICRS", "mas"), ("raStackErr", "decStackErr", "arcsec"),
    ("ePos", "ePos", "mas"), ("e_ra", "e_dec", "mas"), ("e_ra", "e_de", "mas"),
    ("sigma_ra", "sigma_dec", "mas"), ("ra_sigma", "dec_sigma", "mas"),
)  # fmt: skip
"""Pairs of position errors and their unit where the table does not name one."""

MOTION_KEYS = (
    ("pmra", "pmdec"), ("pmRA", "pmDE"), ("pm_ra", "pm_dec"), ("pmRA_cosDE", "pmDE"),
    ("PMALPHA_J2000", "PMDELTA_J2000"), ("mu_ra", "mu_dec"),
)  # fmt: skip
EPOCH_KEYS = (
    "ref_epoch", "epoch", "Epoch", "OBSDATE", "Ep", "epoch_year", "mean_epoch", "epochMean",
    "MeanEpoch",
)  # fmt: skip
"""Epochs of positions: Julian years, MJD or JD, which their size tells."""

SURVEYS = 2010.0
"""Epoch of positions of SDSS, APASS, Pan-STARRS, DES and SkyMapper, to ten years."""
MAX_MOTION = 11_000.0
"""Larger proper motions (mas/yr) than Barnard's star has are marks for an unknown one."""

MAG_PREFERENCE = (
    "phot_g_mean_mag", "Gmag", "r", "rmag", "r_mag", "rMeanPSFMag", "rPSFMag", "VTmag", "Vmag",
    "MAG", "mag", "g", "gmag", "i", "imag", "Jmag", "j_m",
)  # fmt: skip
"""Which magnitude orders the stars, without ASTREFMAG_KEY."""

BAND_PREFERENCE = ("G", "r", "R", "VT", "V", "g", "i", "I", "B", "J")
"""The same of names that are not among them."""

_ANY_UNIT = frozenset(("e_RAJ2000", "e_ra", "sigma_ra", "ra_sigma"))
"""Names that catalogues give to errors in mas and in arcsec."""
MIN_MAS = 2.0
"""Errors of J2000 positions, without a unit, that are in mas, as in UCAC4 and USNO-B1.0; smaller
ones are in arcsec, as in APASS and Pan-STARRS, unless they are Gaia's."""
_GAIA = frozenset(("Gmag", "phot_g_mean_mag", "Plx", "parallax"))

_ARCSEC = {
    "mas": 1e-3, "milliarcsec": 1e-3, "arcsec": 1.0, "arcs": 1.0, '"': 1.0, "deg": 3600.0,
    "d": 3600.0, "degree": 3600.0, "degrees": 3600.0, "uas": 1e-6,
    "rad": 206264.80624709636, "radian": 206264.80624709636, "radians": 206264.80624709636,
}  # fmt: skip

_AB_OF_ONE = {
    "Jy": 8.9, "mJy": 16.4, "uJy": 23.9, "\u00b5Jy": 23.9, "\u03bcJy": 23.9, "nJy": 31.4,
    "nanomaggy": 22.5, "nanomaggies": 22.5, "nmgy": 22.5, "maggy": 0.0,
}  # fmt: skip
"""AB magnitude of a flux of one (Oke & Gunn 1983, ApJ 266, 713; maggies: SDSS)."""


def find_columns(table: Table, keys: Sequence[str]) -> tuple[str, ...] | None:
    """Return the names of columns as the table spells them; None if one is missing."""
    keys = [split_unit(key)[0] for key in keys]
    for spelling in (str, str.lower, _letters):
        spelled = {spelling(name): name for name in reversed(list(table.columns))}
        names = [spelled.get(spelling(key), "") for key in keys]
        if all(names):
            return tuple(names)
    return None


def _letters(name: str) -> str:
    return re.sub(r"[ _.-]+", "", name).lower()


def with_joined_angles(table: Table) -> Table:
    """Return a table with RAdeg and DEdeg, of hours, minutes and seconds in columns of their own.

    As the machine-readable tables of the CDS and of journals have them: RAh RAm RAs, and DE- with
    the sign, DEd DEm DEs.
    """
    columns = table.columns
    if not {"RAh", "RAm", "DE-", "DEd", "DEm"} <= set(columns) or "RAdeg" in columns:
        return table
    ra, dec = np.zeros((2, table.n_rows))
    for total, parts in ((ra, ("RAh", "RAm", "RAs")), (dec, ("DEd", "DEm", "DEs"))):
        for part, unit in zip(parts, (1.0, 60.0, 3600.0), strict=True):
            np.add(total, numbers(columns[part]) / unit if part in columns else 0.0, out=total)
    sign = [str(value).strip("b' ") for value in columns["DE-"]]
    dec = np.where(np.char.startswith(np.array(sign, dtype=str), "-"), -dec, dec)
    return replace(table, columns={**columns, "RAdeg": 15.0 * ra, "DEdeg": dec})


def angle(table: Table, name: str, *, hours: bool) -> F8:
    """Return a coordinate in degrees; numbers in hours and sexagesimal text are converted."""
    values, unit = table.columns[name], table.units.get(name, "").lower().strip()
    in_hours = unit in {"h", "hr", "hour", "hours", "hourangle"} or '"h:m:s"' in unit
    degrees = numbers(values)
    if values.dtype.kind in "OUS":
        text = ~np.isfinite(degrees)
        as_hours = hours and not unit.startswith("d")
        # AAVSO adds the degrees in brackets.
        degrees[text] = [
            parse_angle(str(value).partition("[")[0], hours=as_hours) for value in values[text]
        ]
        if in_hours:
            degrees[~text] *= 15.0
        return degrees
    if in_hours:
        return degrees * 15.0
    return degrees * (_ARCSEC[unit] / 3600.0) if unit in _ARCSEC else degrees


def position_errors(path: str, table: Table, keys: Sequence[str]) -> tuple[F8, F8] | None:
    """Return the position errors in arcsec; None if the table has none."""
    candidates = [(*keys[:2], "deg")] if len(keys) >= 2 else list(ERROR_KEYS)
    for first, second, default in candidates:
        pair = error_columns(table, first, second, default)
        if pair is not None:
            return pair
    if keys:
        raise ReferenceCatalogError(f"{path}: no columns {', '.join(keys)} (ASTREFERR_KEYS)")
    return None


def error_columns(table: Table, first: str, second: str, default: str) -> tuple[F8, F8] | None:
    """Return a pair of position errors in arcsec; None if it is not in the table.

    Parameters
    ----------
    default : str
        The unit where the table tells none.
    """
    names = find_columns(table, (first, second))
    if names is None:
        return None
    values = [numbers(table.columns[name]) for name in names]
    if first in _ANY_UNIT and not _GAIA & set(table.columns):
        known = values[0][values[0] > 0.0]
        default = "arcsec" if known.size and np.median(known) < MIN_MAS else default
    factors = [_ARCSEC.get(table.units.get(name, "").lower() or default, 1.0) for name in names]
    pair = [value * factor for value, factor in zip(values, factors, strict=True)]
    pair = [np.where(values > 0.0, values, np.nan) for values in pair]
    return pair[0], pair[1]


def motions(path: str, table: Table, ra_name: str, keys: Sequence[str]) -> tuple[F8, F8, F8]:
    """Return proper motions (mas/yr) and epochs; NaN where there are none."""
    unknown = np.full(table.n_rows, np.nan)
    pairs = [tuple(keys)] if keys else list(MOTION_KEYS)
    names = next((found for pair in pairs if (found := find_columns(table, pair))), None)
    if names is None:
        if keys:
            raise ReferenceCatalogError(f"{path}: no columns {', '.join(keys)} (ASTREFPROP_KEYS)")
        return unknown, unknown, _epoch(table, ra_name, moves=False)
    return *_known_motions(*motion_columns(table, names)), _epoch(table, ra_name, moves=True)


def motion_columns(table: Table, names: Sequence[str]) -> tuple[F8, F8]:
    """Return two columns of proper motions in mas/yr."""
    values = []
    for name in names:
        unit = re.split(r"[/ .]", table.units.get(name, "").strip().lower() or "mas")[0]
        values.append(numbers(table.columns[name]) * _ARCSEC.get(unit, 1e-3) * 1000.0)
    return values[0], values[1]


def _known_motions(pmra: F8, pmdec: F8) -> tuple[F8, F8]:
    """Return motions with NaN for what stands for an unknown one: -9999, or 0 in both.

    Where most stars have 0, as in USNO-B1.0, it means a motion that was not found significant.
    """
    with np.errstate(invalid="ignore"):
        fill = (pmra == pmdec) & np.isin(np.abs(pmra), (99.0, 99.99, 999.0, 999.99, 9999.0))
        unknown = ~(np.hypot(pmra, pmdec) <= MAX_MOTION) | fill
        still = (pmra == 0.0) & (pmdec == 0.0)
    if np.sum(still) <= 0.5 * np.sum(~unknown):
        unknown |= still
    return np.where(unknown, np.nan, pmra), np.where(unknown, np.nan, pmdec)


def _epoch(table: Table, ra_name: str, *, moves: bool) -> F8:
    """Return the epoch of the positions, Julian years.

    Sources of an image have its date.  VizieR's J2000 columns with proper motions, and 2MASS, are
    at epoch 2000, those of surveys in Sloan's bands without at that of their images (`SURVEYS`);
    Gaia's without an epoch column are taken as those of its third release (2016.0).
    """
    for key in EPOCH_KEYS:
        names = find_columns(table, (key,))
        if names is not None:
            return epoch_years(table.columns[names[0]])
    of_sextractor = ra_name.lower().startswith("alpha")  # whatever the date of the image
    if np.isfinite(table.year) or of_sextractor:
        return np.full(table.n_rows, table.year)
    if "j2000" in ra_name.lower() or ra_name.lower() == "ramdeg":
        of_survey = not moves and not {"r", "i"}.isdisjoint(column_bands(table.columns).values())
        return np.full(table.n_rows, SURVEYS if of_survey else 2000.0)
    # SDSS has a gmag beside RA_ICRS.
    is_gaia = "Gmag" in table.columns or "phot_g_mean_mag" in {k.lower() for k in table.columns}
    if is_gaia and ra_name.lower() in {"ra", "ra_icrs"}:
        return np.full(table.n_rows, 2016.0)
    return np.full(table.n_rows, np.nan)


def epoch_years(column: AnyArray) -> F8:
    """Return epochs as Julian years: of years, J2000.0, MJD or JD; NaN for other numbers."""
    if column.dtype.kind in "OUS":
        column = np.array([str(text).strip().lstrip("Jj") for text in column])
    value = numbers(column)
    value = np.where((value > 2.3e6) & (value < 2.6e6), value - 2_400_000.5, value)
    value = np.where((value > 1e4) & (value < 2e5), 2000.0 + (value - 51544.5) / 365.25, value)
    return np.where((value > 1800.0) & (value < 2200.0), value, np.nan)


MANY = 10
"""So many rows of one value are no magnitudes."""
MIN_ALIKE = 2
"""So many equal magnitudes, brighter or fainter than all others, mean an unknown one ..."""
FAR_OFF = 3.0
"""... where all others are farther from them, mag."""

_MAG = re.compile(r"(?i)[kcwo]|mag(_?\w)?|\w{1,4}'?_?mag|mag_(auto|psf|best)")
"""Names of magnitudes that tell no band."""
_NOT_A_MAG = re.compile(r"(?i)(e_|s_|err|sig|magerr).*|.*(err(or)?s?|sigma|rms|std|msig|sigcom)")
_MAG_UNITS = frozenset(
    ("mag", "mags", "magnitude", "abmag", "vegamag", "magab", "magvega", "mmag", "cmag")
)
_PARTS = {"m": 1e-3, "milli": 1e-3, "c": 1e-2, "": 1.0}
_MAG_PART = re.compile(
    r"(?i)[\[(]?\s*(?:10\*{0,2}\(?(-\d)\)?|(\d*\.?\d+)\s*\*?|(m|milli|c))?\s*\(?mag"
)


def magnitude_columns(table: Table, wanted: set[str]) -> tuple[dict[str, F8], dict[str, F8]]:
    """Collect columns that are wanted, or magnitudes by unit or name, and their errors."""
    bands = column_bands(table.columns)
    magnitudes: dict[str, F8] = {}
    errors: dict[str, F8] = {}
    for name, values in table.columns.items():
        unit = re.sub(r"[^a-z]", "", table.units.get(name, "").lower())
        by_name = name in bands or _MAG.fullmatch(name) is not None
        by_name &= not unit or unit in _MAG_UNITS
        of_one = _AB_OF_ONE.get(table.units.get(name, "").strip())
        if name in bands and "flux" in name.lower():
            by_name = of_one is not None
        is_mag = (by_name or unit in _MAG_UNITS) and not _NOT_A_MAG.fullmatch(name)
        if name.lower() not in wanted and (not is_mag or _is_constant(values)):
            continue
        if of_one is not None:
            magnitudes[name], errors[name] = _of_fluxes(table, name, of_one)
            continue
        mag = numbers(values) * _magnitudes_of(table.units.get(name, ""))
        magnitudes[name] = _known_magnitudes(mag)
        error = _mag_error(table, name, bands)
        if error is not None:
            errors[name] = np.where((error >= 0.0) & (error < 50.0), error, np.nan)
    return magnitudes, errors


def _is_constant(values: AnyArray) -> bool:
    """Tell whether a column has one value, as flags have, and magnitudes of many stars do not."""
    return len(values) >= MANY and bool(np.all(values == values[0]))


def _of_fluxes(table: Table, name: str, of_one: float) -> tuple[F8, F8]:
    """Return AB magnitudes of fluxes, and their errors, of which one unit has that magnitude."""
    flux, error = numbers(table.columns[name]), _mag_error(table, name, {})
    with np.errstate(divide="ignore", invalid="ignore"):
        mag = np.where(flux > 0.0, of_one - 2.5 * np.log10(flux), np.nan)
        relative = np.full(flux.size, np.nan) if error is None else error / flux
    return mag, np.where(relative >= 0.0, 2.5 / np.log(10.0) * relative, np.nan)


def _magnitudes_of(unit: str) -> float:
    """Return how many magnitudes a unit is: mmag, cmag, or 0.01mag as UCAC4 writes it."""
    match = _MAG_PART.match(unit.strip())
    if match is None:
        return 1.0
    if match[1]:
        return float(10.0 ** int(match[1]))
    return float(match[2]) if match[2] else _PARTS[(match[3] or "").lower()]


def _known_magnitudes(mag: F8) -> F8:
    """Return magnitudes with NaN for what stands for an unknown one: 99, a pile of 0 or of -9.99.

    Equal ones are a pile where no other star is nearly as bright, or as faint.
    """
    mag = np.where((mag > -30.0) & (mag < 50.0), mag, np.nan)
    for extreme in (np.nanmin, np.nanmax) if np.isfinite(mag).any() else ():
        distance = np.abs(mag - extreme(mag))
        others = distance[distance > 0.0]
        if np.sum(distance == 0.0) >= MIN_ALIKE and others.size and others.min() > FAR_OFF:
            mag[distance == 0.0] = np.nan
    return mag


def _mag_error(table: Table, name: str, bands: Mapping[str, str]) -> F8 | None:
    """Return the error of a magnitude; Gaia gives flux over error instead."""
    spellings = [
        f"{name}_err", f"{name}_error", f"{name}err", f"{name}error", f"e_{name}", f"e{name}",
        f"err_{name}", f"err{name}", f"d{name}", f"{name}_sigma", name.replace("mag_", "magerr_"),
        name.replace("MAG_", "MAGERR_"), name.replace("Mag_", "MagErr_"),
        f"{name.removesuffix('_m')}_msigcom", f"{name.removesuffix('_m')}_cmsig",
    ]  # fmt: skip
    band = bands.get(name, "")
    if band and list(bands.values()).count(band) == 1:
        # Sloan_r has its error in rerr or r_err: there is but one r.
        spellings += [f"{band}_err", f"{band}err", f"e_{band}mag", f"{band}mag_err", f"e_{band}"]
    for spelling in (str, str.lower):
        spelled = {spelling(column): column for column in reversed(list(table.columns))}
        for key in spellings:
            column = spelled.get(spelling(key), name)
            if column != name and column not in bands:
                factor = _magnitudes_of(table.units.get(column, ""))
                return numbers(table.columns[column]) * factor
    ratio = find_columns(table, (name.replace("_mag", "_flux_over_error"),))
    if ratio is not None and ratio[0] != name:
        values = numbers(table.columns[ratio[0]])
        with np.errstate(divide="ignore"):
            return np.asarray(2.5 / np.log(10.0) / values)
    return None


def ordering_magnitude(path: str, magnitudes: dict[str, F8], mag_key: str) -> str:
    """Return the name of the magnitude that orders the stars; empty if there is none."""
    spelled = {name.lower(): name for name in reversed(list(magnitudes))}
    mag_key = split_unit(mag_key)[0]
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
    bands = {band: name for name, band in reversed(column_bands(magnitudes).items())}
    preferred = [spelled[name.lower()] for name in MAG_PREFERENCE if name.lower() in spelled]
    preferred += [bands[band] for band in BAND_PREFERENCE if band in bands]
    return next(iter([*preferred, *magnitudes]), "")
