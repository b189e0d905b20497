"""Time one skyextract run against the chain that gives the same catalogue.

    python -m benchmarks.speed.chain [--size 4096]

The chain: SExtractor (with VIGNETs), PSFEx, SExtractor with MAG_PSF and SPREAD_MODEL, SCAMP.
skyextract does all of it, cosmic rays included, in one process with the default settings; later
frames of one process stand beside.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from benchmarks.paired import judge, our_program, peer_program, run, simulated, workplace
from benchmarks.speed.warm import Process

TARGET, WARM_TARGET = 15.0, 25.0

FIRST = """NUMBER X_IMAGE Y_IMAGE XWIN_IMAGE YWIN_IMAGE ERRAWIN_IMAGE ERRBWIN_IMAGE
ERRTHETAWIN_IMAGE FLUX_AUTO FLUXERR_AUTO MAG_AUTO MAGERR_AUTO FLUX_APER FLUXERR_APER FLUX_RADIUS
ELONGATION SNR_WIN FLAGS"""
PSF = " FLUX_PSF FLUXERR_PSF MAG_PSF MAGERR_PSF SPREAD_MODEL SPREADERR_MODEL"


def timed(name: str, command: Sequence[object], folder: Path) -> float:
    """Run a command, print and return its wall time."""
    wall = run(list(map(str, command)), folder).wall
    print(f"{name:<44}{wall:8.2f} s", flush=True)
    return wall


def reference(folder: Path, image: Path) -> None:
    """Write the brighter sources of the frame as reference catalogues for both programs."""
    table = Table.read(folder / "first.cat", hdu=2)
    bright = table[np.argsort(table["FLUX_AUTO"])[-800:]]
    ra, dec = WCS(fits.getheader(image)).all_pix2world(
        bright["XWIN_IMAGE"], bright["YWIN_IMAGE"], 1
    )
    error = np.full(len(bright), 0.02 / 3600, dtype=np.float32)
    flux = np.asarray(bright["FLUX_AUTO"], dtype=np.float32)
    magnitude = 25 - 2.5 * np.log10(flux)
    Table({"RA": ra, "DEC": dec, "r": magnitude, "r_err": 0.02 + 0 * magnitude}).write(
        folder / "reference.fits"
    )
    columns = fits.ColDefs(
        [
            fits.Column("X_WORLD", "1D", "deg", array=ra),
            fits.Column("Y_WORLD", "1D", "deg", array=dec),
            fits.Column("ERRA_WORLD", "1E", "deg", array=error),
            fits.Column("ERRB_WORLD", "1E", "deg", array=error),
            fits.Column("MAG", "1E", "mag", array=magnitude),
            fits.Column("MAGERR", "1E", "mag", array=0.02 + 0 * magnitude),
            fits.Column("OBSDATE", "1D", "yr", array=np.full(len(bright), 2000.0)),
        ]
    )
    with fits.open(folder / "first.cat") as first:
        head = first["LDAC_IMHEAD"].copy()
        objects = fits.BinTableHDU.from_columns(columns, name="LDAC_OBJECTS")
        fits.HDUList([fits.PrimaryHDU(), head, objects]).writeto(folder / "reference.ldac")


def main() -> None:
    """Run both and print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    options = parser.parse_args()
    peer = peer_program()
    if not shutil.which("psfex") or not shutil.which("scamp"):
        raise SystemExit("psfex and scamp are needed")
    with workplace() as folder:
        image = simulated(folder / "frame.fits", options.size)
        (folder / "first.param").write_text("\n".join([*FIRST.split(), "VIGNET(35,35)"]) + "\n")
        (folder / "psf.param").write_text("\n".join((FIRST + PSF).split()) + "\n")
        common = ["-CATALOG_TYPE", "FITS_LDAC", "-PIXEL_SCALE", "0", "-PHOT_APERTURES", "12",
                  "-DETECT_MINAREA", "5", "-NTHREADS", "2", "-VERBOSE_TYPE", "QUIET"]  # fmt: skip
        quiet = ["-WRITE_XML", "N", "-CHECKPLOT_DEV", "NULL", "-VERBOSE_TYPE", "QUIET"]
        sex = [peer, image, "-c", "none.sex", *common]
        (folder / "none.sex").write_text("FILTER_NAME default.conv\n")
        chain = timed(
            "source-extractor",
            [*sex, "-PARAMETERS_NAME", "first.param", "-CATALOG_NAME", "first.cat"],
            folder,
        )
        reference(folder, image)
        chain += timed("psfex", ["psfex", "first.cat", "-CHECKIMAGE_TYPE", "NONE", *quiet], folder)
        second = [*sex, "-PARAMETERS_NAME", "psf.param", "-CATALOG_NAME", "second.cat"]
        chain += timed(
            "source-extractor, MAG_PSF and SPREAD_MODEL",
            [*second, "-PSF_NAME", "first.psf"],
            folder,
        )
        scamp = ["scamp", "second.cat", "-ASTREF_CATALOG", "FILE", "-ASTREFCAT_NAME"]
        chain += timed("scamp", [*scamp, "reference.ldac", "-SOLVE_PHOTOM", "N", *quiet], folder)
        print(f"{'the chain':<44}{chain:8.2f} s")
        settings = ["-PARAMETERS_NAME", "psf.param", "-PHOT_APERTURES", "12",
                    "-ASTREFCAT_NAME", "reference.fits", "-SATUR_LEVEL", "60000"]  # fmt: skip
        ours = [our_program(), image, *settings]
        timed("skyextract, first run of all", ours, folder)
        wall = min(timed("skyextract", ours, folder) for _ in range(3))
        process = Process(image, [*settings, "-VERBOSE_TYPE", "QUIET"])
        warm = min(process.next().wall for _ in range(3))
        process.close()
        print(f"{'skyextract, later frames of one process':<44}{warm:8.2f} s")
    judge("the chain takes longer by", chain / wall, TARGET, least=True)
    judge("than later frames by", chain / warm, WARM_TARGET, least=True)


if __name__ == "__main__":
    main()
