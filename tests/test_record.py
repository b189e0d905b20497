"""Records against the frozen dataclasses that they stand for."""

from __future__ import annotations

import inspect
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from skyextract.record import record


class _Declared:
    first: int
    second: str
    third: float = 1.5
    hidden: int = field(default=7, repr=False, compare=False)
    many: tuple[int, ...] = field(default_factory=tuple)


def _make(decorator: Any) -> Any:
    namespace = {
        name: value for name, value in vars(_Declared).items() if not name.startswith("__")
    }
    annotations = dict(_Declared.__annotations__)
    return decorator(
        type("Made", (), {**namespace, "__annotations__": annotations, "__doc__": "d"})
    )


Record = _make(record)
Frozen = _make(dataclass(frozen=True))

CALLS = [
    ((1, "b"), {}),
    ((1,), {"second": "b", "many": (3,)}),
    ((), {"second": "b", "first": 1, "hidden": 0}),
    ((1, "b", 2.5, 8, (1, 2)), {}),
    ((), {}),
    ((1,), {}),
    ((1, "b"), {"first": 2}),
    ((1, "b"), {"fourth": 2}),
    ((1, "b", 2.5, 8, (1, 2), 9), {}),
]


@pytest.mark.parametrize(("args", "kwargs"), CALLS)
def test_as_a_frozen_dataclass(args, kwargs):
    try:
        expected = Frozen(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError, match=r"Made: .*argument"):
            Record(*args, **kwargs)
        return
    made = Record(*args, **kwargs)
    assert asdict(made) == asdict(expected)
    assert list(vars(made)) == list(vars(expected))
    assert repr(made) == repr(expected)
    assert hash(made) == hash(expected)
    assert asdict(replace(made, second="c")) == asdict(replace(expected, second="c"))
    assert [f.name for f in fields(made)] == [f.name for f in fields(expected)]


def test_equality_is_of_fields_and_class():
    assert Record(1, "b") == Record(1, "b", hidden=3)
    assert Record(1, "b") != Record(2, "b")
    assert Record(1, "b") != Frozen(1, "b")


def test_nothing_can_be_changed():
    made = Record(1, "b")
    with pytest.raises(FrozenInstanceError, match="first"):
        made.first = 2
    with pytest.raises(FrozenInstanceError, match="new"):
        made.new = 2
    with pytest.raises(FrozenInstanceError, match="first"):
        del made.first
    assert made.first == 1


def test_the_signature_is_shown():
    ours, theirs = inspect.signature(Record), inspect.signature(Frozen)
    assert list(ours.parameters) == list(theirs.parameters)
    assert [p.default for p in ours.parameters.values()][:4] == [
        p.default for p in theirs.parameters.values()
    ][:4]


@record
class Checked:
    """Has methods of its own."""

    low: float
    high: float = 2.0

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low > high")

    def __repr__(self) -> str:
        return f"{self.low}..{self.high}"


@record
class Wider(Checked):
    """Has the fields of another, and one more."""

    step: float = 0.5


def test_own_methods_and_fields_of_a_base_stay():
    assert repr(Checked(1.0)) == "1.0..2.0"
    assert asdict(Wider(1.0, step=0.25)) == {"low": 1.0, "high": 2.0, "step": 0.25}
    with pytest.raises(ValueError, match="low > high"):
        Wider(3.0)


def test_copies_through_processes_are_equal():
    assert pickle.loads(pickle.dumps(Checked(1.0, 3.0))) == Checked(1.0, 3.0)


def test_fields_stand_in_the_order_of_their_declaration():
    given = {"many": (3,), "second": "b", "hidden": 0, "first": 1, "third": 2.5}
    assert list(vars(Record(**given))) == [item.name for item in fields(Record)]
    assert list(vars(Record(1, many=(3,), hidden=2, second="b"))) == list(vars(Record(**given)))
