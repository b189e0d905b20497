"""Sources within a FWHM of each other, fitted again from points.

Fits of one source after the other hardly move where two models can trade light: which of two
blended stars has it would be what the first fits, of detections, made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import each_of
from skyextract.kernels.galaxies.source import X, Y
from skyextract.stages.galaxies.swallowed import as_points, light_of

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8, AnyArray, Bools
    from skyextract.kernels.galaxies.fit import Fits, Places
    from skyextract.stages.galaxies.fit import Profile
    from skyextract.stages.galaxies.scene import Scene

    Visit = Callable[[I8, Places], None]

NEAR = 1.0
"""Distance in FWHM below which two models trade light."""
POINT_SWEEPS = 60
"""In which places and fluxes of points are fitted, at most: many steps, each of them quick."""
SWEEPS = 24
"""In which all parameters are, at most."""
CHI2 = 0
"""Column of the numbers of a fit."""


def close_pairs(place: F8, scene: Scene, fwhm: float) -> I8:
    """Return pairs of sources that are within a FWHM, the closest first, each source in one.

    Parameters
    ----------
    place : (n, 2) float64
        Detections, 0-based x and y.

    Returns
    -------
    (m, 2) int64
    """
    of, _ = each_of(np.diff(scene.first))
    apart = np.hypot(*(place[scene.neighbours] - place[of]).T)
    near = np.flatnonzero((apart < NEAR * fwhm) & (of < scene.neighbours))
    near = near[np.argsort(apart[near], kind="stable")]
    pairs, taken = [], set[int]()
    for pair in np.stack([of[near], scene.neighbours[near]], axis=1).tolist():
        if taken.isdisjoint(pair):
            taken.update(pair)
            pairs.append(pair)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def fit_pairs_again(
    pairs: I8, start: F8, scene: Scene, profile: Profile, fwhm: float, fits: Fits,
    visit: tuple[Visit, Visit], draw: Callable[[float, Bools], None], stale: Bools,
) -> None:  # fmt: skip
    """Fit pairs again from two points, and keep what has the lower chi2.

    Parameters
    ----------
    pairs : (m, 2) int64
        As from `close_pairs`.
    start : (n, N_PARAMETERS) float64
        Where fits began, with the light of the detections.
    fits : Fits
        Changed.
    visit : two callables
        Fit some sources: place and flux alone; all parameters.
    draw : callable
        Adds a multiple of the models of some sources to the residual image.
    stale : (n,) bool
        Sources that have not settled; changed.
    """
    light, seen = light_of(fits.parameters), light_of(start)
    with np.errstate(invalid="ignore"):
        pairs = pairs[(light[pairs].sum(axis=1) > 0.0) & (seen[pairs] > 0.0).all(axis=1)]
    if not pairs.size:
        return
    share = np.zeros(len(start))
    share[pairs] = seen[pairs] / seen[pairs].sum(axis=1)[:, None]
    share[pairs] *= light[pairs].sum(axis=1)[:, None]
    those = share > 0.0
    parts: list[AnyArray] = [*fits, stale]
    kept = [part[those] for part in parts]
    before = fits.numbers[pairs, CHI2].sum(axis=1)
    draw(1.0, those)
    points = as_points(fits.parameters, start, share, profile, fwhm)
    draw(-1.0, those)
    as_point, free = visit
    points.fit(scene, fits.changed, as_point, POINT_SWEEPS)
    again = those.copy()
    for _ in range(SWEEPS):
        scene.sweep(again, fits.changed, free)
        again &= those
        if not again.any():
            break
    stale[those] = again[those]
    worse = ~(fits.numbers[pairs, CHI2].sum(axis=1) < before)
    # points that have passed each other would have the light of the other row
    apart, was = (
        np.subtract(*p[pairs][:, :, [X, Y]].swapaxes(0, 1)) for p in (fits.parameters, start)
    )
    worse |= (apart * was).sum(axis=1) <= 0.0
    back = np.zeros(len(start), dtype=np.bool_)
    back[pairs[worse]] = True
    draw(1.0, back)
    for part, values in zip(parts, kept, strict=True):
        part[back] = values[back[those]]
    draw(-1.0, back)
