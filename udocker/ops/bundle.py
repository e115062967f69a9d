"""An OCI bundle of an image: a directory that udocker, runc, crun and Slurm run."""

from __future__ import annotations

import errno
import os

from udocker.engine import table
from udocker.model.request import RunRequest
from udocker.ops import output
from udocker.ops.create import create
from udocker.ops.specify import make_spec
from udocker.spec import bundle, env
from udocker.store.copy import copy_as_it_is

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.container import Container
    from udocker.model.oci import Platform
    from udocker.model.reference import Reference
    from udocker.ops.session import Session

CONFIG = "config.json"


def make(
    session: Session,
    image: Reference,
    directory: str,
    *,
    command: tuple[str, ...] = (),
    pull: str = "missing",
    platform: Platform | None = None,
) -> None:
    """Make ``directory`` a bundle of ``image``, which runs ``command``, or what the image says.

    It appears when it is whole. Raises UdockerError.
    """
    with output.made(directory, "making the bundle") as aside:
        container = create(session, image, pull=pull, platform=platform, remove=True, copy=True)
        try:
            config = _config(session, container, command)
            _move(container.root, f"{aside}/rootfs")
        finally:
            session.store.containers.delete(container.id)
        with open(f"{aside}/{CONFIG}", "xb") as stream:
            stream.write(config)


def _config(session: Session, container: Container, command: tuple[str, ...]) -> bytes:
    request = RunRequest(target=container.id, command=command)
    spec = make_spec(session, request, container, table.MODES[0].name)
    variables = {"PATH": env.DEFAULT_PATH}
    variables.update(text.partition("=")[::2] for text in container.config.env if "=" in text)
    return bundle.write(
        spec.argv,
        variables=tuple(variables.items()),
        cwd=spec.cwd,
        user=spec.user,
        owner=(session.host.uid, session.host.gid),
    )


def _move(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy_as_it_is(source, target)
