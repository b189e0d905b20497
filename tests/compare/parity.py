"""Comparison with SExtractor, column by column, on one image.

Runs `source-extractor` and `skyextract` with the same configuration, the same columns and
the same options on the same file, matches the catalogues, and prints per column: number of
values, median and 95th percentile of the difference, and the unmatched sources.

Differences are relative, but for positions, angles, magnitudes, flags, counts and
CLASS_STAR.  Cross moments are relative to the geometric mean of the diagonal ones.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

Array = NDArray[Any]

EXCLUDED = (
    "EXT_NUMBER", "NUMBER", "DURATION_ANALYSIS", "SOM", "MODEL", "SPHEROID", "DISK", "GALFIT",
    "DGEO", "POINTSOURCE", "BACKOFFSET", "HYBRID", "VECTOR_", "VIGNET", "ASSOC", "IMAFLAGS",
    "MAMA", "PSF", "FOCAL",
)  # fmt: skip
"""Parts of names of columns that are not compared unless --columns names them."""

SIZES = {"FLUX_GROWTH": 8, "MAG_GROWTH": 8}

LIMITS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("MAG_APER",), 0.002),
    (("MAG_AUTO", "MAG_ISO", "MAG_PETRO", "MAG_BEST"), 0.01),
    (("CLASS_STAR",), 0.02),
    (("FLUX_RADIUS",), 0.01),
    (("X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE", "XPEAK_IMAGE", "YPEAK_IMAGE"), 0.01),
    (("X2", "Y2", "XY", "A_IMAGE", "B_IMAGE", "AWIN_", "BWIN_", "CXX", "CYY", "CXY"), 0.01),
    (("FLUXERR", "MAGERR", "ERR"), 0.02),
    (("ALPHA", "DELTA"), 0.01),
)
"""What a drop-in replacement must reach; sky coordinates in arcsec."""

ABSOLUTE = (
    "X_IMAGE", "Y_IMAGE", "XWIN_", "YWIN_", "XPEAK", "YPEAK", "XMIN", "XMAX", "YMIN", "YMAX", "MAG",
    "MU_", "CLASS_STAR", "FLAGS", "NITER", "ISO0", "ISO1", "ISO2", "ISO3", "ISO4", "ISO5", "ISO6",
    "ISO7", "NLOW", "ELLIPTICITY", "POLAR", "ID_PARENT",
)  # fmt: skip
NOT_ABSOLUTE = ("MAGERR",)
SKY = ("_WORLD", "_SKY", "_J2000", "_B1950")
"""Without a celestial WCS these are NaN here, linear pixel numbers in SExtractor."""


def run_both(
    image: str,
    options: Sequence[str],
    folder: Path,
    config: Path | None = None,
    columns: Sequence[str] = (),
) -> tuple[Array, Array, dict[str, float]]:
    """Run both programs; return their tables, and their wall times in seconds.

    Parameters
    ----------
    image : str
        A FITS file, or det.fits,meas.fits.
    options : sequence of str
        -KEYWORD VALUE for both.
    folder : Path
        For the two catalogues.
    config : Path, optional
        SExtractor configuration; without one, what `source-extractor -dd` prints.
    columns : sequence of str
        Output parameters; without any, all that can be compared.
    """
    if config is None:
        config = folder / "parity.sex"
        config.write_text(_output("source-extractor", "-dd"))
    names = folder / "parity.param"
    names.write_text("\n".join(columns or all_columns(options)) + "\n")
    common = [
        image, "-c", str(config), "-PARAMETERS_NAME", str(names),
        "-CATALOG_TYPE", "FITS_LDAC", *options,
    ]  # fmt: skip
    programs = {
        "source-extractor": ["source-extractor", *common, "-VERBOSE_TYPE", "QUIET"],
        "skyextract": [sys.executable, "-m", "skyextract", *common, "-SUMMARY_NAME", ""],
    }
    tables, seconds = [], {}
    for name, command in programs.items():
        catalog = folder / f"{name}.ldac"
        start = time.perf_counter()
        done = subprocess.run(
            [*command, "-CATALOG_NAME", str(catalog)], check=False, capture_output=True, text=True
        )
        seconds[name] = time.perf_counter() - start
        if done.returncode not in (0, 3):
            raise SystemExit(f"{name} failed:\n{done.stderr}")
        with fits.open(catalog) as hdus:
            tables.append(np.concatenate([np.array(hdu.data) for hdu in hdus[2::2]]))
    return tables[0], tables[1], seconds


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def all_columns(options: Sequence[str]) -> Iterator[str]:
    """Yield the output parameters to compare, with sizes."""
    keywords = {k.lstrip("-"): v for k, v in zip(options[::2], options[1::2], strict=False)}
    n_apertures = len(keywords.get("PHOT_APERTURES", "5").split(","))
    n_fractions = len(keywords.get("PHOT_FLUXFRAC", "0.5").split(","))
    known = set(_output(sys.executable, "-m", "skyextract", "-dp").replace("#", " ").split())
    for line in _output("source-extractor", "-dp").splitlines():
        name = line.lstrip("#").split()[0]
        if name not in known or any(part in name for part in EXCLUDED):
            continue
        size = SIZES.get(name, 1)
        if name.endswith("_APER"):
            size = n_apertures
        elif name == "FLUX_RADIUS":
            size = n_fractions
        yield f"{name}({size})" if size > 1 else name
    yield "NUMBER"


def match(theirs: Array, ours: Array, radius: float) -> tuple[Array, Array]:
    """Return rows of mutual nearest neighbours within `radius` pixels."""
    x, y = theirs["X_IMAGE"].astype(float), theirs["Y_IMAGE"].astype(float)
    u, v = ours["X_IMAGE"].astype(float), ours["Y_IMAGE"].astype(float)

    def nearest(x0: Array, y0: Array, x1: Array, y1: Array) -> Array:
        found = np.empty(x0.size, dtype=np.int64)
        for chunk in np.array_split(np.arange(x0.size), max(1, x0.size // 500)):
            distance2 = (x0[chunk, None] - x1) ** 2 + (y0[chunk, None] - y1) ** 2
            found[chunk] = distance2.argmin(axis=1)
        return found

    if not x.size or not u.size:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    there, back = nearest(x, y, u, v), nearest(u, v, x, y)
    rows = np.flatnonzero(back[there] == np.arange(x.size))
    close = (x[rows] - u[there[rows]]) ** 2 + (y[rows] - v[there[rows]]) ** 2 <= radius**2
    return rows[close], there[rows[close]]


def difference(name: str, theirs: Array, ours: Array) -> Array:
    """Return absolute differences of a column, in the unit that the module's text says."""
    a, b = theirs[name].astype(float), ours[name].astype(float)
    delta = np.abs(b - a)
    delta[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    if name.startswith("MAG"):
        # 99 stands for no magnitude
        none = (a > 90.0) | (b > 90.0) | np.isnan(a) | np.isnan(b)
        delta[none] = np.nan
        delta[none & ((a > 90.0) | np.isnan(a)) & ((b > 90.0) | np.isnan(b))] = 0.0
    if name.startswith(("ALPHA", "DELTA")):
        delta = np.minimum(delta, 360.0 - delta) * 3600.0
        if name.startswith("ALPHA"):
            delta *= np.cos(np.radians(theirs[name.replace("ALPHA", "DELTA")].astype(float)))
        return delta
    if "THETA" in name:
        delta = np.minimum(delta % 180.0, 180.0 - delta % 180.0)
        # An angle means nothing for a round source: weigh it with the ellipticity.
        major, minor = (
            theirs[name.replace("THETA", axis)]
            if name.replace("THETA", axis) in theirs.dtype.names
            else None
            for axis in "AB"
        )
        if major is not None and minor is not None:
            delta *= 1.0 - minor / np.maximum(major, 1e-30)
        return delta
    if name.startswith(ABSOLUTE) and not name.startswith(NOT_ABSOLUTE):
        return delta
    scale = np.abs(a)
    for cross, diagonal in (("XY", ("X2", "Y2")), ("CXY", ("CXX", "CYY"))):
        if cross in name and not name.startswith(("X_", "XWIN")):
            names = [name.replace(cross, d) for d in diagonal]
            if all(n in theirs.dtype.names for n in names):
                scale = np.sqrt(np.abs(np.prod([theirs[n].astype(float) for n in names], axis=0)))
                break
    return delta / np.maximum(scale, 1e-30) * (delta > 0.0)


def _limit(name: str) -> float | None:
    # Position angles are no 2 % matter, and SExtractor's C.._WORLD are not the ellipses of
    # its own X2_WORLD, Y2_WORLD, XY_WORLD (they are these times 1e6).
    if "THETA" in name or (name.endswith("_WORLD") and name.lstrip("ER").startswith("C")):
        return None
    for prefixes, limit in LIMITS:
        if name.startswith(prefixes):
            return limit
    return None


def report(
    theirs: Array, ours: Array, seconds: dict[str, float], radius: float, strict: bool
) -> int:
    """Print the comparison; return 1 if `strict` and a limit is missed."""
    rows, partners = match(theirs, ours, radius)
    n, m = len(theirs), len(ours)
    print("seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in seconds.items()))
    share = 2.0 * rows.size / max(n + m, 1)
    print(f"sources: source-extractor {n}, skyextract {m}, matched {rows.size} ({share:.2%})")
    missed = ["matches < 99.5 %"] if share < 0.995 else []
    _list_unmatched("only source-extractor", theirs, rows)
    _list_unmatched("only skyextract", ours, partners)
    theirs, ours = theirs[rows], ours[partners]
    print(
        f"{'column':20s} {'n':>6s} {'nan':>4s} {'median':>10s} {'95 %':>10s} {'equal':>7s}  limit"
    )
    for name in theirs.dtype.names:
        if name not in ours.dtype.names or name in ("NUMBER", "ID_PARENT"):
            continue
        if theirs[name].shape != ours[name].shape or theirs[name].dtype.kind == "U":
            print(f"{name:20s} shapes {theirs[name].shape} {ours[name].shape}")
            continue
        delta = difference(name, theirs, ours)
        equal = float(np.mean(theirs[name] == ours[name])) if rows.size else 1.0
        known = delta[~np.isnan(delta)]
        median, high = np.percentile(known, (50, 95)) if known.size else (np.nan, np.nan)
        limit = _limit(name)
        verdict = ""
        if name == "FLAGS":
            verdict = ">= 99 % equal"
            if equal < 0.99:
                missed.append(name)
                verdict += " MISSED"
        elif limit is not None and not known.size and name.endswith(SKY):
            verdict = "no WCS"
        elif limit is not None:
            verdict = f"{limit:g}"
            if not high <= limit:
                missed.append(name)
                verdict += " MISSED"
        print(
            f"{name:20s} {known.size:6d} {delta.size - known.size:4d} {median:10.2e} {high:10.2e} "
            f"{equal:7.2%}  {verdict}"
        )
    print("all limits reached" if not missed else f"limits missed: {', '.join(missed)}")
    return 1 if strict and missed else 0


def _list_unmatched(text: str, table: Array, rows: Iterable[int]) -> None:
    left = np.setdiff1d(np.arange(len(table)), np.asarray(rows, dtype=np.int64))
    if left.size:
        shown = ", ".join(f"({r['X_IMAGE']:.1f}, {r['Y_IMAGE']:.1f})" for r in table[left[:8]])
        print(f"{text}: {left.size}: {shown}{' ...' if left.size > 8 else ''}")
