"""The smallest useful run: all steps on the example field, cold and through the warm server.

python -m benchmarks.speed.field [--repeat 7]
"""

from __future__ import annotations

from benchmarks import ROOT
from benchmarks.paired import in_turn, judge, options, our_program, warm_server, workplace

TARGET, SERVER_TARGET = 0.9, 0.35


def main() -> None:
    """Print both times."""
    chosen = options(__doc__, repeat=7)
    examples = ROOT / "examples"
    command = [our_program(), str(examples / "field.fits.fz")]
    command += ["-ASTREFCAT_NAME", str(examples / "field_refcat.fits")]
    with workplace() as folder, warm_server(folder):
        calls = {
            label: [*command, "-CATALOG_NAME", f"{label}.cat", "-SUMMARY_NAME", f"{label}.json"]
            for label in ("cold", "served")
        }
        costs = in_turn(calls, folder, chosen.repeat, served="served")
    for label, cost in costs.items():
        print(f"{label:<10}{cost.wall:8.2f} s wall {cost.cpu:8.2f} s CPU {cost.memory:8.0f} MB")
    judge("cold, wall", costs["cold"].wall, TARGET, "s")
    judge("through the server, wall", costs["served"].wall, SERVER_TARGET, "s")


if __name__ == "__main__":
    main()
