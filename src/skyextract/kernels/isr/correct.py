"""All corrections of a raw frame in one pass over its rows.

A row of an amplifier passes through overscan, bias, crosstalk, linearity, variance, dark and
flat in a small buffer, in double precision, before it is rounded to float32 once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


@kernel
def correct_rows(
    raw: F4,
    amplifiers: I8,
    numbers: F8,
    row_level: F8,
    column_level: F8,
    bias: F4,
    bias_variance: F4,
    crosstalk: F8,
    polynomial: F8,
    table: F8,
    dark: F4,
    dark_variance: F4,
    dark_scale: float,
    flat: F4,
    flat_variance: F4,
    defects: U1,
    first: int,
    last: int,
    image: F4,
    variance: F4,
    mask: U2,
) -> None:
    """Correct rows `first` .. `last` - 1 of the assembled frame.

    Parameters
    ----------
    raw : (n,) float32
        All raw planes, one after the other; NaN where there is no value.
    amplifiers : (n_amp, 9) int64
        See `START` ...
    numbers : (n_amp, 4) float64
        See `GAIN` ...
    row_level, column_level : (n_amp, height), (n_amp, width) float64
        Overscan level by row and by column of the amplifier's place; their sum is subtracted.
    bias, dark, flat, and their variances : (ny, nx) float32
        Of the assembled frame; of size 0 where there is none.
    crosstalk : (n_amp, n_amp) float64
        Fraction of the signal of amplifier b that appears in a; size 0: none.
    polynomial : (n_amp, k) float64
        Coefficients of x^2, x^3 ... that are added to x; k = 0: none.
    table : (n_amp, 2, m) float64
        Measured (rising) and true signal; m = 0: none.
    dark_scale : float
        Exposure time of the frame by that of the dark.
    defects : (ny, nx) uint8
        Not 0: BAD; of size 0 where there is none.
    image, variance : (ny, nx) float32
        Output; variance inf where there is no value; of size 0 if it is not wanted.
    mask : (ny, nx) uint16
        Output: BAD, SAT, NO_DATA, CROSSTALK.
    """
    for a in range(len(amplifiers)):
        y0, x0 = amplifiers[a, PLACE_Y], amplifiers[a, PLACE_X]
        height, width = amplifiers[a, HEIGHT], amplifiers[a, WIDTH]
        step = amplifiers[a, STEP_X]
        inverse_gain, read_variance = 1.0 / numbers[a, GAIN], numbers[a, READ_VARIANCE]
        saturation, scale = numbers[a, SATURATION], numbers[a, SCALE]
        columns = column_level[a]
        value = np.empty(width, dtype=np.float64)
        noise2 = np.zeros(width, dtype=np.float64)
        stolen = np.zeros(width, dtype=np.float64)
        for y in range(max(first, y0), min(last, y0 + height)):
            j = y - y0
            start = amplifiers[a, START] + j * amplifiers[a, STEP_Y]
            level = row_level[a, j]
            flags = mask[y, x0 : x0 + width]
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
            if bias.size:
                bias_row = bias[y, x0 : x0 + width]
                for i in range(width):
                    value[i] -= float(bias_row[i])
            if crosstalk.size:
                _crosstalk(a, j, raw, amplifiers, row_level, column_level, bias, crosstalk, stolen)
                for i in range(width):
                    value[i] -= stolen[i]
            if polynomial.shape[1]:
                for i in range(width):
                    x = value[i]
                    total = 0.0
                    for k in range(polynomial.shape[1] - 1, -1, -1):
                        total = total * x + polynomial[a, k]
                    value[i] = x + total * x * x
            if table.shape[2]:
                for i in range(width):
                    value[i] = _interpolate(table[a, 0], table[a, 1], value[i])
            if variance.size:
                for i in range(width):
                    noise2[i] = max(value[i], 0.0) * inverse_gain + read_variance
                if bias_variance.size:
                    bias_noise = bias_variance[y, x0 : x0 + width]
                    for i in range(width):
                        noise2[i] += float(bias_noise[i])
                if crosstalk.size:
                    for i in range(width):
                        if stolen[i] * stolen[i] > noise2[i]:
                            flags[i] |= CROSSTALK
            if dark.size:
                dark_row = dark[y, x0 : x0 + width]
                for i in range(width):
                    value[i] -= dark_scale * float(dark_row[i])
            if dark_variance.size:
                dark_noise = dark_variance[y, x0 : x0 + width]
                for i in range(width):
                    noise2[i] += dark_scale * dark_scale * float(dark_noise[i])
            if flat.size:
                flat_row = flat[y, x0 : x0 + width]
                for i in range(width):
                    # A response that is zero, negative or NaN gives no value.
                    response = float(flat_row[i])
                    inverse = scale / (response if response > 0.0 else np.nan)
                    value[i] *= inverse
                    noise2[i] *= inverse * inverse
                if flat_variance.size:
                    flat_noise = flat_variance[y, x0 : x0 + width]
                    for i in range(width):
                        relative = value[i] / float(flat_row[i])
                        noise2[i] += relative * relative * float(flat_noise[i])
            else:
                for i in range(width):
                    value[i] *= scale
                    noise2[i] *= scale * scale
            if defects.size:
                defect_row = defects[y, x0 : x0 + width]
                for i in range(width):
                    flags[i] |= BAD if defect_row[i] != 0 else 0
            pixels = image[y, x0 : x0 + width]
            for i in range(width):
                lost = not abs(value[i]) < np.inf
                pixels[i] = 0.0 if lost else value[i]
                noise2[i] = np.inf if lost else noise2[i]
                flags[i] |= NO_DATA if lost else 0
            if variance.size:
                noise = variance[y, x0 : x0 + width]
                for i in range(width):
                    noise[i] = noise2[i]


@kernel
def _crosstalk(
    a: int,
    j: int,
    raw: F4,
    amplifiers: I8,
    row_level: F8,
    column_level: F8,
    bias: F4,
    crosstalk: F8,
    stolen: F8,
) -> None:
    """Sum what the other amplifiers induced in row j of amplifier a while it was read out."""
    height, width = amplifiers[a, HEIGHT], amplifiers[a, WIDTH]
    stolen[:] = 0.0
    for b in range(len(amplifiers)):
        fraction = crosstalk[a, b]
        if b == a or fraction == 0.0:
            continue
        # Pixels read out at the same time: turned round where one of the two is.
        turn_y = amplifiers[a, FLIP_Y] != amplifiers[b, FLIP_Y]
        turn_x = amplifiers[a, FLIP_X] != amplifiers[b, FLIP_X]
        row = height - 1 - j if turn_y else j
        start = amplifiers[b, START] + row * amplifiers[b, STEP_Y]
        for i in range(width):
            column = width - 1 - i if turn_x else i
            signal = float(raw[start + column * amplifiers[b, STEP_X]])
            signal -= row_level[b, row] + column_level[b, column]
            if bias.size:
                signal -= float(bias[amplifiers[b, PLACE_Y] + row, amplifiers[b, PLACE_X] + column])
            if np.isfinite(signal):
                stolen[i] += fraction * signal


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
