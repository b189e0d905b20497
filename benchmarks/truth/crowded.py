"""Crowded fields beside SExtractor + PSFEx + SExtractor and crowdsource, against the truth.

    python -m benchmarks.truth.crowded [--scenes 5 20 40 king nebula galaxies] [--size 768]
        [--seed 1 2 ...] [--crowdsource]

Scenes: so many stars per 100 FWHM^2, the core of a cluster (King profile), a cluster on a nebula,
and a field of 5 per 100 FWHM^2 with galaxies of five kinds and tight blends of 2 to 5 stars.
For each program: wall and CPU time, rows, the share of true stars found with |dm| < 0.75 within
half a FWHM per magnitude, and in the same magnitudes bias, scatter and pull width of the fluxes.
Purity is the share of rows that match one star so, and the share that match the true light: one
star, the sum of all within half a FWHM, which no program tells apart at these magnitudes, or a
galaxy (one row each). Other rows are sums within one FWHM, stars with another flux, or none.
For skyextract also its zero point against the true stars as reference, beside the error that is
claimed: the median error of MAG_PSF at S/N > 50 of stars that are alone in truth (ALONE of the
light in their PSF), and of all, most of which have unresolved neighbours in the core of a cluster.
crowdsource (Schlafly et al. 2018; PyPI: crowdsourcephoto) is run with its default settings and the
true PSF, when asked for and installed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits

from benchmarks.truth.scenes import Measurement, peer, write_frame, zero_point_pull
from tests.simulate.crowds import (
    BETA,
    FWHM,
    GAIN,
    GALAXIES,
    READ_NOISE,
    SKY,
    ZERO_POINT,
    Crowd,
    simulate,
)

ALONE = 0.98
SCENES = "5 20 40 king nebula galaxies"
COLUMNS = "X_IMAGE Y_IMAGE XPSF_IMAGE YPSF_IMAGE FLUX_PSF FLUXERR_PSF FLAGS FLAGS_SKY FRACFLUX_PSF"


def ours(_: Crowd, folder: Path) -> Measurement:
    """Run skyextract as it comes."""
    (folder / "p.param").write_text("\n".join(COLUMNS.split()) + "\n")
    command = [sys.executable, "-m", "skyextract", "f.fits", "-PARAMETERS_NAME", "p.param"]
    # As of an installed package: Python keeps what it made of the modules.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env=kept)
    return Measurement(fits.getdata(folder / "f.cat", "LDAC_OBJECTS"), done.stderr.splitlines()[-1])


def show_zero_point(frame: Crowd, folder: Path) -> None:
    """Print what the zero point is off by, with the true stars as reference catalogue."""
    write_frame(frame, folder)
    (folder / "p.param").write_text("X_IMAGE\nY_IMAGE\nFLUX_PSF\nMAG_PSF\n")
    command = [sys.executable, "-m", "skyextract", "f.fits", "-PARAMETERS_NAME", "p.param"]
    subprocess.run(
        [*command, "-ASTREFCAT_NAME", "ref.fits"], cwd=folder, capture_output=True, check=False
    )
    photometry = json.loads((folder / "f.json").read_text())[0]["steps"]["photometry"]
    table = fits.getdata(folder / "f.cat", "LDAC_OBJECTS")
    share = own_share(frame)
    alone = replace(frame, snr=np.where(share > ALONE, frame.snr, 0.0))
    print(
        f"    zero point {zero_point_pull(alone, table, photometry)}, {photometry['status']}; "
        f"of all stars {zero_point_pull(frame, table, photometry)}"
    )


def own_share(frame: Crowd) -> np.ndarray:
    """Return the true share of each star of the light in its PSF, taken as a Gaussian."""
    light = np.empty(frame.x.size)
    for k, (x, y) in enumerate(zip(frame.x, frame.y, strict=True)):
        squares = (frame.x - x) ** 2 + (frame.y - y) ** 2
        light[k] = (frame.flux * np.exp(-squares / (2.0 * FWHM / 2.3548) ** 2)).sum()
    return frame.flux / light


def crowdsource(frame: Crowd, _: Path) -> Measurement | None:
    """Run crowdsource with the true PSF, if it is installed."""
    try:
        from crowdsource import crowdsource_base, psf
    except ImportError:
        return None
    side = 59
    stamp = galsim.Moffat(beta=BETA, fwhm=FWHM).drawImage(nx=side, ny=side, scale=1).array
    weight = np.full(frame.image.shape, 1 / np.sqrt(SKY / GAIN + (READ_NOISE / GAIN) ** 2))
    stars = crowdsource_base.fit_im(
        frame.image.astype(np.float64), psf.SimplePSF(stamp), ntilex=1, ntiley=1, weight=weight
    )[0]
    # its x is along rows
    table = np.zeros(len(stars["x"]), [(name, "f8") for name in COLUMNS.split()])
    for ours_, theirs in (("X_IMAGE", "y"), ("Y_IMAGE", "x")):
        table[ours_] = table[ours_.replace("_", "PSF_")] = np.asarray(stars[theirs]) + 1
    table["FLUX_PSF"], table["FLUXERR_PSF"] = stars["flux"], stars["dflux"]
    return Measurement(table, "with the true PSF")


def show(name: str, frame: Crowd, found: Measurement, wall: float, cpu: float) -> None:
    """Print one program's line and its table."""
    table = found.table
    x, y = (np.asarray(table[k], float) - 1 for k in ("XPSF_IMAGE", "YPSF_IMAGE"))
    flux, error = np.asarray(table["FLUX_PSF"], float), np.asarray(table["FLUXERR_PSF"], float)
    good = np.isfinite(x + y + flux) & (flux > 0)
    table = table[good]
    x, y, flux, error = x[good], y[good], flux[good], error[good]
    star = np.full(x.size, -1)
    for k in range(x.size):
        near = np.flatnonzero(np.hypot(frame.x - x[k], frame.y - y[k]) < FWHM / 2)
        offset = np.abs(2.5 * np.log10(flux[k] / frame.flux[near]))
        if near.size and offset.min() < 0.75:
            star[k] = near[np.argmin(offset)]
    bright = star[(star >= 0) & (frame.flux[star] > 1e4)]
    rows = np.flatnonzero((star >= 0) & (frame.flux[star] > 1e4))
    unit = float(np.median(flux[rows] / frame.flux[bright])) if rows.size else 1.0
    flux, error = flux / unit, error / unit  # what a zero point takes up
    size = frame.image.shape[0]
    inside = (np.minimum(frame.x, frame.y) > 0) & (np.maximum(frame.x, frame.y) < size - 1)
    magnitude = ZERO_POINT - 2.5 * np.log10(frame.flux)
    hit = np.isin(np.arange(magnitude.size), star)
    others = kinds_of_others(frame, x[star < 0], y[star < 0], flux[star < 0])
    light = (np.sum(star >= 0) + others["sums of stars"] + others["galaxies"]) / max(x.size, 1)
    print(
        f"  {name}: {wall:.1f} s wall, {cpu:.1f} s CPU, {x.size} rows, "
        f"purity {np.mean(star >= 0):.3f} of stars, {light:.3f} of light ({found.note})"
    )
    for low in np.arange(16.5, 21.5):
        bin_ = inside & (magnitude >= low) & (magnitude < low + 1)
        rows = (star >= 0) & bin_[star]
        if bin_.any() and rows.sum() > 3:
            ratio = flux[rows] / frame.flux[star[rows]]
            pull = (flux[rows] - frame.flux[star[rows]]) / error[rows]
            spread = [np.diff(np.nanpercentile(v, (16, 84)))[0] / 2 for v in (ratio, pull)]
            print(
                f"    mag {low + 0.5:.0f}: {100 * hit[bin_].mean():5.1f} % of {bin_.sum():5d}, "
                f"bias {np.median(ratio) - 1:+.4f}, scatter {spread[0]:.4f}, pull {spread[1]:.2f}"
            )
    told = ", ".join(f"{number} {kind}" for kind, number in others.items() if number)
    print(f"    {np.sum(star < 0)} rows that match no star: {told}")
    if len(frame.galaxies):
        show_galaxies(frame, table, star)


def kinds_of_others(frame: Crowd, x: np.ndarray, y: np.ndarray, flux: np.ndarray) -> dict[str, int]:
    """Count what rows are that match no star."""
    kinds = ("galaxies", "sums of stars", "wider sums", "stars of another flux", "none")
    counts = dict.fromkeys(kinds, 0)
    free = np.ones(len(frame.galaxies), np.bool_)
    for here in zip(x, y, flux, strict=True):
        distance = np.hypot(frame.x - here[0], frame.y - here[1])
        sums = np.array([frame.flux[distance < share * FWHM].sum() for share in (0.5, 1.0)])
        upon = np.hypot(frame.galaxies[:, 0] - here[0], frame.galaxies[:, 1] - here[1]) < FWHM
        with np.errstate(divide="ignore"):
            of_stars = np.abs(2.5 * np.log10(here[2] / sums)) < 0.75
        if (upon & free).any():
            free &= ~upon
            kind = "galaxies"
        elif of_stars.any():
            kind = "sums of stars" if of_stars[0] else "wider sums"
        else:
            kind = "stars of another flux" if sums[0] > 0.0 else "none"
        counts[kind] += 1
    return counts


def show_galaxies(frame: Crowd, table: np.ndarray, star: np.ndarray) -> None:
    """Print how many galaxies are torn, and how many members of blends are found.

    A galaxy is torn if more than one row upon it is no star.
    """
    x, y = (np.asarray(table[k], float) - 1 for k in ("XPSF_IMAGE", "YPSF_IMAGE"))
    gx, gy, radius, kind = frame.galaxies.T
    upon = np.hypot(x[:, None] - gx, y[:, None] - gy) < 1.7 * radius + FWHM
    rows = (upon & (star < 0)[:, None]).sum(axis=0)
    for k, name in enumerate(GALAXIES):
        print(f"    {name}: {(rows[kind == k] > 1).sum()} of {(kind == k).sum()} torn")
    hit = np.isin(np.arange(frame.x.size), star)
    for members in range(2, 6):
        chosen = (frame.kind == members) & (frame.flux > 1000)
        print(f"    blends of {members}: {100 * hit[chosen].mean():.0f} % of {chosen.sum()}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", nargs="+", default=SCENES.split())
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--crowdsource", action="store_true")
    options = parser.parse_args()
    programs: dict[str, Callable[[Crowd, Path], Measurement | None]] = {
        "skyextract": ours,
        "SExtractor + PSFEx": peer,
    }
    if options.crowdsource:
        programs["crowdsource"] = crowdsource
    for scene, seed in itertools.product(options.scenes, options.seed):
        frame = simulate(scene, options.size, seed)
        print(f"{scene}: {frame.x.size} stars in {options.size}^2, seed {seed}")
        for name, program in programs.items():
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                header = fits.Header({"GAIN": GAIN, "SATURATE": 1e7})
                fits.PrimaryHDU(frame.image, header).writeto(folder / "f.fits")
                before = [resource.getrusage(who) for who in (-1, 0)]
                start = time.perf_counter()
                found = program(frame, folder)
                wall = time.perf_counter() - start
                after = [resource.getrusage(who) for who in (-1, 0)]
                cpu = sum(a.ru_utime - b.ru_utime for a, b in zip(after, before, strict=True))
                if found is None:
                    print(f"  {name}: not installed")
                elif not found.table.size:
                    print(f"  {name}: {found.note}")
                else:
                    show(name, frame, found, wall, cpu)
                if program is ours:
                    show_zero_point(frame, folder)


if __name__ == "__main__":
    main()
