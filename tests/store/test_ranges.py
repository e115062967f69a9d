"""Sets of bytes, compared with sets of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from udocker.store.ranges import Ranges

_PLACE = st.integers(0, 40)


def numbers(ranges: Ranges) -> set[int]:
    return {number for start, end in ranges for number in range(start, end)}


@given(st.lists(st.tuples(_PLACE, _PLACE)), _PLACE, _PLACE)
def test_it_is_a_set_of_numbers(added: list[tuple[int, int]], start: int, end: int) -> None:
    ranges, model = Ranges(), set()
    for first, last in added:
        ranges.add(first, last)
        model |= set(range(first, last))
    assert numbers(ranges) == model
    found = list(ranges)
    assert all(first < last for first, last in found)
    assert all(one[1] < other[0] for one, other in zip(found, found[1:]))  # they do not touch
    missing = {number for at, to in ranges.missing(start, end) for number in range(at, to)}
    assert missing == set(range(start, end)) - model
    reach = ranges.reach(start)
    assert set(range(start, reach)) <= model
    assert reach not in model
