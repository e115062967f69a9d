"""A user namespace in which many ids are mapped, with the help of newuidmap(1) and newgidmap(1)."""

from __future__ import annotations

import contextlib
import os

from udocker.errors import EngineError, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from udocker.model.run import IdMap

_NEWUSER = 0x10000000  # <linux/sched.h>
_DONE = b"\0"
_HINT = "--userns=single does without; /etc/subuid and /etc/subgid say which ids are yours"


def enter(flags: int, ids: IdMap) -> None:
    """unshare(2) with ``flags``, CLONE_NEWUSER among them; this process is root there.

    The ids are mapped from outside, by a child that stays there. Raises EngineError, OSError.
    """
    from udocker._native import ffi, lib

    ready, go = os.pipe()
    answer, said = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(go)
        _map(parent, ids, ready, said)
    os.close(ready)
    os.close(said)
    result = lib.udocker_unshare(flags)
    number = ffi.errno
    if result == 0:
        os.write(go, _DONE)
    os.close(go)
    with os.fdopen(answer, "rb") as stream:
        words = stream.read()
    _wait(child)
    if result != 0:
        raise OSError(number, os.strerror(number), "user namespace")
    if not words.endswith(_DONE):
        text = " ".join(words.decode("utf-8", "replace").split())[:300] or "newuidmap failed"
        raise EngineError(f"cannot map the ids that are yours: {text}", hint=_HINT)


def _map(process: int, ids: IdMap, ready: int, said: int) -> NoReturn:
    """In the child: wait until the namespace is there, and have its maps written."""
    import signal

    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        is_good = os.read(ready, 1) == _DONE
        for program, rows in zip(ids.programs, (ids.uids, ids.gids)):
            words = [program, str(process), *(str(number) for row in rows for number in row)]
            streams = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
            streams += [(os.POSIX_SPAWN_DUP2, said, number) for number in (1, 2)]  # type: ignore[misc]
            if is_good:
                started = os.posix_spawn(program, words, {}, file_actions=streams)
                is_good = os.waitpid(started, 0)[1] == 0
        if is_good:
            os.write(said, _DONE)
    except OSError as error:
        os.write(said, str(error).encode())
    finally:
        os._exit(0)


def call(ids: IdMap, function: Callable[[], None]) -> None:
    """Call ``function`` in a child that is root of such a namespace. Raises StoreError."""
    answer, said = os.pipe()
    child = os.fork()
    if child == 0:
        _call(ids, function, said)
    os.close(said)
    with os.fdopen(answer, "rb") as stream:
        words = stream.read()
    _wait(child)
    if words != _DONE:
        text = words.decode("utf-8", "surrogateescape") or "the process that did it was killed"
        hint = "the container's files belong to ids that /etc/subuid and /etc/subgid must give you"
        raise StoreError(f"cannot use the container's files: {text}", hint=hint)


def _call(ids: IdMap, function: Callable[[], None], said: int) -> NoReturn:
    try:
        enter(_NEWUSER, ids)
        function()
        os.write(said, _DONE)
    except EngineError as error:
        os.write(said, error.message.encode("utf-8", "surrogateescape"))
    except BaseException as error:  # noqa: BLE001 - nothing of the parent may run in the child
        os.write(said, str(error).encode("utf-8", "surrogateescape"))
    finally:
        os._exit(0)


def _wait(child: int) -> None:
    with contextlib.suppress(ChildProcessError):  # SIGCHLD is ignored: nobody is told
        os.waitpid(child, 0)
