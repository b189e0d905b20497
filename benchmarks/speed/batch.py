"""Many frames in one call with two workers beside a shell's loop of SExtractor.

python -m benchmarks.speed.batch [--size 2048] [--frames 20] [--repeat 3]
"""

from __future__ import annotations

import shutil

from benchmarks.paired import (
    in_turn,
    judge,
    options,
    our_program,
    peer_program,
    print_heading,
    print_pair,
    simulated,
    workplace,
)  # fmt: skip

TARGET = 0.35


def main() -> None:
    """Print the row."""
    chosen = options(__doc__, size=2048, frames=20, repeat=3)
    with workplace() as folder:
        image = simulated(folder / "frame00.fits", chosen.size)
        for number in range(1, chosen.frames):
            shutil.copy(image, folder / f"frame{number:02d}.fits")
        frames = [f"frame{number:02d}.fits" for number in range(chosen.frames)]
        call = f"{peer_program()} $frame -c run.sex -CATALOG_NAME ${{frame%.fits}}.peer"
        loop = f"for frame in frame??.fits; do {call} || exit 1; done"
        ours = [our_program(), *frames, "-c", "run.sex", "-CATALOG_NAME", "{stem}.ours", "-j", "2"]
        costs = in_turn({"ours": ours, "peer": ["sh", "-c", loop]}, folder, chosen.repeat)
    print_heading()
    print_pair(f"{chosen.frames} x {chosen.size}^2, -j 2", costs["ours"], costs["peer"])
    judge("wall, ratio", costs["ours"].wall / costs["peer"].wall, TARGET)


if __name__ == "__main__":
    main()
