"""Corrections of a raw frame against whole-array numpy."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.isr.correct import (
    BAD,
    CROSSTALK,
    NO_DATA,
    SAT,
    Amplifiers,
    Masters,
    Response,
    correct_rows,
)

NY, NX, HALF = 24, 40, 20
GAIN = np.array([2.0, 3.0])
READ = np.array([6.0, 4.0])
SATURATION = np.array([50000.0, 40000.0])
UNIT = np.array([2.0, 3.0])
NO_F4 = np.zeros((0, 0), np.float32)


@pytest.fixture
def inputs():
    """Two amplifiers side by side; the second is read out from its other end."""
    rng = np.random.default_rng(1)
    raw = rng.uniform(500, 30000, (NY, NX)).astype(np.float32)
    raw[3, 4], raw[5, 30], raw[7, 8] = 60000, 45000, np.nan
    start_turned = NX - 1 + (NY - 1) * NX
    plane = rng.uniform(0.5, 1.5, (5, NY, NX)).astype(np.float32)
    plane[1, 9, 9] = 0  # no light there at all
    return {
        "raw": raw.ravel(),
        "amplifiers": np.array(
            [[0, NX, 1, 0, 0, NY, HALF, 0, 0], [start_turned, -NX, -1, 0, HALF, NY, HALF, 1, 1]],
            np.int64,
        ),
        "numbers": np.stack([GAIN, READ, SATURATION, UNIT], axis=1),
        "row_level": rng.uniform(90, 110, (2, NY)),
        "column_level": rng.uniform(0, 3, (2, HALF)),
        "bias": 10 * plane[0],
        "bias_variance": NO_F4,
        "crosstalk": np.zeros((0, 0)),
        "polynomial": np.zeros((2, 0)),
        "table": np.zeros((2, 2, 0)),
        "dark": plane[2],
        "dark_variance": NO_F4,
        "dark_scale": 2.5,
        "flat": plane[1],
        "flat_variance": NO_F4,
        "defects": np.zeros((0, 0), np.uint8),
    }


def arguments(inputs):
    """Return the records of the kernel."""

    def record(kind, **renamed):
        return kind(*(inputs[renamed.get(name, name)] for name in kind._fields))

    amplifiers = record(Amplifiers, table="amplifiers")
    return inputs["raw"], amplifiers, record(Response), record(Masters)


def correct(inputs):
    image, variance = np.zeros((2, NY, NX), np.float32)
    mask = np.zeros((NY, NX), np.uint16)
    n_saturated = np.zeros(2, np.int64)
    for first, last in ((0, 10), (10, NY)):
        correct_rows(*arguments(inputs), first, last, image, variance, mask, n_saturated)
    left, right = (((mask[part] & SAT) != 0).sum() for part in (np.s_[:, :HALF], np.s_[:, HALF:]))
    assert n_saturated.tolist() == [left, right]
    return image, variance, mask


def by_amplifier(values):
    return np.repeat(values, HALF)[None, :]


def reference(inputs):
    """The same with whole arrays, in double precision."""
    raw = inputs["raw"].reshape(NY, NX).astype(float)
    raw[:, HALF:] = raw[::-1, HALF:][:, ::-1]
    level = [
        r[:, None] + c for r, c in zip(inputs["row_level"], inputs["column_level"], strict=True)
    ]
    value = raw - np.concatenate(level, axis=1) - inputs["bias"]
    noise2 = np.zeros_like(value)
    if inputs["crosstalk"].size:
        one, two = value[:, :HALF].copy(), value[:, HALF:].copy()
        stolen = np.concatenate(
            [
                inputs["crosstalk"][0, 1] * np.nan_to_num(two[::-1, ::-1]),
                inputs["crosstalk"][1, 0] * np.nan_to_num(one[::-1, ::-1]),
            ],
            axis=1,
        )
        value -= stolen
    if inputs["polynomial"].size:
        terms = zip(inputs["polynomial"].T, (2, 3), strict=True)
        value = value + sum(by_amplifier(c) * value**power for c, power in terms)
    if inputs["table"].size:
        for a in (0, 1):
            part = value[:, a * HALF : (a + 1) * HALF]
            part[:] = np.interp(part, *inputs["table"][a])
    noise2 = np.maximum(value, 0) / by_amplifier(GAIN) + by_amplifier(READ)
    flags = np.where(raw >= by_amplifier(SATURATION), SAT, 0)
    if inputs["bias_variance"].size:
        noise2 += inputs["bias_variance"]
    if inputs["crosstalk"].size:
        flags |= np.where(stolen**2 > noise2, CROSSTALK, 0)
    value -= inputs["dark_scale"] * inputs["dark"]
    if inputs["dark_variance"].size:
        noise2 += inputs["dark_scale"] ** 2 * inputs["dark_variance"]
    flat = np.where(inputs["flat"] > 0, inputs["flat"], np.nan).astype(float)
    value *= by_amplifier(UNIT) / flat
    noise2 *= (by_amplifier(UNIT) / flat) ** 2
    if inputs["flat_variance"].size:
        noise2 += (value / flat) ** 2 * inputs["flat_variance"]
    if inputs["defects"].size:
        flags |= np.where(inputs["defects"] != 0, BAD, 0)
    lost = ~np.isfinite(value)
    return np.where(lost, 0, value), np.where(lost, np.inf, noise2), flags | NO_DATA * lost


def options():
    rng = np.random.default_rng(2)
    plane = rng.uniform(0.01, 0.1, (3, NY, NX)).astype(np.float32)
    measured = np.array([-1e5, 0, 1e4, 3e4, 1e5])
    everything = {
        "crosstalk": np.array([[0, 1e-3], [2e-3, 0]]),
        "polynomial": np.array([[1e-6, 1e-12], [2e-6, 0]]),
        "bias_variance": plane[0],
        "dark_variance": plane[1],
        "flat_variance": plane[2],
        "defects": (rng.random((NY, NX)) < 0.1).astype(np.uint8),
    }
    table = {
        "table": np.stack([[measured, 1.1 * measured], [measured, measured + measured**2 / 1e7]])
    }
    return [{}, table, everything, *({name: value} for name, value in everything.items())]


@pytest.mark.parametrize("changed", options(), ids=lambda d: "+".join(d) or "plain")
def test_same_as_numpy(inputs, changed):
    inputs.update(changed)
    image, variance, mask = correct(inputs)
    expected_image, expected_variance, expected_mask = reference(inputs)
    np.testing.assert_allclose(image, expected_image, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(variance, expected_variance, rtol=1e-5)
    np.testing.assert_array_equal(mask, expected_mask)
    assert mask[7, 8] & NO_DATA
    assert mask[9, 9] & NO_DATA
    assert mask[3, 4] & SAT
    assert mask[NY - 1 - 5, NX - 1 - 30 + HALF] & SAT


def test_without_variance_the_image_is_the_same(inputs):
    image, _, _ = correct(inputs)
    again = np.zeros_like(image)
    mask = np.zeros((NY, NX), np.uint16)
    correct_rows(*arguments(inputs), 0, NY, again, NO_F4, mask, np.zeros(2, np.int64))
    np.testing.assert_array_equal(again, image)
