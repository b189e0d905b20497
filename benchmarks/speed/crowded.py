"""A crowded frame beside SExtractor: cold processes with the same columns.

python -m benchmarks.speed.crowded [--size 4096] [--repeat 3]
"""

from __future__ import annotations

from benchmarks.paired import (
    both,
    in_turn,
    judge,
    options,
    print_heading,
    print_pair,
    simulated,
    workplace,
)  # fmt: skip
from benchmarks.speed.growth import rows

TARGET = 0.5
PIXELS_PER_STAR = 340  # of which three quarters are detections, 37,000 in 4096^2


def main() -> None:
    """Print the row."""
    chosen = options(__doc__, size=4096, repeat=3)
    size = chosen.size
    with workplace() as folder:
        image = simulated(folder / "frame.fits", size, size * size // PIXELS_PER_STAR)
        costs = in_turn(both(str(image)), folder, chosen.repeat)
        n_ours, n_peer = rows(folder / "ours.cat"), rows(folder / "peer.cat")
    print_heading()
    print_pair(f"{size}^2", costs["ours"], costs["peer"])
    print(f"  detections: ours {n_ours}, peer {n_peer}")
    judge("wall, ratio", costs["ours"].wall / costs["peer"].wall, TARGET)


if __name__ == "__main__":
    main()
