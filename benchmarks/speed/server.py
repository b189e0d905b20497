"""Calls through the warm server beside SExtractor: one frame, and a shell's loop over many.

    python -m benchmarks.speed.server [--size 2048] [--frames 20] [--repeat 7]

Every call is a process of its own of `skyextract`, which a server takes that was started before.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from benchmarks.paired import (
    in_turn,
    judge,
    our_program,
    peer_program,
    print_heading,
    print_pair,
    simulated,
    warm_server,
    workplace,
)

TARGET = 0.6


def compare(name: str, ours: list[str], peer: list[str], repeat: int) -> float:
    """Print the costs of both, of ours through the server; return the ratio of wall times.

    CPU time and memory are those of the client alone: what runs is a child of the server.
    """
    costs = in_turn({"ours": ours, "peer": peer}, Path.cwd(), repeat, served="ours")
    print_pair(name, costs["ours"], costs["peer"])
    return costs["ours"].wall / costs["peer"].wall


def loop(program: str, suffix: str) -> list[str]:
    """Return a shell's loop over the frames."""
    call = f"{program} $frame -c run.sex -CATALOG_NAME ${{frame%.fits}}.{suffix}"
    return ["sh", "-c", f"for frame in frame??.fits; do {call} || exit 1; done"]


def main() -> None:
    """Print both rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    ours, peer = our_program(), peer_program()
    with workplace() as folder, warm_server(folder):
        image = simulated(folder / "frame00.fits", options.size)
        for number in range(1, options.frames):
            shutil.copy(image, folder / f"frame{number:02d}.fits")
        arguments = [str(image), "-c", "run.sex", "-CATALOG_NAME"]
        print_heading()
        one = compare(
            f"{options.size}^2, one call",
            [ours, *arguments, "ours.cat"],
            [peer, *arguments, "peer.cat"],
            options.repeat,
        )
        many = compare(
            f"loop over {options.frames}",
            loop(ours, "ours"),
            loop(peer, "peer"),
            max(options.repeat // 3, 1),
        )
    judge("one call, wall, ratio", one, TARGET)
    judge(f"loop over {options.frames}, wall, ratio", many, TARGET)


if __name__ == "__main__":
    main()
