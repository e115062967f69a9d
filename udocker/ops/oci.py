"""The command line of an OCI runtime: one container for each id, as Slurm and others call it.

https://github.com/opencontainers/runtime-spec/blob/main/runtime.md. The command is the process
that was started, where nothing has to follow it. What is kept of an id is a file in memory
(/dev/shm) or in /tmp, in the user's own directory of this host.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time

from udocker import files, makers
from udocker.errors import ContainerInUse, ContainerNotFound, StoreError, UdockerError, UsageError
from udocker.model.value import replace, value
from udocker.ops.batch import NODE_PLACES, node_directory
from udocker.ops.session import Session
from udocker.spec import bundle as config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

    from udocker.model.request import RunRequest

CREATED, RUNNING, STOPPED = "created", "running", "stopped"
_ID = re.compile(r"[A-Za-z0-9_+.-]{1,200}", re.ASCII)
_FOLDER = "oci"
_MOST = 1 << 24  # bytes of a config.json
_AGE = 86400.0  # seconds after which a file of a process that has ended is nobody's


@value
class Record:
    """What is kept of an id: its file, the bundle, and the mark of the process (``makers``)."""

    id: str
    path: str
    bundle: str
    mark: str
    begun: str  # a pipe that ``start`` opens; "": begun already

    @property
    def status(self) -> str:
        if makers.state(self.mark) == makers.ENDED:
            return STOPPED
        return CREATED if self.begun and os.path.exists(self.begun) else RUNNING

    @property
    def pid(self) -> int:
        return makers.pid(self.mark)


def run(session: Session, identity: str, bundle: str, pid_file: str = "") -> int:
    """Run the bundle as container ``identity``: this process becomes its command.

    Returns the exit code where udocker stays. Raises UdockerError.
    """
    request = _request(session, bundle)
    _note(_fresh(identity), bundle, pid_file)
    return _run(session, request)


def create(session: Session, identity: str, bundle: str, pid_file: str = "") -> None:
    """Begin a process that runs the bundle once ``start`` has been called. Raises UdockerError."""
    from udocker.engine.later import begin_later

    request = _request(session, bundle)
    path = _fresh(identity)
    begun = f"{path}.begin"

    def prepare() -> None:
        _note(path, bundle, pid_file, begun)

    def go_on() -> int:
        try:
            os.unlink(begun)
            return _run(session, request)
        except UdockerError as error:
            session.report.warn(error.message)
            return error.exit_code

    with files.store_errors("creating the container"):
        os.mkfifo(begun, 0o600)
        begin_later(begun, prepare, go_on)


def run_image(variables: str, image: str, command: Sequence[str]) -> NoReturn:
    """``udocker run`` with the environment that the file ``variables`` has: each ends with NUL.

    Slurm gives the task's environment in such a file only (oci.conf(5), CreateEnvFile). Raises
    UsageError.
    """
    from udocker.engine.later import begin_anew
    from udocker.ops import program

    try:
        with open(variables, "rb") as stream:
            texts = os.fsdecode(stream.read(_MOST)).split("\0")
        environ = dict(text.split("=", 1) for text in texts if "=" in text[1:])
        options = ["--volume", f"{command[0]}:{command[0]}:ro"] if _is_script(command) else []
        begin_anew([*program.words(), "run", *options, image, *command], environ)
    except OSError as error:
        raise UsageError(
            f"{variables}: {error.strerror}", hint="udocker oci image FILE IMAGE -- COMMAND…"
        ) from error


def _is_script(command: Sequence[str]) -> bool:
    """Whether it is what was given to sbatch(1), which lies in slurmd's directory of this host."""
    return bool(command) and command[0].endswith("/slurm_script") and os.path.isfile(command[0])


def start(identity: str) -> None:
    """Let a created container go on. Raises ContainerNotFound, UsageError."""
    record = _get(identity)
    if record.status != CREATED:
        raise UsageError(
            f"container {identity} is {record.status}", hint="udocker oci create --bundle DIR ID"
        )
    with files.store_errors("starting the container"):
        os.close(os.open(record.begun, os.O_WRONLY | os.O_NONBLOCK))


def state(identity: str) -> dict[str, object]:
    """As the specification has it. Of an id that is not known: it has stopped.

    Slurm asks so after the end, and shows every failure to the user.
    """
    record = _find(identity)
    found: dict[str, object] = {"ociVersion": config.VERSION, "id": identity, "status": STOPPED}
    if record is not None:
        found["bundle"] = record.bundle
        found["status"] = record.status
        if record.status != STOPPED:
            found["pid"] = record.pid
    return found


def kill(identity: str, number: int, everything: bool = False) -> None:
    """Send a signal to the command, and with ``everything`` to all of its session or group.

    Raises ContainerNotFound, UsageError where it has ended.
    """
    record = _get(identity)
    if record.status == STOPPED:
        raise UsageError(f"container {identity} has ended", hint=f"udocker oci delete {identity}")
    with contextlib.suppress(ProcessLookupError), files.store_errors("sending the signal"):
        if everything and os.getpgid(record.pid) == record.pid:
            os.killpg(record.pid, number)
        else:
            os.kill(record.pid, number)


def delete(identity: str, force: bool = False) -> None:
    """Forget the id. ``force``: end it first; and it need not be known.

    Raises ContainerNotFound, ContainerInUse.
    """
    record = _find(identity)
    if record is None:
        if force:
            return
        raise _unknown(identity)
    if record.status != STOPPED:
        if not force:
            raise ContainerInUse(
                f"container {identity} is {record.status}", hint="udocker oci delete --force"
            )
        kill(identity, signal.SIGKILL)
    with files.store_errors("removing the container"):
        for path in (record.path, record.begun):
            with contextlib.suppress(FileNotFoundError):
                if path:
                    os.unlink(path)


def _request(session: Session, bundle: str) -> RunRequest:
    path = f"{bundle}/config.json"
    try:
        with open(path, "rb") as stream:
            raw = stream.read(_MOST)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", hint="--bundle DIR; udocker bundle IMAGE DIR makes one"
        ) from error
    bundled = config.read(raw, bundle)
    for name in bundled.unheeded:
        session.report.warn(f"{path}: {name} have no effect")
    if not os.path.isdir(bundled.request.location):
        raise UsageError(
            f"{bundled.request.location}, the root of {path}, is not a directory",
            hint="udocker bundle IMAGE DIR makes a whole bundle",
        )
    if bundled.terminal and not session.terminal:
        session.report.debug(f"{path}: there is no terminal")
    return replace(bundled.request, fakeroot=session.config.fakeroot)


def _run(session: Session, request: RunRequest) -> int:
    from udocker.batch.job import of_bundle
    from udocker.ops.run import run as run_container

    environ = of_bundle(session.environ, request.env)
    inside = Session(session.store, session.config, session.report, environ)
    # In a job the directory of the task goes with the job; nothing has to follow the command.
    return run_container(inside, replace(request, remove=inside.task is None))


def _check(identity: str) -> None:
    if not _ID.fullmatch(identity) or identity in (".", ".."):
        raise UsageError(
            f"{identity!r} is not the id of a container", hint="letters, digits, _ + . and -"
        )


def _fresh(identity: str) -> str:
    """The file of a new id. Raises ContainerInUse where it is one already."""
    _check(identity)
    node = node_directory()
    if not node:
        raise StoreError(
            f"no directory of this user's own can be had in {' or '.join(NODE_PLACES)}"
        )
    folder = f"{node}/{_FOLDER}"
    path = f"{folder}/{identity}.json"
    with files.store_errors("noting the container"):
        os.makedirs(folder, 0o700, exist_ok=True)
        _sweep(folder)
    known = _read(identity, path)
    if known is not None and known.status != STOPPED:
        raise ContainerInUse(f"container {identity} is there already, and {known.status}")
    return path


def _note(path: str, bundle: str, pid_file: str, begun: str = "") -> None:
    data = {"bundle": bundle, "mark": makers.mark(), "begun": begun}
    with files.store_errors("noting the container"):
        files.write_atomic(path, json.dumps(data).encode(), 0o600)
        if pid_file:
            files.write_atomic(pid_file, str(os.getpid()).encode(), 0o644)


def _sweep(folder: str) -> None:
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _AGE:
                record = _read(entry.name.removesuffix(".json"), entry.path)
                if record is None or record.status == STOPPED:
                    os.unlink(entry.path)


def _get(identity: str) -> Record:
    record = _find(identity)
    if record is None:
        raise _unknown(identity)
    return record


def _unknown(identity: str) -> ContainerNotFound:
    return ContainerNotFound(
        f"no such container: {identity}", hint="udocker oci run --bundle DIR ID"
    )


def _find(identity: str) -> Record | None:
    _check(identity)
    for path in _places(identity):
        record = _read(identity, path)
        if record is not None:
            return record
    return None


def _places(identity: str) -> Iterator[str]:
    """Files that may be of the id. Root, whom Slurm calls at the end, becomes the user first."""
    for parent in NODE_PLACES:
        yield f"{parent}/udocker-{os.getuid()}/{_FOLDER}/{identity}.json"
    if os.getuid() != 0:
        return
    for parent in NODE_PLACES:
        for name in sorted(os.listdir(parent)):
            owner = _owner(f"{parent}/{name}", name)
            path = f"{parent}/{name}/{_FOLDER}/{identity}.json"
            if owner is not None and os.path.lexists(path):
                _become(owner)
                yield path
                return


def _owner(path: str, name: str) -> tuple[int, int] | None:
    """User and group of a user's directory of this host; None: it is none."""
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        is_own = name == f"udocker-{status.st_uid}" and not status.st_mode & 0o022
        if is_own and os.path.isdir(path) and not os.path.islink(path):
            return status.st_uid, status.st_gid
    return None


def _become(owner: tuple[int, int]) -> None:
    """What a user's file says is done with that user's rights."""
    uid, gid = owner
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _read(identity: str, path: str) -> Record | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as stream:
            data = json.loads(stream.read(_MOST))
        bundle, mark, begun = data["bundle"], data["mark"], data["begun"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not all(isinstance(text, str) for text in (bundle, mark, begun)):
        return None
    return Record(identity, path, bundle, mark, begun)
