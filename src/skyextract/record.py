"""Classes of named values that cannot be changed, made without compiling code.

`dataclasses.dataclass(frozen=True)` writes six methods for every class and compiles each, which
takes a millisecond or more: with a hundred classes a seventh of a short run.  The methods here
are written once, for all classes, and read the fields.
"""

from __future__ import annotations

from dataclasses import (  # type: ignore[attr-defined]
    _FIELD,
    MISSING,
    Field,
    FrozenInstanceError,
    field,
    fields,
)
from inspect import Parameter, Signature, get_annotations
from threading import RLock
from typing import Any, TypeVar, dataclass_transform

__all__ = ["record"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass, for `dataclasses.replace`, `fields` and `asdict` too.

    As `dataclasses.dataclass(frozen=True)` makes it, but for fields with `init=False` and
    for slots; a method that the class defines itself is left to it.
    """
    made: Any = cls
    for name, method in _METHODS.items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    made.__signature__ = _Signature()
    defaults: dict[str, Any] = {}
    made_anew: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        if "__record__" in base.__dict__:
            defaults |= base.__record__[0]  # type: ignore[attr-defined]
            made_anew |= base.__record__[1]  # type: ignore[attr-defined]
    for name in get_annotations(cls):
        default = cls.__dict__.get(name, MISSING)
        made_anew.pop(name, None)
        if isinstance(default, Field):
            if default.default_factory is not MISSING:
                made_anew[name] = default.default_factory
            default = default.default
        defaults[name] = default
    needed = {name for name, value in defaults.items() if value is MISSING} - made_anew.keys()
    made.__record__ = defaults, made_anew, needed, hasattr(cls, "__post_init__")
    made.__dataclass_fields__ = _Fields(cls)
    return cls


class _Fields:
    """The fields of a record, as `dataclasses` looks for them; made when they are asked for.

    Half of the classes are never asked, and to make the fields takes longer than all else.
    """

    lock = RLock()

    def __init__(self, cls: type) -> None:
        self.cls = cls

    def __get__(self, _instance: object, _owner: object) -> dict[str, Field[Any]]:
        with self.lock:
            if self.cls.__dict__["__dataclass_fields__"] is self:
                self._make()
        found: dict[str, Field[Any]] = self.cls.__dict__["__dataclass_fields__"]
        return found

    def _make(self) -> None:
        # As `dataclass` does, which looks for other things, too, in ten times as long.
        cls = self.cls
        found: dict[str, Field[Any]] = {}
        for base in reversed(cls.__mro__[1:]):
            found |= getattr(base, "__dataclass_fields__", {})
        for name, text in get_annotations(cls).items():
            item: Any = cls.__dict__.get(name, MISSING)
            if not isinstance(item, Field):
                item = field(default=item)
            elif item.default is MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, item.default)
            item.name, item.type = name, text
            item.kw_only, item._field_type = False, _FIELD
            found[name] = item
        made: Any = cls
        made.__dataclass_fields__ = found


def _init(self: Any, *args: Any, **kwargs: Any) -> None:
    defaults, made_anew, needed, has_more = self.__record__
    given = {**dict(zip(defaults, args, strict=False)), **kwargs} if args else kwargs
    values = self.__dict__
    values.update(defaults)  # in the order of declaration
    values.update(given)
    if (
        len(given) < len(args) + len(kwargs)
        or len(values) > len(defaults)
        or (len(given) < len(defaults) and not given.keys() >= needed)
    ):
        raise _wrong_arguments(self, args, kwargs)
    for name, make in made_anew.items():
        if name not in given:
            values[name] = make()
    if has_more:
        self.__post_init__()


def _wrong_arguments(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TypeError:
    """Return the error that a call with these arguments is."""
    try:
        type(self).__signature__.bind(*args, **kwargs)
    except TypeError as error:
        return TypeError(f"{type(self).__qualname__}: {error}")
    raise AssertionError("these arguments fit")


def _repr(self: Any) -> str:
    values = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr)
    return f"{type(self).__qualname__}({values})"


def _compared(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, f.name) for f in fields(self) if f.compare)


def _eq(self: Any, other: object) -> Any:
    return _compared(self) == _compared(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _setattr(_self: Any, name: str, _value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(_self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS = {
    "__init__": _init, "__repr__": _repr, "__eq__": _eq, "__hash__": _hash,
    "__setattr__": _setattr, "__delattr__": _delattr,
}  # fmt: skip


class _Signature:
    """What `inspect.signature` tells of a record; made when it is asked for."""

    def __get__(self, _instance: object, owner: Any) -> Signature:
        kind = Parameter.POSITIONAL_OR_KEYWORD
        return Signature(
            [
                Parameter(item.name, kind, default=_default(item), annotation=item.type)
                for item in fields(owner)
            ]
        )


def _default(item: Any) -> Any:
    """Return the default of a field as a signature shows it."""
    if item.default is not MISSING:
        return item.default
    return Parameter.empty if item.default_factory is MISSING else item.default_factory
