"""Calls of compiled kernels without numba: what is accepted, what numba is asked for."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from skyextract.kernels import native
from skyextract.kernels.first import FIRST, GALAXIES, POINTS
from skyextract.kernels.galaxies.boxes import copy_boxes
from skyextract.kernels.jit import Kernel
from skyextract.kernels.native import Check, MachineCode, accepted, make_tests, packed, unpacked
from skyextract.kernels.store import declared

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
    tests = make_tests([check])
    assert accepted([argument], tests) is passes
    assert not accepted([], tests)
    assert not accepted([argument, argument], tests)
    assert accepted([argument, argument], make_tests([check, check])) is passes
    assert not accepted([argument, "text"], make_tests([check, check]))


def test_content_of_a_file() -> None:
    native = MachineCode(b"code", "entry", [("symbol", b"")], ["pow"], [POINT, ("int64",)])
    assert unpacked(packed(native, b"numba")) == (native, b"numba")
    assert unpacked(packed(None, b"numba")) == (None, b"numba")


def test_a_kernel_that_two_threads_ask_for_is_linked_once():
    module, function = "galaxies.boxes", copy_boxes
    if not isinstance(function, Kernel) or not function.load():
        pytest.skip("kernels are interpreted, or none is compiled")
    assert native.load(function.py_func, module) is native.load(function.py_func, module)


def test_first_kernels_are_called_from_python():
    assert all(function in declared()[module] for module, function in FIRST + POINTS + GALAXIES)


AHEAD = """
import sys
import numpy as np
from skyextract.kernels import native
native.load_ahead([("galaxies.boxes", "copy_boxes"), ("galaxies.boxes", "no_kernel")])
from skyextract.kernels.first import FIRST, GALAXIES, POINTS
from skyextract.kernels.galaxies.boxes import copy_boxes
image, out = np.arange(12, dtype="f4").reshape(3, 4), np.zeros((3, 4), "f4")
taken = bool(native._added["galaxies.boxes", "copy_boxes"])
copy_boxes(image, np.array([[1, 0, 2, 3]]), out)
print(taken, ("galaxies.boxes", "copy_boxes") in native._added, out.sum(), "numba" in sys.modules)
"""


def test_a_kernel_taken_in_ahead_is_the_one_that_is_called():
    if not isinstance(copy_boxes, Kernel) or not copy_boxes.load():
        pytest.skip("kernels are interpreted, or none is compiled")
    done = subprocess.run([sys.executable, "-c", AHEAD], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "33.0", "False"]
