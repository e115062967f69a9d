"""Whether a runtime of the host can install seccomp filters: asked once, and remembered."""

from __future__ import annotations

import contextlib
import json
import os

from udocker import files
from udocker.host import has_filters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.ops.session import Session


def can_filter(session: Session, runtime: str) -> bool:
    """What the program at the path ``runtime`` says, as long as it is the same one."""
    memory = f"{session.cache}/filters.json"
    try:
        status = os.stat(runtime)
    except OSError:
        return False
    key = [runtime, status.st_mtime_ns, status.st_size]
    with (
        contextlib.suppress(OSError, ValueError, KeyError, TypeError),
        open(memory, "rb") as stream,
    ):
        data = json.loads(stream.read())
        if data["key"] == key:
            return bool(data["can"])
    can = has_filters(runtime)
    with contextlib.suppress(OSError):
        files.write_atomic(memory, json.dumps({"key": key, "can": can}).encode())
    return can
