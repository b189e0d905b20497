"""All corrections of a raw frame in one pass over its rows.

A row of an amplifier passes through overscan, bias, crosstalk, linearity, variance, dark and
flat in a small buffer, in double precision, before it is rounded to float32 once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.values import BAD, CROSSTALK, NO_DATA, SAT

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, U1, U2


START, STEP_Y, STEP_X, PLACE_Y, PLACE_X, HEIGHT, WIDTH, FLIP_Y, FLIP_X = range(9)
"""Columns of the table of amplifiers: index of the raw pixel that comes to the lowest pixel of
the amplifier's place, steps of the index, the place, and whether it is turned round."""

GAIN, READ_VARIANCE, SATURATION, SCALE = range(4)
"""Columns of the table of numbers: e-/ADU (inf: unknown), variance in ADU^2 that does not depend
on the signal, saturation in raw ADU, and the factor to the unit of the output."""


class Amplifiers(NamedTuple):
    """Where the amplifiers' pixels come from and go to, and what is known about them.

    Attributes
    ----------
    table : (n_amp, 9) int64
        See `START` ...
    numbers : (n_amp, 4) float64
        See `GAIN` ...
    row_level, column_level : (n_amp, height), (n_amp, width) float64
        Overscan level by row and by column of the amplifier's place; their sum is subtracted.
    """

    table: I8
    numbers: F8
    row_level: F8
    column_level: F8


class Response(NamedTuple):
    """How the electronics answer.

    Attributes
    ----------
    crosstalk : (n_amp, n_amp) float64
        Fraction of the signal of amplifier b that appears in a; size 0: none.
    polynomial : (n_amp, k) float64
        Coefficients of x^2, x^3 ... that are added to x; k = 0: none.
    table : (n_amp, 2, m) float64
        Measured (rising) and true signal; m = 0: none.
    """

    crosstalk: F8
    polynomial: F8
    table: F8


class Masters(NamedTuple):
    """Calibration frames.

    Attributes
    ----------
    bias, dark, flat, and their variances : (ny, nx) float32
        Of the assembled frame; of size 0 where there is none.
    dark_scale : float
        Exposure time of the frame by that of the dark.
    defects : (ny, nx) uint8
        Not 0: BAD; of size 0 where there is none.
    """

    bias: F4
    bias_variance: F4
    dark: F4
    dark_variance: F4
    dark_scale: float
    flat: F4
    flat_variance: F4
    defects: U1


@kernel
def _interpolate(xs: F8, ys: F8, x: float) -> float:
    """Interpolate linearly in a table; beyond its ends, along the last segments."""
    low, high = 0, len(xs) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if xs[middle] <= x:
            low = middle
        else:
            high = middle
    value: float = ys[low] + (x - xs[low]) * (ys[low + 1] - ys[low]) / (xs[low + 1] - xs[low])
    return value


@kernel
def _read_row(
    raw: F4, start: int, step: int, level: float, columns: F8, saturation: float, value: F8,
    flags: U2,
) -> None:  # fmt: skip
    """Take a row of an amplifier less its overscan level, and mark what is saturated."""
    width = len(value)
    if step == 1:  # apart from the other case: this loop is vectorised
        row = raw[start : start + width]
        for i in range(width):
            value[i] = float(row[i]) - level - columns[i]
            flags[i] = SAT if float(row[i]) >= saturation else 0
    else:
        for i in range(width):
            pixel = float(raw[start - i])
            value[i] = pixel - level - columns[i]
            flags[i] = SAT if pixel >= saturation else 0


@kernel
def _add_crosstalk(
    a: int, j: int, raw: F4, amplifiers: Amplifiers, bias: F4, crosstalk: F8, stolen: F8
) -> None:
    """Sum what the other amplifiers induced in row j of amplifier a while it was read out."""
    table, _, row_level, column_level = amplifiers
    height, width = table[a, HEIGHT], table[a, WIDTH]
    stolen[:] = 0.0
    for b in range(len(table)):
        fraction = crosstalk[a, b]
        if b == a or fraction == 0.0:
            continue
        # Pixels read out at the same time: turned round where one of the two is.
        turn_y = table[a, FLIP_Y] != table[b, FLIP_Y]
        turn_x = table[a, FLIP_X] != table[b, FLIP_X]
        row = height - 1 - j if turn_y else j
        start = table[b, START] + row * table[b, STEP_Y]
        for i in range(width):
            column = width - 1 - i if turn_x else i
            signal = float(raw[start + column * table[b, STEP_X]])
            signal -= row_level[b, row] + column_level[b, column]
            if bias.size:
                signal -= float(bias[table[b, PLACE_Y] + row, table[b, PLACE_X] + column])
            if np.isfinite(signal):
                stolen[i] += fraction * signal


@kernel
def _linearize(value: F8, coefficients: F8, measured: F8, true: F8) -> None:
    """Correct a row for non-linearity."""
    if len(coefficients):
        for i in range(len(value)):
            x = value[i]
            total = 0.0
            for k in range(len(coefficients) - 1, -1, -1):
                total = total * x + coefficients[k]
            value[i] = x + total * x * x
    if len(measured):
        for i in range(len(value)):
            value[i] = _interpolate(measured, true, value[i])


@kernel
def _subtract(value: F8, row: F4, factor: float) -> None:
    """Subtract `factor` times a row of a master frame; nothing if it is empty."""
    for i in range(len(row)):
        value[i] -= factor * float(row[i])


@kernel
def _add_noise(noise2: F8, row: F4, factor: float) -> None:
    """Add `factor` times a row of a master's variance; nothing if it is empty."""
    for i in range(len(row)):
        noise2[i] += factor * float(row[i])


@kernel
def _divide_flat(value: F8, noise2: F8, flat: F4, flat_noise: F4, scale: float) -> None:
    """Divide a row by the flat, unless that is empty, and bring it to the unit of the output."""
    if not len(flat):
        for i in range(len(value)):
            value[i] *= scale
            noise2[i] *= scale * scale
        return
    for i in range(len(value)):
        # A response that is zero, negative or NaN gives no value.
        response = float(flat[i])
        inverse = scale / (response if response > 0.0 else np.nan)
        value[i] *= inverse
        noise2[i] *= inverse * inverse
    for i in range(len(flat_noise)):
        relative = value[i] / float(flat[i])
        noise2[i] += relative * relative * float(flat_noise[i])


@kernel
def _store(value: F8, noise2: F8, defects: U1, image: F4, variance: F4, flags: U2) -> None:
    """Round a row to the output; mark defects and pixels without value."""
    for i in range(len(defects)):
        flags[i] |= BAD if defects[i] != 0 else 0
    for i in range(len(value)):
        lost = not abs(value[i]) < np.inf
        image[i] = 0.0 if lost else value[i]
        noise2[i] = np.inf if lost else noise2[i]
        flags[i] |= NO_DATA if lost else 0
    for i in range(len(variance)):
        variance[i] = noise2[i]


@kernel
def _correct_plain_row(
    raw: F4, level: float, columns: F8, saturation: float, inverse_gain: float,
    read_variance: float, scale: float, bias: F4, dark: F4, dark_scale: float, flat: F4,
    image: F4, variance: F4, flags: U2,
) -> int:  # fmt: skip
    """Do for a row what is mostly needed, in one loop, as the steps below do it one by one.

    Masters without variance, neither crosstalk nor linearity nor defects; returns the number of
    saturated pixels.
    """
    n_saturated = np.int32(0)
    for i in range(len(image)):
        pixel = float(raw[i])
        saturated = pixel >= saturation
        value = pixel - level - columns[i] - float(bias[i])
        noise2 = max(value, 0.0) * inverse_gain + read_variance
        response = float(flat[i])
        inverse = scale / (response if response > 0.0 else np.nan)
        value = (value - dark_scale * float(dark[i])) * inverse
        lost = not abs(value) < np.inf
        image[i] = 0.0 if lost else value
        variance[i] = np.inf if lost else noise2 * (inverse * inverse)
        flags[i] = (SAT if saturated else 0) | (NO_DATA if lost else 0)
        n_saturated += np.int32(saturated)
    return int(n_saturated)


@kernel
def _part(plane: Any, y: int, x0: int, past: int) -> Any:
    """Return columns x0 to past - 1 of row y; an empty row of an empty plane."""
    if plane.size:
        return plane[y, x0:past]
    return plane.ravel()[:0]


@kernel
def correct_rows(
    raw: F4, amplifiers: Amplifiers, response: Response, masters: Masters, first: int, last: int,
    image: F4, variance: F4, mask: U2, n_saturated: I8,
) -> None:  # fmt: skip
    """Correct rows `first` .. `last` - 1 of the assembled frame.

    Parameters
    ----------
    raw : (n,) float32
        All raw planes, one after the other; NaN where there is no value.
    image, variance : (ny, nx) float32
        Output; variance inf where there is no value; of size 0 if it is not wanted.
    mask : (ny, nx) uint16
        Output: BAD, SAT, NO_DATA, CROSSTALK.
    n_saturated : (n_amp,) int64
        Saturated pixels of these rows are added.
    """
    table, numbers, row_level, column_level = amplifiers
    crosstalk, polynomial, nodes = response
    bias, bias_variance, dark, dark_variance, dark_scale, flat, flat_variance, defects = masters
    for a in range(len(table)):
        y0, x0 = table[a, PLACE_Y], table[a, PLACE_X]
        height, width = table[a, HEIGHT], table[a, WIDTH]
        inverse_gain, read_variance = 1.0 / numbers[a, GAIN], numbers[a, READ_VARIANCE]
        value = np.empty(width, dtype=np.float64)
        noise2 = np.zeros(width, dtype=np.float64)
        stolen = np.zeros(width, dtype=np.float64)
        nothing, all_light = np.zeros(width, dtype=np.float32), np.ones(width, dtype=np.float32)
        past = x0 + width
        plain = table[a, STEP_X] == 1 and crosstalk.size + polynomial.shape[1] == 0
        plain = plain and nodes.shape[2] + defects.size + bias_variance.size == 0
        plain = plain and dark_variance.size + flat_variance.size == 0 and variance.size > 0
        for y in range(max(first, y0), min(last, y0 + height)):
            j = y - y0
            start = table[a, START] + j * table[a, STEP_Y]
            flags = mask[y, x0:past]
            if plain:
                n_saturated[a] += _correct_plain_row(
                    raw[start : start + width], row_level[a, j], column_level[a, :width],
                    numbers[a, SATURATION], inverse_gain, read_variance, numbers[a, SCALE],
                    bias[y, x0:past] if bias.size else nothing,
                    dark[y, x0:past] if dark.size else nothing, dark_scale,
                    flat[y, x0:past] if flat.size else all_light,
                    image[y, x0:past], variance[y, x0:past], flags,
                )  # fmt: skip
                continue
            _read_row(
                raw, start, table[a, STEP_X], row_level[a, j], column_level[a],
                numbers[a, SATURATION], value, flags,
            )  # fmt: skip
            _subtract(value, _part(bias, y, x0, past), 1.0)
            if crosstalk.size:
                _add_crosstalk(a, j, raw, amplifiers, bias, crosstalk, stolen)
                for i in range(width):
                    value[i] -= stolen[i]
            _linearize(value, polynomial[a], nodes[a, 0], nodes[a, 1])
            if variance.size:
                for i in range(width):
                    noise2[i] = max(value[i], 0.0) * inverse_gain + read_variance
                _add_noise(noise2, _part(bias_variance, y, x0, past), 1.0)
                if crosstalk.size:
                    for i in range(width):
                        if stolen[i] * stolen[i] > noise2[i]:
                            flags[i] |= CROSSTALK
            _subtract(value, _part(dark, y, x0, past), dark_scale)
            _add_noise(noise2, _part(dark_variance, y, x0, past), dark_scale * dark_scale)
            _divide_flat(
                value, noise2, _part(flat, y, x0, past), _part(flat_variance, y, x0, past),
                numbers[a, SCALE],
            )  # fmt: skip
            _store(
                value, noise2, _part(defects, y, x0, past), image[y, x0:past],
                _part(variance, y, x0, past), flags,
            )  # fmt: skip
            for i in range(width):
                n_saturated[a] += (flags[i] & SAT) != 0
