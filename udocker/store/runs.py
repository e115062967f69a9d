"""The run of a container that somebody supervises: what is kept of it, and whether it goes on.

``run/`` in the container's directory: ``lock``, which the supervisor holds while it lives;
``begun`` and ``ended``, what is known of the run then, and ``ended-before`` of the one before it;
``paused``; ``log``, ``log.1``, ``control``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time

from udocker import files, leases, makers
from udocker.errors import ContainerInUse
from udocker.model.codec import decode, encode
from udocker.model.life import CREATED, EXITED, PAUSED, RUNNING, Begun, Ended, Life
from udocker.model.moment import moment
from udocker.store import users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, TypeVar

    T = TypeVar("T")

FOLDER = "run"
_SILENT = 150.0  # seconds, as for leases: longer than NFS clients keep attributes
_TRIES = 10
_MOMENT = 0.02
_NO_FOLDERS = 2  # links to a directory without any in it, on filesystems that count them
KILLED = 137  # nobody was left to tell how the command ended


class Runs:
    """Of the container in one directory."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.folder = f"{path}/{FOLDER}"

    @property
    def log(self) -> str:
        return f"{self.folder}/log"

    @property
    def control(self) -> str:
        return f"{self.folder}/control"

    def take(self) -> int:
        """Be the one that supervises: a descriptor to keep. Raises ContainerInUse, OSError."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.folder, 0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(f"{self.folder}/lock", flags, 0o600)
        for _ in range(_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_MOMENT)  # whoever only looks has it for an instant
            except OSError:
                return descriptor  # there are no locks here: marks and beats have to do
            else:
                return descriptor
        os.close(descriptor)
        raise ContainerInUse(
            "the container is running already", hint="udocker exec, or udocker stop"
        )

    def begin(self, begun: Begun) -> None:
        """Raises OSError. How the last run ended may still be asked for, by its token."""
        self.go_on()
        before = self._read("begun", Begun)
        self._write("begun", begun)
        if before is None or before.token != begun.token:
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self.folder}/ended", f"{self.folder}/ended-before")

    def end(self, ended: Ended) -> None:
        """Raises OSError. Where another run has begun, this one's end is of no use any more."""
        begun = self.begun()
        if begun is None or begun.token == ended.token:
            self._write("ended", ended)
            self.go_on()

    def stop(self) -> None:
        """Note that it is paused."""
        with open(f"{self.folder}/paused", "wb"):
            pass

    def go_on(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.folder}/paused")

    def beat(self) -> None:
        """Other hosts, which see no lock and no process of this one, see that it goes on."""
        with contextlib.suppress(OSError):
            os.utime(f"{self.folder}/begun")

    def begun(self) -> Begun | None:
        """The last run that was supervised. A record that cannot be read is none."""
        return self._read("begun", Begun)

    def ended(self, token: str) -> Ended | None:
        """How the run with that token ended; None: it goes on, or nobody could note it."""
        for name in ("ended", "ended-before"):
            ended = self._read(name, Ended)
            if ended is not None and ended.token == token:
                return ended
        return None

    def life(self) -> Life:
        """How the container is, as far as this host can know."""
        begun = self.begun()
        if begun is not None:
            ended = self.ended(begun.token)
            if ended is None and self._is_alive(begun):
                paused = os.path.exists(f"{self.folder}/paused")
                where = "" if makers.state(begun.mark) == makers.ALIVE else begun.node
                return Life(PAUSED if paused else RUNNING, begun=begun, node=where)
        found = self._in_front()
        if found is not None:
            return found
        if begun is not None:
            lost = Ended(begun.token, KILLED, "", "its supervisor was killed with it")
            return Life(EXITED, begun=begun, ended=ended or lost)
        return self._unsupervised()

    def outline(self) -> Life:
        """As ``life``, but of a run that has ended not how it began: lists need no more."""
        with contextlib.suppress(OSError):
            if os.stat(self._path).st_nlink == _NO_FOLDERS:
                return Life(CREATED)
        if not os.access(self.folder, os.F_OK):
            return self._in_front() or self._unsupervised()
        ended = self._read("ended", Ended)  # it is put aside when another run begins
        if ended is None:
            return self.life()
        return self._in_front() or Life(EXITED, ended=ended)

    def _unsupervised(self) -> Life:
        """Of a container that does not run, and of whose runs nothing is known."""
        has_run = any(os.access(f"{self._path}/{name}", os.F_OK) for name in ("upper", "ROOT/etc"))
        return Life(EXITED if has_run else CREATED)

    def _in_front(self) -> Life | None:
        """A run that nobody supervises: the command has taken udocker's place."""
        for user in users.users(self._path):
            if user.kind == users.RUNS and user.is_alive:
                started = _moment(f"{self._path}/{users.USERS}/{user.mark}")
                begun = Begun("", user.mark, user.node, started)
                node = "" if user.is_known else user.node
                return Life(RUNNING, begun=begun, node=node, is_in_front=True)
        return None

    def _is_alive(self, begun: Begun) -> bool:
        state = makers.state(begun.mark)
        if state == makers.ALIVE or self._is_locked():
            return True
        if state == makers.ENDED or leases.is_local(self._path):
            return False
        if begun.node == os.uname().nodename and not makers.is_of_this_boot(begun.mark):
            return False
        return not files.older_than(f"{self.folder}/begun", _SILENT)

    def _is_locked(self) -> bool:
        try:
            descriptor = os.open(f"{self.folder}/lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            # Shared, and gone at once: whoever is about to begin looks again.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return False

    def _write(self, name: str, given: object) -> None:
        data = json.dumps(encode(given)).encode()
        files.write_atomic(f"{self.folder}/{name}", data, 0o600, parents=False)

    def _read(self, name: str, kind: type[T]) -> Optional[T]:
        try:
            return decode(kind, json.loads(files.content(f"{self.folder}/{name}").decode()))
        except (OSError, ValueError):
            return None


def _moment(path: str) -> str:
    try:
        return moment(os.stat(path).st_mtime_ns)
    except OSError:
        return ""
