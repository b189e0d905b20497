"""The console script, and `python -m skyextract`."""

from __future__ import annotations

import os
import sys

from skyextract.cli import main


def run() -> int:
    """Run the program in a process of its own."""
    # Our matrices are small, and the threads that work on the image need the cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Where scipy is installed numba imports it at the first kernel call, 0.3 s for nothing:
    # no kernel uses numpy.linalg, and nothing else here needs it.
    sys.modules.setdefault("scipy", None)  # type: ignore[arg-type]
    return main()


if __name__ == "__main__":
    sys.exit(run())
