"""From pixels above the threshold to sources: connect, deblend, clean.

Bertin & Arnouts (1996, A&AS 117, 393, sections 5 and 6), as SExtractor does it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from skyextract.datamodel.arrays import F4, I8, U2, Bools, each_of
from skyextract.datamodel.detections import Detections
from skyextract.kernels.detection.branches import Branches, TreeRules
from skyextract.kernels.detection.deblend import Draws, Sources, count_draws, gather_components
from skyextract.kernels.detection.draws import random_numbers
from skyextract.kernels.detection.label import label_runs
from skyextract.kernels.detection.pixels import Components, Pixels, Runs
from skyextract.kernels.detection.queue import Scan
from skyextract.kernels.detection.shape import N_INTEGER, N_REAL, PARENT
from skyextract.kernels.detection.tree import split_components
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Extraction
from skyextract.stages.detection.clean import Candidates, OffFrame, clean
from skyextract.stages.detection.widelight import SCATTERED, give_rest, wide_components

Chunks = list[tuple[int, int]]
_MANY = 1 << 15
"""Pixels, at least, that are worth a thread."""

CORE_LEVEL = 0.1
"""The core of a source are the pixels above this share of its peak."""
MAX_WIDTH = 1.5
"""A blend of point sources has at most so many times the area of their cores."""
MIN_BRANCH = 3
"""Isophotes in the deblending tree have this many pixels, or DETECT_MINAREA if less."""


MOST_COMPANIONS = 3
"""What has more peaks than a galaxy with those beside it is a crowd, of sums of stars."""


@record
class PsfDeblending:
    """How sources are told from each other with the PSF as detection filter.

    Attributes
    ----------
    narrow : (n_pixels,) float32 or None
        Values that blends are taken apart by, in place of the filtered ones.
    core_area : float
        Pixels of a PSF above a tenth of its peak.  What is wider than its peaks would be as
        point sources, a galaxy or a saturated star, is taken apart by the filtered values.
    min_prominence, min_narrow_prominence : float
        A deblended source rises so far above its junction in the filtered and in the narrow
        values...
    photon_noise : float
        ... and ``sqrt(1 + photon_noise * s)`` times as far above a junction at level s.
    narrow_area : float
        Flux over peak of a point source in `narrow`, pixels; see `TreeRules.psf_area`.
    wide_area : float
        The same in the filtered values, where these are taken for components that are too wide.
    off_frame : callable or None
        Tells of peaks at (x, y) whether they belong to a source outside; cleaning removes these.
    plateau : (2 k + 1, 2 k + 1) bool or None
        Distances of two peaks that one point source may have, see `MatchedFilter.plateau`.
    mask : (ny, nx) uint16 or None
        Where pixels are saturated; None: nowhere.
    """

    narrow: F4 | None = None
    core_area: float = 0.0
    min_prominence: float = 0.0
    min_narrow_prominence: float = 0.0
    photon_noise: float = 0.0
    narrow_area: float = 0.0
    wide_area: float = 0.0
    off_frame: OffFrame | None = None
    plateau: Bools | None = None
    mask: U2 | None = None


def extract(
    pixels: Pixels,
    runs: Runs,
    shape: tuple[int, int],
    config: Extraction,
    run: Run,
    *,
    threshold: float,
    deblending: PsfDeblending | None = None,
    scan: Scan | None = None,
) -> Detections:
    """Connect the pixels above the threshold, deblend and clean.

    Parameters
    ----------
    pixels, runs
        What lies above the threshold.
    shape : (int, int)
        Of the image, [y, x].
    config : Extraction
        DETECT_MINAREA, DETECT_MAXAREA, DEBLEND_*, CLEAN*.
    threshold : float
        Of the filtered values; with `Pixels.local` in units of each pixel's limit.
    deblending : PsfDeblending, optional
        Without it all is as in SExtractor.
    scan : Scan, optional
        The sources are numbered in the order in which SExtractor would write them; else in that
        of their peaks along the rows.
    """
    by_psf = deblending or PsfDeblending()
    # SExtractor's thresholds are float32
    level = float(np.float32(threshold))
    components = _connect(runs, len(pixels.x), config.detect_minarea)
    chunks = _chunks(components.first, run)
    pixels, branches, lights = _split(pixels, components, chunks, level, config, by_psf, run)
    sources = _gather(pixels, components, branches, chunks, level, shape, config, run)
    candidates = _candidates(pixels, sources, int(components.first[-1]), shape[1], run)
    if lights:
        candidates = candidates.spared(np.isin(sources.integer[:, PARENT] - 1, lights))
    # in a crowd these are as large as a plane of the image
    del pixels, components, branches, sources
    return clean(
        candidates, shape, config, run, threshold=threshold, off_frame=by_psf.off_frame,
        plateau=by_psf.plateau, scan=scan,
    )  # fmt: skip


def _candidates(pixels: Pixels, sources: Sources, n: int, width: int, run: Run) -> Candidates:
    """Return sources with places and filtered values of their n pixels; `width` is the image's."""
    members, index, values = sources.members[:n], np.empty(n, np.int64), np.empty(n, np.float32)

    def part(span: tuple[int, int]) -> None:
        some = slice(*span)
        rows = members[some]
        index[some] = pixels.y[rows].astype(np.int64) * width + pixels.x[rows]
        values[some] = pixels.filtered[rows]

    run.map(part, run.bands(n, least=_MANY))
    return Candidates(sources.real, sources.integer, sources.start, index, values)


def _connect(runs: Runs, n_pixels: int, min_area: int) -> Components:
    """Return the components that runs of pixels form."""
    order = np.empty(n_pixels, np.int32)
    first = np.empty(len(runs.y) + 1, np.int64)
    n = label_runs(runs, min_area, Components(order, first))
    return Components(order, first[: n + 1])


def _chunks(first: I8, run: Run) -> Chunks:
    """Split components into chunks with about the same number of pixels."""
    n = len(first) - 1
    n_chunks = min(4 * run.n_threads, max(n, 1))
    goals = first[n] * np.arange(1, n_chunks) // n_chunks
    edges = {0, n, *np.searchsorted(first, goals).tolist()}
    return list(pairwise(sorted(edges)))


def _split(
    pixels: Pixels,
    components: Components,
    chunks: Chunks,
    threshold: float,
    config: Extraction,
    by_psf: PsfDeblending,
    run: Run,
) -> tuple[Pixels, Branches, list[int]]:
    """Find the branches of all components.

    Returns
    -------
    pixels : Pixels
        With the filtered values by which each component was split.
    branches : Branches
    lights : list of int
        Components that are wide light with stars upon it.
    """
    n_pixels, first = len(pixels.x), components.first
    n = len(first) - 1
    branches = Branches(
        np.empty(n_pixels, np.int32), np.empty(n_pixels, np.float32), np.ones(n, np.int32)
    )

    def split(
        values: F4, min_prominence: float, psf_area: float, chunks: Chunks, local: float = 0.0
    ) -> None:
        rules = TreeRules(
            config.deblend_nthresh,
            config.deblend_mincont,
            config.detect_type == "PHOTO",
            min(config.detect_minarea, MIN_BRANCH),
            min_prominence,
            by_psf.photon_noise,
            psf_area,
            local,
            threshold,
        )
        of_values = pixels._replace(filtered=values)
        run.map(
            lambda chunk: split_components(
                of_values, components, rules, threshold, *chunk, branches
            ),
            chunks,
        )

    values = pixels.filtered
    if by_psf.narrow is None or n == 0:
        split(values, by_psf.min_prominence, 0.0, chunks)
        return pixels, branches, []
    split(by_psf.narrow, by_psf.min_narrow_prominence, by_psf.narrow_area, chunks)
    wide = _too_wide(by_psf.narrow, components, branches, by_psf.core_area)
    points = branches.number > 1
    points[wide] = False
    crowded = branches.number[wide] > MOST_COMPANIONS
    for those, psf_area in ((wide[crowded], 0.0), (wide[~crowded], by_psf.wide_area)):
        together = np.split(those, np.flatnonzero(np.diff(those) > 1) + 1)
        ranges = [(int(c[0]), int(c[-1]) + 1) for c in together if c.size]
        split(values, by_psf.min_prominence, psf_area, ranges)
    lights = []
    if by_psf.mask is not None:
        found = wide_components(pixels, components, branches, by_psf.core_area, by_psf.mask)
        for c, local in found:
            points[c] = False
            split(values, by_psf.min_prominence, by_psf.wide_area, [(c, c + 1)], local)
            own = branches.of_pixel[first[c] : first[c + 1]]
            if (own < 0).any() and give_rest(
                pixels, components, branches, c, by_psf.core_area, is_scattered=local == SCATTERED
            ):
                lights.append(c)
            elif branches.number[c] == 1:
                own[:] = 0
    # a blend of point sources is measured in the image that shows it
    blended = components.order[_places(first, np.flatnonzero(points))]
    values = values.copy()
    values[blended] = by_psf.narrow[blended]
    return pixels._replace(filtered=values), branches, lights


def _too_wide(narrow: F4, components: Components, branches: Branches, core_area: float) -> I8:
    """Return the blended components that are wider than point sources at their peaks would be.

    Of a Gaussian whose peak is the share s of the highest, the area above `CORE_LEVEL` of that
    is ``1 + log10(s)`` times its core; a branch's junction tells the least s.
    """
    order, first = components
    blends = np.flatnonzero(branches.number > 1)
    if not blends.size:
        return blends
    values = narrow[order[_places(first, blends)]]
    length = np.diff(first)[blends]
    start = np.cumsum(length) - length
    top = np.maximum.reduceat(values, start)
    area = np.add.reduceat(values > CORE_LEVEL * np.repeat(top, length), start, dtype=np.int64)
    n = branches.number[blends]
    begin = np.cumsum(n) - n
    branch = np.arange(int(n.sum())) - np.repeat(begin - first[blends], n)
    share = branches.level[branch] / np.repeat(top, n)
    cores = np.clip(1.0 + np.log10(share) / -np.log10(CORE_LEVEL), 0.0, 1.0)
    expected = 1.0 + np.add.reduceat(cores, begin) - np.maximum.reduceat(cores, begin)
    return blends[area > MAX_WIDTH * core_area * expected]


def _places(first: I8, components: I8) -> I8:
    """Return the places of the pixels of some components in the list of all, one after another."""
    of, place = each_of(np.diff(first)[components])
    return first[components][of] + place


def _gather(
    pixels: Pixels,
    components: Components,
    branches: Branches,
    chunks: Chunks,
    threshold: float,
    shape: tuple[int, int],
    config: Extraction,
    run: Run,
) -> Sources:
    """Share out the pixels between the branches, and measure the sources that they make."""
    ny, nx = shape
    members = np.empty(len(pixels.x), np.int32)
    n_draws = np.zeros(len(branches.number), np.int64)
    run.map(
        lambda chunk: count_draws(
            pixels, components, branches, threshold, *chunk, members, n_draws
        ),
        chunks,
    )
    draws = Draws(random_numbers(int(n_draws.sum())), np.cumsum(n_draws) - n_draws)
    n_sources = int(branches.number.sum())
    sources = Sources(
        (np.cumsum(branches.number) - branches.number).astype(np.int64),
        members,
        np.full(n_sources + 1, components.first[-1], np.int64),
        np.empty((n_sources, N_REAL), np.float64),
        np.empty((n_sources, N_INTEGER), np.int32),
    )
    run.map(
        lambda chunk: gather_components(
            pixels, components, branches, draws, sources, threshold, nx, ny,
            config.detect_minarea, *chunk,
        ),
        chunks,
    )  # fmt: skip
    return sources
