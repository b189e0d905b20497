"""The background variance: sky and read noise, without the sources' photons."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header, header_number
from skyextract.datamodel.instruments import PixelUnit
from skyextract.datamodel.noise import MAX_SAMPLE, robust_sigma, sparse
from skyextract.kernels.values import MAX_VARIANCE, NO_INFORMATION
from skyextract.run import Run
from skyextract.settings.keywords import Weights, of_image
from skyextract.stages.background.coarse import sample_good, value_step
from skyextract.stages.background.estimate import mesh_variance

MIN_SIGNAL = 20.0
"""Pixels tell the gain of a variance plane if they are above the sky by so many sigma..."""
MIN_PIXELS = 30
"""... if there are so many of them..."""
MAX_SPREAD = 0.25
"""... and their gains agree so well."""


MAX_EXCESS = 5.0
"""Neighbouring pixels scatter by so many times what a variance plane says: it is not theirs."""


def with_plausible_variance(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure without its variance plane where the sky scatters by far more."""
    if exposure.variance is None:
        return exposure
    excess, _ = _excess_scatter(exposure, exposure.variance)
    if excess <= MAX_EXCESS:
        return exposure
    run.warn(
        f"{exposure.name}: pixels scatter by {excess:.0f} times the errors of their plane: it is "
        "not used, and the noise is measured"
    )
    return replace(exposure, variance=None)


SAMPLE = 20_000
"""Pixels that tell the size of the noise, unless most of them are the same."""
MIN_PAIRS = 1000
"""Pairs of pixels that tell the scatter."""
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


COMBINED_KEYS = (
    "NCOMBINE", "NCOMB", "STACKCNT", "NSTACK", "NCOADD", "NIMAGES", "NUMFRAME", "COADDS",
    "ESO DET NDIT",
)  # fmt: skip
"""Cards with the number of frames that an image was made of."""


def with_plausible_gain(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure with another gain, or without, where its own is less than noise allows.

    A gain that was that of the camera is wrong for pixels that were divided by something since:
    rates, means of many frames, normalised images.  Photons that are counted one by one have as
    little noise, but then their values are whole numbers of electrons.  Where the sky was left in,
    its level and noise have the gain of these pixels; else it is unknown.  Of rates by BUNIT the
    gain is that of the camera, or 1 if they are electrons, times the exposure time.
    """
    if not exposure.detector.gain > 0.0:
        exposure = _with_gain_of_unit(exposure, run)
    gain = exposure.detector.gain
    if not gain > 0.0:
        return exposure
    part = sparse(exposure.shape, SAMPLE)
    good = (exposure.mask[part] == 0) & np.isfinite(exposure.image[part])
    sample = exposure.image[part][good].astype(np.float64)
    noise = gain * robust_sigma(sample) if sample.size >= MIN_PAIRS else 0.0
    unit = None if exposure.camera else PixelUnit.of(exposure.header or Header())
    time = exposure.detector.exposure_time
    if unit and unit.per_second and 0.0 < noise < MIN_ELECTRONS_OF_RATES and time > 1.0:
        rate_gain = time * (1.0 if unit.is_electron else gain)
        run.tell(f"pixels are rates (BUNIT): GAIN is {rate_gain:.6g}, with the exposure time")
        return replace(exposure, detector=replace(exposure.detector, gain=rate_gain))
    if unit and unit.is_electron and not unit.per_second and gain != 1.0 and noise > 0.0:
        counted = _with_gain_of_electrons(exposure, sample, run)
        if counted is not exposure:
            return counted
    if noise >= MIN_ELECTRONS:
        return _with_gain_of_sky(exposure, float(np.median(sample)), run)
    if not noise > 0.0:
        return exposure
    finite = sample_good(exposure.image, lambda rows: np.isfinite(exposure.image[rows]), run)
    if gain * value_step(finite) > 0.5:
        return exposure
    # Read noise of the camera is not that of pixels that were scaled.
    found = _gain_of_sky(*_sky_and_variance(exposure, float(np.median(sample))), 0.0)
    message = (
        f"{exposure.name}: a GAIN of {gain:g} makes the noise of the sky {noise:.2g} electrons, "
        "less than any detector has: the pixels were scaled since, and it is not used"
    )
    if found:
        message = (
            f"{exposure.name}: a GAIN of {gain:g} makes the noise of the sky {noise:.2g} "
            "electrons, less than any detector has: the pixels were scaled since; level and "
            f"noise of the sky are those of {found:.3g} e- per image unit, which is used"
        )
    run.warn(message)
    return replace(exposure, detector=replace(exposure.detector, gain=found))


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


def _with_gain_of_electrons(exposure: Exposure, sample: F8, run: Run) -> Exposure:
    """Return the exposure with a gain of 1 where BUNIT says electrons and the card has another.

    Most such cards are that of the camera, from before it was multiplied with; of a mean of many
    frames the gain is their number.  The noise of the sky tells, where there is sky.
    """
    detector, card = exposure.detector, (exposure.header or Header()).get("GAIN")
    if header_number(card) != detector.gain:
        return exposure
    level, noise = float(np.median(sample)) - detector.pedestal, robust_sigma(sample)

    def contradiction(gain: float) -> float:
        return abs(math.log(gain * noise**2 / (level + detector.read_noise**2 / gain)))

    if level > MIN_LEVEL * noise and contradiction(detector.gain) < contradiction(1.0):
        return exposure
    run.warn(
        f"{exposure.name}: pixels are electrons (BUNIT), and GAIN = {detector.gain:g} is that of "
        "the camera: the gain of the pixels is 1"
    )
    return replace(exposure, detector=replace(detector, gain=1.0))


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


def with_plausible_rms(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure with its MAP_RMS in scale where the sky scatters by far more."""
    if exposure.weight is None:
        return exposure
    _, excess = _excess_scatter(exposure, exposure.weight)
    if excess <= MAX_EXCESS:
        return exposure
    run.warn(
        f"{exposure.name}: pixels scatter by {excess:.3g} times what WEIGHT_IMAGE says (MAP_RMS): "
        "only its shape is used, and the noise is measured"
    )
    known = exposure.weight < MAX_VARIANCE
    scaled = np.where(known, exposure.weight.astype(np.float64) * excess**2, NO_INFORMATION)
    return replace(exposure, weight=scaled.astype(np.float32))


def _excess_scatter(exposure: Exposure, variance: F4) -> tuple[float, float]:
    """Return the scatter of pixels over that of the median variance, and each over its own.

    0 where pixels are too few.
    Differences of neighbouring pixels show the noise of single pixels where the sky is not
    flat, too; correlated noise makes them smaller, never larger.
    """
    rows = slice(None, None, max(1, exposure.image.size // MAX_SAMPLE))
    good = (exposure.mask[rows] == 0) & (variance[rows] > 0.0) & (variance[rows] < MAX_VARIANCE)
    both = good[:, 1:] & good[:, :-1]
    if np.count_nonzero(both) < MIN_PAIRS:
        return 0.0, 0.0
    step = np.diff(exposure.image[rows].astype(np.float64), axis=1)[both]
    claimed = variance[rows].astype(np.float64)
    own = np.sqrt((claimed[:, 1:] + claimed[:, :-1])[both])
    middle = math.sqrt(2.0 * float(np.median(variance[rows][good])))
    return robust_sigma(step) / middle, robust_sigma(step / own)


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
    noise = float(np.median(variance))
    signal = image - float(np.median(image))
    bright = signal > MIN_SIGNAL * math.sqrt(noise)
    if np.count_nonzero(bright) < MIN_PIXELS:
        return exposure
    slopes = (variance[bright] - noise) / signal[bright]
    slope = float(np.median(slopes))
    if not (slope > 0.0 and robust_sigma(slopes) < MAX_SPREAD * slope):
        return exposure
    run.tell(f"GAIN, which nothing gives, is {1.0 / slope:.4g} e- per image unit by the variances")
    return replace(exposure, detector=replace(exposure.detector, gain=1.0 / slope))


MIN_NOISE, MAX_NOISE = 1e-12, 1e12
"""Noise of the pixels between which single precision has room for variances and their inverses."""
FEW, FAR = 1000, 1e3
"""So few pixels tell that it is between these, so many times away from both."""


def working_unit(exposure: Exposure) -> float:
    """Return the unit to work in: 1, or for extreme pixels a power of two about their noise."""
    size = 0.0
    for most in (FEW, SAMPLE, MAX_SAMPLE):
        part = sparse(exposure.shape, most)
        sample = exposure.image[part]
        sample = sample[(exposure.mask[part] == 0) & np.isfinite(sample)].astype(np.float64)
        size = robust_sigma(sample) if sample.size else 0.0
        if FAR * MIN_NOISE < size < MAX_NOISE / FAR:
            return 1.0
        if size > 0.0 and most > FEW:
            break
    else:
        size = float(np.max(np.abs(sample), initial=0.0))
    if size == 0.0 or MIN_NOISE < size < MAX_NOISE:
        return 1.0
    return 2.0 ** round(math.log2(size))


_MAX_FACTOR = 1e30


def _scaled(weight: F4, factor: float) -> F4:
    """Return a weight map times a factor; products of extreme numbers in double precision."""
    if not 0.0 < factor < math.inf or 1.0 / _MAX_FACTOR < factor < _MAX_FACTOR:
        return weight * np.float32(factor)
    scaled = np.empty_like(weight)
    with np.errstate(over="ignore"):
        for row, values in zip(scaled, weight, strict=True):
            row[...] = values * np.float64(factor)
    return scaled


def background_variance(
    exposure: Exposure,
    background: BackgroundMap,
    subtracted: F4,
    weight_scale: float,
    weights: Weights,
    run: Run,
    *,
    index: int = 0,
) -> F4 | None:
    """Return the background variance of every pixel.

    From the exposure's total variance plane less the photon noise of what lies above the
    sky; else from its weight map, scaled where RESCALE_WEIGHTS says so (a MAP_RMS never);
    else, with WEIGHT_TYPE BACKGROUND, from the rms of the background mesh.

    Parameters
    ----------
    subtracted : (ny, nx) float32
        Image without its background.
    weight_scale : float
        sqrt(background variance / weight map), from the background estimate.
    weights : Weights
        WEIGHT_TYPE and RESCALE_WEIGHTS.
    index : {0, 1}
        Which of two values of a keyword applies: 0 detection, 1 measurement.

    Returns
    -------
    (ny, nx) float32 or None
        Image units squared; 1e30 where a plane or a map says that nothing is known.  None:
        there is neither; the noise is that of the mesh.
    """
    kind = of_image(weights.weight_type, index)
    if exposure.variance is not None:
        variance = exposure.variance.copy()
        if exposure.detector.gain > 0.0:
            photons = np.maximum(subtracted, np.float32(0.0))
            photons *= np.float32(1.0 / exposure.detector.gain)
            # Rounding must not make a bright pixel noise-free.
            least = np.float32(1e-3) * variance
            np.subtract(variance, photons, out=variance, where=np.isfinite(variance))
            np.maximum(variance, least, out=variance)
        variance[~((variance > 0.0) & (variance < MAX_VARIANCE))] = NO_INFORMATION
        return variance
    if exposure.weight is not None:
        rescale = of_image(weights.rescale_weights, index) and kind != "MAP_RMS"
        scale = weight_scale if rescale else 1.0
        variance = _scaled(exposure.weight, scale**2)
        variance[~(exposure.weight < MAX_VARIANCE)] = NO_INFORMATION
        return variance
    return mesh_variance(background, run) if kind == "BACKGROUND" else None
