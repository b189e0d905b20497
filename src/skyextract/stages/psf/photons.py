"""Whether photons of the stars are the noise that GAIN makes of them.

An image that is the mean of many frames, or of pixels, keeps the card of one of them; the true gain
is as many times higher.  The level of the sky over its noise shows it, unless a bias is part of
the level; the scatter of the stars about the PSF shows it, unless the model does not fit.  What
both say alike is believed.  So it is where both say that there is more noise: an electron
multiplier doubles the variance of its photons, and a card may be too high.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.noise import MAX_SAMPLE, pixel_noise, robust_sigma
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.record import record
from skyextract.stages.psf.fitted import PsfFit

FEWER, SURE = 0.65, 4.0
"""Part of the photon noise by GAIN below which stars, and the sky, contradict it, and times the
error of that of the stars by which it is below 1."""
MODEL_ERROR, MISFIT = 0.005, 0.2
"""Of the light of a pixel, about, that the model lacks; stars with more of that, in units of their
own variance, are not looked at."""
AGREE = 2.0
"""Factor to which stars confirm the gain of the sky: a bias raises its level, and pixels that are
not linear in light have none."""
MIN_LEVEL = 10.0
"""Noise of a pixel that the sky is at least."""
MIN_FAINT_LEVEL, MOST_READ_NOISE = 3.0, 8.0
"""The same where the read noise is not known, and may be the rest of the sky's noise: the gain is
that of the stars then.  All noise over that of photons, at most."""
MOST_STARS = 60
"""Which are looked at."""
MIN_STARS, MIN_BLOCKS = 5, 200
"""Stars, and blocks of pixels, without which nothing is said."""
MIN_LEVEL_MORE = 2.0
"""The same where there is more noise."""
RATES, AS_RATES = 2.0, 1.5
"""Exposure time from which on rates of counts show themselves, s, and factor to which the noise of
the sky is that of the gain times the exposure time."""
MORE, MORE_SKY, SURE_MORE = 1.4, 1.25, 3.0
"""Times the photon noise by GAIN above which stars, and the sky, contradict it, too; that of the
stars by so many errors, too."""
WILD = 5.0
"""Sigma beyond which a pixel of a star does not tell of more noise: it is a neighbour's."""


_GAUSSIAN_AREA = math.pi / (4.0 * math.log(2.0))


@record
class FewerPhotons:
    """How much smaller the noise of photons is than GAIN says.

    Attributes
    ----------
    gain : float
        Electrons per image unit that fit.
    doubt : str
        What is to be said, in one line.
    read_noise : float
        Electrons; 0 if it is not known of such pixels.
    """

    gain: float
    doubt: str
    read_noise: float = 0.0


@record
class Growth:
    """How the noise grows with the light of stars.

    Attributes
    ----------
    part, error : float
        Variance over that of photons by the gain that the fit has had, and its error.
    usual_error : float
        The error where that gain is right.
    """

    part: float
    error: float
    usual_error: float


def growth_of_noise(
    fit: PsfFit, sigma: float, inverse_gain: float, *, apart: bool = False
) -> Growth | None:
    """Measure how the scatter about the PSF grows with light; None for too few stars.

    A line through squared residuals in the cores of the stars: their share of the sky's noise, and
    that of the photons of the model.  What fluxes and positions take off the residuals is made up
    for (their leverage).

    Parameters
    ----------
    sigma, inverse_gain : float
        Noise of the sky, image units, and image units per electron.
    apart : bool
        Whether what grows with the square of the light, a model that does not fit, is told apart
        from photons, and wild pixels are left out.
    """
    solver = fit.solver
    peak = fit.flux / (_GAUSSIAN_AREA * fit.psf.fwhm**2)
    misfit = (MODEL_ERROR * peak) ** 2
    rows = np.flatnonzero(fit.used & (misfit < MISFIT * (inverse_gain * peak + sigma**2)))
    # The brightest of these tell most.
    rows = np.sort(rows[np.argsort(-fit.flux[rows], kind="stable")][:MOST_STARS])
    if rows.size < MIN_STARS:
        return None
    size = solver.stamps.shape[1]
    cx, cy = solver.cx[rows] - size // 2, solver.cy[rows] - size // 2
    shapes = fit.psf.stamps(fit.x[rows], fit.y[rows], cx, cy, size).astype(np.float64)
    models = solver.flux[rows, None, None] * shapes
    noise, photons = solver.noise[rows].astype(np.float64), inverse_gain * models
    axis = np.arange(size) - size // 2
    r2 = (axis - cx[:, None])[:, None, :] ** 2 + (axis - cy[:, None])[:, :, None] ** 2
    use = (noise < MAX_VARIANCE) & (solver.weight[rows] > 0.0) & (r2 < solver.core**2)
    if np.count_nonzero(use.any(axis=(1, 2))) < MIN_STARS:
        return None
    squares = (solver.stamps[rows] - models)[use] ** 2
    slopes = np.stack([shapes, *np.gradient(shapes, axis=(1, 2))], axis=1)
    # Nothing is asked of the pixels beyond the cores, which are most.
    core = np.ix_(use.any(axis=(0, 2)), use.any(axis=(0, 1)))
    slopes = slopes[:, :, *core].reshape(rows.size, 3, -1)
    use, noise, photons, models = (v[:, *core] for v in (use, noise, photons, models))
    part, of_sky, errors = 1.0, 1.0, []
    for _ in range(8 if apart else 4):
        expected = max(of_sky, 0.3) * noise + max(part, 0.03) * np.maximum(photons, 0.0)
        free = 1.0 - _leverage(slopes, np.where(use, 1.0 / expected, 0.0))[use]
        weight = (free / expected[use]) ** 2
        lines = np.stack([noise[use], photons[use]])
        if apart:
            weight[squares > WILD**2 * expected[use]] = 0.0
            lines = np.stack([*lines, (MODEL_ERROR * models[use]) ** 2])
        matrix = (weight * lines) @ lines.T
        solution = np.linalg.solve(matrix, (weight * lines) @ (squares / free))
        of_sky, part = solution[:2].tolist()
        errors.append(math.sqrt(2.0 * float(np.linalg.inv(matrix)[1, 1])))
    return Growth(part, errors[-1], errors[0])


def _leverage(slopes: F8, weight: F8) -> F8:
    """Return the part of its noise that flux and position of a star take up, of each pixel.

    Parameters
    ----------
    slopes : (n, 3, m) float64
        Images of the stars, and their slopes along y and x.
    weight : (n, k, l) float64
        Weights of their m pixels.
    """
    shape, n = weight.shape, len(weight)
    weight = weight.reshape(n, -1)
    matrix = (slopes * weight[:, None]) @ slopes.transpose(0, 2, 1)
    some = weight.any(axis=1)
    matrix[~some] = np.eye(3)
    taken = np.linalg.inv(matrix) @ slopes
    part: F8 = np.einsum("nkm,nkm,nm->nm", slopes, taken, weight)
    return part.reshape(shape)


def noise_in_blocks(data: F4, variance: F4, side: int) -> float:
    """Return the variance of means of side x side pixels, over that of independent ones.

    Parameters
    ----------
    data, variance : (ny, nx) float32
        Background-subtracted image and background variance (1e30: no data).
    """
    ny, nx = (n // side * side for n in data.shape)
    shape = (ny // side, side, nx // side, side)
    good = (variance[:ny, :nx] < MAX_VARIANCE).reshape(shape).all(axis=(1, 3))
    means = data[:ny, :nx].reshape(shape).mean(axis=(1, 3), dtype=np.float64)[good]
    if means.size < MIN_BLOCKS:
        return math.nan
    pixels = data[:ny:side, :nx:side][good].astype(np.float64)
    spread = robust_sigma(pixels)
    return (side * robust_sigma(means) / spread) ** 2 if spread > 0.0 else math.nan


def find_fewer_photons(
    fit: PsfFit, data: F4, variance: F4, level: float, sigma: float, gain: float, read_noise: float
) -> FewerPhotons | None:
    """Compare the noise of stars and sky with their photons; None where GAIN may be right.

    Parameters
    ----------
    fit : PsfFit
        Stars and their PSF.
    data, variance : (ny, nx) float32
        Background-subtracted image and background variance (1e30: no data).
    level, sigma : float
        Of the sky, without a pedestal, and its noise, image units.
    gain, read_noise : float
        Electrons per image unit, and electrons; 0 if they are not known.
    """
    faint = read_noise == 0.0 and level < MIN_LEVEL * sigma
    if not (gain > 0.0 and level > (MIN_FAINT_LEVEL if faint else MIN_LEVEL) * sigma):
        return None
    of_sky = sigma**2 / (level / gain + (read_noise / gain) ** 2)
    if not 0.0 < of_sky < FEWER:
        return None
    # What neighbours share is no less noise of a star.
    shared = noise_in_blocks(data, variance, max(2, round(fit.psf.fwhm)))
    if not shared * of_sky < FEWER:
        return None
    stars = growth_of_noise(fit, sigma, 1.0 / gain)
    if stars is None or stars.part > min(FEWER, 1.0 - SURE * stars.usual_error):
        return None
    if faint and SURE * stars.error < stars.part < of_sky:
        if stars.part * MOST_READ_NOISE < of_sky:
            return None
        of_sky = stars.part  # The rest of the sky's noise is that of reading, which no card tells.
    elif not 1.0 / AGREE < stars.part / of_sky < AGREE:
        return None
    again = growth_of_noise(fit, sigma, of_sky / gain)
    if again is None:
        return None
    # Fainter stars, which no misfit makes noisier.
    low, high = again.part - 2.0 * again.error, again.part + 2.0 * again.error
    if low > AGREE or high < 1.0 / AGREE:
        return None
    of_sky *= shared
    message = (
        f"stars and sky scatter with {of_sky:.2g} of the variance that a GAIN of {gain:g} gives "
        f"their photons, as in the mean of {1.0 / of_sky:.2g} frames or pixels: a gain of "
        f"{gain / of_sky:.4g} e- per image unit is used"
    )
    return FewerPhotons(gain / of_sky, message)


def find_rates(
    fit: PsfFit, level: float, sigma: float, gain: float, read_noise: float, time: float
) -> FewerPhotons | None:
    """Find that pixels are rates whose GAIN is that of counts; None where it may be right.

    Counts per second have GAIN times EXPTIME electrons per unit.  The noise of the stars is that
    of such photons, and so is that of the sky, as far as it was left in.

    Parameters
    ----------
    fit, level, sigma, gain, read_noise :
        As of `find_fewer_photons`.
    time : float
        Exposure time, s.
    """
    found = gain * time
    if not (gain > 0.0 and time > RATES and found * sigma > 0.0):
        return None
    explained = (read_noise / found) ** 2
    if level > MIN_LEVEL * sigma:
        explained += level / found
        if sigma**2 > AS_RATES * explained:
            return None
    if sigma**2 * AS_RATES < explained:
        return None
    stars = growth_of_noise(fit, sigma, 1.0 / gain)
    if stars is None or stars.part > min(FEWER, 1.0 - SURE * stars.usual_error):
        return None
    again = growth_of_noise(fit, sigma, 1.0 / found)
    if again is None or not 1.0 / AGREE < again.part < AGREE:
        return None
    message = (
        f"stars and sky have the noise of counts per second: a gain of {found:.6g} e- per image "
        f"unit is used, GAIN {gain:g} times the exposure time of {time:g} s"
    )
    return FewerPhotons(found, message, read_noise)


def find_more_photons(
    fit: PsfFit, data: F4, level: float, sigma: float, gain: float, read_noise: float
) -> FewerPhotons | None:
    """Find that stars and sky have more noise than their photons by GAIN; None where they have not.

    A PSF that does not fit grows with the square of the light, and read noise does not grow.  What
    neighbours share, structure of the sky, is no noise of photons.

    Parameters
    ----------
    fit, data, level, sigma, gain, read_noise :
        As of `find_fewer_photons`.
    """
    if not (gain > 0.0 and level > MIN_LEVEL_MORE * sigma):
        return None
    photons = level / gain + (read_noise / gain) ** 2
    if not sigma**2 > MORE_SKY * photons:
        return None
    stars = growth_of_noise(fit, sigma, 1.0 / gain, apart=True)
    if stars is None or stars.part - SURE_MORE * stars.error < 1.0 or stars.part < MORE:
        return None
    of_sky = min(sigma, pixel_noise(data[:: max(1, data.size // MAX_SAMPLE)])) ** 2 / photons
    if not of_sky > MORE_SKY:
        return None
    if not 1.0 / AGREE < stars.part / of_sky < AGREE:
        return None
    # Stars that the PSF is made of scatter a little less about it; a bias lowers that of the sky.
    more = max(stars.part, min(of_sky, stars.part + SURE_MORE * stars.error))
    message = (
        f"stars scatter with {more:.2g} times the variance that a GAIN of {gain:g} gives "
        "their photons, and so does the sky (an electron multiplier, lines of other gains, a GAIN "
        f"that is too high?): a gain of {gain / more:.4g} e- per image unit is used"
    )
    return FewerPhotons(gain / more, message)
