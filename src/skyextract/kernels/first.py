"""Kernels that nearly every run calls, loaded by a thread while the program is imported.

LLVM links them without Python's lock, which the imports hold: a second core does it meanwhile.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from skyextract.kernels.native import is_loaded, load_ahead

FIRST = (
    ("background.mesh", "mesh_statistics"),
    ("background.grid", "fill_bad_meshes"),
    ("background.grid", "median_filter"),
    ("background.planes", "subtract_rows"),
    ("detection.filter", "threshold_rows"),
    ("detection.label", "label_runs"),
    ("detection.tree", "split_components"),
    ("detection.deblend", "count_draws"),
    ("detection.draws", "random_numbers"),
    ("detection.deblend", "gather_components"),
    ("detection.clean", "clean_sources"),
    ("detection.footprints", "lay_out"),
    ("measurement.isophotes", "isophotal"),
    ("background.residual", "count_low_blocks"),
    ("detection.images", "count_stretches"),
    ("detection.images", "densest_shift"),
    ("detection.lines", "pairs_along"),
)
"""Module and function, in the order in which they are called."""


def begin(n_threads: int) -> None:
    """Let a thread load the kernels, if the program has a second one and they are not loaded."""
    interpreted = os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"}
    if n_threads > 1 and not interpreted and not is_loaded(*FIRST[-1]):
        with suppress(RuntimeError):  # no room for its stack
            threading.Thread(target=_load, daemon=True).start()


def _load() -> None:
    with suppress(MemoryError, OSError):  # whoever calls a kernel says so
        load_ahead(FIRST)
