"""Puts files into a container that runs in an F or P mode: by a program that its engine executes.

Nobody else may write there: the processes of such a run share what they know of its files
(``engines/core/union_shared.h``), and what is mounted only the engine knows. The program is
``engines/porter/porter.c``; it is mounted where no listing shows it.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
import zlib

from udocker.engine.execute import begin_in_child, failure_from
from udocker.engine.inprocess import encoded
from udocker.errors import EngineError, NotRunning
from udocker.model.launch import Launch, ShareUnion, WriteFile
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PLACE = "/.udocker-porter"  # in the container
_MOUNTED = ("rw", "ro")  # these have two values
# Of the run that is described: who it is, what it begins with, its patched programs.
_ITS_OWN = ("directory", "uid", "gid", "group", "make", "point", "touch", "copies")
# struct request of porter.c, and what it answers
_REQUEST = struct.Struct("=IIII4q")
_ANSWER = struct.Struct("=q")
_MOST = 1 << 16
_LONGEST = 4096  # of a path, with the NUL
_KIND, _FOLDER, _OPEN, _WRITE, _SEAL, _RENAME, _LINK, _MODE = range(1, 9)
# It is to end after us, and not by what the terminal sends to both: then it removes what is half.
_NOT_FOR_IT = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


@value
class Description:
    """What the engine of a run was told of its files: pairs of a word and what belongs to it."""

    folder: str  # where it lies
    words: tuple[tuple[str, ...], ...]

    def get(self, word: str) -> str:
        """What belongs to a word that is there once; "" where it is not."""
        return next((each[1] for each in self.words if each[0] == word), "")

    @property
    def mounts(self) -> tuple[tuple[str, str], ...]:
        """Guest target and host source, an outer target before those inside it."""
        found = [(each[1], each[2]) for each in self.words if each[0] in _MOUNTED]
        return tuple(sorted(found, key=lambda pair: len(pair[0])))


def read(path: str) -> Description:
    """The description at ``path``. Raises OSError."""
    with open(path, "rb") as stream:
        return Description(os.path.dirname(path), tuple(_parsed(stream.read())))


def _parsed(content: bytes) -> Iterator[tuple[str, ...]]:
    """Raises OSError of what is no description."""
    words = iter(os.fsdecode(content).split("\0")[:-1])
    try:
        for word in words:
            yield (word, *(next(words) for _ in range(2 if word in _MOUNTED else 1)))
    except RuntimeError as error:  # of a generator that ran out
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from error


def launch(described: Description, engine: str, program: str) -> Launch:
    """``program``, of the host, as root with the files and mounts of what runs."""
    kept = [word for each in described.words if each[0] not in _ITS_OWN for word in each]
    content = encoded([*kept, "directory", "/", "uid", "0", "gid", "0", "ro", _PLACE, program])
    place = f"{described.folder}/guest-{zlib.crc32(content):08x}-{len(content)}"
    return Launch(
        argv=(engine, "start", place, _PLACE, "porter"),
        env=(),
        cwd="/",
        steps=(*_shared(described), WriteFile(place, content)),
    )


def _shared(described: Description) -> Iterator[ShareUnion]:
    """What the processes of the run share is there, unless it ends just now."""
    lower = described.get("lower")
    if lower:
        work = os.path.dirname(described.get("work"))
        root = f"{os.path.dirname(described.folder)}/ROOT"
        upper = described.get("root") or described.get("root-ro")
        yield ShareUnion(upper, lower, work, described.get("state"), root)


class Porter:
    """The program while it runs, to be used as a context manager.

    A file or link that has not been renamed at the end is gone. What it is asked raises OSError,
    and NotRunning when it has ended.
    """

    def __init__(self, launch: Launch, warn: Callable[[str], None]) -> None:
        self._launch = launch
        self._warn = warn

    def __enter__(self) -> Porter:
        receiver, sender = os.pipe()
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.dup2(requests, 0)
            os.dup2(answers, 1)
            signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_IT)
            begin_in_child(self._launch, sender, self._warn, True)
        for descriptor in (requests, answers, sender):
            os.close(descriptor)
        with os.fdopen(receiver, "rb") as stream:
            failure = failure_from(stream.read())
        if failure is None and len(os.read(self._answers, _ANSWER.size)) < _ANSWER.size:
            failure = EngineError("the engine cannot begin in the container", hint="udocker ps")
        if failure is not None:
            self.__exit__()
            raise failure
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._requests)
        os.close(self._answers)
        os.waitpid(self._child, 0)

    def kind(self, path: str) -> int:
        """The file's st_mode; a link is not followed."""
        return self._ask(_KIND, path)

    def make_directory(self, path: str, mode: int) -> None:
        """One that is not there."""
        self._ask(_FOLDER, path, mode=mode)

    def make_file(self, path: str) -> None:
        """An empty one, which is then written to and sealed."""
        self._ask(_OPEN, path)

    def write(self, data: bytes) -> None:
        """To the end of the file that is open."""
        for start in range(0, len(data), _MOST):
            self._send(_WRITE, data[start : start + _MOST])

    def seal(self, mode: int, accessed: int, changed: int) -> None:
        """Give the open file its mode, and its times in nanoseconds."""
        times = (*divmod(accessed, 10**9), *divmod(changed, 10**9))
        self._send(_SEAL, mode=mode, times=times)

    def rename(self, path: str, target: str) -> None:
        """Over what is there."""
        self._ask(_RENAME, path, target)

    def make_link(self, path: str, target: str) -> None:
        """A symbolic one."""
        self._ask(_LINK, path, target)

    def change_mode(self, path: str, mode: int) -> None:
        """Of a file or a directory."""
        self._ask(_MODE, path, mode=mode)

    def _ask(self, what: int, path: str, more: str = "", mode: int = 0) -> int:
        first, second = os.fsencode(path) + b"\0", os.fsencode(more) + b"\0"
        if max(len(first), len(second)) > _LONGEST:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
        named = more if what == _RENAME else path
        return self._send(what, first, second, mode=mode, path=named)

    def _send(
        self,
        what: int,
        first: bytes = b"",
        second: bytes = b"",
        *,
        mode: int = 0,
        times: tuple[int, ...] = (0, 0, 0, 0),
        path: str = "",
    ) -> int:
        head = _REQUEST.pack(what, mode, len(first), len(second), *times)
        data = memoryview(head + first + second)
        try:
            while data:
                data = data[os.write(self._requests, data) :]
        except BrokenPipeError:
            raise _ended() from None
        told = os.read(self._answers, _ANSWER.size)
        if len(told) < _ANSWER.size:
            raise _ended()
        (result,) = _ANSWER.unpack(told)
        if result < 0:
            raise OSError(-result, os.strerror(-result), path or None)
        return int(result)


def _ended() -> NotRunning:
    return NotRunning("the container has just ended", hint="udocker ps shows how")
