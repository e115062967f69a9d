"""Which processes use a container, by marks in its directory: liveness is the kernel's to tell.

A mark is a file in ``in-use``, named by a process (``makers``) and holding its host's name.
"""

from __future__ import annotations

import contextlib
import os

from udocker import files, makers
from udocker.errors import ContainerInUse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REMOVE = "remove-after-run"
USERS = "in-use"
_MANY = 64  # marks of runs that ended are looked through when there are more
_IN_USE = "udocker stop ends it; udocker rm -f ends and removes it"


def enter(path: str) -> None:
    """Let others see that this process, or the program it becomes, uses the container there."""
    folder = f"{path}/{USERS}"
    # On a full disk, or in a store that is only read, what is there can be run all the same.
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)  # alone: a container that is gone must not come back
        if len(os.listdir(folder)) > _MANY:
            list(users(path))
        with open(f"{folder}/{makers.mark()}", "w", encoding="utf-8") as stream:
            stream.write(os.uname().nodename)


def is_left(path: str) -> bool:
    try:
        with open(f"{path}/{REMOVE}", encoding="ascii") as stream:
            state = makers.state(stream.read())
        silent = files.older_than(f"{path}/{REMOVE}", files.SURELY_LEFT)
        if state == makers.ALIVE or (state == makers.UNKNOWN and not silent):
            return False
        if any(is_alive(*user) for user in users(path)):
            return False
        lock = files.lock_entry(path)
    except (OSError, ValueError):  # it has none, or is held
        return False
    if lock is not None:
        os.close(lock)
    return True


def check_unused(path: str, name: str, runs: Callable[[str], bool] = lambda path: False) -> None:
    for mark, node in users(path):
        if is_alive(mark, node):
            known = makers.state(mark) == makers.ALIVE
            where = f"process {makers.pid(mark)}" + ("" if known else f" on {node}")
            raise ContainerInUse(f"container {name} is in use: {where}", hint=_IN_USE)
    if runs(path):
        raise ContainerInUse(f"container {name} is in use: a run has left processes", hint=_IN_USE)


def users(path: str) -> Iterator[tuple[str, str]]:
    """Marks of processes that may use the container at ``path``, and their hosts' names."""
    try:
        marks = os.listdir(f"{path}/{USERS}")
    except OSError:
        return
    for mark in marks:
        with contextlib.suppress(OSError):
            place = f"{path}/{USERS}/{mark}"
            if makers.state(mark) == makers.ENDED:
                os.unlink(place)
                continue
            with open(place, encoding="utf-8", errors="replace") as stream:
                yield mark, stream.read().strip()


def is_alive(mark: str, node: str) -> bool:
    """Of another boot of this very host nothing is left."""
    if makers.state(mark) != makers.UNKNOWN:
        return makers.state(mark) == makers.ALIVE
    here = os.uname().nodename
    return node != here or node.startswith("localhost") or makers.is_of_this_boot(mark)
