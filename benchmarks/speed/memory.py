"""Peak memory of cold runs: SExtractor's columns and the default run.

python -m benchmarks.speed.memory [--size 4096] [--large 8192] [--repeat 1]
"""

from __future__ import annotations

from benchmarks.paired import both, in_turn, judge, options, our_program, simulated, workplace

COLUMNS_TARGET, DEFAULT_TARGET, LARGE_TARGET = 250.0, 450.0, 1600.0


def main() -> None:
    """Print the three numbers."""
    chosen = options(__doc__, size=4096, large=8192, repeat=1)
    with workplace() as folder:
        image = str(simulated(folder / "frame.fits", chosen.size))
        large = str(simulated(folder / "large.fits", chosen.large))
        commands = {
            "columns": both(image)["ours"],
            "default": [our_program(), image, "-VERBOSE_TYPE", "QUIET"],
            "large": [our_program(), large, "-VERBOSE_TYPE", "QUIET"],
        }
        costs = in_turn(commands, folder, chosen.repeat, warm_up=False)
    for label, cost in costs.items():
        print(f"{label:<10}{cost.wall:8.2f} s wall {cost.cpu:8.2f} s CPU {cost.memory:8.0f} MB")
    size = f"{chosen.size}^2"
    judge(f"{size}, SExtractor's columns", costs["columns"].memory, COLUMNS_TARGET, "MB")
    judge(f"{size}, default run", costs["default"].memory, DEFAULT_TARGET, "MB")
    judge(f"{chosen.large}^2, default run", costs["large"].memory, LARGE_TARGET, "MB")


if __name__ == "__main__":
    main()
