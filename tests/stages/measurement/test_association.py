"""Association with a list."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.measurement.association import associate

X, Y = np.array([10.0, 50.0]), np.array([10.0, 50.0])
POSITIONS = np.array([[10.9, 9.0], [10.1, 10.2], [11.0, 11.0], [80.0, 80.0], [np.nan, 10.0]])
WEIGHTS = np.array([3.0, 1.0, 2.0, 9.0, 9.0])
DATA = np.array([[1.0, 20.0], [2.0, 21.0], [4.0, 22.0], [8.0, 23.0], [9.0, 9.0]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("FIRST", [1.0, 20.0]),
        ("NEAREST", [2.0, 21.0]),
        ("MEAN", [(3.0 + 2.0 + 8.0) / 6.0, (60.0 + 21.0 + 44.0) / 6.0]),
        ("SUM", [7.0, 63.0]),
        ("MIN", [2.0, 21.0]),
        ("MAX", [1.0, 20.0]),
        ("MAG_SUM", [-2.5 * np.log10(np.sum(10 ** (-0.4 * np.array([m, n, o])))) for m, n, o in
                     ((1.0, 2.0, 4.0), (20.0, 21.0, 22.0))]),
    ],
)  # fmt: skip
def test_types(kind: str, expected: list[float]) -> None:
    vectors, numbers = associate(X, Y, POSITIONS, WEIGHTS, DATA, 2.0, kind)
    np.testing.assert_allclose(vectors[0], expected)
    assert numbers.tolist() == [1 if kind == "FIRST" else 3, 0]
    assert not vectors[1].any()


def test_mean_by_magnitude_weighs_with_flux() -> None:
    vectors, _ = associate(X, Y, POSITIONS, WEIGHTS, DATA, 2.0, "MAG_MEAN")
    weight = 10.0 ** (-0.4 * WEIGHTS[:3])
    np.testing.assert_allclose(vectors[0], weight @ DATA[:3] / weight.sum())


def test_without_weights_types_that_need_them_take_the_first() -> None:
    vectors, numbers = associate(X, Y, POSITIONS, None, DATA, 2.0, "MEAN")
    assert vectors[0].tolist() == [1.0, 20.0]
    assert numbers[0] == 1


def test_empty_list() -> None:
    vectors, numbers = associate(
        X, Y, np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)), 2.0, "NEAREST"
    )
    assert not vectors.any()
    assert not numbers.any()
