"""How a container is, in words and as an object."""

from __future__ import annotations

from udocker import makers
from udocker.model.life import CREATED, PAUSED, RUNNING
from udocker.model.moment import ago
from udocker.store.runs import Runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.container import Container
    from udocker.model.life import Life

_UNITS = (("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def outline(container: Container) -> Life:
    """As ``control.life``, for lists: of a run that has ended not how it began."""
    return Runs(container.path).outline()


def told(life: Life) -> str:
    """As Docker's ps has it; a host is named where it is another one."""
    if life.is_running:
        since = _since(life.begun.started) if life.begun else ""
        text = f"Up {since}".rstrip() + (" (Paused)" if life.status == PAUSED else "")
        return f"{text} on {life.node}" if life.node else text
    if life.status == CREATED:
        return "Created"
    if life.ended is None:
        return "Exited"
    when = _since(life.ended.finished)
    return f"Exited ({life.ended.code})" + (f" {when} ago" if when else "")


def state(life: Life) -> dict[str, object]:
    """For inspect. ``exitCode`` None: nobody knows; ``pid`` 0: it cannot be seen from here."""
    begun, ended = life.begun, life.ended
    is_here = begun is not None and life.is_running and not life.node
    pid = 0
    if is_here and begun is not None:
        pid = begun.command or makers.pid(begun.mark)
    return {
        "status": life.status,
        "running": life.is_running,
        "paused": life.status == PAUSED,
        "pid": pid,
        "exitCode": ended.code if ended else 0 if life.status in (CREATED, RUNNING) else None,
        "error": ended.error if ended else "",
        "startedAt": begun.started if begun else "",
        "finishedAt": ended.finished if ended else "",
        "node": life.node or (begun.node if begun and life.is_running else ""),
    }


def _since(moment: str) -> str:
    """How long ago that was, in the largest unit that fits; "": it is not known."""
    try:
        seconds = ago(moment)
    except ValueError:
        return ""
    for unit, length in _UNITS:
        count = int(seconds // length)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a second"
