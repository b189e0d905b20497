"""The smallest useful run: all steps on the example field, cold and through the warm server.

    python -m benchmarks.speed.field [--repeat 7]

The targets are seconds on a machine where SExtractor takes 0.23 s for an ordinary frame of
2048^2; it runs here in turn with ours, so that they can be judged on any machine.
"""

from __future__ import annotations

from benchmarks import ROOT
from benchmarks.paired import (
    both,
    in_turn,
    judge,
    options,
    our_program,
    simulated,
    warm_server,
    workplace,
)  # fmt: skip

TARGET, SERVER_TARGET = 0.9, 0.35
PEER = 0.23
"""Seconds of SExtractor where the targets were set."""


def main() -> None:
    """Print both times, and what they are on the machine of the targets."""
    chosen = options(__doc__, repeat=7)
    examples = ROOT / "examples"
    command = [our_program(), str(examples / "field.fits.fz")]
    command += ["-ASTREFCAT_NAME", str(examples / "field_refcat.fits")]
    with workplace() as folder, warm_server(folder):
        calls = {
            label: [*command, "-CATALOG_NAME", f"{label}.cat", "-SUMMARY_NAME", f"{label}.json"]
            for label in ("cold", "served")
        }
        calls["SExtractor"] = both(str(simulated(folder / "frame2048.fits", 2048)))["peer"]
        costs = in_turn(calls, folder, chosen.repeat, served="served")
    for label, cost in costs.items():
        print(f"{label:<12}{cost.wall:6.2f} s wall {cost.cpu:8.2f} s CPU {cost.memory:8.0f} MB")
    slower = costs["SExtractor"].wall / PEER
    print(f"this machine takes {slower:.2f} times as long as that of the targets; by that:")
    judge("cold, wall", costs["cold"].wall / slower, TARGET, "s")
    judge("through the server, wall", costs["served"].wall / slower, SERVER_TARGET, "s")


if __name__ == "__main__":
    main()
