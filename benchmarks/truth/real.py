"""Public frames of many instruments beside SExtractor: how many sources, and how many are noise.

    python -m benchmarks.truth.real [NAME ...] [--data FOLDER] [--keep FOLDER]

Both programs run with their own default settings on a frame, and on the frame with its sign
turned about the sky, where all that is found is noise, the edge of something or a dark hole.
"real" is what is found less what is found there.  SExtractor's rows of less than four pixels are
not counted: they are hot pixels (and one frame has 600).  "of theirs": share of SExtractor's
sources with S/N(AUTO) above 15 and no flag of a saturated or cut-off source that lie within the
FWHM of a row of ours; "of ours alone": our rows that are neither within three FWHM of a source
of SExtractor nor flagged, to be looked at.  Both programs get the first plane of a file alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks import DATA

CROWDED = {"rcw49"}
PARAMETERS = """NUMBER X_IMAGE Y_IMAGE FLUX_AUTO FLUXERR_AUTO FWHM_IMAGE A_IMAGE ISOAREA_IMAGE
FLAGS""".split()
NEAR = 3.0
SURE = 15.0
MIN_AREA = 4
"""Pixels of a source of SExtractor: fewer are hot pixels, and cosmic rays."""
MIN_SHARE = 0.95
"""Real sources, of SExtractor's, where the frame is not crowded."""
MIN_SOURCES = 20
"""Fewer tell nothing."""


def plane(path: Path) -> tuple[np.ndarray, fits.Header]:
    """Return the first plane of pixels of a file, as float32, and its header."""
    with fits.open(path) as file:
        unit = next(u for u in file if u.data is not None and u.data.ndim == 2)
        header = unit.header.copy()
        for card in ("BSCALE", "BZERO", "BLANK", "BAYERPAT", "COLORTYP", "XBAYROFF", "YBAYROFF"):
            header.remove(card, ignore_missing=True)
        return np.array(unit.data, dtype=np.float32), header


def extract(command: list[str], image: np.ndarray, header: fits.Header, folder: Path) -> np.ndarray:
    """Return the rows that a program finds in an image."""
    fits.writeto(folder / "f.fits", image, header, output_verify="ignore", overwrite=True)
    # Ours look for sources beneath others where the PSF is fitted, as by default.
    names = PARAMETERS if "source-extractor" in command else [*PARAMETERS, "FLUX_PSF"]
    (folder / "p.param").write_text("\n".join(names) + "\n")
    subprocess.run(
        [*command, "-PARAMETERS_NAME", "p.param", "-CATALOG_NAME", "f.cat", "-CATALOG_TYPE",
         "FITS_LDAC"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return np.array(fits.getdata(folder / "f.cat", 2, memmap=False))


def near(rows: np.ndarray, others: np.ndarray, factor: float) -> np.ndarray:
    """Tell which rows have another one within a factor of the greater FWHM of both, or 3 pixels."""
    if not others.size:
        return np.zeros(rows.size, bool)
    found = np.zeros(rows.size, bool)
    for chunk in np.array_split(np.arange(rows.size), max(1, rows.size // 500)):
        part = rows[chunk]
        distance = np.hypot(
            part["X_IMAGE"][:, None] - others["X_IMAGE"],
            part["Y_IMAGE"][:, None] - others["Y_IMAGE"],
        )
        reach = np.maximum(part["FWHM_IMAGE"][:, None], others["FWHM_IMAGE"]).clip(3.0 / factor)
        found[chunk] = (distance < factor * reach).any(axis=1)
    return found


def main() -> None:
    """Print the table, and how many frames have fewer real sources than they may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--data", type=Path, default=DATA / "world/real")
    parser.add_argument("--keep", type=Path, help="folder for catalogues and lists of odd rows")
    options = parser.parse_args()
    short = 0
    print(f"{'frame':14}{'ours':>7}{'neg.':>6}{'real':>7}{'theirs':>8}{'neg.':>6}{'real':>7}"
          f"{'ratio':>7}{'of theirs':>11}{'of ours alone':>15}")  # fmt: skip
    for path in sorted(options.data.glob("*.fit*")):
        name = path.name.split(".")[0]
        if options.names and name not in options.names:
            continue
        image, header = plane(path)
        known = image[np.isfinite(image)]
        turned = np.float32(2.0 * np.median(known)) - image
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.keep / name if options.keep else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            defaults = subprocess.run(
                ["source-extractor", "-dd"], capture_output=True, text=True, check=True
            ).stdout
            (folder / "default.sex").write_text(defaults)
            kernel = "CONV NORM\n1 2 1\n2 4 2\n1 2 1\n"
            (folder / "default.conv").write_text(kernel)
            programs = (
                [sys.executable, "-m", "skyextract", "f.fits", "-SUMMARY_NAME", ""],
                ["source-extractor", "f.fits", "-c", "default.sex", "-FILTER_NAME", "default.conv",
                 "-PIXEL_SCALE", "0"],
            )  # fmt: skip
            (ours, bad), (theirs, theirs_bad) = (
                [extract(program, pixels, header, folder) for pixels in (image, turned)]
                for program in programs
            )
            theirs, theirs_bad = (t[t["ISOAREA_IMAGE"] >= MIN_AREA] for t in (theirs, theirs_bad))
            certain = theirs["FLUX_AUTO"] > SURE * theirs["FLUXERR_AUTO"]
            sure = theirs[certain & ((theirs["FLAGS"] & 28) == 0)]
            alone = ours[~near(ours, theirs, NEAR) & (ours["FLAGS"] == 0)]
            if options.keep:
                fits.BinTableHDU(alone).writeto(folder / "alone.fits", overwrite=True)
                fits.BinTableHDU(sure[~near(sure, ours, 1.0)]).writeto(
                    folder / "missed.fits", overwrite=True
                )
        real, theirs_real = ours.size - bad.size, theirs.size - theirs_bad.size
        ratio = real / theirs_real if theirs_real > 0 else np.nan
        short += ratio < MIN_SHARE and theirs_real >= MIN_SOURCES and name not in CROWDED
        found = near(sure, ours, 1.0).mean() if sure.size else np.nan
        print(f"{name:14}{ours.size:7}{bad.size:6}{real:7}{theirs.size:8}{theirs_bad.size:6}"
              f"{theirs_real:7}{ratio:7.2f}{found:11.3f}{alone.size:15}",
              flush=True)  # fmt: skip
    print(f"{short} frames that are not crowded have less than {MIN_SHARE:.0%} of the real sources")


if __name__ == "__main__":
    main()
