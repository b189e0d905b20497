"""What the user can ask of a source: parameter lists, dependencies, the listing of `-dp`.

Plain data and text; used by the command line before anything heavy is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from skyextract.columns.families import DERIVE, MODEL, PSF, Column
from skyextract.columns.page import columns_markdown
from skyextract.columns.table import COLUMNS, NOT_SUPPORTED
from skyextract.errors import ConfigError

__all__ = [
    "COLUMNS",
    "UNITS",
    "Column",
    "Requested",
    "base_columns",
    "check_name",
    "check_sizes",
    "columns_markdown",
    "default_columns",
    "dump_parameters",
    "needs_psf",
    "needs_wcs",
    "parse_parameters",
]

_MAX_SIZE = 10_000
_LINE = re.compile(r"(?P<name>[^\s(#]+)(?:\s*(?P<size>\([\s\d,]*\)))?(?P<rest>\S*)")


class Requested(NamedTuple):
    """A column that is wanted, and the shape of one element.

    The shape is () for a scalar column, (n,) for a vector, (height, width) for an image;
    a vector or image without a size has one element, as in SExtractor.
    """

    name: str
    shape: tuple[int, ...] = ()


UNITS = {name: column.unit for name, column in COLUMNS.items()}
APERCOR_COLUMNS = frozenset({"FLUX_APERCOR", "FLUXERR_APERCOR"})
PSF_COLUMNS = frozenset(name for name, column in COLUMNS.items() if column.stage == PSF)
"""Columns that need a PSF."""


def check_name(name: str, where: str = "") -> Column:
    """Return the column called `name` (any case).

    Raises
    ------
    ConfigError
        For a parameter of SExtractor that is not supported, with the reason, and for an
        unknown name, with the nearest known ones; `where` starts the message.
    """
    name = name.upper()
    column = COLUMNS.get(name)
    if column is not None:
        return column
    prefix = f"{where}: " if where else ""
    for pattern, reason in NOT_SUPPORTED:
        if re.fullmatch(pattern, name):
            raise ConfigError(f"{prefix}{name}: not supported ({reason})")
    import difflib

    near = difflib.get_close_matches(name, COLUMNS, n=2, cutoff=0.75)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `skyextract -dp` lists them all"
    raise ConfigError(f"{prefix}{name}: unknown output parameter{hint}")


def _shape(column: Column, size: str | None, where: str) -> tuple[int, ...]:
    if size is None:
        return (1,) * column.ndim
    numbers = [word.strip() for word in size.strip("()").split(",")]
    form = f"{column.name}{('', '(n)', '(width,height)')[column.ndim]}"
    if not column.ndim or len(numbers) != column.ndim or not all(n.isdigit() for n in numbers):
        raise ConfigError(f"{where}: {column.name}{size}: write {form}")
    shape = tuple(int(number) for number in reversed(numbers))
    if not all(1 <= n <= _MAX_SIZE for n in shape):
        raise ConfigError(f"{where}: {column.name}{size}: a size must be in [1, {_MAX_SIZE}]")
    return shape


def parse_parameters(text: str, origin: str) -> list[Requested]:
    """Read a list of output parameters, one per line.

    `NAME`, `NAME(4)` or `NAME(35,35)`; what follows on the line is a comment, with or
    without '#', as in the output of `-dp` with its '#' taken away.  A repeated parameter
    stays at its first place, with the largest size that was asked for.

    Parameters
    ----------
    text : str
        Content of the file.
    origin : str
        Its name, for messages.

    Raises
    ------
    ConfigError
        Unknown or unsupported parameter, impossible size, or no parameter at all.
    """
    wanted: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.match(line.strip())
        if match is None:
            continue
        where = f"{origin}:{number}"
        column = check_name(match["name"], where)
        if match["rest"].startswith("("):
            raise ConfigError(f"{where}: {match[0]}: a size is one or two whole numbers")
        shape = _shape(column, match["size"], where)
        before = wanted.get(column.name)
        wanted[column.name] = shape if before is None else max(before, shape)
    if not wanted:
        raise ConfigError(f"{origin}: no output parameter in it (all lines are comments)")
    return [Requested(name, shape) for name, shape in wanted.items()]


def default_columns(*, psf: bool, n_apertures: int, n_fractions: int = 1) -> list[Requested]:
    """Return the built-in column list.

    Parameters
    ----------
    psf : bool
        A PSF is known (measured, given or, if asked for, the default one): add its columns.
    n_apertures, n_fractions : int
        Number of PHOT_APERTURES and of PHOT_FLUXFRAC.
    """
    fluxes = [
        f"{quantity}_{kind}"
        for kind in ("AUTO", "APER", *(("PSF",) if psf else ()))
        for quantity in ("FLUX", "FLUXERR", "MAG", "MAGERR")
    ]
    names = [
        "NUMBER", "EXT_NUMBER", "X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE",
        "ERRAWIN_IMAGE", "ERRBWIN_IMAGE", "ERRTHETAWIN_IMAGE",
        "ALPHA_J2000", "DELTA_J2000", "ALPHAWIN_J2000", "DELTAWIN_J2000",
        *fluxes,
        *(["SPREAD_MODEL", "SPREADERR_MODEL"] if psf else []),
        "FLUX_RADIUS", "KRON_RADIUS", "A_IMAGE", "B_IMAGE", "THETA_IMAGE", "ELONGATION",
        "FWHM_IMAGE", "BACKGROUND", "SNR_WIN", "FLAGS", "FLAGS_SKY",
    ]  # fmt: skip
    sizes = {"FLUX_RADIUS": (n_fractions,)}
    return [
        Requested(name, sizes.get(name, (n_apertures,) if COLUMNS[name].ndim else ()))
        for name in names
    ]


def _closure(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(COLUMNS[name].needs)
    return found


def base_columns(requested: Iterable[Requested]) -> frozenset[str]:
    """Return the names of the columns to measure, from which the requested ones follow.

    Columns of all stages but `derive`; `COLUMNS[name].stage` tells which stage gives one.
    """
    names = _closure(item.name for item in requested)
    return frozenset(name for name in names if COLUMNS[name].stage != DERIVE)


def needs_psf(requested: Iterable[Requested]) -> bool:
    """Tell whether a requested column comes from fits with the PSF."""
    return any(COLUMNS[name].stage in (PSF, MODEL) for name in base_columns(requested))


def needs_wcs(requested: Iterable[Requested]) -> bool:
    """Tell whether a requested column is a sky coordinate or in sky units."""
    return any(COLUMNS[item.name].wcs for item in requested)


_PROVIDED_BY = {
    "APER": "PHOT_APERTURES",
    "FLUX_RADIUS": "PHOT_FLUXFRAC",
    "VECTOR_ASSOC": "ASSOC_DATA",
    "IMAFLAGS_ISO": "FLAG_IMAGE",
}


def check_sizes(requested: Iterable[Requested], available: dict[str, int]) -> list[str]:
    """Return a warning for each vector column that is larger than its keyword provides.

    As in SExtractor the run goes on; the elements beyond stay empty (NaN).

    Parameters
    ----------
    requested : iterable of Requested
    available : dict
        Number of values by keyword: PHOT_APERTURES, PHOT_FLUXFRAC, ASSOC_DATA, FLAG_IMAGE;
        a keyword that is missing is not checked.
    """
    warnings = []
    for name, shape in requested:
        keyword = _PROVIDED_BY.get(name) or _PROVIDED_BY.get(name.rpartition("_")[2])
        if keyword in available and len(shape) == 1 and shape[0] > available[keyword]:
            warnings.append(
                f"{name}({shape[0]}): {keyword} has {available[keyword]} value(s), "
                "the other elements stay empty"
            )
    return warnings


def dump_parameters(names: Sequence[str] = tuple(COLUMNS)) -> str:
    """Return the listing of `-dp`: a commented line per column, as SExtractor prints it."""
    lines = []
    for name in names:
        column = COLUMNS[name]
        unit = f" [{column.unit}]" if column.unit else ""
        lines.append(f"#{name:<24} {column.description:<57}{unit}\n")
    return "".join(lines)
