"""Galaxies beside SExtractor's model fits with PSFEx's PSF, against the truth.

    python -m benchmarks.truth.galaxies [--n 400] [--frames 1] [--fwhm 3.6 ...] [--seed 1]
        [--kind sersic "bulge+disk" barred edge-on "n 0.5" "n 6"] [--ours]

Frames of galaxies and stars at random places (tests/simulate/galaxies.py), blends as they come.
Both programs fit one Sersic profile to every source, with the same columns, on the same frame.
Frames of all FWHMs, as many of each, are taken together.
For each range of the S/N of an ideal filter: galaxies found, of all whose centre is in the frame;
bias and scatter of the total magnitude, of ln half-light radius, of the ellipticity
(1 - q) / (1 + q) and of ln n; the width of the pulls of flux, radius and axis ratio; the area under
the ROC curve of star/galaxy separation.

The radius is that of the circle of the same area where it is compared with the truth, so that it
does not hang on how thin a disk is measured; the column and its error are of the major axis, and so
is what their pull is taken from.  Of barred galaxies axis ratio and major axis are those of the
disk: pulls tell what a wrong profile costs.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits

from tests.simulate.galaxies import GAIN, KINDS, SHAPES, Floats, GalaxyFrame, simulate_galaxies

COLUMNS = """X_IMAGE Y_IMAGE FLUX_AUTO FLUX_MODEL FLUXERR_MODEL XMODEL_IMAGE YMODEL_IMAGE
FLUX_SPHEROID FLUXERR_SPHEROID SPHEROID_REFF_IMAGE SPHEROID_REFFERR_IMAGE SPHEROID_ASPECT_IMAGE
SPHEROID_ASPECTERR_IMAGE SPHEROID_THETA_IMAGE SPHEROID_SERSICN FLAGS_MODEL SPREAD_MODEL
CLASS_STAR""".split()
RANGES = ((8, 15), (15, 50), (50, 200), (200, 1e9))
NEAR = 3.0
"""Distance in pixels of a row from the object that it is of, at most."""
NETWORK = Path("/usr/share/source-extractor/default.nnw")


def ours(_: GalaxyFrame, folder: Path) -> np.ndarray:
    """Run skyextract as it comes."""
    (folder / "p.param").write_text("\n".join([*COLUMNS, "PROB_POINTSOURCE"]) + "\n")
    command = [sys.executable, "-m", "skyextract", "f.fits", "-PARAMETERS_NAME", "p.param",
               "-PIXEL_SCALE", "0.25"]  # fmt: skip
    if NETWORK.exists():
        command += ["-STARNNW_NAME", str(NETWORK)]
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    table: np.ndarray = fits.getdata(folder / "f.cat", "LDAC_OBJECTS")
    return table


def peer_run(image: str, columns: list[str], folder: Path, psf: str = "") -> np.ndarray:
    """Run SExtractor with some columns, and, for models, the PSF of each image."""
    (folder / "s.param").write_text("\n".join(columns))
    (folder / "d.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    command = [
        "source-extractor", image, "-c", "none.sex", "-CATALOG_TYPE", "FITS_LDAC",
        "-FILTER_NAME", "d.conv", "-PHOT_APERTURES", "10", "-GAIN", str(GAIN),
        "-SATUR_LEVEL", "1e7", "-VERBOSE_TYPE", "QUIET", "-PIXEL_SCALE", "0.25",
        "-SEEING_FWHM", "0.95", "-STARNNW_NAME", str(NETWORK),
        "-PARAMETERS_NAME", "s.param", "-CATALOG_NAME", "s.ldac",
    ]  # fmt: skip
    command += ["-PSF_NAME", psf] if psf else []
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    table: np.ndarray = fits.getdata(folder / "s.ldac", 2)
    return table


def peer_psf(name: str, folder: Path) -> None:
    """Write NAME.psf, PSFEx's model of the PSF of NAME.fits."""
    stars = "X_IMAGE Y_IMAGE FLUX_RADIUS FLUX_APER(1) FLUXERR_APER(1) ELONGATION FLAGS SNR_WIN"
    peer_run(f"{name}.fits", [*stars.split(), "VIGNET(35,35)"], folder)
    (folder / "s.ldac").rename(folder / f"{name}.ldac")
    command = ["psfex", f"{name}.ldac", "-CHECKIMAGE_TYPE", "NONE", "-CHECKPLOT_DEV", "NULL",
               "-CHECKPLOT_TYPE", "NONE", "-WRITE_XML", "N", "-VERBOSE_TYPE", "QUIET"]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def sextractor(_: GalaxyFrame, folder: Path) -> np.ndarray:
    """Run SExtractor, PSFEx and SExtractor with models."""
    peer_psf("f", folder)
    return peer_run("f.fits", COLUMNS, folder, "f.psf")


def match(frame: GalaxyFrame, table: np.ndarray) -> np.ndarray:
    """Return the row of each object, -1 if it was not found: the nearest, within `NEAR` pixels.

    That of a large galaxy may be half its half-light radius away.  The place of a row is that of
    its model, where it has one: X_IMAGE is the middle of all light above the threshold, that of a
    companion within it included, and of what the edge of the frame has left.
    Of objects that share a row the brightest has it.
    """
    place = []
    for axis in "XY":
        own = np.array(table[f"{axis}_IMAGE"], dtype=np.float64)
        if f"{axis}MODEL_IMAGE" in table.dtype.names:
            fitted = table[f"{axis}MODEL_IMAGE"]
            own = np.where(np.isfinite(fitted), fitted, own)
        place.append(own - 1)
    rows = np.full(frame.x.size, -1)
    taken: set[int] = set()
    for i in np.argsort(-frame.flux):
        distance = np.hypot(place[0] - frame.x[i], place[1] - frame.y[i])
        row = int(np.argmin(distance))
        if distance[row] < max(NEAR, 0.5 * frame.radius[i]) and row not in taken:
            rows[i] = row
            taken.add(row)
    return rows


def spread(values: Floats) -> tuple[float, float]:
    """Return median and half the distance of the percentiles 16 and 84."""
    values = values[np.isfinite(values)]
    if values.size < 3:
        return np.nan, np.nan
    low, middle, high = np.percentile(values, (16, 50, 84))
    return float(middle), float(0.5 * (high - low))


def area(star: Floats, galaxy: Floats) -> float:
    """Return the chance that a star has a larger value than a galaxy."""
    star, galaxy = star[np.isfinite(star)], galaxy[np.isfinite(galaxy)]
    if not star.size or not galaxy.size:
        return np.nan
    larger = (star[:, None] > galaxy[None, :]).mean()
    return float(larger + 0.5 * (star[:, None] == galaxy[None, :]).mean())


def residuals(frame: GalaxyFrame, table: np.ndarray) -> dict[str, Floats]:
    """Return what the tables are made of, an element per object."""
    rows = match(frame, table)
    got = {name: np.where(rows >= 0, table[name][rows], np.nan) for name in table.dtype.names}
    out = {"found": (rows >= 0).astype(float), "snr": frame.snr, "star": frame.star.astype(float)}
    with np.errstate(all="ignore"):
        q = got["SPHEROID_ASPECT_IMAGE"]
        radius = got["SPHEROID_REFF_IMAGE"] * np.sqrt(q)
        major = frame.radius / np.sqrt(frame.axis_ratio)
        twice = 2 * np.radians(got["SPHEROID_THETA_IMAGE"])
        size, true = (1 - q) / (1 + q), (1 - frame.axis_ratio) / (1 + frame.axis_ratio)
        out |= {
            "mag": -2.5 * np.log10(got["FLUX_MODEL"] / frame.flux),
            "auto": -2.5 * np.log10(got["FLUX_AUTO"] / frame.flux),
            "ln r": np.log(radius / frame.radius),
            "e1": size * np.cos(twice) - true * np.cos(2 * frame.angle),
            "ln n": np.log(got["SPHEROID_SERSICN"] / frame.index),
            "flux pull": (got["FLUX_MODEL"] - frame.flux) / got["FLUXERR_MODEL"],
            "r pull": (got["SPHEROID_REFF_IMAGE"] - major) / got["SPHEROID_REFFERR_IMAGE"],
            "q pull": (q - frame.axis_ratio) / got["SPHEROID_ASPECTERR_IMAGE"],
            "SPREAD_MODEL": -got["SPREAD_MODEL"],
            "CLASS_STAR": got["CLASS_STAR"],
        }
    if "PROB_POINTSOURCE" in got:
        out["PROB_POINTSOURCE"] = got["PROB_POINTSOURCE"]
    high = frame.image.shape[0] - 0.5
    inside = (np.minimum(frame.x, frame.y) > -0.5) & (np.maximum(frame.x, frame.y) < high)
    return {name: values[inside] for name, values in out.items()}


def show(name: str, parts: list[dict[str, Floats]], seconds: tuple[float, float]) -> None:
    """Print one program's tables."""
    all_ = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    print(f"  {name}: {seconds[0]:.1f} s wall, {seconds[1]:.1f} s CPU")
    galaxy, found = all_["star"] == 0, all_["found"] > 0
    for low, high in RANGES:
        there = (all_["snr"] >= low) & (all_["snr"] < high)
        own = there & galaxy
        if own.sum() < 5:
            continue
        shown = [f"{100 * found[own].mean():3.0f} % of {own.sum():4d}"]
        shown += [
            "{} {:+.3f}+-{:.3f}".format(key, *spread(all_[key][own]))
            for key in ("mag", "auto", "ln r", "e1", "ln n", "flux pull", "r pull", "q pull")
        ]
        print(f"    S/N {low:3.0f}-{high:<4.0f} {', '.join(shown)}")
        roc = [
            f"{key} {area(all_[key][there & ~galaxy], all_[key][own]):.3f}"
            for key in ("PROB_POINTSOURCE", "SPREAD_MODEL", "CLASS_STAR")
            if key in all_
        ]
        print(f"        ROC area: {', '.join(roc)}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--fwhm", type=float, nargs="+", default=[3.6])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", nargs="+", default=KINDS, choices=KINDS + SHAPES)
    parser.add_argument("--ours", action="store_true", help="skyextract alone")
    options = parser.parse_args()
    programs: dict[str, Callable[[GalaxyFrame, Path], np.ndarray]] = {"skyextract": ours}
    if not options.ours:
        programs["SExtractor + PSFEx"] = sextractor
    size = int(70 * options.n**0.5)
    for kind in options.kind:
        seeds = range(options.seed, options.seed + options.frames * len(options.fwhm))
        seeing = ", ".join(map(str, options.fwhm))
        print(f"{kind}: {len(seeds)} x {options.n} objects in {size}^2, FWHM {seeing}")
        frames = [
            simulate_galaxies(options.n, size, seed, kind=kind, fwhm=fwhm)
            for seed, fwhm in zip(seeds, options.fwhm * options.frames, strict=True)
        ]
        for name, program in programs.items():
            parts = []
            start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            for frame in frames:
                with tempfile.TemporaryDirectory() as place:
                    header = fits.Header({"GAIN": GAIN, "SATURATE": 1e7})
                    fits.PrimaryHDU(frame.image, header).writeto(Path(place) / "f.fits")
                    parts.append(residuals(frame, program(frame, Path(place))))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            show(name, parts, (time.perf_counter() - start, after.ru_utime - before.ru_utime))


if __name__ == "__main__":
    main()
