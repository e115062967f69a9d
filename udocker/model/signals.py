"""Names of signals, and of keys that leave an attached container, as Docker spells them."""

from __future__ import annotations

import signal

from udocker.errors import UsageError

_MOST = 64  # SIGRTMAX
DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROLS = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def number(text: str) -> int:
    """``9``, ``KILL`` or ``SIGKILL`` as a number; RTMIN+N too. Raises UsageError."""
    word = text.strip().upper().removeprefix("SIG")
    base, plus, more = word.partition("+")
    if word.isdigit():
        found = int(word)
    elif base == "RTMIN" and (not plus or more.isdigit()):
        found = int(signal.SIGRTMIN) + int(more or 0)
    else:
        found = int(getattr(signal, f"SIG{word}", 0)) if word.isalnum() else 0
    if not 1 <= found <= _MOST:
        raise UsageError(f"not a signal: {text!r}", hint="a name or a number: TERM, SIGKILL, 9")
    return found


def name(found: int) -> str:
    """As ``SIGTERM``."""
    try:
        return signal.Signals(found).name
    except ValueError:
        return f"SIG{found}"


def keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` or ``a,b`` as the bytes that a terminal gives. Raises UsageError."""
    if not text:
        return b""
    found = bytearray()
    for part in text.split(","):
        low = part.lower()
        key = low.removeprefix("ctrl-")
        if low.startswith("ctrl-") and len(key) == 1 and "a" <= key <= "z":
            found.append(ord(key) - ord("a") + 1)
        elif low.startswith("ctrl-") and key in _CONTROLS:
            found.append(_CONTROLS[key])
        elif len(part) == 1 and part.isascii():
            found.append(ord(part))
        else:
            raise UsageError(f"not a key: {part!r}", hint="--detach-keys ctrl-p,ctrl-q")
    return bytes(found)
