"""Run one more command in a container that runs.

Where it has namespaces of its own the command goes there. In the other modes it is one more run on
the same files, with the mounts, the environment and the user of the run.
"""

from __future__ import annotations

import json

from udocker import makers
from udocker.engine import table
from udocker.errors import NotRunning, StoreError
from udocker.model.codec import decode
from udocker.model.launch import FeignIds, Join, Launch
from udocker.model.life import PAUSED
from udocker.model.request import RunRequest
from udocker.model.value import replace, value
from udocker.ops.control import life, roots, running
from udocker.ops.living import remembered
from udocker.ops.specify import env_files, make_spec
from udocker.store import said
from udocker.store.users import BESIDE, KEPT, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.container import Container
    from udocker.model.life import Life
    from udocker.ops.session import Session


@value
class ExecRequest:
    """What exec was asked for; None: as the run has it."""

    container: str
    command: tuple[str, ...]
    env: tuple[tuple[str, str | None], ...] = ()
    env_files: tuple[str, ...] = ()
    user: str | None = None
    workdir: str | None = None
    detach: bool = False


def execute(session: Session, asked: ExecRequest) -> int:
    """Run it; returns only where udocker stays, or with ``detach``. Raises UdockerError."""
    from udocker.engine.beside import end_with, is_kept, let_go
    from udocker.engine.execute import execute as take_place

    container, found = running(session, asked.container)
    if found.status == PAUSED:
        raise NotRunning(
            f"container {asked.container} is paused", hint=f"udocker unpause {asked.container}"
        )
    launch, is_engine = _launch(session, asked, container, found)
    session.report.close()

    def entering() -> None:
        session.store.containers.enter(container, KEPT if is_kept(launch) else BESIDE)
        if found.is_in_front and found.begun is not None:
            end_with(found.begun.mark, is_kept(launch))

    if asked.detach:
        let_go(launch, entering, session.report.warn, is_engine)
        return 0
    entering()
    return take_place(launch, None, session.report.warn, is_engine)


def _launch(
    session: Session, asked: ExecRequest, container: Container, found: Life
) -> tuple[Launch, bool]:
    request = _request(session, asked, container, found)
    process = apart(container, found)
    if process:
        return _joined(session, request, container, process), False
    from udocker.ops.preparing import prepare

    mode = (found.begun.mode if found.begun else "") or _mode(container)
    planned = prepare(session, replace(request, mode=mode), container, is_new=False)
    host = session.host
    programs = (host.inprocess, *(path for _, path in host.programs))
    return planned.launch, planned.launch.argv[0] in programs


def _joined(session: Session, request: RunRequest, container: Container, process: int) -> Launch:
    from udocker.engine.joining import has_many_ids
    from udocker.ops.fitting import check_command

    mark = makers.mark(process)
    if not life(container).is_running:  # else the number may be another process's
        raise NotRunning("the container has just ended", hint="udocker ps shows how")
    mode = table.find("N1")
    spec = make_spec(session, request, container, mode.name)
    check_command(session, spec, container)
    feigns = spec.feigns and not has_many_ids(process)  # as the run does
    steps = (Join(process, mark, spec.user), *((FeignIds(spec.user.gid),) if feigns else ()))
    return Launch(argv=spec.argv, env=spec.env, cwd=spec.cwd, steps=steps)


def _request(session: Session, asked: ExecRequest, container: Container, found: Life) -> RunRequest:
    base = remembered(container)
    if found.begun is not None and found.begun.request:
        try:
            base = decode(RunRequest, json.loads(found.begun.request))
        except ValueError as error:
            raise StoreError(f"the record of the run of {asked.container} is damaged") from error
    else:
        base = replace(base, ports=said.read(container.path).ports, publish_all=False)
    more = env_files(RunRequest(container.id, env_files=asked.env_files))
    return replace(
        base,
        target=container.id,
        name=None,
        command=asked.command,
        entrypoint="",
        env=(*base.env, *more, *asked.env),
        user=base.user if asked.user is None else asked.user,
        workdir=base.workdir if asked.workdir is None else asked.workdir,
        detach=False,
        remove=False,
        cidfile=None,
        pull="never",
    )


def apart(container: Container, found: Life) -> int:
    """A process of the container in namespaces of its own; 0: there is none."""
    from udocker.engine.joining import is_apart
    from udocker.engine.processes import tree

    if found.begun is not None and found.begun.mode and not _joins(found.begun.mode):
        return 0
    return next((pid for pid in tree(roots(container, found)) if is_apart(pid)), 0)


def _joins(mode: str) -> bool:
    return table.find(mode).joins


def _mode(container: Container) -> str:
    """Of a run in the foreground."""
    found = run(container.path)
    if found is None or not found.mode:
        raise NotRunning(
            f"it cannot be told how container {container.short_id} runs", hint="run it with -d"
        )
    return found.mode
