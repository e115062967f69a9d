"""Threads that do one piece of work together, and are gone when it is done."""

from __future__ import annotations

import os
import time
from _thread import get_native_id, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Condition

_MOMENT = 0.001  # seconds


class Stopped(Exception):
    """Another thread has failed, or nobody wants the work any more."""


class Crew:
    """Threads in ``work``; when one fails the others are stopped.

    ``changed`` guards what they share, and tells that it has changed.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        from threading import Condition

        self.changed: Condition = Condition()
        self._work = work
        self._wanted = 0
        self._threads: list[int] = []  # the kernel's numbers for them
        self._ended = 0
        self._stopped = False
        self.failure: BaseException | None = None  # the first

    def start(self, count: int) -> None:
        """Begin with ``count`` threads, or as many as can be had."""
        # Not threading.Thread: Ctrl-C while that starts leaves a thread that nobody can join.
        for _ in range(count):
            try:
                start_new_thread(self._run, ())
            except RuntimeError:
                return
            self._wanted += 1

    def check(self) -> None:
        """Raise Stopped if the work is to end."""
        if self._stopped:
            raise Stopped

    def wait(self) -> None:
        """Wait for ``changed``, which is held. Raises Stopped."""
        self.check()
        self.changed.wait()
        self.check()

    def join(self) -> None:
        """Wait until all have ended. Raises what one of them raised."""
        with self.changed:
            while self._ended < self._wanted and self.failure is None:
                self.changed.wait()
        self._end()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """End the threads, done or not."""
        self._stopped = True
        self._end()

    def _end(self) -> None:
        with self.changed:
            self.changed.notify_all()
            while self._ended < max(self._wanted, len(self._threads)):
                self.changed.wait()
        # Until the kernel has let go of them the process gets no user namespace: unshare(2).
        for thread in self._threads:
            while os.path.exists(f"/proc/self/task/{thread}"):
                time.sleep(_MOMENT)

    def _run(self) -> None:
        with self.changed:
            self._threads.append(get_native_id())
        try:
            self.check()
            self._work()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by join
            with self.changed:
                self.failure = self.failure or error
                self._stopped = True
        with self.changed:
            self._ended += 1
            self.changed.notify_all()
