"""Cosmic rays: how many are found, how many stars are hurt, and in what time.

    python -m benchmarks.truth.cosmics [--seed N] [--data FOLDER] [--size PIXELS]

Simulated frames (stars up to just below saturation, tracks of all lengths) at several FWHM,
then the real frames of FOLDER/cosmic_rays; astroscrappy beside ours wherever it is installed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import DATA
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from tests.simulate.cosmics import (
    READ_NOISE,
    SATURATION,
    decam_frame,
    gmos_frame,
    repair_real,
    repair_simulation,
    scores,
    simulate,
)


def astroscrappy_mask(
    image: NDArray[np.float32], fwhm: float, gain: float, read_noise: float, saturation: float,
    **settings: object,
) -> tuple[NDArray[np.bool_], float]:  # fmt: skip
    """Return astroscrappy's mask and time."""
    import astroscrappy

    start = time.perf_counter()
    found, _ = astroscrappy.detect_cosmics(
        image, gain=gain, readnoise=read_noise, satlevel=saturation, psffwhm=fwhm, **settings
    )
    return found, time.perf_counter() - start


def simulated_table(seed: int, size: int, fast: bool) -> None:
    print(
        f"{'FWHM':>5} {'profile':9} {'program':28} {'found':>7} {'false':>8} {'<1 sig':>8} "
        f"{'cores':>5} {'seconds':>8}"
    )
    for fwhm, beta in ((1.6, 0.0), (1.9, 0.0), (1.9, 3.5), (2.5, 3.5), (4.0, 3.5), (8.0, 3.5)):
        frame = simulate(fwhm, beta=beta, seed=seed, size=size)
        run = Run(n_threads=2)
        default = Psf.gaussian(3.5)
        gaussian = Psf.gaussian(fwhm, PsfSource.MEASURED)
        repair_simulation(frame, run)
        rows = []
        for name, psf in (("true PSF", None), ("Gaussian", gaussian), ("default PSF", default)):
            start = time.perf_counter()
            found = (repair_simulation(frame, run, psf).mask & int(Mask.CR)) != 0
            rows.append((f"skyextract, {name}", found, time.perf_counter() - start))
        for name, settings in (
            ()
            if fast
            else (
                ("astroscrappy", {}),
                ("astroscrappy objlim 10", {"objlim": 10.0}),
                ("astroscrappy psf", {"fsmode": "convolve", "psfmodel": "gauss"}),
            )
        ):
            found, seconds = astroscrappy_mask(
                frame.image, fwhm, 1.0, READ_NOISE, SATURATION, **settings
            )
            rows.append((name, found, seconds))
        profile = f"Moffat {beta}" if beta else "Gaussian"
        for name, found, seconds in rows:
            complete, false, false_faint, cores = scores(frame, found)
            print(
                f"{fwhm:5.1f} {profile:9} {name:28} {100 * complete:6.2f}% {false:8.1e} "
                f"{false_faint:8.1e} {cores:5d} {seconds:8.3f}"
            )


def real_table(folder: Path) -> None:
    print(f"\n{'frame':8} {'program':24} {'flagged':>7} {'seconds':>8}  found of each truth")
    run = Run(n_threads=2)
    for frame in (gmos_frame(folder), decam_frame(folder)):
        start = time.perf_counter()
        found = (repair_real(frame, run).mask & int(Mask.CR)) != 0
        rows = [("skyextract", found, time.perf_counter() - start)]
        for name, settings in (("astroscrappy", {}), ("astroscrappy objlim 10", {"objlim": 10.0})):
            rows.append(
                (
                    name,
                    *astroscrappy_mask(
                        frame.image, frame.fwhm, frame.gain, frame.read_noise, frame.saturation,
                        **settings,
                    ),
                )
            )  # fmt: skip
        for name, found, seconds in rows:
            parts = [
                f"{truth_name}: {found[truth].sum()}/{truth.sum()}"
                for truth_name, truth in frame.truths.items()
            ]
            print(f"{frame.name:8} {name:24} {found.sum():7d} {seconds:8.4f}  {'; '.join(parts)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=1500, help="side of the simulated frames")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--fast", action="store_true", help="without astroscrappy")
    options = parser.parse_args()
    simulated_table(options.seed, options.size, options.fast)
    if (options.data / "cosmic_rays").is_dir():
        real_table(options.data / "cosmic_rays")
    else:
        print(f"no {options.data / 'cosmic_rays'}: real frames skipped")


if __name__ == "__main__":
    main()
