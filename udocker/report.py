"""What the user is told while something goes on. Results go to stdout elsewhere; this is stderr."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TextIO

    class Task(Protocol):
        """One thing in progress."""

        def advance(self, amount: int) -> None:
            """``amount`` more of the total is done (bytes, entries)."""
            ...

        def done(self, note: str = "") -> None:
            """It is finished; ``note`` says how, in a word."""
            ...

    class Reporter(Protocol):
        """Where progress, notes and warnings go."""

        def info(self, text: str) -> None: ...

        def warn(self, text: str) -> None: ...

        def debug(self, text: str) -> None: ...

        def task(self, title: str, total: int | None) -> Task:
            """Begin ``title``; ``total`` in the unit of ``advance``, None when unknown."""
            ...

        def close(self) -> None:
            """Leave the terminal as it was found."""
            ...


class _QuietTask:
    def advance(self, amount: int) -> None:
        pass

    def done(self, note: str = "") -> None:
        pass


class QuietReporter:
    """Nothing at all, but warnings when ``warnings`` is set."""

    def __init__(self, stream: TextIO | None = None, warnings: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._warnings = warnings

    def info(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        if self._warnings:
            self._stream.write(f"udocker: warning: {text}\n")

    def debug(self, text: str) -> None:
        pass

    def task(self, title: str, total: int | None) -> Task:
        return _QuietTask()

    def close(self) -> None:
        pass
