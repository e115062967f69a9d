"""``--ulimit``, ``--cpus``, ``--cpuset-cpus``, ``--memory`` and the like, read and checked."""

from __future__ import annotations

from udocker.errors import UsageError
from udocker.spec.storage import parse_size

# The numbers of <asm-generic/resource.h>, as on all machines that udocker knows.
NUMBERS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}
UNLIMITED = -1
_LEAST_MEMORY = 6 << 20  # bytes, Docker's


def parse_ulimit(text: str) -> tuple[str, int, int]:
    """Read the value of --ulimit: ``NAME=SOFT[:HARD]``. Raises UsageError."""
    name, equals, given = text.partition("=")
    soft, colon, hard = given.partition(":")
    if name not in NUMBERS or not equals:
        raise UsageError(
            f"--ulimit {text!r}: NAME=SOFT[:HARD] is expected", hint=f"NAME: {', '.join(NUMBERS)}"
        )
    low = _limit(soft, text)
    high = _limit(hard, text) if colon else low
    if high != UNLIMITED and (low == UNLIMITED or low > high):
        raise UsageError(f"--ulimit {text!r}: the soft limit is above the hard one")
    return name, low, high


def parse_cpus(text: str) -> float:
    """Read the value of --cpus, such as 1.5. Raises UsageError."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e6:
        raise UsageError(f"--cpus {text!r}: not a number of CPUs", hint="--cpus 1.5")
    return number


def parse_cpuset(text: str) -> tuple[int, ...]:
    """Read the value of --cpuset-cpus, such as ``0-3,8``. Raises UsageError."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) < 6 for end in ends):
            raise UsageError(f"--cpuset-cpus {text!r}: not a list of CPUs", hint="0-3,8")
        if int(ends[0]) > int(ends[1]):
            raise UsageError(f"--cpuset-cpus {text!r}: {part} is upside down", hint="0-3,8")
        found.update(range(int(ends[0]), int(ends[1]) + 1))
    return tuple(sorted(found))


def parse_memory(text: str) -> int:
    """Read the value of --memory. Raises UsageError."""
    size = parse_size(text, "--memory")
    if 0 < size < _LEAST_MEMORY:
        raise UsageError(f"--memory {text!r}: at least 6m", hint="--memory 512m")
    return size


def parse_pids(text: str) -> int:
    """Read the value of --pids-limit; 0 and -1 are none. Raises UsageError."""
    return max(parse_integer(text, "--pids-limit", -1, 2**22), 0)


def parse_integer(text: str, option: str, least: int, most: int) -> int:
    """A whole number. Raises UsageError."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 12):
        raise UsageError(f"{option} {text!r}: not a whole number")
    if not least <= int(text) <= most:
        raise UsageError(f"{option} {text!r}: from {least} to {most}")
    return int(text)


def _limit(text: str, whole: str) -> int:
    if text in ("-1", "unlimited"):
        return UNLIMITED
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UsageError(
            f"--ulimit {whole!r}: {text!r} is not a limit", hint="a number, or -1 for none"
        )
    return int(text)
