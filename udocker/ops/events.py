"""What happened to containers, told by those who did it: a line of JSON each, in the store.

Runs in the foreground note nothing: they cost no more than they have to.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from udocker.model.moment import moment
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.model.container import Container
    from udocker.ops.session import Session

_FILE = "events"
_LIMIT = 1 << 20  # bytes, then the older half is kept beside
_LOOK_AGAIN = 0.2  # seconds


@value
class Event:
    """``when`` in nanoseconds; ``attributes`` are the image, a name, and the action's own."""

    when: int
    action: str
    container: str
    attributes: tuple[tuple[str, str], ...]

    def as_json(self) -> dict[str, object]:
        """As Docker's events are."""
        actor = {"ID": self.container, "Attributes": dict(self.attributes)}
        return {
            "Type": "container",
            "Action": self.action,
            "Actor": actor,
            "time": self.when // 1_000_000_000,
            "timeNano": self.when,
        }

    def __str__(self) -> str:
        told = ", ".join(f"{name}={text}" for name, text in self.attributes)
        return f"{moment(self.when)} container {self.action} {self.container} ({told})"


def note(session: Session, action: str, container: Container, **more: str) -> None:
    """Never fails."""
    name = container.names[0] if container.names else container.short_id
    attributes = {"image": container.image, "name": name, **more}
    record = {"when": time.time_ns(), "do": action, "id": container.id, "with": attributes}
    data = json.dumps(record).encode() + b"\n"
    path = f"{session.store.topdir}/{_FILE}"
    with contextlib.suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, data)  # one call: lines of several processes do not mix
            if os.fstat(descriptor).st_size > _LIMIT:
                os.rename(path, f"{path}.1")
        finally:
            os.close(descriptor)


def read(session: Session, since: int, until: int) -> Iterator[Event | None]:
    """Events from ``since`` to ``until`` (nanoseconds), as they come; None: none just now."""
    path = f"{session.store.topdir}/{_FILE}"
    seen: set[tuple[int, str, str]] = set()
    while True:
        is_last = time.time_ns() > until
        for place in (f"{path}.1", path):
            with contextlib.suppress(FileNotFoundError), open(place, "rb") as stream:
                for event in _events(stream.read()):
                    key = (event.when, event.action, event.container)
                    if since <= event.when <= until and key not in seen:
                        seen.add(key)
                        yield event
        if is_last:
            return
        yield None
        time.sleep(_LOOK_AGAIN)


def _events(data: bytes) -> Iterator[Event]:
    for line in data.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            record = json.loads(line)
            attributes = tuple((str(n), str(t)) for n, t in record["with"].items())
            yield Event(int(record["when"]), str(record["do"]), str(record["id"]), attributes)
