"""Programs called docker and podman that are udocker, for those who call these."""

from __future__ import annotations

import os
import shlex
import shutil

from udocker import files
from udocker.errors import StoreError, UsageError
from udocker.ops import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from udocker.ops.session import Session

NAMES = ("docker", "podman")
_MARK = "# Made by udocker shim."
_HEAD = 200  # bytes


def make(session: Session, directory: str, names: Sequence[str]) -> list[str]:
    """Write them to ``directory``; their paths. What is there and is none of ours stays.

    Raises UsageError, StoreError.
    """
    paths = list(_paths(directory, names))
    text = f'#!/bin/sh\n{_MARK}\nexec {shlex.join(program.words())} "$@"\n'
    with files.store_errors("making the shim"):
        os.makedirs(directory, exist_ok=True)
        for path in paths:
            files.write_atomic(path, text.encode(), 0o755)
    for path in paths:
        _warn(session, path)
    return paths


def remove(directory: str, names: Sequence[str]) -> list[str]:
    """Remove them, where they are there; their paths. Raises UsageError, StoreError."""
    paths = [path for path in _paths(directory, names) if os.path.lexists(path)]
    with files.store_errors("removing the shim"):
        for path in paths:
            os.unlink(path)
    return paths


def _paths(directory: str, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name not in NAMES:
            raise UsageError(f"no shim for {name!r}", hint=f"there are {' and '.join(NAMES)}")
        path = os.path.join(directory, name)
        if os.path.lexists(path) and not _is_ours(path):
            raise StoreError(
                f"{path} is there, and was not made by udocker", hint="another place: --dir DIR"
            )
        yield path


def _is_ours(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            return _MARK.encode() in stream.read(_HEAD)
    except OSError:
        return False


def _warn(session: Session, path: str) -> None:
    directory, name = os.path.split(path)
    found = shutil.which(name, path=session.environ.get("PATH", ""))
    if found is None:
        session.report.warn(f"{directory} is not in PATH: export PATH={directory}:$PATH")
    elif os.path.realpath(found) != os.path.realpath(path):
        session.report.warn(f"{name} is still {found}: export PATH={directory}:$PATH")
