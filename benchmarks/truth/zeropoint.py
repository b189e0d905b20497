"""Are zero-point errors true?  Simulated calibrations with outliers.

    python -m benchmarks.truth.zeropoint [--seed N] [--number N] [--stage]

Prints, per number of stars, range of the quoted errors (mag), kind and fraction of outliers, and
for each of some intrinsic scatters that the quoted errors do not tell (mag), the width of
(zero point - truth) / error: its rms, 1.48 times its median deviation, and the largest; then
what these are per number of stars.  With --stage the stars are a catalogue and a reference
catalogue, and go through matching, selection and verification; what FAILED there is left out
and counted.
"""

from __future__ import annotations

import argparse
import logging
import math
import multiprocessing
import time

import numpy as np
from numpy.typing import NDArray

from tests.simulate.zeropoint import KINDS, pulls

F8 = NDArray[np.float64]
SPREADS = ("0.005-0.05", "0.02", "0.003-0.3")
SCATTERS = (0.0, 0.005, 0.015, 0.03)
FRACTIONS = {10: (0.0, 0.1, 0.2), 30: (0.0, 0.2, 0.4), 100: (0.0, 0.2, 0.4)}


def widths(p: F8) -> tuple[float, float, float]:
    """Return rms, 1.48 times the median of the absolute values, and their largest."""
    p = np.abs(p[np.isfinite(p)])
    return math.sqrt(np.mean(p**2)), 1.4826 * float(np.median(p)), float(p.max())


def line(case: tuple[int, str, float, str], number: int, seed: int, stage: bool) -> list[F8]:
    """Return the pulls of one line of the table: per intrinsic scatter."""
    n, spread, fraction, kind = case
    return [pulls(n, fraction, kind, number, seed, s, spread, stage) for s in SCATTERS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=200, help="calibrations of each kind")
    parser.add_argument("--stage", action="store_true", help="through the photometry stage")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    cases = [
        (n, spread, fraction, kind)
        for n, fractions in FRACTIONS.items()
        for spread in SPREADS
        for fraction in fractions
        for kind in (KINDS if fraction else KINDS[:1])
    ]
    start = time.perf_counter()
    print(f"{'intrinsic scatter, mag':>37}" + "".join(f"{s:>19}" for s in SCATTERS))
    print(f"{'stars':>5} {'errors':>10} {'outliers':>19}" + f"{'rms':>8} {'MAD':>5} {'max':>4}" * 4)
    with multiprocessing.Pool() as pool:
        arguments = [(case, options.number, options.seed, options.stage) for case in cases]
        results = pool.starmap(line, arguments, chunksize=1)
    for (n, spread, fraction, kind), row in zip(cases, results, strict=True):
        cells = "".join("{:8.2f} {:5.2f} {:4.1f}".format(*widths(p)) for p in row)
        print(f"{n:5d} {spread:>10} {100 * fraction:5.0f} % {kind:>11}{cells}")
    for n in FRACTIONS:
        mine = [p for case, row in zip(cases, results, strict=True) if case[0] == n for p in row]
        rms = np.array([widths(p)[0] for p in mine])
        everything = np.concatenate(mine)
        print(
            f"{n} stars: rms {rms.min():.2f}..{rms.max():.2f}, median {np.median(rms):.2f} "
            f"(chance alone spreads it by {1 / math.sqrt(2 * options.number):.3f}); "
            f"{np.sum(np.abs(everything) > 5)} of {len(everything)} beyond 5 sigma, "
            f"{np.isnan(everything).sum()} FAILED"
        )
    total = len(cases) * len(SCATTERS) * options.number
    print(f"{1000 * (time.perf_counter() - start) / total:.1f} ms each, all processes together")


if __name__ == "__main__":
    main()
