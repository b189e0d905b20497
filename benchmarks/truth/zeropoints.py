"""Zero points of simulated frames against the truth: bias, and pulls (measured - true) / error.

    python -m benchmarks.truth.zeropoints [KIND ...] [--seeds 8] [--first 1]

Frames of 512 x 512 pixels (`tests.simulate.zeropointfields`) with stars, most of them too faint to
be found, as they are on the sky: of other numbers, sizes, skies, with galaxies or a comet, up to 40
stars per 100 FWHM^2.  The reference catalogue has the stars with errors of 0.02 mag.  Per kind:
mean of (zero point - truth) and its error, median claimed error, and rms and largest of the pulls;
chance alone spreads the rms of n frames by 1 / sqrt(2 n).  Then the same of the mean difference of
MAG_PSF and MAG_AUTO from the true magnitudes, of stars above S/N 60 about which the reference
aperture has 1 % of other light at most; the claimed error is that of the zero point and of the mean
together.  Last, the pulls of fluxes and positions of the PSF (bias in units of the error, and width
from the quantiles) in ranges of S/N, of stars that no other within two FWHM has 2 % of their light.
All fluxes of a frame share the error of the aperture correction, which FLUXERR_PSF does not hold
but the zero point's error does: FLUX_PSF is judged by both, with FLUXERR_PSF alone in brackets.
"""

from __future__ import annotations

import argparse
import logging
import math
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.simulate.lights import comet
from tests.simulate.zeropointfields import (
    ZERO_POINT,
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
COLUMNS = """X_IMAGE Y_IMAGE XPSF_IMAGE YPSF_IMAGE ERRX2PSF_IMAGE ERRY2PSF_IMAGE FLUX_PSF
FLUXERR_PSF MAG_PSF MAG_AUTO FLAGS"""
KEYWORDS: dict[str, dict[str, Any]] = {DENSE: {"CROSSID_RADIUS": 0.5}}
"""Where sources are so close, most are within the default radius of any place."""
RANGES = ((10, 30), (30, 100), (100, 300), (300, 3000))
ALONE, REACH = 0.02, 2.0
BRIGHT, CLEAN, MIN_STARS = 60.0, 0.01, 3
"""Stars whose magnitudes are averaged: S/N, other light in the reference aperture, number."""
MAG = 0.4 * math.log(10.0)


@dataclass(frozen=True)
class Pulls:
    """Of stars that are alone.

    Attributes
    ----------
    snr, flux, total : (n,) float64
        True flux in units of FLUXERR_PSF, pull of FLUX_PSF by that, and with what all share.
    place : (2, n) float64
        Pulls of x and y.
    magnitudes : dict of str to (float, float)
        Mean difference of MAG_PSF and MAG_AUTO from the truth, and its error without the zero
        point's.
    """

    snr: F8
    flux: F8
    total: F8
    place: F8
    magnitudes: dict[str, tuple[float, float]]


NOTHING = Pulls(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((2, 0)), {})


def compare(field: ZeroPointField, sources: Any) -> Pulls:
    """Compare rows of stars that are alone with the truth."""
    table, truth = sources.table, field.sources
    corrections = sources.exposure.aperture_corrections
    if corrections is None:
        return NOTHING
    columns = COLUMNS.split()
    of = {name: np.asarray(np.ma.filled(table[name], np.nan), dtype=float) for name in columns[:-1]}
    diameter = float(corrections["DIAMETER"][0])
    rows, stars, clean = [], [], []
    for star in np.flatnonzero(truth.is_star):
        away = np.hypot(truth.x - truth.x[star], truth.y - truth.y[star])
        if truth.flux[away < REACH * field.fwhm].sum() > (1.0 + ALONE) * truth.flux[star]:
            continue
        distance = np.hypot(
            of["XPSF_IMAGE"] - 1.0 - truth.x[star], of["YPSF_IMAGE"] - 1.0 - truth.y[star]
        )
        row = int(np.argmin(np.where(np.isfinite(distance), distance, np.inf)))
        if distance[row] < 0.5 * field.fwhm:
            rows.append(row)
            stars.append(star)
            light = truth.flux[away < 0.5 * diameter + field.fwhm].sum()
            clean.append(light < (1.0 + CLEAN) * truth.flux[star] and table["FLAGS"][row] == 0)
    true = truth.flux[stars] * field.light_within(diameter)
    error, off = of["FLUXERR_PSF"][rows], of["FLUX_PSF"][rows] - true
    place = [
        (of[f"{axis}PSF_IMAGE"][rows] - 1.0 - getattr(truth, axis.lower())[stars])
        / np.sqrt(of[f"ERR{axis}2PSF_IMAGE"][rows])
        for axis in "XY"
    ]
    checks = sources.metrics["photometry"].get("checks") or {}
    shared = MAG * (checks.get("error_of_aperture_correction") or 0.0) * true
    snr = true / error
    magnitudes = {}
    for name in ("MAG_PSF", "MAG_AUTO"):
        found = of[name][rows] - (ZERO_POINT - 2.5 * np.log10(truth.flux[stars]))
        found = found[np.array(clean, dtype=bool) & (snr > BRIGHT) & np.isfinite(found)]
        if found.size >= MIN_STARS:
            spread = found.std(ddof=1) / math.sqrt(found.size)
            magnitudes[name] = (float(found.mean()), float(spread))
    return Pulls(snr, off / error, off / np.hypot(error, shared), np.stack(place), magnitudes)


def width(pulls: F8) -> str:
    """Return median and half the width between the quantiles of one sigma; their number."""
    pulls = pulls[np.isfinite(pulls)]
    if pulls.size < 10:
        return f"{'-':>11}"
    low, middle, high = np.percentile(pulls, [15.865, 50.0, 84.135])
    return f"{middle:+6.2f} {0.5 * (high - low):4.2f}"


def summary(off: F8, error: F8) -> str:
    """Return number, mean, median error and pulls of differences, with errors."""
    n = len(off)
    if not n:
        return f"{n:6d}  none"
    pulls = off / error
    spread = off.std(ddof=min(1, n - 1)) / math.sqrt(n)
    return (
        f"{n:6d}  {off.mean():+.4f} +- {spread:.4f}    {np.median(error):.4f}"
        f"  {math.sqrt(np.mean(pulls**2)):5.2f} {np.abs(pulls).max():5.1f}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="all without: " + ", ".join(KINDS))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    print(f"{'kind':<16}frames  mean, mag            claimed   rms   max  not COMPLETE")
    widths, magnitudes = [], []
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
            measured.append(compare(field, sources))
        off, error = np.array(found).T
        known = np.isfinite(off)
        line = summary(off[known], error[known])
        print(f"{kind:<16}{line}  {options.seeds - complete:6d}", flush=True)
        for name in ("MAG_PSF", "MAG_AUTO"):
            both = [
                (*part.magnitudes[name], zero_point_error)
                for part, zero_point_error in zip(measured, error, strict=True)
                if name in part.magnitudes and np.isfinite(zero_point_error)
            ]
            mean, spread, claimed = np.array(both).reshape(-1, 3).T
            magnitudes.append(f"{kind:<16}{name:<9}{summary(mean, np.hypot(spread, claimed))}")
        widths.append(f"{kind:<16}{cells(measured)}")
    print(f"\n{'kind':<16}{'':<9}frames  mean, mag            claimed   rms   max")
    print("\n".join(magnitudes))
    heads = "".join(f"{f'S/N {low}-{high}':>37}" for low, high in RANGES)
    print(f"\n{'pulls':<16}{heads}")
    print(f"{'':<16}" + f"{'FLUX_PSF':>20}{'X, YPSF':>12}{'stars':>5}" * len(RANGES))
    print("\n".join(widths))


def cells(measured: list[Pulls]) -> str:
    """Return the pulls in all ranges of S/N."""
    snr, flux, total, place = (
        np.concatenate([getattr(part, name) for part in measured], axis=-1)
        for name in ("snr", "flux", "total", "place")
    )
    line = ""
    for low, high in RANGES:
        chosen = (snr >= low) & (snr < high)
        alone = f"({width(flux[chosen])[-4:].strip()})"
        line += f"  {width(total[chosen])} {alone:<6} {width(place[:, chosen].ravel())}"
        line += f"{chosen.sum():5d}"
    return line


if __name__ == "__main__":
    main()
