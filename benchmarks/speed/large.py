"""A large frame beside SExtractor: cold processes with SExtractor's defaults, time and memory.

python -m benchmarks.speed.large [--size 10000] [--repeat 3]
"""

from __future__ import annotations

import argparse

from benchmarks.paired import (
    in_turn,
    judge,
    our_program,
    peer_program,
    print_heading,
    print_pair,
    simulated,
    workplace,
)

TARGET, MEMORY_TARGET = 0.4, 1200.0


def main() -> None:
    """Print the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with workplace() as folder:
        image = simulated(folder / "frame.fits", options.size)
        arguments = [str(image), "-c", "run.sex", "-CATALOG_NAME"]
        costs = in_turn(
            {
                "ours": [our_program(), *arguments, "ours.cat"],
                "peer": [peer_program(), *arguments, "peer.cat"],
            },
            folder,
            options.repeat,
        )
    print_heading()
    print_pair(f"{options.size}^2", costs["ours"], costs["peer"])
    judge("wall, ratio", costs["ours"].wall / costs["peer"].wall, TARGET)
    judge("peak memory", costs["ours"].memory, MEMORY_TARGET, "MB")


if __name__ == "__main__":
    main()
