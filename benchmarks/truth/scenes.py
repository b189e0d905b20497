"""Stars of many shapes beside SExtractor + PSFEx + SExtractor, against the truth.

    python -m benchmarks.truth.scenes [NAME ...] [--seed 1] [--frames 1] [--ours]

Each scene is a small frame (galsim) of stars of one kind of PSF: from 1.2 to 40 pixels wide,
trailed, out of focus, with coma, varying over the field or, by the fourth power of the distance
from its middle, in its corners alone.  For each program: completeness
(S/N > 10) and purity; for stars of four ranges of S/N the bias of FLUX_PSF (against the mean
ratio at S/N > 50, which a zero point takes up; the ratio itself is printed), its scatter and
the widths of the pulls of FLUX_PSF and of the position (less a polynomial of degree 3 over
the field, which an astrometric solution takes up).  For ours also the zero point's error in units
of that claimed, with the true magnitudes of the stars as the reference catalogue.  The row "the
best there is" has what a fit of each of these stars makes of the same pixels that knows its PSF,
sky and neighbours: how far its pulls are from 1 is chance, which the others share.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from tests.simulate.shapes import SCENES, ShapeFrame, simulate_scene
from tests.simulate.shapetruth import best_fits

F8 = NDArray[np.float64]
BINS = ((15.0, 50.0), (50.0, 100.0), (100.0, 300.0), (300.0, 1000.0))
ZERO_POINT = 28.0
OUTLIER = 5.0
"""Positions that are farther off, in units of the width of the others, are not fitted."""
BEST = "the best there is"
SHOWN = (
    "X_IMAGE Y_IMAGE FLUX_PSF FLUXERR_PSF XPSF_IMAGE YPSF_IMAGE ERRX2PSF_IMAGE ERRY2PSF_IMAGE FLAGS"
)


@dataclass(frozen=True)
class Measurement:
    """Catalogue of one program, and what it says of itself."""

    table: np.ndarray
    note: str
    warnings: tuple[str, ...] = ()


def frame_wcs(size: int) -> WCS:
    """Return the WCS of all frames: TAN, 0.5 arcsec per pixel."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [size / 2, size / 2]
    wcs.wcs.cd = np.diag([-0.5 / 3600, 0.5 / 3600])
    return wcs


def write_frame(frame: ShapeFrame, folder: Path) -> Path:
    """Write image and reference catalogue."""
    size = frame.image.shape[0]
    wcs = frame_wcs(size)
    header = wcs.to_header()
    header["GAIN"], header["SATURATE"], header["FILTER"] = frame.gain, 1e7, "r"
    fits.PrimaryHDU(frame.image, header).writeto(folder / "f.fits", overwrite=True)
    ra, dec = wcs.all_pix2world(frame.x, frame.y, 0)
    magnitude = ZERO_POINT - 2.5 * np.log10(frame.flux)
    keep = frame.snr > 10
    Table({"ra": ra, "dec": dec, "r_mag": magnitude, "r_mag_error": np.full(ra.size, 0.002)})[
        keep
    ].write(folder / "ref.fits", overwrite=True)
    return folder / "f.fits"


def ours(frame: ShapeFrame, folder: Path) -> Measurement:
    """Run skyextract as it comes."""
    (folder / "p.param").write_text("\n".join([*SHOWN.split(), "MAG_PSF", "FLAGS_SKY"]) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "skyextract", "f.fits", "-PARAMETERS_NAME", "p.param",
         "-ASTREFCAT_NAME", "ref.fits", "-SATUR_KEY", "SATURATE"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    summary = json.loads((folder / "f.json").read_text())[0]
    steps = summary["steps"]
    char, phot = steps["characterize"], steps["photometry"]
    table = fits.getdata(folder / "f.cat", "LDAC_OBJECTS")
    note = (
        f"{char['status']} FWHM {char['fwhm_pix'] or math.nan:.2f} e {char['ellipticity'] or 0:.3f}"
        f" stars {char['n_psf_stars']} CR {char['n_cosmic_rays']}"
        f" phot {phot['status']} zp {zero_point_pull(frame, table, phot)} exit {done.returncode}"
    )
    return Measurement(table, note, tuple(summary["warnings"]))


def zero_point_pull(frame: ShapeFrame, table: np.ndarray, phot: dict[str, float]) -> str:
    """Return the median error of MAG_PSF at S/N > 50, with the zero point's claimed error."""
    if phot.get("zero_point") is None or phot["status"] == "failed":
        return "none"
    row, star = match(frame, table)
    good = frame.snr[star] > 50
    if not good.any():
        return "?"
    difference = (table["MAG_PSF"][row] - (ZERO_POINT - 2.5 * np.log10(frame.flux[star])))[good]
    return f"{np.nanmedian(difference):+.4f}+-{phot['zero_point_error']:.4f}"


def peer(frame: ShapeFrame, folder: Path) -> Measurement | None:
    """Run SExtractor, PSFEx and SExtractor, set for the scene as its manual advises."""
    program = shutil.which("source-extractor") or shutil.which("sex")
    if program is None or shutil.which("psfex") is None:
        return None
    size = 2 * math.ceil(1.6 * frame.extent + 4) + 1
    vignet = f"VIGNET({size},{size})"
    stars = "X_IMAGE Y_IMAGE FLUX_RADIUS FLUX_APER(1) FLUXERR_APER(1) ELONGATION FLAGS SNR_WIN"
    (folder / "stars.param").write_text("\n".join([*stars.split(), vignet]))
    (folder / "psf.param").write_text("\n".join(SHOWN.split()))
    (folder / "d.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    common = [
        program, "f.fits", "-c", "none.sex", "-CATALOG_TYPE", "FITS_LDAC", "-FILTER_NAME", "d.conv",
        "-PHOT_APERTURES", f"{2.0 * frame.extent:.1f}", "-GAIN", str(frame.gain),
        "-SATUR_LEVEL", "1e7", "-VERBOSE_TYPE", "QUIET",
        "-BACK_SIZE", str(max(64, int(4 * frame.extent))),
    ]  # fmt: skip
    sampling = "0.5" if frame.extent < 3 else "0.0"
    steps = [
        [*common, "-PARAMETERS_NAME", "stars.param", "-CATALOG_NAME", "s.ldac"],
        ["psfex", "s.ldac", "-PSF_SIZE", f"{size},{size}" if frame.extent >= 3 else "41,41",
         "-PSF_SAMPLING", sampling, "-SAMPLE_FWHMRANGE", "0.8,90.0", "-SAMPLE_MAXELLIP", "0.9",
         "-CHECKIMAGE_TYPE", "NONE", "-CHECKPLOT_DEV", "NULL", "-CHECKPLOT_TYPE", "NONE",
         "-WRITE_XML", "N", "-VERBOSE_TYPE", "QUIET"],
        [*common, "-PARAMETERS_NAME", "psf.param", "-CATALOG_NAME", "p.ldac", "-PSF_NAME", "s.psf"],
    ]  # fmt: skip
    for step in steps:
        done = subprocess.run(step, cwd=folder, check=False, capture_output=True, text=True)
        if done.returncode:
            return Measurement(np.zeros(0), f"{step[0]} ended with {done.returncode}")
    header = fits.getheader(folder / "s.psf", 1)
    return Measurement(
        fits.getdata(folder / "p.ldac", 2),
        f"FWHM {header['PSF_FWHM']:.2f} stars {header['ACCEPTED']}",
    )


def best(frame: ShapeFrame, name: str) -> Measurement:
    """Fit each star with all but its own flux and position known."""
    fits = best_fits(name, frame)
    columns = {
        "X_IMAGE": fits.x + 1.0, "Y_IMAGE": fits.y + 1.0, "FLUX_PSF": fits.flux,
        "FLUXERR_PSF": fits.flux_error, "XPSF_IMAGE": fits.x + 1.0, "YPSF_IMAGE": fits.y + 1.0,
        "ERRX2PSF_IMAGE": fits.x_error**2, "ERRY2PSF_IMAGE": fits.y_error**2,
        "FLAGS": np.zeros(fits.x.size, np.int16),
    }  # fmt: skip
    return Measurement(Table(columns).as_array(), "")


def match(frame: ShapeFrame, table: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair rows with true stars within 0.6 of their extent, one to one, brightest rows first."""
    limit = max(1.0, 0.6 * frame.extent)
    rows, stars = [], []
    taken: set[int] = set()
    for row in np.argsort(-np.nan_to_num(table["FLUX_PSF"])):
        distance = np.hypot(
            table["X_IMAGE"][row] - 1 - frame.x, table["Y_IMAGE"][row] - 1 - frame.y
        )
        for star in np.argsort(distance)[:2]:
            if distance[star] < limit and int(star) not in taken:
                taken.add(int(star))
                rows.append(row)
                stars.append(star)
                break
    return np.array(rows, dtype=np.int64), np.array(stars, dtype=np.int64)


@dataclass
class Sums:
    """What is known of one program on the frames of one scene."""

    found: int = 0
    wanted: int = 0
    true: int = 0
    rows: int = 0
    parts: list[dict[str, F8]] | None = None
    ratio: float = math.nan


def collect(frame: ShapeFrame, table: np.ndarray, sums: Sums) -> None:
    """Add one frame's catalogue."""
    row, star = match(frame, table)
    sums.wanted += int((frame.snr > 10).sum())
    sums.found += int((frame.snr[star] > 10).sum())
    sums.true += row.size
    sums.rows += len(table)
    ok = np.isfinite(table["FLUX_PSF"][row]) & (table["FLUXERR_PSF"][row] > 0)
    ok &= (table["FLAGS"][row] & 4) == 0
    row, star = row[ok], star[ok]
    snr, true = frame.snr[star], frame.flux[star]
    ratio = table["FLUX_PSF"][row] / true
    bright = snr > 50
    mean = float(np.median(ratio[bright])) if bright.any() else 1.0
    sums.ratio = mean
    part = {
        "snr": snr,
        "error": ratio / mean - 1.0,
        "pull": (ratio / mean - 1.0) * true / table["FLUXERR_PSF"][row] * mean,
    }
    if "ERRX2PSF_IMAGE" in table.dtype.names:
        u, v = (
            frame.x[star] / frame.image.shape[1] - 0.5,
            frame.y[star] / frame.image.shape[0] - 0.5,
        )
        for axis in "XY":
            difference = table[f"{axis}PSF_IMAGE"][row] - 1 - getattr(frame, axis.lower())[star]
            sigma = np.sqrt(table[f"ERR{axis}2PSF_IMAGE"][row])
            good = (sigma > 0) & np.isfinite(difference) & (np.abs(difference) < frame.extent)
            part[axis] = np.where(good, position_pulls(u, v, difference, sigma, good), np.nan)
    sums.parts = [*(sums.parts or []), part]


def position_pulls(u: F8, v: F8, difference: F8, sigma: F8, good: NDArray[np.bool_]) -> F8:
    """Return differences of positions, less a polynomial, in units of their errors.

    The polynomial is that of an astrometric solution of default settings, of degree 3.  What it
    takes up of the noise of each star is taken account of.
    """
    terms = np.stack([u**i * v**j for j in range(4) for i in range(4 - j)], axis=1)
    pulls = np.full(u.size, np.nan)
    sigma, difference = np.where(good, sigma, 1.0), np.where(good, difference, 0.0)
    kept = good
    for _ in range(3):
        weighted = terms * (kept / sigma)[:, None]
        inverse = np.linalg.pinv(weighted.T @ weighted)
        left = difference - terms @ (inverse @ (weighted.T @ (kept * difference / sigma)))
        taken = np.sum((weighted @ inverse) * weighted, axis=1)
        pulls = left / sigma / np.sqrt(np.maximum(1.0 - taken, 1e-6))
        kept = good & (np.abs(pulls) < OUTLIER * max(1.0, width(pulls[kept])))
    return pulls


def width(values: F8) -> float:
    """Half the distance of the 16th and 84th percentiles."""
    values = values[np.isfinite(values)]
    if values.size < 5:
        return math.nan
    return float(0.5 * np.subtract(*np.percentile(values, [84.135, 15.865])))


def report(sums: Sums) -> str:
    """Return the figures of one program on one scene, one line."""
    cells = [
        f"{100 * sums.found / max(sums.wanted, 1):5.1f} {100 * sums.true / max(sums.rows, 1):5.1f}"
        f" {-2.5 * math.log10(max(sums.ratio, 1e-3)):+6.3f}"
    ]
    parts = sums.parts or []
    names = [n for n in ("X", "Y") if parts and n in parts[0]]
    for low, high in BINS:
        chosen = [(p["snr"] >= low) & (p["snr"] < high) for p in parts]
        error = np.concatenate([p["error"][c] for p, c in zip(parts, chosen, strict=True)])
        pull = np.concatenate([p["pull"][c] for p, c in zip(parts, chosen, strict=True)])
        place = [
            width(np.concatenate([p[n][c] for p, c in zip(parts, chosen, strict=True)]))
            for n in names
        ]
        bias = float(np.median(error)) if error.size else math.nan
        mean = math.sqrt(float(np.mean(np.square(place)))) if place else math.nan
        cells.append(
            f"{error.size:3d} {1.0857 * bias:+.4f} {1.0857 * width(error):.4f}"
            f" {width(pull):5.2f} {mean:5.2f}"
        )
    return " | ".join(cells)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--ours", action="store_true", help="without the peers")
    options = parser.parse_args()
    print(
        f"{'scene and program':28}  compl purity  aper | per range of S/N "
        + ", ".join(f"{a:.0f}-{b:.0f}" for a, b in BINS)
        + ": number, bias and scatter (mag), pull widths of flux and position"
    )
    for name in options.scenes or SCENES:
        programs: dict[str, Sums] = {}
        notes: list[str] = []
        for k in range(options.frames):
            frame = simulate_scene(name, options.seed + 100 * k)
            with tempfile.TemporaryDirectory() as folder:
                write_frame(frame, Path(folder))
                results = {"skyextract": ours(frame, Path(folder)), BEST: best(frame, name)}
                if not options.ours and (found := peer(frame, Path(folder))) is not None:
                    results["SExtractor + PSFEx"] = found
            for program, result in results.items():
                sums = programs.setdefault(program, Sums())
                if len(result.table):
                    collect(frame, result.table, sums)
                notes += [f"    {program}: {result.note}"] if result.note else []
                notes += [f"      {warning}" for warning in result.warnings]
        for program, sums in programs.items():
            print(f"{name + ', ' + program:28.28}  {report(sums)}")
        print("\n".join(notes), flush=True)


if __name__ == "__main__":
    main()
