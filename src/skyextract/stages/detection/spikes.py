"""Sources that are pieces of diffraction spikes.

The spikes of all stars have the same directions.  The light along rays from the brightest stars,
on both sides of each, is stacked over stars: where it stands out from other directions there are
spikes, and faint sources that lie on the ray of a star, where it shines, are parts of it.  One star
is enough where its light stands out on all arms of a cross, or of a star of six.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.noise import median
from skyextract.kernels.detection.rays import along_rays, clip_rays
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.stages.chance import log_choices
from skyextract.stages.detection.marked import Marked

BRIGHT, MOST, LEAST = 100.0, 16, 4
"""Peaks of stars whose rays are looked at, in sigma of a pixel; their number, most and least."""
ROUND = 1.6
"""Ratio of their axes, at most."""
NEAREST, FARTHEST = 4.0, 40.0
"""Ends of the rays, in FWHM."""
EXTENT = 6.0
"""... and where they begin at least, in semi-major axes of these stars."""
STEP = 0.4
"""Steps of the rays, in FWHM."""
SOME = 9
"""Every so many-th direction tells the light around a star."""
CLIP = 3.0
"""Highest and lowest value, sigma, so that no other star counts for more."""
N_DIRECTIONS = 360
"""Of rays, over half a circle."""
SEEN, MIN_SHARE = 3.0, 0.5
"""Light along rays of a star, on both sides, in units of its scatter over directions, and share of
the brightest stars that have it."""
FALSE_ALARM = 1e-5
"""Probability that neighbours at random are taken for spikes."""
SURE, SURE_LIGHT = 8.0, 0.5
"""Light on each arm of the cross of one star alone: in units of its scatter, and of sigma."""
CROSSES = ((90,), (60, 120))
"""Directions, degrees from one of them, of the other spikes of a star: four or six arms."""
MIN_STEP = 1.0
"""Light of a step that shows where such a spike is, in sigma of a pixel."""
BESIDE = 16
"""So many directions beside a spike there is less than half of its light."""
MIN_LIGHT = 0.3
"""Of a ray, in sigma of a pixel, where it makes sources."""
SMOOTH = 7
"""Steps of a ray whose median tells its light."""
ASIDE = 0.8
"""Distance of a source from a ray, in FWHM, at most, and a degree."""
FAINT = 5.0, 4.0
"""Peak of a piece, at most, in sigma of a pixel and in units of the light of the ray."""
MOST_SPIKES = 8
MANY = 0.2
"""Share of the sources above which they are doubtful."""


def find_spikes(
    image: F4, sigma: float, bad: Bools, x: F8, y: F8, a: F8, b: F8, peak: F4, fwhm: float
) -> Marked | None:
    """Look for sources that are pieces of diffraction spikes.

    Parameters
    ----------
    image : (ny, nx) float32
        Without background.
    sigma : float
        Noise of a pixel.
    bad : (ny, nx) bool
    x, y, a, b : (n,) float64
        Sources: pixels, and their semi-axes.
    peak : (n,) float32
        Highest pixels.
    fwhm : float
        Of stars, pixels.

    Returns
    -------
    Marked or None
        None where there are no spikes, or no sources on them.
    """
    stars = np.flatnonzero((peak > BRIGHT * sigma) & (a < ROUND * b))
    stars = stars[np.argsort(-peak[stars], kind="stable")[:MOST]]
    if not stars.size or not fwhm > 0.0:
        return None
    first = max(NEAREST * fwhm, EXTENT * median(a[stars]))
    r = np.arange(first, max(FARTHEST * fwhm, 2.0 * first), max(1.0, STEP * fwhm))
    both, means = _rays(image, sigma, bad, x[stars], y[stars], r)
    own = _own_light(means)
    directions = _directions(own) if stars.size >= LEAST else np.zeros(0)
    rows = np.zeros(x.size, np.bool_)
    if directions.size:
        shining = [(star, both[k]) for k, star in enumerate(stars)]
    else:
        alone, directions = _cross(own)
        if not alone.size:
            return None
        # What one star alone shows is bright, and long.
        r = np.arange(first, max(image.shape), max(1.0, STEP * fwhm))
        some = stars[alone]
        both, _ = _rays(image, sigma, bad, x[some], y[some], r)
        shining = list(zip(some, both, strict=True))
        directions = _sharper(shining[0][1], directions)
    for star, rays in shining:
        light = _light(rays, directions)
        rows |= _on_rays(x - x[star], y - y[star], peak / sigma, directions, r, light, fwhm)
    rows[stars] = False
    if not rows.any():
        return None
    degrees = ", ".join(f"{180.0 * d / N_DIRECTIONS:.0f}" for d in np.sort(directions))
    message = (
        f"{np.count_nonzero(rows)} of {rows.size} sources are pieces of spikes of bright stars, at "
        f"{degrees} degrees from x towards y (TRACK in FLAGS_SKY)"
    )
    return Marked(rows, message, MANY)


def _rays(image: F4, sigma: float, bad: Bools, x: F8, y: F8, r: F8) -> tuple[F4, F4]:
    """Return the light along rays, less that of other directions, and its means.

    In sigma, clipped; NaN where there is none.  The second half of the circle comes second.

    Returns
    -------
    rays : (stars, 2, directions, steps) float32
    means : (stars, 2, directions) float32
        Infinite where most of a ray is unknown.
    """
    angle = np.arange(2 * N_DIRECTIONS) * math.pi / N_DIRECTIONS
    dx, dy = np.cos(angle)[:, None] * r, np.sin(angle)[:, None] * r
    rays = np.empty((x.size, *dx.shape), np.float32)
    means = np.empty(rays.shape[:2], np.float32)
    for k in range(x.size):
        value = rays[k]
        along_rays(image, bad, np.float32(sigma), float(x[k]), float(y[k]), dx, dy, value)
        # Of neighbours in memory: numpy sorts these in vectors.
        some = np.ascontiguousarray(value[::SOME].T)
        clip_rays(value, _median(some, 1)[:, 0], np.float32(CLIP), means[k])
    return rays.reshape(x.size, 2, N_DIRECTIONS, r.size), means.reshape(x.size, 2, N_DIRECTIONS)


def _median(value: F4, axis: int) -> F4:
    """Return the median of what is known along an axis, which stays; 0 where nothing is."""
    ordered = np.sort(value, axis=axis)
    number = np.count_nonzero(~np.isnan(value), axis=axis, keepdims=True)
    middle = np.take_along_axis(ordered, number // 2 - (number == ordered.shape[axis]), axis=axis)
    out: F4 = np.where(number > 0, middle, np.float32(0.0))
    return out


def _middle(own: F8) -> F8:
    """Return the median over directions, an even number of them, of each star, (stars, 1).

    That of `numpy.median`, which imports `numpy.ma` when it is called first.
    """
    ordered, half = np.sort(own, axis=1), own.shape[1] // 2
    middle: F8 = (ordered[:, half - 1 : half] + ordered[:, half : half + 1]) / 2
    return middle


def _own_light(means: F4) -> F8:
    """Return the light of stars in each direction, (stars, directions), in units of sigma."""
    # A spike is on both sides; a neighbour is on one.
    own = means.min(axis=1)
    own = np.where(np.isfinite(own), own, 0.0)
    return np.asarray(own - _middle(own), np.float64)


def _scatter(own: F8) -> F8:
    """Return the scatter of the light of each star over the directions, (stars, 1)."""
    return MAD_TO_SIGMA * _middle(np.abs(own)) + 1e-9


def _cross(own: F8) -> tuple[I8, F8]:
    """Return the stars that show a cross each, and its directions in the first one of them."""
    found: list[int] = []
    directions = np.zeros(0)
    step = N_DIRECTIONS // 180
    offset = np.arange(-4, 5)
    for k, (light, scatter) in enumerate(zip(own, _scatter(own)[:, 0], strict=True)):
        beside = np.maximum(np.roll(light, BESIDE), np.roll(light, -BESIDE))
        is_spike = (light > max(SURE * scatter, SURE_LIGHT)) & (beside < 0.5 * light)
        at = int(np.argmax(np.where(is_spike, light, -np.inf)))
        for turns in CROSSES:
            arms = [(at + step * turn + offset) % N_DIRECTIONS for turn in (0, *turns)]
            if not all(is_spike[arm].any() for arm in arms):
                continue
            weights = [np.maximum(light[arm] - 0.3 * light[arm].max(), 0.0) for arm in arms]
            shift = [float(weight @ offset / weight.sum()) for weight in weights]
            places = np.array([arm[4] + by for arm, by in zip(arms, shift, strict=True)])
            apart = np.abs(places[:, None] - directions).min(axis=1, initial=N_DIRECTIONS)
            if not directions.size:
                directions = places
            elif not (apart < 4.0).all():
                break
            found.append(k)
            break
    return np.array(found, np.int64), directions


def _sharper(both: F4, directions: F8) -> F8:
    """Return the directions of spikes as the farther half of their light has them."""
    offset = np.arange(-3, 4)
    for _ in range(2):
        is_lit = np.flatnonzero(_light(both, directions) > MIN_STEP)
        if not is_lit.size:
            break
        outer = np.nan_to_num(both[:, :, is_lit[is_lit.size // 2 :]]).mean(axis=(0, 2))
        places = (np.rint(directions).astype(np.int64)[:, None] + offset) % N_DIRECTIONS
        weight = np.maximum(outer[places] - 0.3 * outer[places].max(axis=1, keepdims=True), 0.0)
        total = np.maximum(weight.sum(axis=1), 1e-30)
        directions = np.rint(directions) + (weight @ offset) / total
    return directions


def _directions(own: F8) -> F8:
    """Return the directions of spikes, in steps of half a circle over `N_DIRECTIONS`."""
    seen = own > SEEN * _scatter(own)
    surprise = _surprise(seen)
    found: list[float] = []
    offset = np.arange(-4, 5)
    bright = own[: max(LEAST, seen.shape[0] // 2)].mean(axis=0)
    while len(found) < MOST_SPIKES and surprise.max() > -math.log(FALSE_ALARM):
        at = int(np.argmax(surprise * (1.0 + bright / bright.max())))
        near = (at + offset) % N_DIRECTIONS
        weight = np.maximum(bright[near] - 0.3 * bright[near].max(), 0.0)
        found.append(at + float(np.sum(weight * offset) / max(float(np.sum(weight)), 1e-30)))
        surprise[(at + np.arange(-12, 13)) % N_DIRECTIONS] = 0.0
    return np.array(found)


def _surprise(seen: Bools) -> F8:
    """Return minus the logarithm of the chance to see light in so many of the brightest stars.

    That of a star is the share of all directions in which there is as much; for each direction
    the number of the brightest stars is that which chance explains least.
    """
    n_stars, n_directions = seen.shape
    p = max(float(seen.mean()), 1.0 / n_directions)
    best = np.zeros(n_directions)
    for n in range(LEAST, n_stars + 1):
        number = seen[:n].sum(axis=0)
        log_p = [
            log_choices(n, k) + k * math.log(p) + (n - k) * math.log1p(-p) for k in range(n + 1)
        ]
        tail = np.cumsum(np.exp(log_p)[::-1])[::-1]
        chance = np.minimum(tail[number] * n_directions * n_stars, 1.0)
        best = np.maximum(best, np.where(number > MIN_SHARE * n, -np.log(chance), 0.0))
    return best


def _light(both: F4, directions: F8) -> F8:
    """Return the light of the spikes of a star along the rays, in sigma: that of most of them."""
    k = np.rint(directions).astype(np.int64) % N_DIRECTIONS
    rays = both[:, k].reshape(2 * k.size, -1)
    padded = np.pad(rays, ((0, 0), (SMOOTH // 2,) * 2), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, SMOOTH, axis=1)
    pixels = windows.transpose(1, 0, 2).reshape(rays.shape[1], -1)
    return _median(np.ascontiguousarray(pixels), 1)[:, 0].astype(np.float64)


def _on_rays(dx: F8, dy: F8, peak: F4, directions: F8, r: F8, light: F8, fwhm: float) -> Bools:
    """Tell which faint sources are on shining parts of the rays of a star."""
    distance = np.hypot(dx, dy)
    shining = np.interp(distance, r, light, 0.0, 0.0)
    near = (shining > MIN_LIGHT) & (peak < FAINT[0] + FAINT[1] * shining)
    on = np.zeros(dx.size, np.bool_)
    for direction in directions:
        angle = math.pi * direction / N_DIRECTIONS
        aside = np.abs(dy * math.cos(angle) - dx * math.sin(angle))
        on |= near & (aside < ASIDE * fwhm + distance * math.radians(0.5))
    return on
