"""Points of time as the store and image configurations write them (RFC 3339, in UTC)."""

from __future__ import annotations

import time


def now() -> str:
    """This moment. Not by ``datetime``: to load that takes a millisecond."""
    return moment(time.time_ns())


def moment(nanoseconds: int) -> str:
    """So many nanoseconds after the epoch, as text."""
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 1_000_000_000))
    return f"{text}.{nanoseconds // 1000 % 1_000_000:06d}+00:00"
