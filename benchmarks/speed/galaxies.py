"""Fits of galaxy models beside SExtractor's, with the same columns, PSF and detection.

    python -m benchmarks.speed.galaxies [--size 4096] [--repeat 3] [--peer-repeat 1]
        [--sources 1000 3000 10000] [--pixels 900]

PSFEx makes the PSF that both programs are given.  The columns are all that SExtractor lists with
MODEL in their names; the second row has those of spheroids and disks, too.  Ours has two threads,
SExtractor as many as it was built for; a later frame is one of a process that runs on.  Growth:
the default run with FLUX_MODEL on frames of so many sources with so many pixels for each.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.paired import (
    in_turn,
    judge,
    median_cost,
    our_program,
    peer_program,
    print_heading,
    print_pair,
    simulated,
    workplace,
)
from benchmarks.speed.growth import rows
from benchmarks.speed.warm import Process

TARGET = 50.0
STARS = """X_IMAGE Y_IMAGE FLUX_RADIUS FLUX_APER(1) FLUXERR_APER(1) ELONGATION FLAGS SNR_WIN
VIGNET(35,35)"""
SUMS = ("VECTOR", "MATRIX", "DETMODEL")
"""In names of columns that are left out: several numbers each, and what is for two images."""


def model_columns(kinds: str) -> list[str]:
    """Return the columns of SExtractor with one of the words of a pattern in their names."""
    listing = subprocess.run([peer_program(), "-dp"], capture_output=True, text=True, check=True)
    names = re.findall(r"^#?(\w+)", listing.stdout, flags=re.MULTILINE)
    return [n for n in names if re.search(kinds, n) and not any(word in n for word in SUMS)]


def psf_of(image: Path) -> None:
    """Write stars.psf, PSFEx's model of the PSF of a frame."""
    Path("stars.param").write_text("\n".join(STARS.split()) + "\n")
    quiet = ["-VERBOSE_TYPE", "QUIET"]
    steps = (
        [peer_program(), str(image), "-c", "run.sex", "-PARAMETERS_NAME", "stars.param",
         "-CATALOG_NAME", "stars.cat"],
        ["psfex", "stars.cat", "-CHECKIMAGE_TYPE", "NONE", "-CHECKPLOT_DEV", "NULL", *quiet,
         "-CHECKPLOT_TYPE", "NONE", "-WRITE_XML", "N"],
    )  # fmt: skip
    for step in steps:
        subprocess.run(step, capture_output=True, check=True)


def beside_peer(folder: Path, size: int, repeat: int, peer_repeat: int) -> None:
    """Print the rows of both programs on the ordinary frame."""
    image = simulated(folder / "frame.fits", size)
    psf_of(image)
    print_heading()
    cold, later = [], []
    for label, kinds in (("MODEL", "MODEL"), ("MODEL SPHEROID DISK", "MODEL|SPHEROID|DISK")):
        names = model_columns(kinds)
        Path("model.param").write_text("\n".join(names) + "\n")
        arguments = [str(image), "-c", "run.sex", "-PARAMETERS_NAME", "model.param",
                     "-PSF_NAME", "stars.psf"]  # fmt: skip
        ours = [our_program(), *arguments, "-NTHREADS", "2", "-CATALOG_NAME", "ours.cat"]
        peer = [peer_program(), *arguments, "-CATALOG_NAME", "peer.cat"]
        own = in_turn({"ours": ours}, folder, repeat)["ours"]
        other = in_turn({"peer": peer}, folder, peer_repeat, warm_up=False)["peer"]
        print_pair(f"{len(names)} columns, {label}", own, other)
        n_ours, n_peer = rows(folder / "ours.cat"), rows(folder / "peer.cat")
        print(f"  detections: ours {n_ours}, peer {n_peer}; CPU {other.cpu / own.cpu:.1f} x")
        process = Process(image, [*arguments[1:], "-NTHREADS", "2"])
        warm = median_cost([process.next() for _ in range(repeat)])
        process.close()
        print_pair("  a later frame", warm, other)
        cold.append(other.wall / own.wall)
        later.append(other.wall / warm.wall)
    judge("SExtractor takes longer by", cold[0], TARGET, least=True)
    judge("than a later frame by", later[0], TARGET, least=True)


def growth(folder: Path, sources: list[int], pixels: int) -> None:
    """Print time and memory with the number of sources."""
    print(f"\n{'sources':<10}{'rows':>8}{'wall [s]':>10}{'CPU [s]':>10}{'ms/row':>9}{'MB':>8}")
    (folder / "flux.param").write_text("X_IMAGE\nY_IMAGE\nFLUX_MODEL\n")
    for number in sources:
        image = simulated(folder / f"{number}.fits", round(math.sqrt(number * pixels)), number)
        command = [our_program(), str(image), "-PARAMETERS_NAME", "flux.param",
                   "-NTHREADS", "2", "-CATALOG_NAME", "grown.cat"]  # fmt: skip
        cost = in_turn({"ours": command}, folder, 1, warm_up=False)["ours"]
        n = rows(folder / "grown.cat")
        print(f"{number:<10}{n:>8}{cost.wall:>10.2f}{cost.cpu:>10.2f}{1e3 * cost.cpu / n:>9.2f}"
              f"{cost.memory:>8.0f}", flush=True)  # fmt: skip
        image.unlink()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peer-repeat", type=int, default=1)
    parser.add_argument("--sources", type=int, nargs="*", default=[1000, 3000, 10000])
    parser.add_argument("--pixels", type=int, default=900, help="for each of these sources")
    options = parser.parse_args()
    if not shutil.which("psfex"):
        raise SystemExit("psfex is needed")
    with workplace() as folder:
        if options.size:
            beside_peer(folder, options.size, options.repeat, options.peer_repeat)
        growth(folder, options.sources, options.pixels)


if __name__ == "__main__":
    main()
