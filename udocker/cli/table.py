"""Lists as people read them."""

from __future__ import annotations

from udocker.model.moment import ago

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows with their cells aligned; the last column is not padded."""
    padded = []
    for column in zip(*rows):
        width = max(map(len, column))
        padded.append([cell.ljust(width) for cell in column])
    return "\n".join("   ".join(cells).rstrip() for cells in zip(*padded))


def megabytes(size: int) -> str:
    """A size in bytes as ``12.3 MB``."""
    return f"{size / 1e6:.1f} MB"


def age(moment: str) -> str:
    """How long ago an ISO 8601 moment was, in the largest unit that fits."""
    try:
        seconds = ago(moment)
    except ValueError:
        return "unknown"
    for unit, length in (("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def line(text: str) -> str:
    """``text`` as one line that a terminal only shows: a part of it may be anybody's."""
    return "".join(
        c if c.isprintable() or "\ud800" <= c < "\ue000" else repr(c)[1:-1] for c in text
    )
