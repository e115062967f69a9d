"""``@value``: frozen classes that cost nothing to import.

``dataclasses`` imports ``inspect`` and compiles several functions per class: about 20 ms for
the classes that ``udocker run`` needs, twice the time of a bare interpreter, paid by every MPI
rank. Type checkers see ``@value`` as a frozen dataclass (PEP 681), and it behaves as one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from typing_extensions import dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_options):
        return lambda function: function


class FrozenValueError(AttributeError):
    """An attempt to assign to, or delete, a field of a frozen value."""


def _init(self: Any, *args: Any, **kwargs: Any) -> None:
    given = dict(zip(self._fields, args))
    given.update(kwargs)
    filled = {**self._defaults, **given}
    # One comparison tells that all is well; a list of containers makes thousands of values.
    if len(given) != len(args) + len(kwargs) or filled.keys() != self._known:
        raise TypeError(_what_is_wrong(self, args, kwargs, filled))
    self.__dict__.update(filled)
    check = getattr(self, "__post_init__", None)
    if check is not None:
        check()


def _what_is_wrong(self: Any, args: Any, kwargs: Any, filled: Any) -> str:
    names, own = self._fields, type(self).__name__
    if len(args) > len(names):
        return f"{own} takes {len(names)} values, got {len(args)}"
    for name in kwargs:
        if name in names[: len(args)] or name not in names:
            return f"{own}: unexpected or repeated value {name!r}"
    missing = next(name for name in names if name not in filled)
    return f"{own}: missing value {missing!r}"


def _frozen(self: Any, name: str, *_value: Any) -> None:
    raise FrozenValueError(f"{type(self).__name__}.{name} cannot be changed")


def _eq(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return all(getattr(self, n) == getattr(other, n) for n in self._fields)


def _hash(self: Any) -> int:
    return hash((type(self), *(getattr(self, n) for n in self._fields)))


def _repr(self: Any) -> str:
    body = ", ".join(f"{n}={getattr(self, n)!r}" for n in self._fields)
    return f"{type(self).__name__}({body})"


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen value: its annotations are its fields, class attributes defaults.

    Defaults must be immutable: they are shared. ``__post_init__`` is called when defined, and
    so are ``__repr__``, ``__eq__`` and ``__hash__`` of the class's own.
    """
    own = cls.__dict__
    fields: tuple[str, ...] = getattr(cls, "_fields", ())
    annotated = getattr(cls, "__annotations__", {})  # of a base on Python 3.9, if it has none
    fields += tuple(name for name in annotated if name not in fields)
    setattr(cls, "_fields", fields)
    setattr(cls, "_known", frozenset(fields))
    setattr(cls, "_defaults", {name: getattr(cls, name) for name in fields if hasattr(cls, name)})
    setattr(cls, "__init__", _init)
    setattr(cls, "__setattr__", _frozen)
    setattr(cls, "__delattr__", _frozen)
    for name, function in (("__eq__", _eq), ("__hash__", _hash), ("__repr__", _repr)):
        if name not in own:
            setattr(cls, name, function)
    return cls


def replace(old: T, **changes: Any) -> T:
    """A copy of ``old`` with some fields changed."""
    given = {name: getattr(old, name) for name in getattr(old, "_fields")}
    given.update(changes)
    return type(old)(**given)
