"""Several extended sources and stars in one clump of point sources, told one after the other.

The next of them stands where most is left of the light, and is a star or a profile, whichever
describes more of it for its parameters (Schwarz 1978, Ann. Stat. 6, 461; the order is that of
matching pursuit, Mallat & Zhang 1993, IEEE Trans. Signal Process. 41, 3397).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8
from skyextract.kernels.psf.profiles import N_SHAPE
from skyextract.record import record
from skyextract.stages.crowded.pairs import START
from skyextract.stages.crowded.profile import Windows, fit_profiles

if TYPE_CHECKING:
    from skyextract.stages.crowded.hidden import Hidden

MOST_PARTS, MOST_PROFILES = 8, 4
"""Parts of a mixture, and profiles among them, at most."""
STEPS = 16
"""Steps of the fit of all profiles, at most."""
FAR_OFF = 1.0
"""Stars move no farther than this at once, in pixels."""
ROUNDS = 4
"""Times that stars are moved to where what is left draws them, at most."""
DETECTED = 0.3
"""A detection is taken for a part before an added source that is nearer by this, in FWHM."""


@record
class Mixture:
    """Profiles and stars in one window.

    Attributes
    ----------
    shape : (7 m,) float64
        See `Profiles.shape`.
    stars : (k, 2) float64
        x, y from the first pixel.
    flux : (k,) float64
        Of the stars.
    model : (size, size) float32
    chi2 : float
    """

    shape: F8
    stars: F8
    flux: F8
    model: F4
    chi2: float

    @property
    def centres(self) -> F8:
        """x, y of the profiles, (m, 2)."""
        return self.shape.reshape(-1, N_SHAPE)[:, 1:3]

    def cost(self, penalty: float) -> float:
        """Return chi2 with what the parameters must take off it."""
        return self.chi2 + penalty * (self.shape.size + 3 * len(self.stars))


def pieces_of_mixtures(
    hidden: Hidden, n_detected: int, groups: list[I8], middle: I8, windows: Windows, goal: F8,
    tried: list[int], penalty: float,
) -> dict[int, tuple[I8, I8]]:  # fmt: skip
    """Return pieces of the extended sources in clumps, and added sources that stand for these.

    Parameters
    ----------
    n_detected : int
        The first sources are detections.
    groups : list of (k,) int64
        Rows of the sources in each clump.
    middle : (n, 2) int64
        Row and column of the first pixel of each window.
    goal : (n,) float64
        Costs that mixtures are to be below.
    tried : list of int
        Clumps that are looked at.
    penalty : float
        What a parameter must take off chi2.
    """
    told = {}
    for k in tried:
        group = groups[k]
        window = windows.take(np.array([k]), np.zeros((1, 0, 2)))
        mixture = tell_mixture(window, float(goal[k]), penalty, hidden.psf.fwhm)
        if mixture is None:
            continue
        x, y = hidden.x[group] - middle[k, 1], hidden.y[group] - middle[k, 0]
        nearer = np.where(group < n_detected, DETECTED * hidden.psf.fwhm, 0.0)
        kept: list[int] = []
        for place in np.vstack([mixture.stars, mixture.centres]):
            distance = np.hypot(x - place[0], y - place[1]) - nearer
            distance[kept] = np.inf
            kept.append(int(np.argmin(distance)))
        told[k] = np.delete(group, kept), group[kept[len(mixture.stars) :]]
    return told


def tell_mixture(window: Windows, goal: float, penalty: float, fwhm: float) -> Mixture | None:
    """Return the profiles and stars that describe a window at the least cost.

    None where that is not below the goal, or no profile is among them.

    Parameters
    ----------
    window : Windows
        One, without stars.
    goal : float
        Cost of the point sources.
    penalty : float
        Of a parameter.
    fwhm : float
        Of the PSF, pixels.
    """
    best = Mixture(
        np.zeros(0), np.zeros((0, 2)), np.zeros(0), np.zeros_like(window.data[0]),
        float((window.weight * window.data**2).sum()),
    )  # fmt: skip
    for _ in range(MOST_PARTS):
        place = _brightest_place(window, best)
        trials = [_with_star(window, best, place)]
        if best.shape.size < MOST_PROFILES * N_SHAPE:
            trials.append(_with_profile(window, best, place, fwhm))
        trial = min(trials, key=lambda one: one.cost(penalty))
        if not trial.cost(penalty) < best.cost(penalty) or (trial.flux < 0.0).any():
            break
        best = _with_points_as_stars(window, trial, penalty, fewest=1)
    best = _with_points_as_stars(window, best, penalty, fewest=0)
    return best if best.shape.size and best.cost(penalty) < goal else None


def _brightest_place(window: Windows, mixture: Mixture) -> F8:
    """Return x, y from the first pixel where what is left stands out most, as a star does."""
    weight, n = window.weight[0], len(window.data[0])
    transfer = np.conj(np.fft.rfft2(window.psf[0]))
    signal = np.fft.irfft2(
        np.fft.rfft2(weight * (window.data[0] - mixture.model)) * transfer, s=(n, n)
    )
    square = np.conj(np.fft.rfft2(window.psf[0] ** 2))
    noise2 = np.fft.irfft2(np.fft.rfft2(weight) * square, s=(n, n))
    contrast = np.where(weight > 0.0, signal / np.sqrt(np.maximum(noise2, 1e-30)), -np.inf)
    y, x = np.unravel_index(int(np.argmax(contrast)), contrast.shape)
    place: F8 = (np.array([x, y], np.float64) + n // 2) % n - n // 2
    return place


def _with_star(window: Windows, mixture: Mixture, place: F8) -> Mixture:
    """Add a star."""
    stars = np.vstack([mixture.stars, place])
    trial = _fitted(window, mixture.shape, stars)
    for _ in range(ROUNDS):
        moved = _moved(window, trial)
        better = _fitted(window, trial.shape, moved)
        if not better.chi2 < trial.chi2:
            break
        trial = better
    return trial


def _with_profile(window: Windows, mixture: Mixture, place: F8, fwhm: float) -> Mixture:
    """Add a profile, fitted to what is left, then all together."""
    rest = window.data[0] - mixture.model
    one = np.zeros(N_SHAPE)
    one[0] = max(float((rest * (window.weight[0] > 0.0)).sum()), 1.0)
    one[1:3] = place
    one[3] = one[5] = START * fwhm
    one[6] = 0.4
    alone = _fitted(
        Windows(rest[None], window.weight, window.psf, window.stars), one, np.zeros((0, 2))
    )
    if mixture.shape.size == 0 and len(mixture.stars) == 0:
        return alone
    return _fitted(window, np.concatenate([mixture.shape, alone.shape]), mixture.stars)


def _with_points_as_stars(
    window: Windows, mixture: Mixture, penalty: float, *, fewest: int
) -> Mixture:
    """Take profiles for stars where that costs less, but for so many.

    The first part of a blend is a profile of all; as a star it would not follow when others are
    added.
    """
    best = mixture
    for k in range(len(mixture.centres) - 1, -1, -1):
        if len(best.centres) <= fewest:
            break
        shape = best.shape.reshape(-1, N_SHAPE)
        rest = Mixture(np.delete(shape, k, axis=0).ravel(), best.stars, best.flux, best.model, 0.0)
        trial = _with_star(window, rest, shape[k, 1:3])
        if trial.cost(penalty) < best.cost(penalty):
            best = trial
    return best


def _fitted(window: Windows, shape: F8, stars: F8) -> Mixture:
    """Fit the profiles, and the fluxes of the stars."""
    if shape.size == 0:
        return _stars_alone(window, stars)
    never = np.full(1, np.inf)
    cut = Windows(window.data, window.weight, window.psf, stars[None])
    fit = fit_profiles(cut, shape[None], never, never, steps=STEPS, slow=True)
    return Mixture(fit.shape[0], stars, fit.stars[0], fit.models[0], float(fit.chi2[0]))


def _stars_alone(window: Windows, stars: F8) -> Mixture:
    """Fit the fluxes of stars."""
    images = _drawn(window.psf[0], stars)
    weight = window.weight[0]
    normal = np.einsum("ayx,byx,yx->ab", images, images, weight)
    vector = np.einsum("ayx,yx,yx->a", images, window.data[0], weight)
    flux = np.linalg.lstsq(normal, vector, rcond=None)[0]
    model = np.einsum("a,ayx->yx", flux, images).astype(np.float32)
    chi2 = float((weight * (window.data[0] - model) ** 2).sum())
    return Mixture(np.zeros(0), stars, flux, model, chi2)


def _moved(window: Windows, mixture: Mixture) -> F8:
    """Return the places of stars after one step of Gauss and Newton, each for itself."""
    stars = mixture.stars.copy()
    rest, weight = window.data[0] - mixture.model, window.weight[0]
    light, along_x, along_y = _drawn(window.psf[0], mixture.stars, slopes=True)
    for k, images in enumerate(zip(light, along_x, along_y, strict=True)):
        slopes = np.array(images)
        normal = np.einsum("ayx,byx,yx->ab", slopes, slopes, weight)
        flux = max(float(mixture.flux[k]), 1e-30)
        step = np.linalg.lstsq(normal, np.einsum("ayx,yx,yx->a", slopes, rest, weight), rcond=None)[
            0
        ]
        stars[k] += np.clip(step[1:] / flux, -FAR_OFF, FAR_OFF)
    return stars


def _drawn(psf: F4, places: F8, *, slopes: bool = False) -> F8:
    """Return stars of unit flux at places (k, 2), (k, n, n).

    With `slopes` (3, k, n, n): those, and their slopes along the places' x and y.
    """
    n = len(psf)
    kx, ky = 2.0 * np.pi * np.fft.rfftfreq(n), 2.0 * np.pi * np.fft.fftfreq(n)[:, None]
    x, y = places.T[:, :, None, None]
    waves = np.fft.rfft2(psf) * np.exp(-1j * (kx * x + ky * y))
    if slopes:
        waves = np.stack([waves, -1j * kx * waves, -1j * ky * waves])
    pixels: F8 = np.fft.irfft2(waves, s=(n, n))
    return pixels
