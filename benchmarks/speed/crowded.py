"""A crowded frame beside SExtractor: cold processes with the same columns.

python -m benchmarks.speed.crowded [--size 4096] [--repeat 3]
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
from benchmarks.speed.growth import rows

TARGET = 0.5
PIXELS_PER_STAR = 340  # of which three quarters are detections, 37,000 in 4096^2


def main() -> None:
    """Print the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    size = options.size
    with workplace() as folder:
        image = simulated(folder / "frame.fits", size, size * size // PIXELS_PER_STAR)
        arguments = [str(image), "-c", "run.sex", "-CATALOG_NAME"]
        costs = in_turn(
            {
                "ours": [our_program(), *arguments, "ours.cat"],
                "peer": [peer_program(), *arguments, "peer.cat"],
            },
            folder,
            options.repeat,
        )
        n_ours, n_peer = rows(folder / "ours.cat"), rows(folder / "peer.cat")
    print_heading()
    print_pair(f"{size}^2", costs["ours"], costs["peer"])
    print(f"  detections: ours {n_ours}, peer {n_peer}")
    judge("wall, ratio", costs["ours"].wall / costs["peer"].wall, TARGET)


if __name__ == "__main__":
    main()
