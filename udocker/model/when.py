"""Points of time as users write them."""

from __future__ import annotations

import re
import time

from udocker.errors import UsageError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "ms": 0.001, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhd])")
_SECOND = 1_000_000_000


def since(text: str) -> int:
    """Nanoseconds after 1970: of seconds after it, a date and time, or so long ago (1h30m).

    Raises UsageError.
    """
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", text):
        whole, _, part = text.partition(".")
        return int(whole) * _SECOND + int(part[:9].ljust(9, "0"))
    if re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        length = sum(float(count) * _UNITS[unit] for count, unit in _DURATION.findall(text))
        return time.time_ns() - int(length * _SECOND)
    return _date(text)


def _date(text: str) -> int:
    import datetime

    words = re.sub(r"[zZ]$", "+00:00", text)
    # Docker writes nine digits, and Python before 3.11 reads three or six.
    words = re.sub(r"\.([0-9]+)", lambda found: "." + found[1][:6].ljust(6, "0"), words)
    try:
        moment = datetime.datetime.fromisoformat(words)
        # Without a zone it is the local time.
        return int(moment.timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError):
        raise UsageError(
            f"not a point of time: {text!r}", hint="2026-01-31T12:00:00, 10m, or 1769860800"
        ) from None
