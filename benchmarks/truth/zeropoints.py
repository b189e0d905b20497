"""Zero points of simulated frames against the truth: bias, and pulls (measured - true) / error.

    python -m benchmarks.truth.zeropoints [KIND ...] [--seeds 8] [--first 1]

Frames of 512 x 512 pixels (`tests.simulate.zeropointfields`) with stars, most of them too faint to
be found, as they are on the sky: of other numbers, sizes, skies, with galaxies or a comet, up to 40
stars per 100 FWHM^2.  The reference catalogue has the stars with errors of 0.02 mag.  Per kind:
mean of (zero point - truth) and its error, median claimed error, and rms and largest of the pulls;
chance alone spreads the rms of n frames by 1 / sqrt(2 n).  Then the pulls of fluxes and positions
of the PSF (bias in units of the error, and width from the quantiles) in ranges of S/N, of stars
that no other within two FWHM has 2 % of their light.
"""

from __future__ import annotations

import argparse
import logging
import math
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.simulate.lights import comet
from tests.simulate.zeropointfields import (
    ZeroPointField,
    compare_zero_point,
    process_field,
    simulate_field,
)

F8 = NDArray[np.float64]
DENSE = "40 / 100 FWHM2"
KINDS: dict[str, dict[str, Any]] = {
    "60 stars": {"n_stars": 60},
    "220 stars": {},
    "1000 stars": {"n_stars": 1000},
    "FWHM 1.8": {"fwhm": 1.8},
    "FWHM 6": {"fwhm": 6.0},
    "150 galaxies": {"n_galaxies": 150},
    "gradient": {"gradient": 0.5},
    "steep sky": {"gradient": 1.9},
    "comet": {"extra": comet(100.0)},
    "crowd 3000": {"n_stars": 3000},
    DENSE: {"n_stars": 8560, "faintest_reference": 19.5},
}
COLUMNS = "X_IMAGE Y_IMAGE FLUX_PSF FLUXERR_PSF XPSF_IMAGE YPSF_IMAGE ERRX2PSF_IMAGE ERRY2PSF_IMAGE"
KEYWORDS: dict[str, dict[str, Any]] = {DENSE: {"CROSSID_RADIUS": 0.5}}
"""Where sources are so close, most are within the default radius of any place."""
RANGES = ((10, 30), (30, 100), (100, 300), (300, 3000))
ALONE, REACH = 0.02, 2.0


def fluxes_and_positions(field: ZeroPointField, sources: Any) -> tuple[F8, F8, F8]:
    """Return S/N, and pulls of fluxes and of positions (x, then y), of stars that are alone."""
    table, truth = sources.table, field.sources
    corrections = sources.exposure.aperture_corrections
    if corrections is None:
        return (np.zeros(0),) * 3
    x, y, flux, error = (
        np.asarray(table[name], dtype=float)
        for name in ("XPSF_IMAGE", "YPSF_IMAGE", "FLUX_PSF", "FLUXERR_PSF")
    )
    light = field.light_within(float(corrections["DIAMETER"][0]))
    rows, stars = [], []
    for star in np.flatnonzero(truth.is_star):
        near = np.hypot(truth.x - truth.x[star], truth.y - truth.y[star]) < REACH * field.fwhm
        if truth.flux[near].sum() > (1.0 + ALONE) * truth.flux[star]:
            continue
        distance = np.hypot(x - 1.0 - truth.x[star], y - 1.0 - truth.y[star])
        row = int(np.argmin(np.where(np.isfinite(distance), distance, np.inf)))
        if distance[row] < 0.5 * field.fwhm:
            rows.append(row)
            stars.append(star)
    true = truth.flux[stars] * light
    off_x = (x[rows] - 1.0 - truth.x[stars]) / np.sqrt(np.asarray(table["ERRX2PSF_IMAGE"])[rows])
    off_y = (y[rows] - 1.0 - truth.y[stars]) / np.sqrt(np.asarray(table["ERRY2PSF_IMAGE"])[rows])
    return true / error[rows], (flux[rows] - true) / error[rows], np.stack([off_x, off_y])


def width(pulls: F8) -> str:
    """Return median and half the width between the quantiles of one sigma; their number."""
    pulls = pulls[np.isfinite(pulls)]
    if pulls.size < 10:
        return f"{'-':>11}"
    low, middle, high = np.percentile(pulls, [15.865, 50.0, 84.135])
    return f"{middle:+6.2f} {0.5 * (high - low):4.2f}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="all without: " + ", ".join(KINDS))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    print(f"{'kind':<16}frames  mean, mag            claimed   rms   max  not COMPLETE")
    lines = []
    for kind in options.kinds or KINDS:
        found, measured, complete = [], [], 0
        for seed in range(options.first, options.first + options.seeds):
            field = simulate_field(seed, **KINDS[kind])
            with tempfile.TemporaryDirectory() as folder:
                reference = Path(folder) / "reference.fits"
                more = KEYWORDS.get(kind, {})
                sources = process_field(field, reference, COLUMNS, **more)
            complete += sources.status["photometry"] == "COMPLETE"
            found.append(compare_zero_point(field, sources) or (math.nan, math.nan))
            measured.append(fluxes_and_positions(field, sources))
        off, error = np.array(found).T
        known = np.isfinite(off)
        off, error = off[known], error[known]
        pulls = off / error
        n = len(off)
        if n:
            spread = off.std(ddof=min(1, n - 1)) / math.sqrt(n)
            print(
                f"{kind:<16}{n:6d}  {off.mean():+.4f} +- {spread:.4f}    {np.median(error):.4f}"
                f"  {math.sqrt(np.mean(pulls**2)):5.2f} {np.abs(pulls).max():5.1f}"
                f"  {options.seeds - complete:6d}", flush=True,
            )  # fmt: skip
        else:
            print(f"{kind:<16}{n:6d}  none")
        snr, flux, place = (np.concatenate(parts, axis=-1) for parts in zip(*measured, strict=True))
        cells = ""
        for low, high in RANGES:
            chosen = (snr >= low) & (snr < high)
            cells += f"  {width(flux[chosen])} {width(place[:, chosen].ravel())}{chosen.sum():5d}"
        lines.append(f"{kind:<16}{cells}")
    heads = "".join(f"{f'S/N {low}-{high}':>30}" for low, high in RANGES)
    print(f"\n{'pulls':<16}{heads}")
    print(f"{'':<16}" + f"{'FLUX_PSF':>13}{'X, YPSF':>12}{'stars':>5}" * len(RANGES))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
