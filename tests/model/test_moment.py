"""Points of time as text, compared with datetime."""

from __future__ import annotations

import datetime

import pytest

from udocker.model.moment import ago, moment, now, seconds

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


@pytest.mark.parametrize(
    "text",
    [
        "1970-01-01T00:00:00.000000+00:00",
        "1969-12-31T23:59:59.250000+00:00",
        "2000-02-29T12:34:56+00:00",
        "2024-03-01T00:00:00.5+00:00",
        "2100-02-28T23:59:59.999999+00:00",
        "2026-11-30T10:00:00+05:30",
        "2026-11-30 10:00:00.123+00:00",
    ],
)
def test_a_moment_is_read_as_datetime_reads_it(text: str) -> None:
    usual = text.replace(".5+", ".500000+")  # Python 3.9 reads three digits, or six
    assert seconds(text) == pytest.approx(datetime.datetime.fromisoformat(usual).timestamp())


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13-01T00:00:00", "2026-1-1", "2026-01-01", "2026-01-01T00:00:00"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|month|where it was"):
        seconds(text)


def test_how_long_ago() -> None:
    assert 0 <= ago(now()) < 60
