"""Whether calibration frames fit a raw frame: filter, exposure time, binning, gain, unit."""

from __future__ import annotations

import math

from skyextract.datamodel.header import Header, binning_of
from skyextract.datamodel.instruments import PixelUnit
from skyextract.datamodel.rawframe import RawFrame
from skyextract.errors import ImageError
from skyextract.io.images.images import read_detector
from skyextract.io.raw.frames import exposure_time
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.sky.bands import frame_filter

_GAIN_TOLERANCE = 0.05
_MAX_BIAS_SECONDS = 1.0
"""Exposure time (s) that a bias can say it has."""
_MAX_DARK_SCALING = 5.0
"""A dark that is scaled up by more than this brings more noise than it takes dark current."""


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
    kind: str, name: str, header: Header, raw: RawFrame, settings: Settings, run: Run
) -> None:
    """Check binning, filter, gain, unit and exposure time of a calibration frame.

    Raises
    ------
    ImageError
        One does not fit, and ISR_MISMATCH is ERROR.
    """
    found = []
    binning, wanted = binning_of(header), binning_of(raw.header)
    if binning and wanted and binning != wanted:
        found.append(f"binning {binning[0]} x {binning[1]}, not {wanted[0]} x {wanted[1]}")
    filters = frame_filter(header), frame_filter(raw.header)
    if kind in ("flat", "fringe") and all(filters) and filters[0] != filters[1]:
        found.append(f"filter {filters[0]}, not {filters[1]}")
    if kind in ("bias", "dark"):
        gain = read_detector(header, settings.config.detector, run, name).gain
        gains = [a.gain for a in raw.amplifiers]
        mean = sum(gains) / len(gains)
        if gain > 0.0 and mean > 0.0 and abs(gain / mean - 1.0) > _GAIN_TOLERANCE:
            found.append(f"gain {gain:g}, not {mean:g} e-/ADU")
        unit = PixelUnit.of(header)
        if unit is not None and unit.is_electron:
            found.append("unit electron, not ADU")
    time = exposure_time(header, settings.config, run, name)
    if kind == "bias" and time > _MAX_BIAS_SECONDS:
        found.append(f"an exposure time of {time:g} s")
    if kind == "dark" and 0.0 < time * _MAX_DARK_SCALING < raw.exposure_time:
        found.append(f"an exposure time of {time:g} s for {raw.exposure_time:g} s")
    if not found:
        return
    message = f"{name} does not fit {raw.name}: it has {', '.join(found)}"
    if settings.config.isr.isr_mismatch == "ERROR":
        raise ImageError(f"{message} (ISR_MISMATCH WARN would go on)")
    run.warn(message)
