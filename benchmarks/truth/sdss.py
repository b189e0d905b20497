"""Magnitudes of SDSS frames against the SDSS catalogue, by the command-line program.

    python -m benchmarks.truth.sdss [--data FOLDER] [--bands gri] [--keep FOLDER]

Runs the program with its default settings and the catalogue of SDSS stars, without a gain (the
frames' headers have none), with the true 4.7 e-/ADU, and with a fitted colour term.  Prints per
band the scatter (1.48 MAD) of catalogue magnitude + 2.5 log10(flux) of stars of catalogue mag
14.5-19 with FLAGS < 4: PSF, AUTO, aperture-corrected 10 pixels, and PSF after the colour term;
and the zero point with its distance to the median of those stars.  "limit" is the scatter that
PSF magnitudes shall not exceed; SExtractor + PSFEx reach 0.0065, 0.014 and 0.0145 in g, r, i.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from benchmarks import DATA

F8 = NDArray[np.float64]
LIMITS = {"g": 0.008, "r": 0.015, "i": 0.016}
COLUMNS = """NUMBER X_IMAGE Y_IMAGE XWIN_IMAGE YWIN_IMAGE ALPHAWIN_J2000 DELTAWIN_J2000 FLUX_AUTO
FLUXERR_AUTO FLUX_APERCOR(1) FLUXERR_APERCOR(1) FLUX_PSF FLUXERR_PSF MAG_PSF FLAGS FLAGS_SKY"""
RUNS: dict[str, tuple[str, ...]] = {
    "no gain": (),
    "GAIN 4.7": ("-GAIN", "4.7"),
    "colour": ("-COLOR_TERM", "FIT"),
}
COLORS = {"g": ("g", "r"), "r": ("g", "r"), "i": ("r", "i")}
MATCH = 2.0
"""Farthest match, arcsec."""


def run_program(
    data: Path, band: str, options: tuple[str, ...], folder: Path
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return catalogue and summary of one run of the program."""
    (folder / "sdss.param").write_text("\n".join(COLUMNS.split()) + "\n")
    program = Path(sys.executable).with_name("skyextract")
    subprocess.run(
        [program, data / f"fpC-004192-{band}4-0300.fit.gz", "-PARAMETERS_NAME", "sdss.param",
         "-ASTREFCAT_NAME", data / "refcat" / "sdss_stars_field.fits", "-PHOT_APERTURES", "10",
         "-CATALOG_NAME", "sdss.cat", "-SUMMARY_NAME", "sdss.json",
         "-MATCH_NAME", "sdss.match.fits", *options],
        cwd=folder, check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    summary = json.loads((folder / "sdss.json").read_text())[0]
    result = summary["steps"]["photometry"]
    used = fits.getdata(folder / "sdss.match.fits", "PHOTOMETRY")
    used = used[used["USED"]]
    # the colour for which the zero point holds is the mean of the stars of the fit
    result["pivot"] = np.average(used["COLOR"], weights=used["MAGERR"] ** -2.0)
    return fits.getdata(folder / "sdss.cat", "LDAC_OBJECTS"), result


def width(values: F8) -> float:
    """Return 1.48 MAD."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def stars_of(
    table: NDArray[Any], reference: Table, band: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of sources and of their catalogue stars (mag 14.5-19, FLAGS < 4)."""
    cosine = np.cos(np.radians(np.median(table["DELTAWIN_J2000"])))
    dx = (table["ALPHAWIN_J2000"][:, None] - np.asarray(reference["ra"])) * 3600 * cosine
    dy = (table["DELTAWIN_J2000"][:, None] - np.asarray(reference["dec"])) * 3600
    distance = np.hypot(dx, dy)
    source = distance.argmin(axis=0)
    near = distance.min(axis=0) < MATCH
    magnitude = np.asarray(reference[band])
    bright = (magnitude >= 14.5) & (magnitude <= 19)
    star = np.flatnonzero(near & bright & (table["FLAGS"][source] < 4))
    return source[star], star


def report(label: str, band: str, table: NDArray[Any], result: dict[str, Any], stars: Table) -> str:
    """Return one line of the comparison."""
    source, star = stars_of(table, stars, band)
    magnitude = np.asarray(stars[band])[star]
    y = {
        kind: magnitude + 2.5 * np.log10(np.ravel(table[f"FLUX_{kind}"][source]))
        for kind in ("PSF", "AUTO", "APERCOR")
    }
    scatter = {kind: width(values) for kind, values in y.items()}
    term = result["color_term"]
    corrected = y["PSF"]
    if term is not None:
        first, second = (np.asarray(stars[c])[star] for c in COLORS[band])
        corrected = corrected - term * (first - second - result["pivot"])
    offset = result["zero_point"] - np.median(corrected)
    auto = result["zero_point"] - np.median(y["AUTO"])
    colour = f"{term:+.4f} {width(corrected):.4f}" if term is not None else f"{'':14}"
    return (
        f"{band} {label:>9} {len(star):3d} {scatter['PSF']:7.4f} {LIMITS[band]:6.3f} "
        f"{scatter['AUTO']:7.4f} {scatter['APERCOR']:7.4f} {colour} "
        f"{result['zero_point']:9.4f} {result['zero_point_error']:.4f} {offset:+9.4f} "
        f"{auto:+8.4f} {result['n_stars']:4d}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA / "sdss_stripe82")
    parser.add_argument("--bands", default="gri")
    parser.add_argument("--keep", type=Path, help="folder for the last run's files")
    options = parser.parse_args()
    stars = Table.read(options.data / "refcat" / "sdss_stars_field.fits")
    print(
        f"  {'run':>9} {'n':>3} {'PSF':>7} {'limit':>6} {'AUTO':>7} {'APERCOR':>7} "
        f"{'colour term':>14} {'zero point':>9} {'error':>6} {'-median':>8} {'-AUTO':>8} used"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = (options.keep or Path(name)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for band in options.bands:
            for label, settings in RUNS.items():
                table, result = run_program(options.data.resolve(), band, settings, folder)
                print(report(label, band, table, result, stars), flush=True)


if __name__ == "__main__":
    main()
