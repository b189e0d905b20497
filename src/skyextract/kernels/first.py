"""Kernels that nearly every run calls, loaded by a thread before they are called.

LLVM links them without Python's lock: a second core does it while the program is imported and the
sources are searched.  What fits need is imported then, too: the kernels of the search do not hold
that lock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

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
    ("measurement.aperture", "kron_radii"),
    ("measurement.aperture", "elliptical_fluxes"),
    ("measurement.aperture", "aperture_fluxes"),
    ("measurement.fluxradius", "flux_radii"),
    ("measurement.windowed", "windowed"),
    ("background.residual", "count_low_blocks"),
    ("detection.images", "count_stretches"),
    ("detection.images", "densest_shift"),
    ("detection.lines", "pairs_along"),
)
"""Module and function, in the order in which they are called."""

PSF = (
    ("repair.cosmics", "find_seeds"),
    ("repair.cosmics", "cap_by_pairs"),
    ("repair.cosmics", "grow"),
    ("repair.cosmics", "count_tracks"),
    ("psf.peaks", "smooth_band"),
    ("psf.peaks", "find_peaks_band"),
    ("psf.moments", "adaptive_moments"),
    ("psf.peaks", "crowding"),
    ("psf.stamps", "cut_stamps"),
    ("psf.stamps", "radial_sums"),
    ("psf.bspline", "spline_coefficients"),
    ("psf.starfit", "fit_stars"),
    ("psf.normal", "multiply"),
    ("psf.precondition", "multiply_both_sides"),
    ("psf.precondition", "solve_alike"),
    ("detection.matched", "matched_rows"),
    ("background.spline", "spline_squares"),
    ("detection.linenoise", "line_sums"),
    ("detection.footprints", "group_boxes"),
    ("detection.footprints", "gather_grown"),
    ("detection.shape", "measure_sources"),
)
POINTS = (
    ("psf.model", "psf_stamps"),
    ("psf.fit", "fit_tiles"),
    ("psf.joint", "join_tiles"),
    ("psf.errors", "describe_fits"),
    ("psf.errors", "joint_errors"),
)
GALAXIES = (
    ("galaxies.boxes", "overlapping_boxes"),
    ("galaxies.boxes", "colour_sources"),
    ("galaxies.boxes", "copy_boxes"),
    ("galaxies.draw", "add_models"),
    ("galaxies.fit", "visit_sources"),
    ("galaxies.level", "sum_sky"),
    ("galaxies.level", "mean_wings"),
)
"""The same of a PSF and of detection by it, of fits of it, and of models of galaxies."""


def begin(
    n_threads: int, kernels: Sequence[tuple[str, str]] = FIRST, modules: Sequence[str] = ()
) -> None:
    """Let a thread import modules and load kernels, if there is a second one, and these are not."""
    interpreted = os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"}
    if n_threads > 1 and not interpreted and not all(is_loaded(*name) for name in kernels):
        with suppress(RuntimeError):  # no room for its stack
            threading.Thread(target=_load, args=(kernels, modules), daemon=True).start()


def _load(kernels: Sequence[tuple[str, str]], modules: Sequence[str]) -> None:
    with suppress(MemoryError, OSError, ImportError):  # whoever wants one says so
        for name in modules:
            import_module(name)
        load_ahead(kernels)
