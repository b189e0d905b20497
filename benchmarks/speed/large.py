"""A large frame beside SExtractor: cold processes with SExtractor's defaults, time and memory.

python -m benchmarks.speed.large [--size 10000] [--repeat 3]
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

TARGET, MEMORY_TARGET = 0.4, 1200.0


def main() -> None:
    """Print the row."""
    chosen = options(__doc__, size=10000, repeat=3)
    with workplace() as folder:
        image = simulated(folder / "frame.fits", chosen.size)
        costs = in_turn(both(str(image)), folder, chosen.repeat)
    print_heading()
    print_pair(f"{chosen.size}^2", costs["ours"], costs["peer"])
    judge("wall, ratio", costs["ours"].wall / costs["peer"].wall, TARGET)
    judge("peak memory", costs["ours"].memory, MEMORY_TARGET, "MB")


if __name__ == "__main__":
    main()
