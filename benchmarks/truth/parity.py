"""Comparison with SExtractor, column by column, on one image.

    python -m benchmarks.truth.parity [IMAGE] [-c FILE] [--limits] [-KEYWORD VALUE ...]

Runs `source-extractor` and `skyextract` with the same configuration (without -c, SExtractor's
default values), the same columns and the same options on the same file, and prints per column
the median and the 95th percentile of the difference.  Without IMAGE: a frame of the SDSS.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import DATA
from tests.compare.parity import report, run_both


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("image", nargs="?", help="FITS file, or det.fits,meas.fits")
    parser.add_argument("-c", "--config", type=Path, help="SExtractor configuration file")
    parser.add_argument("--columns", type=Path, help="file with the columns to compare")
    parser.add_argument("--radius", type=float, default=0.5, help="match radius in pixels")
    parser.add_argument("--limits", action="store_true", help="exit status 1 if a limit is missed")
    parser.add_argument("--keep", type=Path, help="folder for the two catalogues")
    arguments, options = parser.parse_known_args()
    if shutil.which("source-extractor") is None:
        raise SystemExit("source-extractor is not installed")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    columns = arguments.columns.read_text().splitlines() if arguments.columns else ()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        image = arguments.image
        if image is None:
            packed = DATA / "sdss_stripe82/fpC-004192-r4-0300.fit.gz"
            image = "sdss_r.fits"
            (Path(scratch) / image).write_bytes(gzip.decompress(packed.read_bytes()))
            for name in ("default.conv", "default.nnw"):  # which `-dd` names
                shutil.copy(DATA / "sextractor_configs/source-extractor" / name, scratch)
            os.chdir(scratch)
        tables = run_both(image, options, folder, arguments.config, columns)
    return report(*tables, arguments.radius, arguments.limits)


if __name__ == "__main__":
    sys.exit(main())
