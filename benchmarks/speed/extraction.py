"""Time skyextract against source-extractor: cold processes in turn, ratios of medians.

    python -m benchmarks.speed.extraction [--repeat 5] [--sizes 2048 4096]

Both run on the same simulated frame with SExtractor's default settings and the same columns.
Wall time, CPU time and peak memory are those of the process and its children.  Byte code is
written and kept, as it is on a user's machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.paired import (
    PIXELS_PER_SOURCE,
    Cost,
    both,
    in_turn,
    judge,
    our_program,
    peer_program,
    print_heading,
    print_pair,
    simulated,
    workplace,
)  # fmt: skip
from skyextract.columns.request import COLUMNS

TARGETS = {2048: 2.5, 4096: 1.0}


def all_columns() -> list[str]:
    """Return every column that needs no association list, flag map, PSF or network."""
    other = (
        "ASSOC", "IMAFLAGS", "PSF", "SPREAD", "APERCOR", "FOCAL", "VIGNET", "CLASS_STAR", "MODEL",
        "SPHEROID", "DISK", "POINTSOURCE", "BACKOFFSET", "FLUXRATIO", "SERSIC",
    )  # fmt: skip
    return [
        name
        for name, column in COLUMNS.items()
        if not column.own and not any(part in name for part in other)
    ]


def compare(name: str, commands: dict[str, list[str]], repeat: int) -> dict[str, Cost]:
    """Run both in turn and print their costs."""
    costs = in_turn(commands, Path.cwd(), repeat)
    print_pair(name, costs["ours"], costs["peer"])
    return costs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 4096])
    options = parser.parse_args()
    found = {}
    with workplace() as folder:
        print_heading()
        for size in options.sizes:
            image = simulated(folder / f"frame{size}.fits", size)
            name = f"{size}^2, {size * size // PIXELS_PER_SOURCE} sources"
            found[size] = compare(name, both(str(image)), options.repeat)
        (folder / "all.param").write_text("\n".join(all_columns()) + "\n")
        commands = both(str(image), "-PARAMETERS_NAME", "all.param")
        compare(f"{size}^2, {len(all_columns())} columns", commands, options.repeat)
        commands = {"ours": [our_program(), "--help"], "peer": [peer_program(), "--version"]}
        compare("--help", commands, options.repeat)
    for size, costs in found.items():
        if size in TARGETS:
            ratio = costs["ours"].wall / costs["peer"].wall
            judge(f"{size}^2 cold, wall, ratio", ratio, TARGETS[size])


if __name__ == "__main__":
    main()
