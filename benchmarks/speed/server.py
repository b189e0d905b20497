"""Calls through the warm server beside SExtractor: one frame, and a shell's loop over many.

    python -m benchmarks.speed.server [--size 2048] [--frames 20] [--repeat 7]

Every call is a process of its own of `skyextract`, which a server takes that was started before.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.paired import (
    both,
    in_turn,
    judge,
    options,
    our_program,
    peer_program,
    print_heading,
    print_pair,
    simulated,
    warm_server,
    workplace,
)  # fmt: skip

TARGET = 0.6


def compare(name: str, commands: dict[str, list[str]], repeat: int) -> float:
    """Print the costs of both, of ours through the server; return the ratio of wall times.

    CPU time and memory are those of the client alone: what runs is a child of the server.
    """
    costs = in_turn(commands, Path.cwd(), repeat, served="ours")
    print_pair(name, costs["ours"], costs["peer"])
    return costs["ours"].wall / costs["peer"].wall


def loop(program: str, suffix: str) -> list[str]:
    """Return a shell's loop over the frames."""
    call = f"{program} $frame -c run.sex -CATALOG_NAME ${{frame%.fits}}.{suffix}"
    return ["sh", "-c", f"for frame in frame??.fits; do {call} || exit 1; done"]


def main() -> None:
    """Print both rows."""
    chosen = options(__doc__, size=2048, frames=20, repeat=7)
    loops = {"ours": loop(our_program(), "ours"), "peer": loop(peer_program(), "peer")}
    with workplace() as folder, warm_server(folder):
        image = simulated(folder / "frame00.fits", chosen.size)
        for number in range(1, chosen.frames):
            shutil.copy(image, folder / f"frame{number:02d}.fits")
        print_heading()
        one = compare(f"{chosen.size}^2, one call", both(str(image)), chosen.repeat)
        many = compare(f"loop over {chosen.frames}", loops, max(chosen.repeat // 3, 1))
    judge("one call, wall, ratio", one, TARGET)
    judge(f"loop over {chosen.frames}, wall, ratio", many, TARGET)


if __name__ == "__main__":
    main()
