"""Which processes use a container, by marks in its directory: liveness is the kernel's to tell.

A mark is a file in ``in-use``, named by a process (``makers``) and holding its host's name; then,
where it is known, what the process does there, in which mode, and what its engine was told.
"""

from __future__ import annotations

import contextlib
import os

from udocker import files, makers
from udocker.errors import ContainerInUse
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REMOVE = "remove-after-run"
USERS = "in-use"
# What a process does with the container: runs in it, in the foreground; is of exec, and goes when
# the rest does, by itself or by its keeper; supervises a run, or starts one.
RUNS = ""
BESIDE = "beside"
KEPT = "beside, kept"
SUPERVISES = "supervises"
_WORDS = 4
_TRIES = 100
_MANY = 64  # marks of runs that ended are looked through when there are more
_IN_USE = "udocker stop ends it; udocker rm -f ends and removes it"


@value
class User:
    """A process that may use a container, by its mark; ``kind`` is one of those above."""

    mark: str
    node: str  # the name of its host
    kind: str = RUNS
    mode: str = ""  # of a run; "": it is not noted
    description: str = ""  # of its engine: the name of a file in the container's ``files``

    @property
    def is_known(self) -> bool:
        """Whether it is surely alive, and a process that can be seen from here."""
        return makers.state(self.mark) == makers.ALIVE

    @property
    def is_alive(self) -> bool:
        """Of another boot of this very host nothing is left."""
        if makers.state(self.mark) != makers.UNKNOWN:
            return self.is_known
        here, node = os.uname().nodename, self.node
        return node != here or node.startswith("localhost") or makers.is_of_this_boot(self.mark)


def enter(path: str, kind: str = RUNS, mode: str = "", description: str = "") -> None:
    """Let others see that this process, or the program it becomes, uses the container there.

    As of ``User``; once more when more is known.
    """
    folder = f"{path}/{USERS}"
    # On a full disk, or in a store that is only read, what is there can be run all the same.
    with contextlib.suppress(OSError):
        for _ in range(_TRIES):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)  # alone: a container that is gone must not come back
            with contextlib.suppress(FileNotFoundError):  # it was empty, and has just been removed
                if len(os.listdir(folder)) > _MANY:
                    list(users(path))
                with open(f"{folder}/{makers.mark()}", "w", encoding="utf-8") as stream:
                    words = (os.uname().nodename, kind, mode, description)
                    stream.write("\n".join(words).rstrip())
                break


def is_left(path: str) -> bool:
    """Whether a container of ``remove`` is there, and nobody is to remove it."""
    try:
        with open(f"{path}/{REMOVE}", encoding="ascii") as stream:
            state = makers.state(stream.read())
        silent = files.older_than(f"{path}/{REMOVE}", files.SURELY_LEFT)
        if state == makers.ALIVE or (state == makers.UNKNOWN and not silent):
            return False
        if any(user.is_alive for user in users(path)):
            return False
        lock = files.lock_entry(path)
    except (OSError, ValueError):  # it has none, or is held
        return False
    if lock is not None:
        os.close(lock)
    return True


def check_unused(path: str, name: str, runs: Callable[[str], bool] = lambda path: False) -> None:
    """Raise ContainerInUse where a process uses the container; ``runs``: as for ``remove``."""
    for user in users(path):
        if user.is_alive:
            where = f"process {makers.pid(user.mark)}" + (
                "" if user.is_known else f" on {user.node}"
            )
            raise ContainerInUse(f"container {name} is in use: {where}", hint=_IN_USE)
    if runs(path):
        raise ContainerInUse(f"container {name} is in use: a run has left processes", hint=_IN_USE)


def users(path: str) -> Iterator[User]:
    """Processes that may use the container at ``path``; marks of those that ended go.

    The directory goes, too, when it is empty: to look for none is quicker than into one.
    """
    folder = f"{path}/{USERS}"
    if not os.access(folder, os.F_OK):
        return
    try:
        marks = os.listdir(folder)
    except OSError:
        return
    if not marks:
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    for mark in marks:
        with contextlib.suppress(OSError):
            place = f"{path}/{USERS}/{mark}"
            if makers.state(mark) == makers.ENDED:
                os.unlink(place)
                continue
            with open(place, encoding="utf-8", errors="replace") as stream:
                words = stream.read().strip().split("\n")[:_WORDS]
            yield User(mark, *words)


def beside(path: str) -> list[User]:
    """What exec has started in the container at ``path`` and can be seen from here."""
    return [user for user in users(path) if user.kind in (BESIDE, KEPT) and user.is_known]


def run(path: str) -> User | None:
    """The run that goes on in the container at ``path`` and can be seen from here."""
    kinds = (RUNS, SUPERVISES)
    return next((user for user in users(path) if user.kind in kinds and user.is_known), None)
