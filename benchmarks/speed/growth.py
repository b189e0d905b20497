"""Growth of time and memory with pixels, sources and reference stars.

    python -m benchmarks.speed.growth [--sizes 1024 2048 4096 8192] [--size 4096]
        [--sources 100 1000 10000 100000] [--most 10000]
        [--stars 100 1000 10000 100000 1000000] [--repeat 1]

Pixels and sources: SExtractor's columns beside SExtractor, and the default run; reference stars:
all steps on the example field with a catalogue of so many stars, those that are not its own
spread over 10 degrees around it.  A knee is a value per pixel (or source) that grows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks import ROOT
from benchmarks.paired import Cost, both, in_turn, our_program, simulated, workplace

LABELS = ("columns", "peer", "default")


def rows(catalog: Path) -> int:
    """Return the number of rows of a FITS_LDAC catalogue."""
    from astropy.io import fits

    return int(fits.getheader(catalog, "LDAC_OBJECTS")["NAXIS2"])


def costs_of(image: Path, folder: Path, repeat: int, with_default: bool = True) -> dict[str, Cost]:
    """Return the costs of the three runs on a frame, or of two."""
    pair = both(str(image))
    commands = {
        "columns": pair["ours"],
        "peer": pair["peer"],
        "default": [our_program(), str(image), "-VERBOSE_TYPE", "QUIET"],
    }
    if not with_default:
        del commands["default"]
    return in_turn(commands, folder, repeat, warm_up=False)


def print_costs(name: str, costs: dict[str, Cost], count: int) -> None:
    """Print wall times, CPU time per pixel (or source) in microseconds, and memory."""
    known = [costs.get(label, Cost(np.nan, np.nan, np.nan)) for label in LABELS]
    walls = " ".join(f"{cost.wall:8.2f}" for cost in known)
    each = " ".join(f"{1e6 * cost.cpu / count:9.3g}" for cost in known)
    memory = " ".join(f"{cost.memory:7.0f}" for cost in known)
    print(f"{name:<12}{walls}  |{each}  |{memory}", flush=True)


def head(name: str, each: str) -> None:
    """Print the head of a table of growth."""
    walls, labels = (" ".join(f"{label:>{n}}" for label in LABELS) for n in (8, 9))
    memory = " ".join(f"{label:>7}" for label in LABELS)
    print(f"\n{'':<12}{'wall [s]':^26}  |{'CPU [us] per ' + each:^29}  |{'memory [MB]':^23}")
    print(f"{name:<12}{walls}  |{labels}  |{memory}")


def stars(numbers: list[int], folder: Path, repeat: int) -> None:
    """Print the growth with reference stars."""
    from astropy.table import Table

    own = Table.read(ROOT / "examples/field_refcat.fits")
    print(f"\n{'stars':<12}{'wall [s]':>9} {'CPU [s]':>9} {'memory [MB]':>12}")
    for number in numbers:
        rng = np.random.default_rng(3)
        table = own[rng.integers(0, len(own), max(number, len(own)))]
        table[: len(own)] = own
        ra, dec = (next(n for n in own.colnames if n.upper() == name) for name in ("RA", "DEC"))
        for column in (ra, dec):
            table[column][len(own) :] += rng.uniform(-5, 5, len(table) - len(own))
        table = table[:number]
        table.write(folder / "reference.fits", overwrite=True)
        command = [our_program(), str(ROOT / "examples/field.fits.fz"), "-VERBOSE_TYPE", "QUIET"]
        command += ["-ASTREFCAT_NAME", "reference.fits", "-CATALOG_NAME", "field.cat"]
        command += ["-SUMMARY_NAME", "field.json"]
        cost = in_turn({"ours": command}, folder, repeat, warm_up=False)["ours"]
        print(f"{number:<12}{cost.wall:9.2f} {cost.cpu:9.2f} {cost.memory:12.0f}", flush=True)


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--size", type=int, default=4096, help="of the frames with sources")
    parser.add_argument("--sources", type=int, nargs="*", default=[10**n for n in range(2, 6)])
    parser.add_argument("--most", type=int, default=10**4, help="sources in a default run")
    parser.add_argument("--stars", type=int, nargs="*", default=[10**n for n in range(2, 7)])
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    with workplace() as folder:
        costs_of(simulated(folder / "small.fits", 512), folder, 1)
        head("pixels", "pixel")
        for size in options.sizes:
            image = simulated(folder / "frame.fits", size)
            print_costs(f"{size}^2", costs_of(image, folder, options.repeat), size * size)
            image.unlink()
        head("sources", "source")
        for number in options.sources:
            image = simulated(folder / "frame.fits", options.size, number)
            costs = costs_of(image, folder, options.repeat, number <= options.most)
            print_costs(str(number), costs, number)
            image.unlink()
        stars(options.stars, folder, options.repeat)


if __name__ == "__main__":
    main()
