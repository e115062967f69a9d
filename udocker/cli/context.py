"""What a command is given beside its own arguments."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from udocker.ops.session import Session


class Context:
    """The session, and where results go."""

    def __init__(self, session: Session, stdout: TextIO) -> None:
        self.session = session
        self._stdout = stdout

    def print(self, text: str = "") -> None:
        """One line of result on stdout."""
        self._stdout.write(text + "\n")

    def print_json(self, data: object) -> None:
        import json

        self.print(json.dumps(data, indent=2, sort_keys=True))
