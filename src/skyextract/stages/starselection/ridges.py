"""Ridges of constant size in the diagram of size against S/N: stars crowd there.

They are where sources within a narrow window of log size outnumber those on either side the most,
over several limits of S/N and widths (PSFEx's SAMPLE_AUTOSELECT looks for the same among FWHMs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8
    from skyextract.settings.keywords import Characterize
    from skyextract.stages.starselection.candidates import Candidates

WIDTHS = ((0.012, 0.85), (0.025, 0.7), (0.05, 0.5))
"""Half-widths in log10 size of the windows that a stellar ridge is looked for with, and how
much of the expected number comes from the sizes below the window (the rest from above)."""


MIN_CONTRAST = 2.0
"""How far a ridge stands out of its surroundings, in units of their noise, at least."""

N_RIDGES = 3
"""So many are looked for with each limit of S/N and width where the clearest one is no locus."""

ELLIPTICITY_SPAN = 0.12
"""Elongated sources are stars of a trailed image if they differ by no more than this."""


def ridges_of(
    c: Candidates, bright: I8, config: Characterize
) -> tuple[I8, list[tuple[float, float]], float]:
    """Return the rows that can be stars, the ridges of their sizes, and their ellipticity.

    Stars are rounder than SAMPLE_MAXELLIP, unless far more sources of one size are elongated,
    and all to the same degree: the image is trailed.

    Returns
    -------
    rows : (n,) int64
        Of the candidates.
    ridges : list of (float, float)
        As of `find_ridges`; the image has no stars if there is none.
    ellipticity : float
        Of the stars of a trailed image, else 0.
    """
    size = np.log10(c.fwhm)
    rows = bright[c.ellipticity[bright] <= config.sample_maxellip]
    if not config.sample_autoselect:
        return rows, [(median(size[rows]), 10.0)] if rows.size else [], 0.0
    ridges = find_ridges(size[rows], c.snr[rows], N_RIDGES)
    n_round = _on_ridge(size[rows], ridges)
    if 2 * rows.size < bright.size:
        long = bright[c.ellipticity[bright] > config.sample_maxellip]
        middle = median(c.ellipticity[long])
        long = bright[np.abs(c.ellipticity[bright] - middle) < ELLIPTICITY_SPAN]
        trailed = find_ridges(size[long], c.snr[long], 1)
        if _on_ridge(size[long], trailed) > max(2 * n_round, 4):
            return long, trailed, middle
    return rows, ridges, 0.0


def _on_ridge(size: F8, ridges: list[tuple[float, float]]) -> int:
    """Return how many are on the first ridge."""
    if not ridges:
        return 0
    centre, width = ridges[0]
    return int(np.count_nonzero(np.abs(size - centre) < width))


def find_ridges(size: F8, snr: F8, n_each: int) -> list[tuple[float, float]]:
    """Find up to `n_each` ridges of log10 sizes for each limit of S/N and width.

    Returns
    -------
    list of (float, float)
        Centre and half-width in log10 size, the clearest first; each differs from those before by
        more than its half-width.  Empty if nothing stands out.
    """
    found: list[tuple[float, float, float]] = []
    for floor in (200.0, 100.0, 50.0, 0.0):
        subset = np.sort(size[snr >= floor])
        if subset.size < 2:
            continue
        for width, below in WIDTHS:
            # Each source's window, moved to the mean of its members.
            first = np.searchsorted(subset, subset - width)
            last = np.searchsorted(subset, subset + width, side="right")
            total = np.concatenate([[0.0], np.cumsum(subset)])
            centre = (total[last] - total[first]) / (last - first)
            inside = _between(subset, centre - width, centre + width)
            smaller = _between(subset, centre - 3 * width, centre - width)
            larger = _between(subset, centre + width, centre + 3 * width)
            # Galaxies are larger than stars: what is smaller counts more in a narrow window.
            # In a wide one that would take the lower edge of their hump for a ridge.
            expected = below * smaller + (1.0 - below) * larger
            # The hump is curved, too: a part of what surrounds is no signal.
            contrast = (inside - expected) / np.sqrt(expected + 1.0 + (0.4 * expected) ** 2)
            for _ in range(n_each):
                top = int(contrast.argmax())
                if not contrast[top] > MIN_CONTRAST:
                    break
                found.append((float(contrast[top]), float(centre[top]), width))
                contrast[np.abs(centre - centre[top]) < 2.0 * width] = 0.0
    ridges: list[tuple[float, float]] = []
    for _, middle, width in sorted(found, key=lambda ridge: -ridge[0]):
        if all(abs(middle - other) > min(width, half) for other, half in ridges):
            ridges.append((middle, width))
    return ridges


def _between(sorted_values: F8, low: F8, high: F8) -> F8:
    count = np.searchsorted(sorted_values, high, side="right") - np.searchsorted(sorted_values, low)
    return count.astype(np.float64)
