"""Points of time as text, compared with datetime."""

from __future__ import annotations

import datetime

import pytest

from udocker.model.moment import moment, now

_UTC = datetime.timezone.utc


@pytest.mark.parametrize(
    "nanoseconds", [0, 999, 1_000, 1_700_000_000_123_456_789, 4_102_444_800_000_000_000]
)
def test_a_moment_is_written_as_datetime_writes_it(nanoseconds: int) -> None:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    expected = datetime.datetime.fromtimestamp(seconds, _UTC).replace(microsecond=rest // 1000)
    assert moment(nanoseconds) == expected.isoformat(timespec="microseconds")


def test_now_lies_between_before_and_after() -> None:
    before = datetime.datetime.now(_UTC)
    found = datetime.datetime.fromisoformat(now())
    assert before <= found <= datetime.datetime.now(_UTC)
