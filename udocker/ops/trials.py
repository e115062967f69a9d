"""Tries several modes at once."""

from __future__ import annotations

import functools
import json
import os

from udocker.engine.apart import answers
from udocker.errors import UdockerError
from udocker.model.host import Support
from udocker.ops.modes import Verdict, examine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from udocker.engine.table import Mode
    from udocker.ops.session import Session

_LEAST = 2  # at once: an engine that hangs does not keep all others
_HINT = "udocker --debug doctor"


def examine_all(
    session: Session, modes: Sequence[Mode], at_once: int | None = None
) -> list[Verdict]:
    """Every mode, tried now, in the order given; ``at_once`` of them, by default as many as this
    process may use processors."""
    session.report.close()
    tasks = [functools.partial(_try, session, mode) for mode in modes]
    found = answers(tasks, at_once or max(_LEAST, len(os.sched_getaffinity(0))))
    return [_verdict(mode, data) for mode, data in zip(modes, found)]


def _try(session: Session, mode: Mode) -> bytes:
    try:
        verdict = examine(session, mode, fresh=True)
    except UdockerError as error:
        verdict = Verdict(mode.name, Support(error.message, error.hint or ""))
    except Exception as error:  # noqa: BLE001 - one mode's fault is no fault of the others
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        verdict = Verdict(mode.name, Support(reason, _HINT))
    support = verdict.support
    return json.dumps((support.reason, support.hint, verdict.union, verdict.output)).encode()


def _verdict(mode: Mode, data: bytes) -> Verdict:
    try:
        reason, hint, union, output = json.loads(data)
    except ValueError:
        lost = "the process that tried it has ended without an answer"
        return Verdict(mode.name, Support(lost, _HINT))
    return Verdict(mode.name, Support(reason, hint), union, output)
