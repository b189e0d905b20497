"""Bad frames: whether a result that calls itself COMPLETE is as right as it claims.

    python -m benchmarks.truth.honesty [KIND ...] [--seeds 5]

Each kind of `tests.simulate.badframes` spoils one thing of frame, header or reference catalogue.
Per kind: how often photometry and astrometry are COMPLETE, FALLBACK and FAILED; and of those that
are COMPLETE the largest error in units of that claimed.  The error of photometry is the median of
(MAG - truth) of the stars in each of 3 x 3 parts of the frame, for the calibrated flux and for
MAG_PSF; the claim is the zero point's error with that of the median.  Of astrometry it is the
median offset in the same parts; the claim is the error of the single position.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from tests.simulate.badframes import SIZE, BadFrame
from tests.simulate.kinds import KINDS

LIMIT = 5.0
COLUMNS = """NUMBER X_IMAGE Y_IMAGE ALPHAWIN_J2000 DELTAWIN_J2000 ERRAWIN_WORLD MAG_PSF MAGERR_PSF
MAG_AUTO MAGERR_AUTO FLAGS FLAGS_SKY""".split()
MIN_STARS = 5
"""Stars in a part of the frame."""


@dataclass(frozen=True)
class Judged:
    """Status of both steps, the largest error in units of the claim, and of photometry in mag."""

    photometry: str
    astrometry: str
    photometry_pull: float
    astrometry_pull: float
    worst: float
    error: float
    told: str


def judge(frame: BadFrame, folder: Path) -> Judged:
    """Run the program on a frame and compare what it claims with the truth."""
    (folder / "p.param").write_text("\n".join(COLUMNS) + "\n")
    subprocess.run(
        [sys.executable, "-m", "skyextract", *frame.write(folder), "-PARAMETERS_NAME", "p.param"],
        cwd=folder, capture_output=True, check=False,
    )  # fmt: skip
    summary = json.loads((folder / "f.json").read_text())[0]
    phot, astr = (summary["steps"][name] for name in ("photometry", "astrometry"))
    rows = fits.getdata(folder / "f.cat", "LDAC_OBJECTS")
    row, star = match(frame, rows)
    pull = worst = astrometry_pull = math.nan
    if phot["status"] == "complete":
        key = "MAG_PSF" if phot["flux_key"] == "FLUX_PSF" else "MAG_AUTO"
        found = [
            photometric_pull(frame, rows, row, star, name, phot["zero_point_error"])
            for name in {key, "MAG_PSF"}
        ]
        pull, worst = max(found)
    if astr["status"] == "complete":
        astrometry_pull = astrometric_pull(frame, rows, row, star)
    told = " | ".join(w for w in summary["warnings"] if w.startswith(("photometry", "astrometry")))
    return Judged(
        phot["status"], astr["status"], pull, astrometry_pull, worst,
        phot["zero_point_error"] or math.nan, told,
    )  # fmt: skip


def match(frame: BadFrame, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair stars with the nearest row within half their extent."""
    distance = np.hypot(
        rows["X_IMAGE"] - 1 - frame.truth.x[:, None], rows["Y_IMAGE"] - 1 - frame.truth.y[:, None]
    )
    if not distance.size:
        return np.zeros(0, int), np.zeros(0, int)
    star = np.flatnonzero(distance.min(axis=1) < max(2.0, 0.5 * frame.extent))
    return distance.argmin(axis=1)[star], star


def parts(frame: BadFrame, star: np.ndarray) -> np.ndarray:
    """Return which of 3 x 3 parts of the frame each star is in."""
    x, y = (np.clip(3 * c[star] // SIZE, 0, 2) for c in (frame.truth.x, frame.truth.y))
    return (3 * y + x).astype(int)


def photometric_pull(
    frame: BadFrame, rows: np.ndarray, row: np.ndarray, star: np.ndarray, key: str, claim: float
) -> tuple[float, float]:
    """Return the largest error over the parts, in units of the claim and in mag."""
    error = rows[key][row] - frame.truth.r[star]
    sigma = rows[key.replace("MAG", "MAGERR")][row]
    good = np.isfinite(error) & (sigma < 0.05) & ((rows["FLAGS"][row] & 4) == 0)
    found = [(0.0, 0.0)]
    where = parts(frame, star)
    for part in range(9):
        here = error[good & (where == part)]
        if here.size < MIN_STARS:
            continue
        middle = float(np.median(here))
        spread = 1.4826 * float(np.median(np.abs(here - middle)))
        # Of five stars the spread alone is often far too small: of good frames of 25 to 150
        # stars 1 % would be beyond five sigma.
        spread = max(spread, float(np.median(sigma[good & (where == part)])), 0.003)
        own = 1.25 * spread / math.sqrt(here.size)
        found.append((abs(middle) / math.hypot(claim, own), middle))
    return max(found)


def astrometric_pull(frame: BadFrame, rows: np.ndarray, row: np.ndarray, star: np.ndarray) -> float:
    """Return the largest median offset over the parts in units of the error of a position."""
    east = (rows["ALPHAWIN_J2000"][row] - frame.ra[star]) * math.cos(math.radians(2.0)) * 3600
    north = (rows["DELTAWIN_J2000"][row] - frame.dec[star]) * 3600
    sigma = rows["ERRAWIN_WORLD"][row] * 3600
    where, worst = parts(frame, star), 0.0
    for part in range(9):
        here = (where == part) & np.isfinite(east) & (sigma > 0)
        if here.sum() < MIN_STARS:
            continue
        for offset in (east, north):
            worst = max(worst, abs(float(np.median(offset[here] / sigma[here]))))
    return worst


def largest(values: list[float]) -> float:
    """Return the largest of what is known; NaN if nothing is."""
    known = [v for v in values if math.isfinite(v)]
    return max(known) if known else math.nan


def words(states: list[str]) -> str:
    """Count statuses as complete / fallback / failed (other words for a skipped step)."""
    count = Counter(states)
    return "/".join(str(count[s]) for s in ("complete", "fallback", "failed"))


def main() -> int:
    """Print the table; return 1 if a COMPLETE result is off by more than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--tell", action="store_true", help="also what the program warns of")
    options = parser.parse_args()
    print("complete/fallback/failed; largest error of those COMPLETE, in units of the claim")
    print(
        f"{'kind':20}{'photometry':>12}{'error':>8}{'mag':>8}{'claim':>8}{'astrometry':>13}{'error':>8}"
    )
    lies = 0
    for kind in options.kinds or KINDS:
        results = []
        for seed in range(options.first, options.first + options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                results.append(judge(KINDS[kind](seed), Path(folder)))
        lies += sum(r.photometry_pull > LIMIT for r in results)
        lies += sum(r.astrometry_pull > LIMIT for r in results)
        worst = max(results, key=lambda r: np.nan_to_num(r.photometry_pull, nan=-1.0))
        print(
            f"{kind:20}{words([r.photometry for r in results]):>12}"
            f"{worst.photometry_pull:8.1f}{worst.worst:+8.3f}{worst.error:8.4f}"
            f"{words([r.astrometry for r in results]):>13}"
            f"{largest([r.astrometry_pull for r in results]):8.1f}",
            flush=True,
        )
        if options.tell:
            print("\n".join(f"    {r.told}" for r in results if r.told), flush=True)
    print(f"{lies} COMPLETE results are off by more than {LIMIT:g} times what they claim")
    return 1 if lies else 0


if __name__ == "__main__":
    sys.exit(main())
