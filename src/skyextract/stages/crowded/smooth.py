"""Detections that one smooth profile describes, seen before more sources are added to them.

Point sources are added to a bright galaxy pass by pass, and fitted, until they describe it; in the
end most are pieces of it.  What is a galaxy to the noise after the first pass is left out of the
others.  Blends of stars are not: of bright ones a profile leaves more than noise, and of faint ones
the first sources leave little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import I8, Bools
from skyextract.stages.crowded.cutouts import Hosts, windows_about
from skyextract.stages.crowded.extended import MIN_CONTRAST, stands_above
from skyextract.stages.crowded.plain import chi2_of_footprints
from skyextract.stages.crowded.profile import fit_profiles

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.stages.crowded.hidden import Hidden

SMOOTH = 3.0
"""Sigma of chi2 within which what a profile leaves is noise."""
UNLIKE_STARS = 600.0
"""What the point sources so far leave has so much more chi2 than noise, at least..."""
WITHIN = 0.5
"""... and so much of that in the footprint itself, without the pixels beside it."""


def plainly_extended(
    exposure: Exposure, hidden: Hidden, found: Detections, least: float, run: Run
) -> tuple[Bools, I8, int]:
    """Tell which added sources are pieces of what one smooth profile describes to the noise.

    Parameters
    ----------
    exposure, hidden, found
        As in `pieces_of_extended`.
    least : float
        Flux of the faintest sources that are significant.

    Returns
    -------
    torn : (n,) bool
        Of the sources.
    pixels : (m,) int64
        Where the profiles are so bright that such a source would not stand out: none hides there.
    n_galaxies : int
        Detections that are described so.
    """
    variance = hidden.plane.variance_plane(run)
    hosts = Hosts.of(hidden, found)
    level = least * float(hidden.psf.basis[0].max()) / MIN_CONTRAST
    nx = found.image_shape[1]

    def judge(batch: tuple[int, I8]) -> tuple[I8, I8, int]:
        side, some = batch
        groups, middle = hosts.groups(hidden, some, side), hosts.middle[some]
        windows, guess, chi2, tried = windows_about(
            exposure, variance, hidden, found, some, groups, middle, side, UNLIKE_STARS
        )
        groups, middle, number = [groups[k] for k in tried], middle[tried], chi2[:, 1]
        limit = number + SMOOTH * np.sqrt(2.0 * number)
        fits = fit_profiles(windows, guess, limit, limit)
        good = np.flatnonzero(fits.chi2 < limit)
        pieces = [
            groups[k][~stands_above(hidden, groups[k], middle[k], fits.models[k])] for k in good
        ]
        window, y, x = np.nonzero((fits.models[good] > level) & (windows.weight[good] > 0.0))
        y, x = ((v + side // 2) % side - side // 2 for v in (y, x))
        y, x = y + middle[good[window], 0], x + middle[good[window], 1]
        return np.concatenate([np.zeros(0, np.int64), *pieces]), y * nx + x, good.size

    excess = chi2_of_footprints(exposure, variance, hidden, found)[0] - np.diff(found.first)
    judged = (hosts.members > 0) & (excess > WITHIN * UNLIKE_STARS)
    parts = run.map(judge, hosts.batches(judged))
    torn = np.zeros(hidden.x.size, np.bool_)
    for pieces, *_ in parts:
        torn[pieces] = True
    torn[: found.n] = False
    pixels = np.concatenate([np.zeros(0, np.int64), *(light for _, light, _ in parts)])
    return torn, pixels, sum(number for *_, number in parts)
