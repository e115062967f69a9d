"""Run a command in a container: a new one of an image, or one that is there."""

from __future__ import annotations

from udocker.engine import table
from udocker.engine.inprocess import described_by
from udocker.errors import (
    EngineError,
    EngineFailed,
    UdockerError,
)
from udocker.ops import target
from udocker.ops.preparing import prepare
from udocker.store.users import RUNS, SUPERVISES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from udocker.model.container import Container
    from udocker.model.request import RunRequest
    from udocker.ops.preparing import Planned
    from udocker.ops.session import Session


def run(
    session: Session, request: RunRequest, told: Callable[[str], None] = lambda identity: None
) -> int:
    """Run as asked; returns only where udocker stays as the command's parent, or leaves it.

    ``told`` is called with the container's id where the command goes on without udocker.

    Where the mode that ``auto`` took fails before the command has begun, the next one is tried.
    Raises UdockerError before the command has begun.
    """
    session, request = target.in_job(session, request)
    container, is_new = target.find_or_make(session, request)
    with target.gone_unless_done(session, container, is_new):
        if request.cidfile is not None:
            target.write_id(session, request.cidfile, container, is_new)
        if request.detach and is_new:
            from udocker.ops import events

            events.note(session, "create", container)
    code = run_container(session, request, container, is_new)
    if request.detach:
        told(container.id)
    return code


def run_container(
    session: Session,
    request: RunRequest,
    container: Container,
    is_new: bool = False,
    listening: Callable[[], None] | None = None,
) -> int:
    """As ``run``, of a container that is there. ``listening``: see ``ops.living``."""
    failed: dict[str, str] = {}
    with target.gone_unless_done(session, container, is_new):
        session.store.containers.enter(container, SUPERVISES if request.detach else RUNS)
        if request.remove:
            session.store.containers.hold(container)
        request = _noted(session, request, container, is_new)
    while True:
        planned = prepare(session, request, container, is_new, failed)
        if not (request.detach or table.find(planned.mode).joins):
            described = described_by(planned.launch, session.host)
            session.store.containers.enter(container, RUNS, planned.mode, described)
        session.report.close()
        try:
            return _carry_out(session, request, container, planned, listening)
        except EngineFailed as error:
            forget_modes(session)
            if not planned.is_automatic:
                if request.remove:
                    _remove(session, container)
                hint = error.hint or "--execmode=auto takes one that works"
                text = f"mode {planned.mode} failed at its start: {error.message}"
                raise EngineError(text, hint=hint) from error
            text = f"mode {planned.mode} failed at its start ({error.message}): trying the next"
            session.report.warn(text)
            failed[planned.mode] = error.message
        container = session.store.containers.get(container.id)


def _noted(session: Session, request: RunRequest, container: Container, is_new: bool) -> RunRequest:
    """``request`` with its ports and volumes settled, and written down. Raises UdockerError."""
    if request.ports or request.publish_all:
        from udocker.ops.published import with_ports

        request = with_ports(session, request, container)
    says = any((request.volumes, request.volumes_from, request.labels, request.ports))
    if not (says or is_new):
        from udocker.store.said import is_there

        says = is_there(container.path)  # the ports of another run
    if not says:
        return request
    from udocker.ops.volumes import noted

    return noted(session, request, container, is_new)


def _carry_out(
    session: Session,
    request: RunRequest,
    container: Container,
    planned: Planned,
    listening: Callable[[], None] | None,
) -> int:
    from udocker.engine.execute import execute

    def clean() -> None:
        if request.remove:
            _remove(session, container)

    launch, host = planned.launch, session.host
    programs = (host.inprocess, *(path for _, path in host.programs))
    is_engine = launch.argv[0] in programs or table.find(planned.mode).preloads
    stays = request.remove or request.init
    try:
        if request.detach:
            how = {"is_engine": is_engine, "listening": listening}
            _detach(session, request, container, planned, **how)
            return 0
        in_job = session.task is not None
        code = execute(launch, clean if stays else None, session.report.warn, is_engine, in_job)
    except EngineFailed:
        raise
    except KeyboardInterrupt:  # it has not begun: from then on signals are the command's
        if request.remove and not request.detach:
            _remove(session, container)
        raise
    except EngineError:
        forget_modes(session)
        raise
    if launch.pid_file and code == EngineError.exit_code:  # perhaps of the runtime
        forget_modes(session)
    return code


def _detach(
    session: Session,
    request: RunRequest,
    container: Container,
    planned: Planned,
    **how: Any,
) -> None:
    from udocker.ops.living import launch

    try:
        launch(session, request, container, planned, **how)
    except EngineFailed:
        raise
    except UdockerError:
        if request.remove:
            _remove(session, container)
        raise


def forget_modes(session: Session) -> None:
    """What is remembered of a mode has not come true."""
    from udocker.ops.modes import forget

    forget(session)


def _remove(session: Session, container: Container) -> None:
    """After the run: that it fails is no reason to lose the command's status."""
    try:
        session.store.containers.delete(container.id)
    except UdockerError as error:
        session.report.warn(error.message)
    target.leave_scratch(session)
