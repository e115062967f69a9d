"""Tries several modes at once, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal

from udocker.errors import UdockerError
from udocker.model.host import Support
from udocker.ops.modes import Verdict, examine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from udocker.engine.table import Mode
    from udocker.ops.session import Session

_LEAST = 2  # at once: an engine that hangs does not keep all others
_LOST = "the process that tried it has ended without an answer"


def examine_all(
    session: Session, modes: Sequence[Mode], at_once: int | None = None
) -> list[Verdict]:
    """Every mode, tried now, in the order given; ``at_once`` processes, by default as many as
    this process may use processors."""
    session.report.close()
    most = at_once or max(_LEAST, len(os.sched_getaffinity(0)))
    waiting = list(enumerate(modes))
    running: dict[int, _Trial] = {}
    found: dict[int, Verdict] = {}
    try:
        while waiting or running:
            while waiting and len(running) < most:
                number, mode = waiting.pop(0)
                trial = _Trial(session, mode)
                running[trial.descriptor] = trial
                trial.number = number
            for descriptor in select.select(list(running), [], [])[0]:
                if running[descriptor].has_ended():
                    trial = running.pop(descriptor)
                    found[trial.number] = trial.verdict()
    finally:
        for trial in running.values():
            trial.stop()
    return [found[number] for number in range(len(modes))]


class _Trial:
    """A process that tries ``mode`` and writes its verdict to ``descriptor``."""

    number = 0

    def __init__(self, session: Session, mode: Mode) -> None:
        self._mode = mode
        self._received = b""
        self.descriptor, sender = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _try(session, mode, sender)
        os.close(sender)

    def has_ended(self) -> bool:
        """Take what has come; whether it was the last."""
        data = os.read(self.descriptor, 65536)
        self._received += data
        return not data

    def verdict(self) -> Verdict:
        self._wait()
        try:
            mode, reason, hint, union, output = json.loads(self._received)
        except ValueError:
            return Verdict(self._mode.name, Support(_LOST, "udocker --debug doctor"))
        return Verdict(mode, Support(reason, hint), union, output)

    def stop(self) -> None:
        """As Ctrl-C: it cleans up."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGINT)
        self._wait()

    def _wait(self) -> None:
        os.close(self.descriptor)
        os.waitpid(self._pid, 0)


def _try(session: Session, mode: Mode, sender: int) -> None:
    """In the process: never returns."""
    try:
        verdict = examine(session, mode, fresh=True)
    except UdockerError as error:
        verdict = Verdict(mode.name, Support(error.message, error.hint or ""))
    except BaseException as error:  # noqa: BLE001 - nothing of the parent may run here
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        verdict = Verdict(mode.name, Support(reason, "udocker --debug doctor"))
    try:
        support = verdict.support
        words = (mode.name, support.reason, support.hint, verdict.union, verdict.output)
        data = json.dumps(words).encode()
        while data:
            data = data[os.write(sender, data) :]
    finally:
        os._exit(0)
