"""The gain of the pixels: what cards say, if the noise allows it, or what the noise says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header, header_number, header_text
from skyextract.datamodel.instruments import PixelUnit, is_flux_density
from skyextract.datamodel.noise import MAX_SAMPLE, median, robust_sigma, sparse
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.run import Run
from skyextract.stages.background.coarse import sample_good, value_step
from skyextract.stages.background.noise import MIN_PAIRS, SAMPLE

MIN_SIGNAL = 20.0
"""Pixels tell the gain of a variance plane if they are above the sky by so many sigma..."""
MIN_PIXELS = 30
"""... if there are so many of them..."""
MAX_SPREAD = 0.25
"""... and their gains agree so well."""
MIN_ELECTRONS = 0.1
"""Noise of the sky below which a gain is none: the best detectors read out with 0.3 electrons."""
MIN_ELECTRONS_OF_RATES = 3.0
"""The same where BUNIT says that pixels are rates: their gain is a multiple of the camera's."""


MAX_NOISE_RATIO = 4.0
"""Variance over what a gain explains, from which on it cannot be: with ..."""
MIN_LEVEL = 10.0
"""... a sky of so many times the noise, ..."""
READ_NOISES, MOST_READ_NOISE = 2.0, 30.0
"""... so many times the read noise, or so many electrons where it is not known, ..."""
UNEVEN, ROUNDING = 0.016, 0.1
"""... this part of the sky as differences between pixels, and rounding to whole numbers."""
WHOLE, FAR, POISSON = 1e-3, 4.0, 0.15
"""Photons are whole numbers to this, up to so many times the noise from the median, and their
variance is their mean to this part of it."""


COMBINED_KEYS = (
    "NCOMBINE", "NCOMB", "STACKCNT", "NSTACK", "NCOADD", "NIMAGES", "NUMFRAME", "COADDS",
    "ESO DET NDIT",
)  # fmt: skip
"""Cards with the number of frames that an image was made of."""


def with_plausible_gain(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure with another gain, or without, where its own is not what noise allows.

    A gain that was that of the camera is wrong for pixels that were divided by something since:
    rates, means of many frames, normalised images, fluxes.  Photons that are counted one by one
    have as little noise, but then their values are whole numbers of electrons.  Where the sky was
    left in, its level and noise have the gain of these pixels; else it is unknown.  Of rates by
    BUNIT the gain is that of the camera, or 1 if they are electrons, times the exposure time.
    """
    if not exposure.detector.gain > 0.0:
        exposure = _with_gain_of_unit(exposure, run)
    if not exposure.detector.gain > 0.0:
        return _with_gain_of_counting(exposure, run)
    part = sparse(exposure.shape, SAMPLE)
    good = (exposure.mask[part] == 0) & np.isfinite(exposure.image[part])
    sample = exposure.image[part][good].astype(np.float64)
    noise = exposure.detector.gain * robust_sigma(sample) if sample.size >= MIN_PAIRS else 0.0
    if not noise > 0.0:
        return exposure
    if not exposure.camera:
        for by_unit in (_with_gain_of_rates, _with_gain_of_electrons, _with_gain_of_flux):
            counted = by_unit(exposure, sample, noise, run)
            if counted is not exposure:
                return counted
    if noise >= MIN_ELECTRONS:
        return _with_gain_of_sky(exposure, median(sample), run)
    finite = sample_good(exposure.image, lambda rows: np.isfinite(exposure.image[rows]), run)
    if exposure.detector.gain * value_step(finite) > 0.5:
        return exposure
    found, instead = _instead(exposure, sample)
    run.warn(
        f"{exposure.name}: a GAIN of {exposure.detector.gain:g} makes the noise of the sky "
        f"{noise:.2g} electrons, less than any detector has, as the pixels were scaled since: "
        f"{instead}"
    )
    return replace(exposure, detector=replace(exposure.detector, gain=found))


def _instead(exposure: Exposure, sample: F8) -> tuple[float, str]:
    """Return the gain of level and noise of the sky, 0 if they tell none, and that in words."""
    # Read noise of the camera is not that of pixels that were scaled.
    gain = _gain_of_sky(*_sky_and_variance(exposure, median(sample)), 0.0)
    if not gain:
        return gain, "it is not used"
    return gain, f"level and noise of the sky are those of {gain:.3g} e- per unit, which is used"


def _with_gain_of_unit(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure with the gain of electrons where BUNIT says so and nothing else does.

    A variance plane tells it from the pixels, and a preset of the camera knows better.
    """
    known = exposure.camera or exposure.variance is not None
    unit = None if known else PixelUnit.of(exposure.header or Header())
    time = exposure.detector.exposure_time
    if unit is None or not unit.is_electron or (unit.per_second and not time > 0.0):
        return exposure
    gain = time if unit.per_second else 1.0
    run.tell(f"{exposure.name}: pixels are electrons (BUNIT): GAIN is {gain:.6g}")
    return replace(exposure, detector=replace(exposure.detector, gain=gain))


def _with_gain_of_counting(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure with a gain of 1 where BUNIT says counts and the sky is single photons.

    These are whole numbers, the variance of which is their mean; rates are after they are
    multiplied by the exposure time, which is their gain.
    """
    unit, time = PixelUnit.of(exposure.header or Header()), exposure.detector.exposure_time
    if unit is None or exposure.variance is not None or (unit.per_second and not time > 0.0):
        return exposure
    gain = time if unit.per_second else 1.0
    rows = slice(None, None, max(1, exposure.image.size // (5 * SAMPLE)))
    counts = gain * exposure.image[rows].astype(np.float64)
    good = (exposure.mask[rows] == 0) & np.isfinite(counts)
    if np.count_nonzero(good) < MIN_PAIRS:
        return exposure
    middle = median(counts[good])
    good &= np.abs(counts - middle) < FAR * math.sqrt(max(middle, 1.0))
    both = good[:, 1:] & good[:, :-1]
    steps, level = np.diff(counts, axis=1)[both], float(counts[good].mean())
    if len(steps) < MIN_PAIRS or np.abs(counts[good] - np.rint(counts[good])).max() > WHOLE:
        return exposure
    if not (level > 0.0 and abs(0.5 * np.mean(steps**2) / level - 1.0) < POISSON):
        return exposure
    run.tell(
        f"{exposure.name}: the sky is whole numbers, the variance of which is their mean: photons "
        f"are counted, GAIN is {gain:.6g}"
    )
    return replace(exposure, detector=replace(exposure.detector, gain=gain))


def _with_gain_of_rates(exposure: Exposure, _sample: F8, noise: float, run: Run) -> Exposure:
    """Return the exposure with the exposure time in its gain where BUNIT says rates."""
    unit, detector = PixelUnit.of(exposure.header or Header()), exposure.detector
    few = noise < MIN_ELECTRONS_OF_RATES and detector.exposure_time > 1.0
    if unit is None or not unit.per_second or not few:
        return exposure
    gain = detector.exposure_time * (1.0 if unit.is_electron else detector.gain)
    run.tell(f"pixels are rates (BUNIT): GAIN is {gain:.6g}, with the exposure time")
    return replace(exposure, detector=replace(detector, gain=gain))


def _with_gain_of_electrons(exposure: Exposure, sample: F8, _noise: float, run: Run) -> Exposure:
    """Return the exposure with a gain of 1 where BUNIT says electrons and the card has another.

    Most such cards are that of the camera, from before it was multiplied with; of a mean of many
    frames the gain is their number.  The noise of the sky tells, where there is sky.
    """
    header, detector = exposure.header or Header(), exposure.detector
    unit, card = PixelUnit.of(header), header.get("GAIN")
    if unit is None or not unit.is_electron or unit.per_second or detector.gain == 1.0:
        return exposure
    if header_number(card) != detector.gain:
        return exposure
    level, noise = median(sample) - detector.pedestal, robust_sigma(sample)

    def contradiction(gain: float) -> float:
        return abs(math.log(gain * noise**2 / (level + detector.read_noise**2 / gain)))

    if level > MIN_LEVEL * noise and contradiction(detector.gain) < contradiction(1.0):
        return exposure
    run.warn(
        f"{exposure.name}: pixels are electrons (BUNIT), and GAIN = {detector.gain:g} is that of "
        "the camera: the gain of the pixels is 1"
    )
    return replace(exposure, detector=replace(detector, gain=1.0))


def _with_gain_of_flux(exposure: Exposure, sample: F8, noise: float, run: Run) -> Exposure:
    """Return the exposure with another gain where BUNIT is a flux, and the noise not of its own.

    There is no bias in the level of a flux: it is photons, which are noise.
    """
    header, gain = exposure.header or Header(), exposure.detector.gain
    if not is_flux_density(header) or header_number(header.get("GAIN")) != gain:
        return exposure
    level, variance = _sky_and_variance(exposure, median(sample))
    photons = level / gain if level > MIN_LEVEL * math.sqrt(variance) else 0.0
    if noise >= MIN_ELECTRONS_OF_RATES and photons <= MAX_NOISE_RATIO * variance:
        return exposure
    found, instead = _instead(exposure, sample)
    run.warn(
        f"{exposure.name}: a GAIN of {gain:g} is not that of pixels in "
        f"{header_text(header, 'BUNIT')}: {instead}"
    )
    return replace(exposure, detector=replace(exposure.detector, gain=found))


def _with_gain_of_sky(exposure: Exposure, level: float, run: Run) -> Exposure:
    """Return the exposure with the gain of its sky where its own leaves no room for the noise.

    Neighbouring pixels scatter by the photons of the sky, the read noise and what the flat field
    leaves.  A level that holds a bias has fewer photons, so that the gain of the sky is an upper
    limit; nothing is said where the sky was taken off.
    """
    detector = exposure.detector
    level, variance = _sky_and_variance(exposure, level)
    gain = _gain_of_sky(level, variance, detector.read_noise)
    if not gain:
        return exposure
    averaged = _averaged(exposure, level, variance, run)
    if averaged is not None:
        return averaged
    read_noise = READ_NOISES * detector.read_noise or MOST_READ_NOISE
    read_noise /= detector.gain
    explained = level / detector.gain + read_noise**2 + (UNEVEN * level) ** 2 + ROUNDING
    if variance < MAX_NOISE_RATIO * explained:
        return exposure
    run.warn(
        f"{exposure.name}: a GAIN of {detector.gain:g} cannot be: the sky is {level:.4g} and "
        f"neighbouring pixels scatter by {math.sqrt(variance):.3g}, as with {gain:.3g} e- per "
        "image unit or less, which is used"
    )
    return replace(exposure, detector=replace(detector, gain=gain))


def _averaged(exposure: Exposure, level: float, variance: float, run: Run) -> Exposure | None:
    """Return a mean of frames with their gain in total; None if it is none, or it is not known.

    A card tells their number, and the noise whether the pixels are their mean or sum, or whether
    the gain is of all of them already: it has to fit that of a mean to a factor of two.
    """
    header, detector = exposure.header or Header(), exposure.detector
    keys = [key for key in COMBINED_KEYS if (header_number(header.get(key)) or 0.0) >= 2.0]
    if not keys:
        return None
    n = header_number(header.get(keys[0])) or 1.0
    of_one = level / detector.gain + (detector.read_noise / detector.gain) ** 2
    excess = n * variance / of_one
    if not 0.5 < excess < min(2.0, math.sqrt(n)):
        return None
    gain, noise = n * detector.gain, math.sqrt(n) * detector.read_noise
    run.tell(
        f"{exposure.name}: {keys[0]} = {n:g}, and the noise of the sky is that of the mean of so "
        f"many: GAIN is {gain:.6g}"
    )
    return replace(exposure, detector=replace(detector, gain=gain, read_noise=noise))


def _gain_of_sky(level: float, variance: float, read_noise: float) -> float:
    """Return the gain at which photons and read noise (electrons) are the noise; 0 without a sky.

    The positive root of variance g^2 - level g - read_noise^2 = 0.
    """
    if not level >= MIN_LEVEL * math.sqrt(variance) > 0.0:
        return 0.0
    return (level + math.sqrt(level**2 + 4.0 * variance * read_noise**2)) / (2.0 * variance)


def _sky_and_variance(exposure: Exposure, level: float) -> tuple[float, float]:
    """Return the sky without a pedestal, and the variance of pixels by their neighbours, or 0."""
    rows = slice(None, None, max(1, exposure.image.size // (5 * SAMPLE)))
    good = exposure.mask[rows] == 0
    both = good[:, 1:] & good[:, :-1]
    if np.count_nonzero(both) < MIN_PAIRS:
        return 0.0, 0.0
    steps = np.diff(exposure.image[rows].astype(np.float64), axis=1)[both]
    return level - exposure.detector.pedestal, 0.5 * robust_sigma(steps) ** 2


def with_gain_of_variance(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure with the gain that its variance plane has, where nothing gives one.

    A variance with the photons of the sources in it rises with the signal above the sky by one
    over the gain.  Without the gain these photons would be taken for noise of the sky.
    """
    if exposure.variance is None or exposure.detector.gain > 0.0:
        return exposure
    part = sparse(exposure.shape, 2 * MAX_SAMPLE)
    variance = exposure.variance[part]
    unusable = np.uint16(Mask.BAD | Mask.SAT | Mask.NO_DATA)
    good = (exposure.mask[part] & unusable) == 0
    good &= (variance > 0.0) & (variance < MAX_VARIANCE)
    if not good.any():
        return exposure
    image, variance = exposure.image[part][good].astype(float), variance[good].astype(float)
    noise = median(variance)
    signal = image - median(image)
    bright = signal > MIN_SIGNAL * math.sqrt(noise)
    if np.count_nonzero(bright) < MIN_PIXELS:
        return exposure
    slopes = (variance[bright] - noise) / signal[bright]
    slope = median(slopes)
    if not (slope > 0.0 and robust_sigma(slopes) < MAX_SPREAD * slope):
        return exposure
    run.tell(f"GAIN, which nothing gives, is {1.0 / slope:.4g} e- per image unit by the variances")
    return replace(exposure, detector=replace(exposure.detector, gain=1.0 / slope))
