"""How a container is: whether it runs, where, and how its last run ended."""

from __future__ import annotations

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

CREATED = "created"
RUNNING = "running"
PAUSED = "paused"
EXITED = "exited"


@value
class Begun:
    """A run: by whom, where, since when, and how. Marks are those of ``makers``."""

    token: str  # of this run; "": nobody supervises it
    mark: str  # of the supervisor, or of the command that took udocker's place
    node: str  # host name
    started: str  # RFC 3339
    keeper: str = ""  # mark of the command's parent
    command: int = 0  # process id, in the pid namespace of the marks; 0: not yet known
    go_betweens: int = 0  # as of Launch
    mode: str = ""
    tty: bool = False
    stdin: bool = False
    request: str = ""  # as JSON: what this run was asked for


@value
class Ended:
    """How it ended: ``code`` as a shell gives it; ``error``: what udocker says of it."""

    token: str
    code: int
    finished: str  # RFC 3339; "": nobody knows
    error: str = ""


@value
class Life:
    """Of a container, as far as this host can know."""

    status: str
    begun: Optional[Begun] = None
    ended: Optional[Ended] = None
    node: str = ""  # where it runs, unless that is here
    is_in_front: bool = False  # it runs, and nobody supervises it

    @property
    def is_running(self) -> bool:
        """Paused counts."""
        return self.status in (RUNNING, PAUSED)
