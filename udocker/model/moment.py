"""Points of time as the store and image configurations write them (RFC 3339, in UTC)."""

from __future__ import annotations

import re
import time

_OURS = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,9})?\+00:00", re.ASCII)
_DAYS_TO_1970 = 719468  # from the first of March of the year 0, Gregorian


def now() -> str:
    """This moment. Not by ``datetime``: to load that takes a millisecond."""
    return moment(time.time_ns())


def moment(nanoseconds: int) -> str:
    """So many nanoseconds after the epoch, as text."""
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 1_000_000_000))
    return f"{text}.{nanoseconds // 1000 % 1_000_000:06d}+00:00"


def seconds(text: str) -> float:
    """After the epoch, of a moment as ``moment`` writes it, or any of ISO 8601 with an offset.

    Raises ValueError.
    """
    found = _OURS.fullmatch(text)
    if found is None:
        import datetime

        then = datetime.datetime.fromisoformat(text)
        if then.tzinfo is None:
            raise ValueError(f"it is not known where it was {text}")
        return then.timestamp()
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    # Years that begin in March have the day that is not always there at their end.
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    days = year * 365 + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 1
    rest = float(found[7] or 0)
    return ((days - _DAYS_TO_1970) * 24 + hour) * 3600.0 + minute * 60 + second + rest


def ago(text: str) -> float:
    """Seconds since then. Raises ValueError."""
    return time.time() - seconds(text)
