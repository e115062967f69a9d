"""What a run depends on, read from where it is: the request becomes a RunSpec."""

from __future__ import annotations

import os

from udocker.engine import table
from udocker.errors import UsageError
from udocker.model.container import PLAIN
from udocker.model.run import APT_SETTINGS
from udocker.model.value import replace
from udocker.spec import build
from udocker.store.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.container import Container
    from udocker.model.request import RunRequest
    from udocker.model.run import Mount, RunSpec
    from udocker.ops.session import Session


def make_spec(session: Session, request: RunRequest, container: Container, mode: str) -> RunSpec:
    """Read what the specification depends on, and build it. Raises UdockerError."""
    from udocker.files import unique_name

    view = View(layers(container))
    feigns = request.fakeroot and mode != table.AUTO and table.find(mode).feigns
    job: tuple[tuple[str, str], ...] = ()
    job_mounts: tuple[Mount, ...] = ()
    if session.task is not None:
        from udocker.ops import batch

        job, job_mounts = batch.environment(session, request, view), batch.mounts(session, view)
    accounts = View(["/"]) if request.hostauth else view
    inputs = build.Inputs(
        passwd=accounts.read("/etc/passwd"),
        group=accounts.read("/etc/group"),
        resolv_conf=View(["/"]).read("/etc/resolv.conf"),
        hosts=View(["/"]).read("/etc/hosts"),
        env_files=env_files(request),
        environ=session.environ,
        token=unique_name(),
        terminal=request.tty if request.detach else session.terminal,
        job=job,
        job_mounts=job_mounts,
        feigns=feigns,
        has_apt=feigns and view.is_directory(APT_SETTINGS),
    )
    return build.build(request, container, session.host, mode, inputs)


def layers(container: Container) -> tuple[str, ...]:
    """The directories that its files are in: what is in the first one counts."""
    if container.form == PLAIN:
        return (container.root,)
    has_upper = os.path.isdir(container.upper)  # it never ran otherwise
    return (container.upper, container.tree) if has_upper else (container.tree,)


def env_files(request: RunRequest) -> tuple[tuple[str, str | None], ...]:
    """What the files of --env-file say. Raises UsageError."""
    from udocker.spec.env import parse_file

    found: list[tuple[str, str | None]] = []
    for path in request.env_files:
        try:
            with open(path, "rb") as stream:
                content = stream.read()
        except OSError as error:
            raise UsageError(f"cannot read --env-file {path}: {error.strerror}") from error
        found += parse_file(content, path)
    return tuple(found)


def as_asked(request: RunRequest) -> dict[str, object]:
    """What is kept of a request with its container.

    Files of variables are read now, as Docker does. Raises UsageError.
    """
    from udocker.model.codec import encode

    variables = (*env_files(request), *request.env)
    kept = replace(request, env=variables, env_files=(), name=None, cidfile=None)
    asked: dict[str, object] = encode(kept)
    return asked
