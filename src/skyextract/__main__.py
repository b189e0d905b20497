"""The console script, and `python -m skyextract`."""

from __future__ import annotations

import os
import sys

from skyextract.cli import main
from skyextract.run import prepare_process


def run() -> int:
    """Run the program in a process of its own."""
    keep_standard_streams()
    prepare_process()
    return main()


def keep_standard_streams() -> None:
    """Open /dev/null for standard streams that are closed: no product may get their number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    sys.exit(run())
