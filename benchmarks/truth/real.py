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
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks import DATA
from tests.compare.realframes import near, pairs

CROWDED = {"rcw49"}
NEAR = 3.0
SURE = 15.0
MIN_SHARE = 0.95
"""Real sources, of SExtractor's, where the frame is not crowded."""
MIN_SOURCES = 20
"""Fewer tell nothing."""


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
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.keep / name if options.keep else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            (ours, bad), (theirs, theirs_bad) = pairs(path, folder)
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
