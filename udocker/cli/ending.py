"""Who is told to end by a signal takes back what is under way, as after Ctrl-C."""

from __future__ import annotations

import os
import signal

_ENDING = (signal.SIGTERM, signal.SIGHUP)


class ToldToEnd(KeyboardInterrupt):
    """One of these signals came."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def end(self) -> int:
        """End as the signal has processes end."""
        signal.signal(self._number, signal.SIG_DFL)
        os.kill(os.getpid(), self._number)
        return 128 + self._number  # it was blocked


def heed_signals() -> None:
    """Raise ToldToEnd when a signal comes. execve(2) makes it end the process again."""

    def tell(number: int, frame: object) -> None:
        raise ToldToEnd(number)

    for number in _ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:  # and not ignored, as below nohup(1)
            signal.signal(number, tell)
