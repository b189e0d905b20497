"""Colours of galaxies and stars in dual-image mode, one command per band, against the truth.

    python -m benchmarks.truth.colours [--n 400] [--frames 1] [--seed 1] [--kind sersic] [--ours]

The frames of truth.galaxies (tests/simulate/galaxies.py), the same objects through another seeing
and fainter.  Objects are found in the first band, their models fitted there and scaled in both:
FLUX_DETMODEL.  SExtractor has PSFEx's PSFs of both frames.  For each range of the S/N in the first
band: bias and scatter of the colour, of galaxies and stars.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks.truth.galaxies import RANGES, match, peer_psf, peer_run, spread
from tests.simulate.galaxies import (
    GAIN,
    KINDS,
    SHAPES,
    Band,
    Floats,
    GalaxyFrame,
    simulate_galaxies,
)

SEEING, BRIGHTNESS = (3.6, 4.3), 0.6
"""FWHM of both bands, and the fluxes of the second over those of the first."""
COLUMNS = "X_IMAGE Y_IMAGE FLUX_DETMODEL FLUXERR_DETMODEL".split()


def ours(band: str, folder: Path) -> np.ndarray:
    """Run skyextract as it comes."""
    (folder / "p.param").write_text("\n".join(COLUMNS) + "\n")
    command = [sys.executable, "-m", "skyextract", f"a.fits,{band}.fits", "-PARAMETERS_NAME",
               "p.param", "-CATALOG_NAME", "f.cat", "-PIXEL_SCALE", "0.25"]  # fmt: skip
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    table: np.ndarray = fits.getdata(folder / "f.cat", "LDAC_OBJECTS")
    return table


def sextractor(band: str, folder: Path) -> np.ndarray:
    """Run SExtractor with models of both frames, and PSFEx where it has not run."""
    for name in {"a", band}:
        if not (folder / f"{name}.psf").exists():
            peer_psf(name, folder)
    return peer_run(f"a.fits,{band}.fits", COLUMNS, folder, f"a.psf,{band}.psf")


def colours(frame: GalaxyFrame, program: Callable[[str, Path], np.ndarray], folder: Path) -> Floats:
    """Return S/N, whether it is a star, colour less the true one, and its error, (4, n)."""
    tables = [np.array(program(band, folder)) for band in "ab"]
    rows = match(frame, tables[0])
    found = rows >= 0
    first, second = (table[rows[found]] for table in tables)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = second["FLUX_DETMODEL"] / first["FLUX_DETMODEL"] / BRIGHTNESS
        error = np.hypot(
            *(each["FLUXERR_DETMODEL"] / each["FLUX_DETMODEL"] for each in (first, second))
        )
        colour = -2.5 * np.log10(ratio)
    values = (frame.snr[found], frame.star[found], colour, 2.5 / np.log(10.0) * error)
    return np.array(values, dtype=np.float64)


def show(name: str, values: Floats) -> None:
    """Print one program's table."""
    print(f"  {name}")
    snr, star, colour, error = values
    for low, high in RANGES:
        shown = []
        for kind, those in (("galaxies", star == 0), ("stars", star == 1)):
            own = those & (snr >= low) & (snr < high)
            if own.sum() >= 5:
                middle, scatter = spread(colour[own])
                width = spread(colour[own] / error[own])[1]
                shown.append(
                    f"{own.sum():4d} {kind} {middle:+.4f}+-{scatter:.4f} (pulls {width:.2f})"
                )
        if shown:
            print(f"    S/N {low:3.0f}-{high:<4.0f} {', '.join(shown)}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", nargs="+", default=KINDS[:1], choices=KINDS + SHAPES)
    parser.add_argument("--ours", action="store_true", help="skyextract alone")
    options = parser.parse_args()
    programs: dict[str, Callable[[str, Path], np.ndarray]] = {"skyextract": ours}
    if not options.ours:
        programs["SExtractor + PSFEx"] = sextractor
    size = int(70 * options.n**0.5)
    for kind in options.kind:
        print(f"{kind}: {options.frames} x {options.n} objects, FWHM {SEEING[0]} and {SEEING[1]}, "
              f"the second {BRIGHTNESS} times as bright")  # fmt: skip
        parts: dict[str, list[Floats]] = {name: [] for name in programs}
        for seed in range(options.seed, options.seed + options.frames):
            with tempfile.TemporaryDirectory() as place:
                for band, name in enumerate("ab"):
                    other = Band(SEEING[band], BRIGHTNESS**band, 7 * seed + band)
                    drawn = simulate_galaxies(
                        options.n, size, seed, kind=kind, fwhm=SEEING[0], band=other
                    )
                    frame = frame if band else drawn  # noqa: F821
                    header = fits.Header({"GAIN": GAIN, "SATURATE": 1e7})
                    fits.PrimaryHDU(drawn.image, header).writeto(Path(place) / f"{name}.fits")
                for name, program in programs.items():
                    parts[name].append(colours(frame, program, Path(place)))
        for name in programs:
            show(name, np.concatenate(parts[name], axis=1))


if __name__ == "__main__":
    main()
