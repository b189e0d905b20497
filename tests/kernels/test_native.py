"""Calls of compiled kernels without numba: what is accepted, what numba is asked for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from skyextract.kernels import native
from skyextract.kernels.galaxies.boxes import copy_boxes
from skyextract.kernels.jit import Kernel
from skyextract.kernels.native import Check, MachineCode, accepted, make_test, packed, unpacked

PIXELS = np.zeros((3, 4), np.float32)


class Point(NamedTuple):
    x: float
    y: float


class Other(NamedTuple):
    x: float
    y: float


def readonly() -> np.ndarray:
    pixels = PIXELS.copy()
    pixels.flags.writeable = False
    return pixels


PLANE: Check = ("array", "<f4", 2, "C", True)
POINT: Check = ("tuple", "Point", [("float64",), ("float64",)])


@pytest.mark.parametrize(
    ("argument", "check", "passes"),
    [
        (PIXELS, PLANE, True),
        (PIXELS.astype("f8"), PLANE, False),
        (PIXELS.astype(">f4"), PLANE, False),
        (PIXELS[0], PLANE, False),
        (PIXELS.T, PLANE, False),
        (PIXELS.T, ("array", "<f4", 2, "A", True), True),
        (PIXELS[:, ::2], PLANE, False),
        (readonly(), PLANE, False),
        (readonly(), ("array", "<f4", 2, "C", False), True),
        (np.frombuffer(b"." * 17, "u1", offset=1).view("<f4"), ("array", "<f4", 1, "C", False),
         False),
        (PIXELS.tolist(), PLANE, False),
        (3, ("int64",), True),
        (np.int32(3), ("int64",), True),
        (3.0, ("int64",), False),
        (3.0, ("float64",), True),
        (np.float64(3), ("float64",), True),
        (3, ("float64",), False),
        (np.float32(3), ("float64",), False),
        (np.float32(3), ("float32",), True),
        (3.0, ("float32",), False),
        (True, ("bool",), True),
        (np.bool_(True), ("bool",), True),
        (1, ("bool",), False),
        (None, ("none",), True),
        (0, ("none",), False),
        (Point(1.0, 2.0), POINT, True),
        (Other(1.0, 2.0), POINT, False),
        ((1.0, 2.0), POINT, False),
        (Point(1, 2.0), POINT, False),
        ((1.0, 2.0), ("tuple", "tuple", [("float64",), ("float64",)]), True),
        ((1.0,), ("tuple", "tuple", [("float64",), ("float64",)]), False),
    ],
)  # fmt: skip
def test_arguments(argument: object, check: Check, passes: bool) -> None:
    test = make_test(check)
    assert accepted([argument], [test]) is passes
    assert not accepted([], [test])
    assert not accepted([argument, argument], [test])


def test_content_of_a_file() -> None:
    native = MachineCode(b"code", "entry", [("symbol", b"")], ["pow"], [POINT, ("int64",)])
    assert unpacked(packed(native, b"numba")) == (native, b"numba")
    assert unpacked(packed(None, b"numba")) == (None, b"numba")


def test_a_kernel_that_two_threads_ask_for_is_linked_once():
    module, function = "galaxies.boxes", copy_boxes
    if not isinstance(function, Kernel) or not function.load():
        pytest.skip("kernels are interpreted, or none is compiled")
    assert native.load(function.py_func, module) is native.load(function.py_func, module)
