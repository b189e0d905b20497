"""Astrometry against truth, SCAMP and chance; prints tables.

    python -m benchmarks.truth.astrometry [--seed N] [--data DIR] [TABLE ...]

Tables: sdss panoptes distorted motion false-positives scale.  Default: all.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import logging
import math
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import sep
from astropy.io import fits

from benchmarks import DATA
from benchmarks.simulate.astrometry import simulated, wrong
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.datamodel.wcs import SkyWcs
from skyextract.io.references.reference import read_reference
from skyextract.run import Run
from skyextract.settings.keywords import Astrometry as Config
from skyextract.sky.plate import Plate, gnomonic
from skyextract.stages.astrometry.solve import Astrometry, solve_astrometry

Floats = Any


def read_image(path: Path) -> tuple[Any, Any]:
    """Return the pixels as float32 and the header of the first image of a file."""
    with fits.open(path) as units:
        return np.ascontiguousarray(units[0].data, np.float32), units[0].header.copy()


def detect(image: Floats, threshold: float = 3.0) -> Catalog:
    """Detect and measure with sep: window positions, aperture fluxes."""
    background = sep.Background(image)
    image = image - background
    found = sep.extract(image, threshold, err=background.globalrms, minarea=5)
    x, y = found["x"], found["y"]
    radius, _ = sep.flux_radius(
        image, x, y, 6.0 * found["a"], 0.5, normflux=found["flux"], subpix=5
    )
    xw, yw, _ = sep.winpos(image, x, y, 2.0 / 2.35 * np.maximum(radius, 0.5))
    flux, error, _ = sep.sum_circle(image, x, y, 5.0, err=background.globalrms)
    return Catalog({
        "NUMBER": np.arange(len(x)) + 1, "X_IMAGE": x + 1.0, "Y_IMAGE": y + 1.0,
        "XWIN_IMAGE": xw + 1.0, "YWIN_IMAGE": yw + 1.0,
        "FLUX_AUTO": flux, "FLUXERR_AUTO": error, "FLAGS": np.zeros(len(x), np.int16),
    })  # fmt: skip


def solve(
    catalog: Catalog, header: Any, shape: tuple[int, int], reference: RefCatalog, **settings: Any
) -> tuple[Astrometry, float]:
    """Return the result and the seconds it took."""
    wcs = SkyWcs.from_header(header)
    start = time.perf_counter()
    result = solve_astrometry(catalog, header, shape, wcs, reference, Config(**settings), Run())
    return result, time.perf_counter() - start


def rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


# --- SDSS: the same source lists for SCAMP and for us ---------------------------------------


def sextracted(image: Path, configs: Path, folder: Path, band: str) -> Catalog:
    """Run SExtractor; its catalogue stays in the folder for SCAMP."""
    columns = (
        "NUMBER X_IMAGE Y_IMAGE XWIN_IMAGE YWIN_IMAGE ERRAWIN_IMAGE ERRBWIN_IMAGE "
        "ERRTHETAWIN_IMAGE FLUX_AUTO FLUXERR_AUTO MAG_AUTO MAGERR_AUTO FLUX_RADIUS SNR_WIN "
        "ELONGATION FLAGS"
    )
    (folder / "columns.param").write_text(columns.replace(" ", "\n") + "\n")
    plain = folder / f"{band}.fits"
    plain.write_bytes(gzip.decompress(image.read_bytes()))
    subprocess.run(
        ["source-extractor", str(plain), "-c", str(configs / "default.sex"),
         "-PARAMETERS_NAME", str(folder / "columns.param"), "-CATALOG_TYPE", "FITS_LDAC",
         "-FILTER_NAME", str(configs / "default.conv"),
         "-STARNNW_NAME", str(configs / "default.nnw"),
         "-CATALOG_NAME", str(folder / f"{band}.ldac"), "-SATUR_LEVEL", "60000", "-GAIN", "4.7"],
        check=True, capture_output=True,
    )  # fmt: skip
    table = fits.getdata(folder / f"{band}.ldac", 2)
    native = {name: np.asarray(table[name]) for name in table.names}
    return Catalog({k: v.astype(v.dtype.newbyteorder("=")) for k, v in native.items()})


def scamp(folder: Path, band: str, reference: Path) -> list[float]:
    """Return SCAMP's external rms: axis 1, axis 2, stars; all, then high S/N."""
    done = subprocess.run(
        ["scamp", f"{band}.ldac", "-ASTREF_CATALOG", "FILE", "-ASTREFCAT_NAME", str(reference),
         "-DISTORT_DEGREES", "3", "-CHECKPLOT_TYPE", "NONE", "-SOLVE_PHOTOM", "N",
         "-STABILITY_TYPE", "EXPOSURE", "-VERBOSE_TYPE", "NORMAL", "-WRITE_XML", "N"],
        check=True, capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    text = (done.stdout + done.stderr).split("(external)")[1]
    line = re.search(r"Group\s+1:\s+(.*)", text)[1].replace('"', "").split()
    return [float(line[i]) for i in (0, 1, 3, 4, 5, 7)]


def table_sdss(data: Path, _seed: int) -> None:
    folder = data / "sdss_stripe82"
    have_scamp = bool(shutil.which("scamp") and shutil.which("source-extractor"))
    print("SDSS g r i, DISTORT_DEGREES 3, clip 3 sigma; in-sample rms per axis, milliarcsec")
    print("band       pairs  used  axis1  axis2   S/N>100: n  axis1  axis2   held out  seconds")
    solved = {}
    with tempfile.TemporaryDirectory() as name:
        for band in "gri":
            path = folder / f"fpC-004192-{band}4-0300.fit.gz"
            image, header = read_image(path)
            reference = read_reference([str(folder / "refcat/sdss_stars_field.ldac")], Run())
            sources = detect(image)
            if have_scamp:
                sources = sextracted(
                    path, data / "sextractor_configs/source-extractor", Path(name), band
                )
            solve(sources, header, image.shape, reference)
            result, seconds = solve(sources, header, image.shape, reference)
            solved[band] = result
            used = result.matches["USED"]
            row = result.matches["NUMBER"] - 1
            high = used & (sources["FLUX_AUTO"] / sources["FLUXERR_AUTO"] > 100.0)[row]
            dx, dy = 1e3 * result.matches["DXI"], 1e3 * result.matches["DETA"]
            m = result.metrics
            print(
                f"{band} ours  {m['n_matched']:7d} {used.sum():5d} {rms(dx[used]):6.1f} "
                f"{rms(dy[used]):6.1f}      {high.sum():5d} {rms(dx[high]):6.1f} "
                f"{rms(dy[high]):6.1f}   {1e3 * m['rms_holdout_arcsec']:7.1f}  {seconds:7.3f}"
            )
            if have_scamp:
                their = scamp(Path(name), band, folder / "refcat/sdss_stars_field.ldac")
                print(
                    f"{band} SCAMP         {their[2]:5.0f} {1e3 * their[0]:6.1f} "
                    f"{1e3 * their[1]:6.1f}      {their[5]:5.0f} {1e3 * their[3]:6.1f} "
                    f"{1e3 * their[4]:6.1f}"
                )
    image, header = read_image(data / "no_wcs/sdss_r4192_nowcs.fits.gz")
    sources = detect(image)
    reference = read_reference([str(folder / "refcat/sdss_stars_field.fits")], Run(), mag_key="r")
    solve(sources, header, image.shape, reference)
    blind, seconds = solve(sources, header, image.shape, reference)
    _, with_wcs = read_image(folder / "fpC-004192-r4-0300.fit.gz")
    started, _ = solve(sources, with_wcs, image.shape, reference)
    print(f"no WCS: {blind.status}, {blind.metrics['n_matched']} pairs, {seconds:.3f} s, largest "
          f"difference to the header-started WCS over the frame "
          f"{sky_difference(blind.wcs, started.wcs, image.shape):.4f} arcsec\n")  # fmt: skip


def sky_difference(first: SkyWcs, second: SkyWcs, shape: tuple[int, int]) -> float:
    """Return the largest distance (arcsec) of two solutions on a grid over the frame."""
    y, x = np.mgrid[0 : shape[0] - 1 : 30j, 0 : shape[1] - 1 : 30j]
    ra1, dec1 = first.to_sky(x, y)
    ra2, dec2 = second.to_sky(x, y)
    da = (ra1 - ra2 + 180.0) % 360.0 - 180.0
    return 3600.0 * float(np.hypot(da * np.cos(np.deg2rad(dec1)), dec1 - dec2).max())


# --- PANOPTES: wide field, large pointing error ----------------------------------------------


def turned(sources: Catalog, shape: tuple[int, int], angle: float, flip: bool) -> Catalog:
    """Mirror and rotate the positions about the middle of the frame."""
    x0, y0 = 0.5 * (shape[1] + 1.0), 0.5 * (shape[0] + 1.0)
    x, y = sources["XWIN_IMAGE"] - x0, sources["YWIN_IMAGE"] - y0
    x = -x if flip else x
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = c * x - s * y + x0, s * x + c * y + y0
    return sources.with_columns(XWIN_IMAGE=x, YWIN_IMAGE=y, X_IMAGE=x, Y_IMAGE=y)


def table_panoptes(data: Path, _seed: int) -> None:
    folder = data / "panoptes"
    image, header = read_image(folder / "unsolved.fits")
    reference = read_reference([str(folder / "tycho2_panoptes.fits")], Run())
    sources = detect(image)
    print("PANOPTES, scale unknown, pointing 1.95 deg off, POSITION_MAXERR 150")
    print("case          status    pairs  used  rms/pix  held out/pix  arcsec/pix  parity  seconds")
    cases = (
        ("as taken", 0.0, False), ("flipped", 0.0, True), ("90 deg", 90.0, False),
        ("137 deg", 137.0, False), ("180 deg", 180.0, False), ("137 flipped", 137.0, True),
    )  # fmt: skip
    for label, angle, flip in cases:
        moved = turned(sources, image.shape, angle, flip)
        result, seconds = solve(moved, header, image.shape, reference, position_maxerr=150.0)
        m = result.metrics
        if result.status != "COMPLETE":
            print(f"{label:12s}  {result.status}: {result.reason}")
            continue
        scale = m["pixel_scale"]
        print(f"{label:12s}  {result.status:8s} {m['n_matched']:6d} {m['n_used']:5d} "
              f"{m['rms_arcsec'] / scale:8.3f} {m['rms_holdout_arcsec'] / scale:12.3f} "
              f"{scale:11.4f} {m['parity']:7d} {seconds:8.2f}")  # fmt: skip
    print()


# --- Simulated: distorted, contaminated ------------------------------------------------------


def table_distorted(_data: Path, seed: int, n_fields: int = 100) -> None:
    rng = np.random.default_rng(seed)
    solved, right, held, inside, times = 0, 0, [], [], []
    for number in range(n_fields):
        sources, header, reference, noise, truth = simulated(rng)
        shape = header["NAXIS2"], header["NAXIS1"]
        result, seconds = solve(
            sources, header, shape, reference, position_maxerr=3.0, posangle_maxerr=6.0
        )
        times.append(seconds)
        if result.status != "COMPLETE":
            print(f"  field {number}: {sources.n_rows} stars, {result.reason}")
            continue
        solved += 1
        px, py = sources["XWIN_IMAGE"] - 1.0, sources["YWIN_IMAGE"] - 1.0
        ra, dec = truth.to_sky(px, py)
        fit_ra, fit_dec = result.wcs.to_sky(px, py)
        da = (ra - fit_ra + 180.0) % 360.0 - 180.0
        error = np.hypot(da * np.cos(np.deg2rad(dec)), dec - fit_dec) * 3600.0 / truth.pixel_scale
        right += bool(rms(error) < noise)
        held.append(result.metrics["rms_holdout_arcsec"] / truth.pixel_scale / noise)
        inside.append(result.metrics["rms_arcsec"] / truth.pixel_scale / noise)
    print(
        f"distorted fields (seed {seed}): {solved} of {n_fields} solved, {right} of them with the "
        f"true WCS within the noise; seconds: median {np.median(times):.3f}, "
        f"largest {max(times):.3f}"
    )
    for label, ratios in (("in-sample", np.array(inside)), ("held-out", np.array(held))):
        print(f"  {label} rms / injected noise: median {np.median(ratios):.3f}, 5 to 95 %: "
              f"{np.percentile(ratios, 5):.3f} to {np.percentile(ratios, 95):.3f}, within 10 %: "
              f"{np.mean(np.abs(ratios - 1.0) < 0.1):.0%}")  # fmt: skip
    print()


# --- Wrong catalogues ------------------------------------------------------------------------


def table_false_positives(data: Path, seed: int, n_trials: int = 1000) -> None:
    """Real detections against wrong catalogues: nothing may be accepted."""
    rng = np.random.default_rng(seed)
    frames = []
    folder = data / "sdss_stripe82"
    for band in "gri":
        image, header = read_image(folder / f"fpC-004192-{band}4-0300.fit.gz")
        path = str(folder / "refcat/sdss_stars_field.fits")
        reference = read_reference([path], Run(), mag_key=band)
        frames.append((f"sdss {band}", detect(image), header, image.shape, reference, {}))
    image, header = read_image(data / "no_wcs/sdss_r4192_nowcs.fits.gz")
    reference = read_reference([str(folder / "refcat/sdss_stars_field.fits")], Run(), mag_key="r")
    frames.append(
        ("no wcs", detect(image), header, image.shape, reference, {"position_maxerr": 15.0})
    )
    image, header = read_image(data / "panoptes/unsolved.fits")
    reference = read_reference([str(data / "panoptes/tycho2_panoptes.fits")], Run())
    frames.append(
        ("panoptes", detect(image), header, image.shape, reference, {"position_maxerr": 120.0})
    )
    gaia = read_reference([str(data / "decam_tpv/gaia/chunk-05483.fits")], Run())
    kinds = ("shuffled", "other field", "random", "same density", "shifted")
    accepted: dict[str, int] = dict.fromkeys(kinds, 0)
    tried = dict.fromkeys(kinds, 0)
    lowest, seconds = 1.0, 0.0
    for trial in range(n_trials):
        # The quick frames (with a WCS) more often than those that are searched blindly.
        label, sources, header, shape, true, settings = frames[
            rng.choice(len(frames), p=[0.25, 0.25, 0.25, 0.125, 0.125])
        ]
        kind = (
            kinds[trial % 10 // 2]
            if trial % 10 < 6
            else ("same density" if trial % 10 < 8 else "shifted")
        )
        reference = wrong(kind, true, gaia, label, settings, rng)
        result, took = solve(sources, header, shape, reference, **settings)
        seconds += took
        tried[kind] += 1
        if result.status == "COMPLETE":
            accepted[kind] += 1
            print(f"  accepted: trial {trial}, {label}, {kind}: {result.metrics}")
        found = re.search(r"probability ([\d.e+-]+)", result.reason)
        lowest = min(lowest, float(found[1]) if found else 1.0)
    print(f"wrong catalogues (seed {seed}), accepted of tried: "
          + ", ".join(f"{kind} {accepted[kind]} of {tried[kind]}" for kind in kinds))  # fmt: skip
    print(f"smallest probability of being false that was computed: {lowest:.1e}; "
          f"{seconds / n_trials:.3f} s per trial\n")  # fmt: skip


# --- Proper motion, speed -----------------------------------------------------------------------


def table_motion(_data: Path, seed: int) -> None:
    """Show what proper motions bring 20 years after the catalogue's epoch."""
    rng = np.random.default_rng(seed)
    n = 300
    linear = 1024.0 * 0.4 / 3600.0 * np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    truth = Plate(120.0, 30.0, 1023.5, 1023.5, 1024.0, linear)
    x, y = rng.uniform(0.0, 2047.0, (2, n))
    ra, dec = truth.to_sky(x, y)
    # A typical field at 15 mag: common motion and scatter of 10 mas/yr.
    reference = dataclasses.replace(
        RefCatalog.from_arrays(ra, dec, rng.uniform(14.0, 18.0, n)),
        pmra=rng.normal(-3.0, 10.0, n), pmdec=rng.normal(-5.0, 10.0, n), epoch=np.full(n, 2016.0),
    )  # fmt: skip
    seen = reference.at_epoch(2036.0)
    px, py = truth.to_pixel(*_plane(truth, seen))
    noise = 0.02
    dx, dy = rng.normal(0.0, noise, (2, n))
    sources = Catalog({"X_IMAGE": px + dx + 1.0, "Y_IMAGE": py + dy + 1.0,
                       "FLUX_AUTO": 10.0 ** (-0.4 * reference.mag)})  # fmt: skip
    header = {"NAXIS1": 2048, "NAXIS2": 2048} | truth.cards("TAN", (2048, 2048))
    print("20 years after the epoch of the catalogue, noise 8 mas per axis:")
    for label, date in (("motions applied", "2036-01-01T12:00:00"), ("no date: not applied", "")):
        result, _ = solve(sources, header | {"DATE-OBS": date}, (2048, 2048), reference)
        off = sky_difference(result.wcs, SkyWcs.from_header(header), (2048, 2048))
        print(
            f"  {label:22s} rms {1e3 * result.metrics['rms_arcsec']:6.1f} mas, "
            f"WCS off by {1e3 * off:6.1f} mas"
        )
    print()


def _plane(plate: Plate, catalog: RefCatalog) -> tuple[Floats, Floats]:
    return gnomonic(catalog.ra, catalog.dec, plate.ra0, plate.dec0)


def table_scale(_data: Path, seed: int) -> None:
    """Time 5000 detections against 50 000 reference stars."""
    rng = np.random.default_rng(seed)
    n_pixels, scale = 4096, 0.5
    middle, half = 0.5 * (n_pixels - 1), 0.5 * n_pixels
    turned = half * scale / 3600.0 * np.array([[0.0, -0.8, 0.6], [0.0, 0.6, 0.8]])
    truth = Plate(200.0, -45.0, middle, middle, half, turned)
    wide = half * math.sqrt(10.0)
    x, y = rng.uniform(middle - wide, middle + wide, (2, 50_000))
    ra, dec = truth.to_sky(x, y)
    mag = 20.0 + 2.0 * np.log10(rng.uniform(1e-3, 1.0, len(x)))
    inside = np.flatnonzero(np.maximum(np.abs(x - middle), np.abs(y - middle)) < half)[:5000]
    dx, dy = rng.normal(0.0, 0.1, (2, len(inside)))
    seen = mag[inside] + rng.normal(0.0, 0.1, len(inside))
    sources = Catalog({
        "X_IMAGE": x[inside] + dx + 1.0, "Y_IMAGE": y[inside] + dy + 1.0,
        "FLUX_AUTO": 10.0 ** (-0.4 * seen),
    })  # fmt: skip
    shape = n_pixels, n_pixels
    headers = {
        "with WCS": {"NAXIS1": n_pixels, "NAXIS2": n_pixels} | truth.cards("TAN", shape),
        "pointing and scale": {"RA": 200.01, "DEC": -45.01, "PIXSCALE": 0.5},
        "pointing only": {"RA": 200.01, "DEC": -45.01},
    }
    print(f"{len(inside)} detections against 50000 reference stars, seconds (second run)")
    for label, header in headers.items():
        for brightness in (True, False):
            catalog = RefCatalog.from_arrays(ra, dec, mag if brightness else None)
            solve(sources, header, shape, catalog)
            result, seconds = solve(sources, header, shape, catalog)
            print(
                f"  {label:20s} {'' if brightness else 'no magnitudes':14s} {result.status} "
                f"{result.metrics['n_matched']} pairs {seconds:8.3f}"
            )
    print()


TABLES = {
    "sdss": table_sdss, "panoptes": table_panoptes, "distorted": table_distorted,
    "motion": table_motion, "false-positives": table_false_positives, "scale": table_scale,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], metavar="TABLE")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    logging.getLogger("skyextract").setLevel(logging.ERROR)
    for name in options.tables or TABLES:
        TABLES[name](options.data, options.seed)


if __name__ == "__main__":
    main()
