"""Carries out a Launch: the only place that starts a user's command.

By default the command takes udocker's place (execve(2)): its exit status, its signals and its
terminal are its own. Where something must follow, or the engine needs a go-between, a parent
stays: it passes signals on and gives the command's status.
"""

from __future__ import annotations

import contextlib
import errno
import os

from udocker.engine.steps import Steps
from udocker.errors import (
    CommandNotFound,
    EngineError,
    EngineFailed,
    NotExecutable,
    UdockerError,
)
from udocker.model.launch import RelativeLinks, RemoveTree
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from udocker.model.launch import Join, Launch

_UNDO_LIMIT = 30.0  # seconds for a program that ends what is left
_MOMENT = 0.002  # seconds


def execute(
    launch: Launch,
    clean: Callable[[], None] | None = None,
    warn: Callable[[str], None] = lambda text: None,
    is_engine: bool = False,
    in_job: bool = False,
) -> int:
    """Run ``launch``. Returns the exit code only where a parent stays: to ``clean``, for example.

    ``clean`` is called once, after the end, in another process; it raises nothing. ``warn`` is
    called when the run can go on, but not as it should. ``is_engine``: the program is not the
    command itself. ``in_job``: a batch system may send a signal to all processes.
    Raises EngineFailed where the command has surely not begun and another engine may be tried now:
    then nothing has been cleaned. Raises EngineError when a step fails otherwise, CommandNotFound
    or NotExecutable for the command.
    """
    if not (clean or launch.undo or launch.go_betweens):
        become(launch, warn, is_engine)
    return _supervise(launch, clean or (lambda: None), warn, is_engine, in_job)


def become(
    launch: Launch,
    warn: Callable[[str], None] = lambda text: None,
    is_engine: bool = False,
) -> NoReturn:
    """Carry out the steps, then execve(2). Raises as ``execute``."""
    steps = Steps(warn)
    try:
        _become(launch, steps, is_engine)
    except EngineFailed as error:
        if steps.go_back():
            raise
        raise EngineError(error.message, hint=error.hint) from error


def _become(launch: Launch, steps: Steps, is_engine: bool) -> NoReturn:
    """As ``become``, but on EngineFailed this process is not as it was."""
    import signal

    # Nothing may be imported once the root has changed: it would be the container's file.
    steps.run(launch)
    # Python ignores these; ignored signals stay ignored across execve(2).
    old = [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGPIPE, signal.SIGXFSZ)]
    try:
        _exec(replace(launch, env=(*launch.env, *launch.apart)) if steps.is_apart else launch)
    except OSError as error:
        for number, handler in zip((signal.SIGPIPE, signal.SIGXFSZ), old):
            signal.signal(number, handler)
        raise _exec_error(launch.argv[0], error, is_engine) from error


def call_joined(step: Join, function: Callable[[], None]) -> None:
    """Call ``function`` in a child that has carried out ``step``.

    Raises EngineError, and OSError as ``function`` did.
    """
    from udocker._native import ffi, lib
    from udocker.engine.joining import join

    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            join(lib, ffi, step)
            function()
        except OSError as error:
            os.write(sender, f"{error.errno or 0}\0{error.filename or ''}".encode())
        except BaseException as error:  # noqa: BLE001 - nothing of the parent may run in the child
            os.write(sender, f"0\0{error}".encode("utf-8", "replace"))
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as stream:
        number, _, text = stream.read().decode("utf-8", "replace").partition("\0")
    os.waitpid(child, 0)
    if number and int(number):
        raise OSError(int(number), os.strerror(int(number)), text)
    if number:
        raise EngineError(text, hint="udocker ps shows how the container is")


def undo(launch: Launch, seconds: float = _UNDO_LIMIT) -> None:
    """Take away what the steps put on the host; a program gets ``seconds``. Never fails."""
    from udocker import files

    for step in launch.undo:
        with contextlib.suppress(OSError):
            if isinstance(step, RemoveTree):
                files.remove_tree(step.path)
            elif isinstance(step, RelativeLinks):
                from udocker.engine.links import make_relative

                make_relative(step.root, step.outside)
            else:
                _run_quietly(step.argv, dict(launch.env), seconds)


def _run_quietly(argv: tuple[str, ...], env: dict[str, str], seconds: float) -> None:
    import time

    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    pid = os.posix_spawn(argv[0], argv, env, file_actions=null, setsigmask=(), setpgroup=0)
    end = time.monotonic() + seconds
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > end:
            os.killpg(pid, 9)
            os.waitpid(pid, 0)
            return
        time.sleep(_MOMENT)


def _supervise(
    launch: Launch,
    clean: Callable[[], None],
    warn: Callable[[str], None],
    is_engine: bool,
    in_job: bool,
) -> int:
    import select

    from udocker.engine.supervisor import supervise

    receiver, sender = os.pipe()

    def begin() -> None:
        begin_in_child(launch, sender, warn, is_engine)

    def end() -> None:
        undo(launch)
        if not select.select([receiver], [], [], 0)[0]:  # the command had begun
            clean()

    code = supervise(begin, end, launch.go_betweens, launch.pid_file, in_job)
    os.close(sender)
    failure = failure_of(receiver)
    if failure is not None:
        if not isinstance(failure, EngineFailed):
            clean()
        raise failure
    return code


def begin_in_child(
    launch: Launch,
    sender: int,
    warn: Callable[[str], None] = lambda text: None,
    is_engine: bool = False,
) -> NoReturn:
    """In the child: run, or send what failed through the pipe, which execve closes."""
    try:
        _become(launch, Steps(warn), is_engine)
    except UdockerError as error:
        os.write(sender, told(error))
    except BaseException as error:  # noqa: BLE001 - nothing of the parent may run in the child
        os.write(sender, f"EngineError\0{type(error).__name__}: {error}\0".encode())
    finally:
        os._exit(EngineError.exit_code)


def told(error: UdockerError) -> bytes:
    """An error as it goes through a pipe, for ``failure_from``."""
    message = "\0".join((type(error).__name__, error.message, error.hint or ""))
    return message.encode("utf-8", "surrogateescape")


def failure_of(receiver: int) -> UdockerError | None:
    """What came through a pipe, which is closed, as an error; None: nothing."""
    with os.fdopen(receiver, "rb") as stream:
        return failure_from(stream.read())


def failure_from(data: bytes) -> UdockerError | None:
    """As ``failure_of``."""
    if not data:
        return None
    name, text, hint = data.decode("utf-8", "surrogateescape").split("\0", 2)
    kinds = {kind.__name__: kind for kind in (CommandNotFound, EngineFailed, NotExecutable)}
    return kinds.get(name, EngineError)(text, hint=hint or None)


def _exec(launch: Launch) -> NoReturn:
    environment = dict(launch.env)
    program = launch.argv[0]
    if "/" in program:
        os.execve(program, launch.argv, environment)
    refused: OSError | None = None
    for folder in environment.get("PATH", os.defpath).split(":"):
        try:
            os.execve(f"{folder or '.'}/{program}", launch.argv, environment)
        except OSError as error:
            # As execvp(3): what cannot be executed may be elsewhere too, other errors stay.
            if error.errno == errno.EACCES:
                refused = refused or error
            elif error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
    raise refused or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)


def _exec_error(program: str, error: OSError, is_engine: bool) -> UdockerError:
    if is_engine and error.errno != errno.E2BIG:
        return EngineFailed(f"cannot execute {program}: {error.strerror}")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return CommandNotFound(
            f"cannot execute {program}: it, or the interpreter it names, is not in the container"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EISDIR):
        hint = "a store elsewhere (UDOCKER_DIR=DIR): here it is mounted noexec"
        is_noexec = _is_noexec(program if "/" in program else "/")
        text = f"cannot execute {program}: {error.strerror}"
        return NotExecutable(text, hint=hint if is_noexec else None)
    if error.errno == errno.ENOEXEC:
        return NotExecutable(
            f"cannot execute {program}: not a program of this machine, and no #! line",
            hint="a script needs a first line like #!/bin/sh",
        )
    return EngineError(f"cannot execute {program}: {error.strerror}")


def _is_noexec(path: str) -> bool:
    """Of the command, or of the root that it has by then."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_NOEXEC)
    except OSError:
        return False
