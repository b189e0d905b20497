"""Peak memory of cold runs: SExtractor's columns and the default run.

python -m benchmarks.speed.memory [--size 4096] [--large 8192] [--repeat 1]
"""

from __future__ import annotations

import argparse

from benchmarks.paired import in_turn, judge, our_program, simulated, workplace

COLUMNS_TARGET, DEFAULT_TARGET, LARGE_TARGET = 250.0, 450.0, 1600.0


def main() -> None:
    """Print the three numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--large", type=int, default=8192, help="size of the larger frame")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    with workplace() as folder:
        image = str(simulated(folder / "frame.fits", options.size))
        large = str(simulated(folder / "large.fits", options.large))
        commands = {
            "columns": [our_program(), image, "-c", "run.sex", "-CATALOG_NAME", "columns.cat"],
            "default": [our_program(), image, "-VERBOSE_TYPE", "QUIET"],
            "large": [our_program(), large, "-VERBOSE_TYPE", "QUIET"],
        }
        costs = in_turn(commands, folder, options.repeat, warm_up=False)
    for label, cost in costs.items():
        print(f"{label:<10}{cost.wall:8.2f} s wall {cost.cpu:8.2f} s CPU {cost.memory:8.0f} MB")
    size = f"{options.size}^2"
    judge(f"{size}, SExtractor's columns", costs["columns"].memory, COLUMNS_TARGET, "MB")
    judge(f"{size}, default run", costs["default"].memory, DEFAULT_TARGET, "MB")
    judge(f"{options.large}^2, default run", costs["large"].memory, LARGE_TARGET, "MB")


if __name__ == "__main__":
    main()
