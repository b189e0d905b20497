"""Whether calibration frames fit a raw frame, and each other, and are fit for use."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.header import Header, binning_of, header_number
from skyextract.datamodel.instruments import PixelUnit
from skyextract.datamodel.noise import median
from skyextract.datamodel.rawframe import RawFrame
from skyextract.errors import ImageError
from skyextract.io.images.detectorcards import read_detector
from skyextract.io.raw.calibration import is_done
from skyextract.io.raw.frames import exposure_time
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.sky.bands import frame_filter
from skyextract.stages.isr.flatstars import count_points

_GAIN_TOLERANCE = 0.05
_MAX_BIAS_SECONDS = 1.0
"""Exposure time (s) that a bias can say it has."""
_MAX_DARK_SCALING = 5.0
"""A dark that is scaled up by more than this brings more noise than it takes dark current."""

_TEMPERATURES = ("CCD-TEMP", "CCDTEMP", "DET-TEMP", "SET-TEMP")
_MAX_DEGREES = 4.0
"""Dark current doubles every 6 degrees."""

MAX_SATURATED = 0.1
"""Share of a flat that may be saturated: such pixels have no value."""
FEW_STARS = 4
"""Points of light in a flat that are no matter."""
NOISY_FLAT = 0.02
"""Noise of a flat from which on it is told of."""


def fitting_frames(
    kind: str,
    files: list[str],
    headers: dict[str, Header],
    raw: RawFrame,
    settings: Settings,
    run: Run,
) -> list[str]:
    """Return the frames for this filter, or the darks of the nearest exposure time.

    All of them if none fits: what is wrong is then said by `check_match`.
    """
    if kind in ("flat", "fringe"):
        wanted = frame_filter(raw.header)
        same = [name for name in files if frame_filter(headers[name]) == wanted]
        return same or files
    if kind == "dark" and raw.exposure_time > 0.0 and len(files) > 1:
        times = {name: exposure_time(headers[name], settings.config, run, name) for name in files}
        known = [time for time in times.values() if time > 0.0]
        if known:
            nearest = min(known, key=lambda time: abs(math.log(time / raw.exposure_time)))
            return [name for name in files if abs(times[name] - nearest) <= 0.01 * nearest]
    return files


def check_match(
    kind: str, headers: Mapping[str, Header], raw: RawFrame, settings: Settings, run: Run
) -> None:
    """Check binning, filter, gain, unit, temperature and exposure time of calibration frames.

    Parameters
    ----------
    headers : mapping
        By file.

    Raises
    ------
    ImageError
        One does not fit, and ISR_MISMATCH is ERROR.
    """
    if kind in ("flat", "fringe") and not frame_filter(raw.header):
        filters = sorted({frame_filter(header) for header in headers.values()} - {""})
        if len(filters) > 1:
            message = (
                f"{raw.name} has no filter (FILTER), and the {kind} frames are of several: "
                f"{', '.join(filters)}"
            )
            _complain(message, settings, run)
    misfits: dict[str, list[str]] = {}
    for name, header in headers.items():
        found = _misfits(kind, name, header, raw, settings, run)
        if found:
            misfits.setdefault(", ".join(found), []).append(name)
    for what, names in misfits.items():
        others = f" (and {len(names) - 1} more like it)" if len(names) > 1 else ""
        message = f"{names[0]}{others} does not fit {raw.name}: it has {what}"
        _complain(message, settings, run)


def _misfits(
    kind: str, name: str, header: Header, raw: RawFrame, settings: Settings, run: Run
) -> list[str]:
    """Return in words what a calibration frame has that does not fit."""
    found = []
    binning, wanted = binning_of(header), binning_of(raw.header)
    if binning and wanted and binning != wanted:
        found.append(f"binning {binning[0]} x {binning[1]}, not {wanted[0]} x {wanted[1]}")
    filters = frame_filter(header), frame_filter(raw.header)
    if kind in ("flat", "fringe") and all(filters) and filters[0] != filters[1]:
        found.append(f"filter {filters[0]}, not {filters[1]}")
    if kind in ("bias", "dark"):
        gain = read_detector(header, settings.config.detector, run, name).gain
        of_image = read_detector(raw.header, settings.config.detector, Run(), raw.name).gain
        # The card of a frame is that of one of its amplifiers, or what ISR_GAIN corrects.
        known = [g for g in (*(a.gain for a in raw.amplifiers), of_image) if g > 0.0]
        if gain > 0.0 and known and all(abs(gain / g - 1.0) > _GAIN_TOLERANCE for g in known):
            found.append(f"gain {gain:g}, not {min(known):g} e-/ADU")
        unit = PixelUnit.of(header)
        if unit is not None and unit.is_electron:
            found.append("unit electron, not ADU")
    temperatures = _temperature(header), _temperature(raw.header)
    if kind == "dark" and abs(temperatures[0] - temperatures[1]) > _MAX_DEGREES:
        found.append(
            f"a detector temperature of {temperatures[0]:g}, not {temperatures[1]:g} degrees"
        )
    time = exposure_time(header, settings.config, run, name)
    if kind == "bias" and time > _MAX_BIAS_SECONDS:
        found.append(f"an exposure time of {time:g} s")
    if kind == "dark" and 0.0 < time * _MAX_DARK_SCALING < raw.exposure_time:
        found.append(f"an exposure time of {time:g} s for {raw.exposure_time:g} s")
    return found


def check_done(kind: str, raw: RawFrame, settings: Settings, run: Run) -> None:
    """Check that a frame was not corrected before.

    Raises
    ------
    ImageError
        Its header says so, and ISR_MISMATCH is ERROR.
    """
    if is_done(raw.header, kind):
        message = (
            f"{raw.name}: the header says that its {kind} was corrected before (CALSTAT, ZEROCOR "
            f"...): leave ISR_{kind.upper()} out"
        )
        _complain(message, settings, run)


def check_saturation(frame: RawFrame, share: float, settings: Settings, run: Run) -> None:
    """Check which part of a raw flat is saturated.

    Raises
    ------
    ImageError
        It is much, and ISR_MISMATCH is ERROR.
    """
    if share > MAX_SATURATED:
        message = f"{frame.name}: {share:.0%} of the flat are saturated"
        _complain(message, settings, run)


def check_flat(level: F4, variance: F4 | None, n_frames: int, run: Run) -> None:
    """Warn of a flat with stars in it, or that makes images noisy, level 1."""
    n_light, n_dark = count_points(level)
    if n_light > max(FEW_STARS, n_dark):
        run.warn(
            f"the flat has {n_light} points of light in it (stars?), and stars that come upon them "
            f"lose as much: move the telescope between flats, and take more than {n_frames}"
        )
    if variance is None:
        return
    known = variance[np.isfinite(variance)]
    # Of few frames the variances scatter widely about their mean; bad pixels lie far beyond.
    noise = math.sqrt(float(np.mean(known[known <= 10.0 * median(known)])))
    if noise > NOISY_FLAT:
        run.warn(
            f"the flat has a noise of {noise:.0%} in each pixel, which it adds to the image: take "
            f"brighter flats, or more than {n_frames}"
        )


def check_times(kind: str, frame: RawFrame, first: RawFrame) -> None:
    """Check that darks which are combined have one exposure time.

    Raises
    ------
    ImageError
    """
    if kind == "dark" and not abs(frame.exposure_time - first.exposure_time) <= (
        0.01 * first.exposure_time
    ):
        raise ImageError(
            f"{frame.name} has an exposure time of {frame.exposure_time:g} s, {first.name} of "
            f"{first.exposure_time:g} s: darks of one exposure time are combined"
        )


def _complain(message: str, settings: Settings, run: Run) -> None:
    """Warn of a calibration frame that does not fit, or refuse it: ISR_MISMATCH.

    Raises
    ------
    ImageError
    """
    if settings.config.isr.isr_mismatch == "ERROR":
        raise ImageError(f"{message} (ISR_MISMATCH WARN would go on)")
    run.warn(message)


def _temperature(header: Header) -> float:
    """Return the temperature of the detector that a header states, NaN if none."""
    values = (header_number(header.get(card)) for card in _TEMPERATURES)
    return next((value for value in values if value is not None), math.nan)
