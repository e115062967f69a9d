"""What a command is given beside its own arguments."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from udocker.ops.session import Session


class Context:
    """The session, and where results go.

    The session begins when a command first asks for it: help and version need no settings, so
    they are there when those are wrong.
    """

    def __init__(self, begin: Callable[[], Session], stdout: TextIO) -> None:
        self._begin = begin
        self._session: Session | None = None
        self._stdout = stdout

    @property
    def session(self) -> Session:
        if self._session is None:
            self._session = self._begin()
        return self._session

    @property
    def is_terminal(self) -> bool:
        """Whether results go to somebody who looks at them."""
        return self._stdout.isatty()

    def close(self) -> None:
        """Leave the terminal as it was found."""
        if self._session is not None:
            self._session.report.close()

    def print(self, text: str = "") -> None:
        """One line of result on stdout."""
        self._stdout.write(text + "\n")

    def print_json(self, data: object) -> None:
        import json

        self.print(json.dumps(data, indent=2, sort_keys=True))
