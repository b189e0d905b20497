"""Instrument signature removal: from the raw frame to image, variance and mask.

The order is that of the IsrTask of the LSST Science Pipelines: saturation, overscan,
assembly, bias, crosstalk, linearity, variance, dark, flat, fringe, defects, interpolation.
All but fringe and interpolation happen in one pass over memory (`pixels`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import U2
from skyextract.datamodel.calibrations import Calibrations, Master
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.datamodel.rawframe import Amplifier, RawFrame
from skyextract.datamodel.wcs import read_wcs
from skyextract.errors import ImageError
from skyextract.kernels.values import NO_INFORMATION
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Config, Isr
from skyextract.settings.steps import Status
from skyextract.stages.background.estimate import estimate_background
from skyextract.stages.background.interpolate import background_image
from skyextract.stages.isr.fringe import subtract_fringe
from skyextract.stages.isr.header import corrected_header
from skyextract.stages.isr.overscan import Overscan
from skyextract.stages.isr.pixels import Corrected, check_sizes, correct_pixels
from skyextract.stages.isr.skysteps import sky_steps
from skyextract.stages.repair import repair


@record
class Signature:
    """A frame freed of the signature of its instrument.

    Attributes
    ----------
    exposure : Exposure
        Image, total variance (None if the gain is unknown) and mask; detector and header in
        the new unit.  Its PSF is None.
    metrics : dict
        Numbers for the summary.
    status : Status
    reason : str
        Why it is not COMPLETE.
    """

    exposure: Exposure
    metrics: dict[str, Any]
    status: Status = Status.COMPLETE
    reason: str = ""


def remove_signature(
    raw: RawFrame, calibrations: Calibrations, config: Config, run: Run
) -> Signature:
    """Correct a raw frame.

    Parameters
    ----------
    raw : RawFrame
        Pixels as read out, and what is known about the amplifiers.
    calibrations : Calibrations
        All of the size of the assembled frame.
    config : Config
        The group `isr`; for the interpolation also `background`, `cosmics` and DEFAULT_FWHM.

    Raises
    ------
    ImageError
        An overscan without a value, all pixels saturated or without a value, no exposure
        time for the dark, a calibration frame of another size.
    """
    isr = config.isr
    check_sizes(raw, calibrations)
    unit = unit_of(raw.amplifiers, isr, run)
    corrected = correct_pixels(raw, calibrations, isr, unit, run)
    image, variance, mask = corrected.image, corrected.variance, corrected.mask
    _check_values(mask, raw)
    fringe_scale = None
    if calibrations.fringe is not None:
        image, fringe_scale = subtract_fringe(image, mask, calibrations.fringe, config, run)
    detector = _detector(raw, corrected, unit)
    header = corrected_header(raw, detector, unit, corrected.amplifiers)
    exposure = Exposure(
        image=image,
        mask=mask,
        variance=variance if variance.size else None,
        detector=detector,
        wcs=read_wcs(header, run, raw.name),
        header=header,
        path=raw.path,
        extension=raw.extension,
        extension_name=raw.extension_name,
        alone=raw.alone,
    )
    n_interpolated = 0
    n_bad = 0 if calibrations.defects is None else _count(mask, Mask.BAD)
    if isr.isr_interpolate and n_bad:
        exposure, n_interpolated = _interpolate(exposure, config, run)
    metrics = {
        "unit": unit,
        "overscan": isr.isr_overscan if any(a.bias for a in raw.amplifiers) else "NONE",
        "n_saturated": int(corrected.n_saturated.sum()),
        "n_bad": n_bad,
        "n_interpolated": n_interpolated,
        "dark_scale": corrected.dark_scale,
        "fringe_scale": fringe_scale,
        "calibrations": {
            name: master.name
            for name in ("bias", "dark", "flat", "fringe")
            if isinstance(master := getattr(calibrations, name), Master)
        },
        "amplifiers": [
            _facts(*known)
            for known in zip(
                corrected.amplifiers, corrected.overscans, corrected.n_saturated, strict=True
            )
        ],
        "sky_steps": sky_steps(image, mask, corrected.amplifiers, corrected.scales),
    }
    return Signature(exposure, metrics)


def unit_of(amplifiers: tuple[Amplifier, ...], isr: Isr, run: Run) -> str:
    """Return the unit of the corrected image: ISR_UNIT, or ADU where a gain is unknown."""
    if all(a.gain > 0.0 for a in amplifiers):
        return isr.isr_unit
    if isr.isr_unit == "ELECTRON":
        run.warn("the gain is unknown (ISR_GAIN): the image stays in ADU, without variance")
    return "ADU"


def _check_values(mask: U2, raw: RawFrame) -> None:
    if mask[0, 0] == 0:
        return
    if (mask & np.uint16(Mask.NO_DATA | Mask.BAD)).all():
        raise ImageError(f"{raw.name}: no pixel has a value after the corrections")
    if (mask & np.uint16(Mask.SAT | Mask.NO_DATA)).all():
        raise ImageError(
            f"{raw.name}: all pixels are saturated (raw level above SATURATE or SATUR_LEVEL, "
            f"{raw.amplifiers[0].saturation:g} ADU)"
        )


def _detector(raw: RawFrame, corrected: Corrected, unit: str) -> Detector:
    gains = [a.gain for a in corrected.amplifiers]
    noise = float(np.sqrt(np.mean([a.read_noise**2 for a in corrected.amplifiers])))
    gain = 1.0 if unit == "ELECTRON" else float(np.mean(gains))
    return Detector(
        gain=gain if min(gains) > 0.0 else 0.0,
        read_noise=noise,
        saturation=float(corrected.saturation),
        exposure_time=raw.exposure_time,
    )


def _interpolate(exposure: Exposure, config: Config, run: Run) -> tuple[Exposure, int]:
    """Fill narrow defects; their values carry no information, and their variance is infinite."""
    background = estimate_background(exposure.image, exposure.mask, None, config.background, run)
    level = background_image(background, run)
    if exposure.variance is None:
        noise = np.full(exposure.shape, np.float32(background.sigma**2), dtype=np.float32)
    else:
        noise = np.minimum(exposure.variance, NO_INFORMATION)
    filled = repair(
        exposure.image, exposure.mask, level, noise, exposure.detector.gain,
        Psf.gaussian(config.characterize.default_fwhm, PsfSource.DEFAULT),
        replace(config.cosmics, cr_repair=False), run,
    )  # fmt: skip
    variance = exposure.variance
    if variance is not None:
        interpolated = (filled.mask & np.uint16(Mask.INTRP)) != 0
        variance = np.where(interpolated, np.float32(np.inf), variance)
    corrected = replace(exposure, image=filled.image, mask=filled.mask, variance=variance)
    return corrected, filled.n_interpolated


def _count(mask: U2, plane: Mask) -> int:
    return int(np.count_nonzero(mask & np.uint16(plane)))


def _facts(amplifier: Amplifier, overscan: Overscan, n_saturated: int) -> dict[str, Any]:
    return {
        "name": amplifier.name,
        "section": str(amplifier.data),
        "place": str(amplifier.place),
        "gain": amplifier.gain or None,
        "read_noise": amplifier.read_noise or None,
        "overscan_level": overscan.level,
        "overscan_noise": overscan.noise,
        "n_saturated": int(n_saturated),
    }
