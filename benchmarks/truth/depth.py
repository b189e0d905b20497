"""How deep detection goes, and how clean it is, beside SExtractor in the same run.

    python -m benchmarks.truth.depth [--data FOLDER] [-KEYWORD VALUE ...]

On skymaker/field_a: the magnitude of 50 % completeness for stars, and the detections farther
than 4 pixels from any object of the truth list.  Further settings go to skyextract.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from benchmarks import DATA

F8 = NDArray[np.float64]
NEAR = 2.0
"""A star is found if a detection is as near, pixels..."""
FAR = 4.0
"""... and a detection is spurious if nothing true is as near."""
BORDER = 8.0


def half_complete(magnitude: F8, found: NDArray[np.bool_]) -> float:
    """Return the magnitude where the completeness falls to half.

    A Fermi function of highest likelihood, below 1 on the bright side for blends.
    """
    best = (-np.inf, np.nan)
    for top in np.arange(0.8, 1.0, 0.02):
        for width in np.geomspace(0.05, 0.6, 20):
            middle = np.arange(22.0, 27.0, 0.01)[:, None]
            p = top / (1.0 + np.exp(np.clip((magnitude - middle) / width, -30.0, 30.0)))
            likelihood = np.log(np.where(found, p, 1.0 - p)).sum(1)
            k = int(likelihood.argmax())
            half = float(middle[k, 0] + width * np.log(2.0 * top - 1.0))
            best = max(best, (float(likelihood[k]), half))
    return best[1]


def report(name: str, path: Path, truth: NDArray[np.void], size: int) -> float:
    """Print depth and purity of a catalogue; return the depth."""
    table = fits.getdata(path, 2)
    x, y = (np.asarray(table[key], np.float64) for key in ("X_IMAGE", "Y_IMAGE"))
    nearest = np.hypot(x[:, None] - truth["x"], y[:, None] - truth["y"])
    spurious = nearest.min(1) > FAR
    stars = truth[
        (truth["type"] == "star")
        & (truth["mag"] > 23)
        & (np.minimum(truth["x"], truth["y"]) > BORDER)
        & (np.maximum(truth["x"], truth["y"]) < size + 1 - BORDER)
    ]
    found = np.hypot(stars["x"][:, None] - x, stars["y"][:, None] - y).min(1) < NEAR
    depth = half_complete(stars["mag"], found)
    bright = truth[truth["mag"] < 18]
    around = np.hypot(x[spurious, None] - bright["x"], y[spurious, None] - bright["y"]).min(1)
    print(
        f"{name:<20}{len(x):5d} detections, 50 % of the stars of mag {depth:.2f}, "
        f"{spurious.sum()} spurious ({100 * spurious.mean():.2f} %), "
        f"{(around < 60).sum()} of them within 60 pixels of a star of mag < 18"
    )
    return depth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=DATA)
    options, settings = parser.parse_known_args()
    folder = options.data / "skymaker"
    truth = np.genfromtxt(
        folder / "field_a_truth.csv", delimiter=",", names=True, dtype=None, encoding=None
    )
    with tempfile.TemporaryDirectory() as name:
        image = Path(name) / "field_a.fits"
        image.write_bytes(gzip.decompress((folder / "field_a.fits.gz").read_bytes()))
        size = fits.getheader(image)["NAXIS1"]
        program = Path(sys.executable).with_name("skyextract")
        common = ["-CATALOG_TYPE", "FITS_LDAC", "-CATALOG_NAME"]
        subprocess.run([program, image, "-q", *common, "ours.cat", *settings], cwd=name, check=True)
        depth = report("skyextract", Path(name) / "ours.cat", truth, size)
        peer = shutil.which("source-extractor") or shutil.which("sex")
        if peer is None:
            raise SystemExit("source-extractor is needed for the comparison")
        setup = options.data / "sextractor_configs" / "source-extractor"
        files = ["-c", setup / "default.sex", "-PARAMETERS_NAME", "xy.param",
                 "-FILTER_NAME", setup / "default.conv", "-STARNNW_NAME", setup / "default.nnw",
                 "-DETECT_MINAREA", "5", "-VERBOSE_TYPE", "QUIET"]  # fmt: skip
        (Path(name) / "xy.param").write_text("X_IMAGE\nY_IMAGE\n")
        subprocess.run([peer, image, *files, *common, "theirs.cat"], cwd=name, check=True)
        theirs = report("SExtractor", Path(name) / "theirs.cat", truth, size)
        print(f"skyextract is {depth - theirs:+.2f} mag deeper")


if __name__ == "__main__":
    main()
