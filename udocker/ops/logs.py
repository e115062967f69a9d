"""What a container printed."""

from __future__ import annotations

from collections import deque

from udocker.errors import UdockerError
from udocker.model.value import value
from udocker.ops.control import life
from udocker.store.logs import read
from udocker.store.runs import Runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.ops.session import Session
    from udocker.store.logs import Line


@value
class Wanted:
    """Of a log. Points of time as in the log; "": none. ``tail`` -1: all lines."""

    since: str = ""
    until: str = ""
    tail: int = -1
    follow: bool = False


def logs(session: Session, text: str, wanted: Wanted) -> Iterator[Line]:
    """The lines that are wanted. Raises ContainerNotFound, UdockerError where nothing is kept."""
    container = session.store.containers.get(text)
    runs = Runs(container.path)
    if runs.begun() is None and life(container).is_in_front:
        raise UdockerError(
            f"container {text} runs in the foreground: what it prints is not kept",
            hint="run -d keeps it",
        )
    last: deque[Line] | None = deque(maxlen=wanted.tail) if wanted.tail >= 0 else None
    for line in read(runs.log, lambda: wanted.follow and life(container).is_running):
        if line is None:  # all that there is has been read
            yield from last or ()
            last = None
        elif wanted.until and line.time > wanted.until:
            break
        elif line.time < wanted.since:
            continue
        elif last is not None:
            last.append(line)
        else:
            yield line
    yield from last or ()
