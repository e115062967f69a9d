"""Whether a command and its mounts fit the container: the same answer in every engine."""

from __future__ import annotations

import os

from udocker.errors import UdockerError
from udocker.model.run import DEVICE_FILES
from udocker.ops.specify import layers
from udocker.spec import command
from udocker.store.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from udocker.model.container import Container
    from udocker.model.run import Mount, RunSpec
    from udocker.ops.foreign import Emulation
    from udocker.ops.session import Session


def emulation(session: Session, spec: RunSpec, container: Container) -> Emulation | None:
    """How the command runs, where it and its image are for another machine.

    Raises NotExecutable.
    """
    from udocker.model.oci import Platform

    here = Platform.of("linux", session.host.architecture)
    if container.config.platform.architecture == here.architecture:
        return None
    words = spec.argv[0], dict(spec.env).get("PATH", ""), spec.cwd
    view = view_of(container, spec.mounts)
    program, head = command.foreign(*words, view, session.host.architecture)
    if not head:
        return None
    from udocker.ops.foreign import emulation

    return emulation(session, program, head)


def check_command(session: Session, spec: RunSpec, container: Container, emulated: str = "") -> str:
    """The guest path of the command; the same answer in every engine when there is none."""
    view = view_of(container, spec.mounts)
    there = _is_directory(view, spec.cwd)
    if there is None and spec.cwd.startswith(("/proc/", "/sys/")):
        raise UdockerError(
            f"there is no {spec.cwd} to be the working directory", hint="--workdir=/"
        )
    if there is False:
        raise UdockerError(
            f"the working directory {spec.cwd} is not a directory", hint="--workdir=/"
        )
    path = dict(spec.env).get("PATH", "")
    here = session.host.architecture
    return command.check(spec.argv[0], path, spec.cwd, view, here, emulated=emulated)


def check_mounts(spec: RunSpec, container: Container) -> None:
    """The same answer in every engine to a directory over a file, or a file over a directory."""
    # Below this directory each has its place made for it, and there may be a hundred.
    mounts = [each for each in spec.mounts if not each.target.startswith(f"{DEVICE_FILES}/")]
    for mount in mounts:
        others = [other for other in mounts if other is not mount]
        found = _is_directory(view_of(container, others), mount.target)
        if found is not None and found is not mount.is_dir:
            what = "a directory over a file" if mount.is_dir else "a file over a directory"
            raise UdockerError(
                f"volume {mount.source}:{mount.target} would put {what}",
                hint="choose another path in the container",
            )


def view_of(container: Container, mounts: Iterable[Mount]) -> View:
    host_files = (("/dev", "/dev"), ("/proc", "/proc"), ("/sys", "/sys"))
    volumes = ((mount.target, mount.source) for mount in mounts)
    return View(layers(container), (*host_files, *volumes))


def _is_directory(view: View, path: str) -> bool | None:
    """None: nothing is there."""
    try:
        return os.path.isdir(view.locate(path))
    except NotADirectoryError:
        return False
    except OSError:
        return None
