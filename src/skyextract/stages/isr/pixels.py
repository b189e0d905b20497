"""The pass over the pixels of a raw frame: all that `signature` does but fringe and interpolation.

Calibration frames are corrected by it, too, on their way to a master.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U2, whole
from skyextract.datamodel.calibrations import Calibrations, Master
from skyextract.datamodel.noise import median, sparse
from skyextract.datamodel.rawframe import Amplifier, RawFrame
from skyextract.errors import ImageError
from skyextract.kernels.isr import correct as kernels
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Isr
from skyextract.stages.isr import readnoise
from skyextract.stages.isr.overscan import Overscan, measure_overscan

_NONE = np.zeros((0, 0), dtype=np.float32)


def check_sizes(raw: RawFrame, calibrations: Calibrations) -> None:
    """Check that all calibration frames have the size of the assembled frame.

    Raises
    ------
    ImageError
    """
    planes = {
        master.name: master.image.shape
        for name in ("bias", "dark", "flat", "fringe")
        if isinstance(master := getattr(calibrations, name), Master)
    }
    if calibrations.defects is not None:
        planes["ISR_DEFECTS"] = calibrations.defects.shape
    for name, shape in planes.items():
        if shape != raw.shape:
            raise ImageError(
                f"{name} has {shape[1]} x {shape[0]} pixels, {raw.name} has {raw.shape[1]} x "
                f"{raw.shape[0]} after trimming"
            )
    n = len(raw.amplifiers)
    if calibrations.crosstalk is not None and calibrations.crosstalk.shape != (n, n):
        rows, columns = calibrations.crosstalk.shape
        raise ImageError(f"ISR_CROSSTALK is {rows} x {columns}, {raw.name} has {n} amplifiers")
    if calibrations.crosstalk is not None:
        sizes = {(a.data.width, a.data.height) for a in raw.amplifiers}
        if len(sizes) > 1:
            raise ImageError("ISR_CROSSTALK needs amplifiers of equal size")
    if calibrations.linearity is not None:
        m = max(len(calibrations.linearity.polynomial), len(calibrations.linearity.table))
        if m not in (1, n):
            raise ImageError(f"ISR_LINEARITY is for {m} amplifiers, {raw.name} has {n}")


@record
class Corrected:
    """Pixels after the pass of the kernel, and what was measured for it."""

    image: F4
    variance: F4
    mask: U2
    amplifiers: tuple[Amplifier, ...]
    overscans: tuple[Overscan, ...]
    scales: F8
    saturation: float
    dark_scale: float | None
    n_saturated: I8


def correct_pixels(
    raw: RawFrame,
    calibrations: Calibrations,
    isr: Isr,
    unit: str,
    run: Run,
    *,
    variance: bool = True,
) -> Corrected:
    """Measure the overscan and run the kernel over the rows.

    Parameters
    ----------
    unit : str
        ELECTRON; ADU, in which amplifiers of different gain are brought to the mean gain; or
        RAW, ADU as they were read out.
    variance : bool
        Whether it is wanted; without a known gain there is none.
    """
    overscans = tuple(measure_overscan(raw.planes[a.plane], a, isr) for a in raw.amplifiers)
    for amplifier, overscan in zip(raw.amplifiers, overscans, strict=True):
        if overscan.n_leaked:
            run.warn(
                f"amplifier {amplifier.name}: {overscan.n_leaked} lines of the overscan lie up to "
                f"{overscan.leaked:.4g} ADU above those beside them, and their data do not: light "
                "of bright stars leaks into it; these lines have the level of those about them"
            )
    amplifiers = tuple(
        _with_read_noise(a, o, calibrations) for a, o in zip(raw.amplifiers, overscans, strict=True)
    )
    gains = np.array([a.gain for a in amplifiers])
    known = bool((gains > 0.0).all())
    scales = np.ones(len(gains))
    if known and unit != "RAW":
        scales = gains / (1.0 if unit == "ELECTRON" else gains.mean())
    numbers = np.zeros((len(amplifiers), 4))
    for row, amplifier, overscan, scale in zip(numbers, amplifiers, overscans, scales, strict=True):
        noise = amplifier.read_noise / amplifier.gain if known else 0.0
        gain = amplifier.gain if known else math.inf
        row[:] = gain, noise**2 + overscan.variance, amplifier.saturation, scale
    dark_scale = _dark_scale(raw, calibrations.dark)
    polynomial, table = _response(calibrations, len(amplifiers))
    wanted = known and variance
    # The amplifiers tile the frame: every pixel is written.
    image = whole(raw.shape, np.float32)
    noise2 = whole(raw.shape if wanted else (0, 0), np.float32)
    mask = whole(raw.shape, np.uint16)
    flat_raw = _flattened(raw)
    rows, columns = _levels([o.rows for o in overscans]), _levels([o.columns for o in overscans])
    places = kernels.Amplifiers(_table(raw), numbers, rows, columns)
    crosstalk = calibrations.crosstalk
    response = kernels.Response(
        np.zeros((0, 0)) if crosstalk is None else crosstalk, polynomial, table
    )
    masters = kernels.Masters(
        *_planes(calibrations.bias, wanted),
        *_planes(calibrations.dark, wanted),
        1.0 if dark_scale is None else dark_scale,
        *_planes(calibrations.flat, wanted),
        np.zeros((0, 0), np.uint8) if calibrations.defects is None else calibrations.defects,
    )

    def correct(band: tuple[int, int]) -> I8:
        number = np.zeros(len(amplifiers), np.int64)
        kernels.correct_rows(
            flat_raw, places, response, masters, *band, image, noise2, mask, number
        )
        return number

    for k, amplifier in enumerate(amplifiers if wanted else ()):
        if not amplifier.read_noise > 0.0:
            for y in readnoise.rows_of_sky(amplifier):
                correct((y, y + 1))
            noise = readnoise.of_sky(image, mask, scales[k], calibrations, dark_scale, amplifier)
            numbers[k, kernels.READ_VARIANCE] += noise**2
    n_saturated = np.sum(run.map(correct, run.bands(raw.shape[0])), axis=0)
    saturation = _saturation_level(numbers, overscans, calibrations, polynomial, table)
    return Corrected(
        image, noise2, mask, amplifiers, overscans, scales, saturation, dark_scale, n_saturated
    )


def _with_read_noise(
    amplifier: Amplifier, overscan: Overscan, calibrations: Calibrations
) -> Amplifier:
    """Return the amplifier; a read noise that is unknown comes from overscan or bias frames."""
    if amplifier.read_noise > 0.0 or not amplifier.gain > 0.0:
        return amplifier
    for noise in (overscan.noise, readnoise.of_bias_frames(calibrations, amplifier)):
        if noise > 0.0:
            return replace(amplifier, read_noise=noise * amplifier.gain)
    return amplifier


def _dark_scale(raw: RawFrame, dark: Master | None) -> float | None:
    if dark is None:
        return None
    if not raw.exposure_time >= 0.0:
        raise ImageError(f"{raw.name}: no exposure time (EXPOTIME_KEY) to scale the dark with")
    if not dark.exposure_time > 0.0:
        raise ImageError(f"{dark.name}: a dark without exposure time (EXPOTIME_KEY)")
    return raw.exposure_time / dark.exposure_time


def _response(calibrations: Calibrations, n: int) -> tuple[F8, F8]:
    """Return polynomial and table of the non-linearity, one row per amplifier."""
    linearity = calibrations.linearity
    if linearity is None:
        return np.zeros((n, 0)), np.zeros((n, 2, 0))

    def rows(values: F8) -> F8:
        if len(values) == n:
            return np.ascontiguousarray(values)
        return np.ascontiguousarray(np.repeat(values[:1], n, axis=0))

    return rows(linearity.polynomial), rows(linearity.table)


def _flattened(raw: RawFrame) -> F4:
    """Return all raw planes as one array; a single plane is not copied."""
    if len(raw.planes) == 1:
        return raw.planes[0].reshape(-1)
    return np.concatenate([plane.reshape(-1) for plane in raw.planes])


def _table(raw: RawFrame) -> I8:
    """Return the table of amplifiers that the kernel reads."""
    offsets = np.cumsum([0, *(plane.size for plane in raw.planes)])
    table = np.zeros((len(raw.amplifiers), 9), dtype=np.int64)
    for row, a in zip(table, raw.amplifiers, strict=True):
        width = raw.planes[a.plane].shape[1]
        (step_y, step_x), (y, x) = a.step, a.first
        row[:] = (
            offsets[a.plane] + y * width + x, step_y * width, step_x,
            a.place.y0, a.place.x0, a.place.height, a.place.width, a.place.flip_y, a.place.flip_x,
        )  # fmt: skip
    return table


def _levels(levels: list[F8]) -> F8:
    table = np.zeros((len(levels), max(len(values) for values in levels)))
    for row, values in zip(table, levels, strict=True):
        row[: len(values)] = values
    return table


def _planes(master: Master | None, variance_wanted: bool) -> tuple[F4, F4]:
    if master is None:
        return _NONE, _NONE
    wanted = variance_wanted and master.variance is not None
    return master.image, master.variance if wanted and master.variance is not None else _NONE


def _saturation_level(
    numbers: F8,
    overscans: tuple[Overscan, ...],
    calibrations: Calibrations,
    polynomial: F8,
    table: F8,
) -> float:
    """Return the lowest level at which the corrected image saturates."""
    if not np.isfinite(numbers[:, kernels.SATURATION]).any():
        return math.inf
    bias = 0.0
    if calibrations.bias is not None:
        values = calibrations.bias.image[sparse(calibrations.bias.image.shape)]
        known = values[np.isfinite(values)]
        bias = median(known) if known.size else 0.0
    levels = []
    for k, overscan in enumerate(overscans):
        level = numbers[k, kernels.SATURATION] - bias
        level -= 0.0 if math.isnan(overscan.level) else overscan.level
        if math.isfinite(level) and polynomial.shape[1]:
            level += float(np.polyval([*polynomial[k, ::-1], 0.0, 0.0], level))
        elif math.isfinite(level) and table.shape[2]:
            level = float(np.interp(level, table[k, 0], table[k, 1]))
        levels.append(level * numbers[k, kernels.SCALE])
    lowest = min(levels)
    return lowest if lowest > 0.0 else math.inf
