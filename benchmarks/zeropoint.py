"""Are zero-point errors true?  Simulated calibrations with outliers.

    python benchmarks/zeropoint.py [--seed N] [--number N]

Prints, per number of stars, kind and fraction of outliers, the width (rms) and the largest of
(zero point - truth) / error over the simulated calibrations.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from skyextract.stages.zeropoint import fit_zero_point

TRUTH = 27.3
KINDS = ("both sides", "one side", "near")


def simulate(
    n: int, fraction: float, kind: str, rng: np.random.Generator, intrinsic: float = 0.015
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return y = reference magnitude + 2.5 log10(flux) and its errors for n stars.

    Errors from 0.005 to 0.05 mag, an intrinsic scatter that the errors do not tell; outliers
    of 1 mag on both sides, of 0.1..2 mag on one side (blends), or of 0.3 mag.
    """
    errors = 0.005 * 10.0 ** rng.random(n)
    y = TRUTH + rng.normal(0, np.hypot(errors, intrinsic))
    wrong = rng.permutation(n)[: round(fraction * n)]
    y[wrong] += {
        "both sides": rng.normal(0, 1.0, len(wrong)),
        "one side": rng.uniform(0.1, 2.0, len(wrong)),
        "near": rng.normal(0, 0.3, len(wrong)),
    }[kind]
    return y, errors


def pulls(
    n: int, fraction: float, kind: str, number: int, seed: int, intrinsic: float = 0.015
) -> NDArray[np.float64]:
    """Return (zero point - truth) / error of simulated calibrations."""
    rng = np.random.default_rng(seed)
    result = np.empty(number)
    for i in range(number):
        fit = fit_zero_point(*simulate(n, fraction, kind, rng, intrinsic))
        result[i] = (fit.zero_point - TRUTH) / fit.error
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=200, help="calibrations per line")
    parser.add_argument("--intrinsic", type=float, default=0.015, help="scatter, mag")
    options = parser.parse_args()
    print(f"{'stars':>5} {'outliers':>18} {'mean':>6} {'width':>6} {'largest':>7} {'ms':>5}")
    for n, fractions in ((10, (0.0, 0.1, 0.2)), (30, (0.0, 0.2, 0.4)), (100, (0.0, 0.2, 0.4))):
        for kind in KINDS:
            for fraction in fractions:
                start = time.perf_counter()
                p = pulls(n, fraction, kind, options.number, options.seed, options.intrinsic)
                ms = 1000 * (time.perf_counter() - start) / options.number
                print(
                    f"{n:5d} {100 * fraction:4.0f} % {kind:>11} {p.mean():6.2f} "
                    f"{np.sqrt(np.mean(p**2)):6.2f} {np.abs(p).max():7.2f} {ms:5.1f}"
                )


if __name__ == "__main__":
    main()
