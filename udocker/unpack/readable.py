"""Trees that other users may read whole, for stores that many share.

An image keeps some files from others: /root, /etc/shadow. A store has them for the sake of whoever
runs the image, who is root inside, so nothing is gained by that where the store is shared. The
modes of the image go to the index.
"""

from __future__ import annotations

import contextlib
import os
import stat

from udocker.model.value import replace
from udocker.unpack.index import NAME, Index, Record, read
from udocker.unpack.names import join
from udocker.unpack.root import Root, set_mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.unpack.limits import Limits

_MARK = "readable"


def open_to_all(directory: str, limits: Limits) -> None:
    """Let everybody read the tree in ``directory``, as chmod a+rX has it. Raises OSError."""
    path = f"{directory}/{NAME}"
    index = Index(limits.max_index_bytes)
    for name, record in read(path):
        index.directory(name, record)  # whatever it is: nothing is dropped
    with Root(f"{directory}/root") as root:
        for name, mode in _opened(root):
            record = index.record(name) or Record()
            if record.mode is None:
                index.directory(name, replace(record, mode=mode))
    os.unlink(path)
    index.write(path)
    with open(f"{directory}/{_MARK}", "xb"):
        pass


def is_open(directory: str) -> bool:
    """Whether the tree in ``directory`` has been opened to all."""
    return os.path.exists(f"{directory}/{_MARK}")


def _opened(root: Root) -> Iterator[tuple[bytes, int]]:
    """Open what is closed: the path of each, and the mode that it had."""
    pending = [b""]
    while pending:
        path = pending.pop()
        with root.held(path) as folder:
            for name in map(os.fsencode, os.listdir(folder)):
                status = os.lstat(name, dir_fd=folder)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(join(path, name))
                mode = stat.S_IMODE(status.st_mode)
                wanted = mode | _missing(status.st_mode)
                if wanted != mode and not stat.S_ISLNK(status.st_mode):
                    with contextlib.suppress(NotADirectoryError):
                        set_mode(name, folder, wanted)
                    yield join(path, name), mode
    mode = stat.S_IMODE(os.stat(root.path).st_mode)
    if mode | 0o555 != mode:
        os.chmod(root.path, mode | 0o555)
        yield b"", mode


def _missing(mode: int) -> int:
    return 0o555 if stat.S_ISDIR(mode) or mode & 0o111 else 0o444
