from __future__ import annotations

import copy
import pickle

import pytest

from udocker.model.value import FrozenValueError, replace, value


@value
class Point:
    x: int
    y: int = 2

    @property
    def total(self) -> int:
        return self.x + self.y


@value
class Named(Point):
    name: str = "p"


@value
class Twin:
    x: int
    y: int = 2


@value
class Nothing:
    pass


@value
class Checked:
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size")


@value
class OwnMethods:
    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnMethods) and other.text.lower() == self.text.lower()

    def __hash__(self) -> int:
        return hash(self.text.lower())

    def __repr__(self) -> str:
        return "own"


def test_fields_by_position_and_by_name():
    assert (Point(1).x, Point(1).y, Point(1).total) == (1, 2, 3)
    assert Point(1, y=5) == Point(x=1, y=5) == Point(1, 5)


def test_base_fields_come_first():
    named = Named(1, 3, "q")
    assert (named.x, named.y, named.name) == (1, 3, "q")
    assert Named(7).name == "p"
    assert Named._fields == ("x", "y", "name")
    assert Point._fields == ("x", "y")


def test_a_class_without_fields():
    assert Nothing() == Nothing()
    with pytest.raises(TypeError, match="takes 0 values"):
        Nothing(1)


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {}, "missing value 'x'"),
        ((1, 2, 3), {}, "takes 2 values, got 3"),
        ((1,), {"z": 1}, "unexpected or repeated value 'z'"),
        ((1,), {"x": 1}, "unexpected or repeated value 'x'"),
    ],
)
def test_wrong_arguments(arguments, named, message):
    with pytest.raises(TypeError, match=message):
        Point(*arguments, **named)


def test_frozen():
    point = Point(1)
    with pytest.raises(FrozenValueError, match=r"Point\.x cannot be changed"):
        point.x = 3
    with pytest.raises(AttributeError):
        point.new = 3
    with pytest.raises(FrozenValueError):
        del point.x
    assert point == Point(1)


def test_equality_is_of_one_class():
    assert Point(1) != Twin(1)
    assert Point(1) != Named(1)
    assert Point(1) != (1, 2)
    assert Point(1) != Point(2)


def test_hash():
    assert hash(Point(1)) == hash(Point(1, 2))
    assert len({Point(1), Point(1, 2), Point(2), Twin(1)}) == 3
    with pytest.raises(TypeError):
        hash(Point([]))


def test_repr_reads_as_a_call():
    assert repr(Named(1)) == "Named(x=1, y=2, name='p')"


def test_own_methods_stay():
    assert OwnMethods("A") == OwnMethods("a")
    assert len({OwnMethods("A"), OwnMethods("a")}) == 1
    assert repr(OwnMethods("A")) == "own"


def test_post_init():
    assert Checked(1).size == 1
    with pytest.raises(ValueError, match="size"):
        Checked(-1)


def test_replace():
    old = Named(1)
    assert replace(old, y=9) == Named(1, 9)
    assert old == Named(1)
    with pytest.raises(TypeError, match="unexpected"):
        replace(old, z=9)
    with pytest.raises(ValueError, match="size"):
        replace(Checked(1), size=-1)


def test_copies():
    point = Named(1, name="q")
    assert copy.copy(point) == copy.deepcopy(point) == point
    assert pickle.loads(pickle.dumps(Point(4))) == Point(4)
