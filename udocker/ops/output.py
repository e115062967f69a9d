"""What a command writes for the user: a file or a directory that is whole or absent, or stdout."""

from __future__ import annotations

import contextlib
import os
import sys

from udocker import files
from udocker.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

STDOUT = "-"


@contextlib.contextmanager
def written(target: str, doing: str) -> Iterator[BinaryIO]:
    """Where the bytes of ``target`` go; "-" is stdout.

    A file appears when the block has ended, with all of it, and replaces what was there; devices
    and pipes are written to. ``doing`` is for messages. Raises StoreError.
    """
    if target == STDOUT:
        with output_errors(doing, "stdout"):
            sys.stdout.flush()
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    if os.path.exists(target) and not os.path.isfile(target):
        # Of a directory the system says what is wrong.
        with output_errors(doing, target), open(target, "wb") as stream:
            yield stream
        return
    aside = _aside(target)
    try:
        with output_errors(doing, target, aside):
            with open(aside, "xb") as stream:
                yield stream
            os.rename(aside, target)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(aside)


@contextlib.contextmanager
def made(target: str, doing: str) -> Iterator[str]:
    """A new directory that becomes ``target`` when the block has ended.

    ``target`` must not be there, or be an empty directory. Raises StoreError.
    """
    aside = _aside(target.rstrip("/"))
    try:
        with output_errors(doing, target, aside):
            if os.path.lexists(target):
                with contextlib.suppress(OSError):
                    os.rmdir(target)
            if os.path.lexists(target):
                raise StoreError(
                    f"{doing} {target}: it is there already", hint="name a directory that is not"
                )
            os.mkdir(aside)
            yield aside
            os.rename(aside, target)
    finally:
        with contextlib.suppress(OSError):
            files.remove_tree(aside)


def _aside(target: str) -> str:
    return f"{target}.{os.getpid()}.tmp"


@contextlib.contextmanager
def output_errors(doing: str, *targets: str) -> Iterator[None]:
    """Say of an OSError what could not be written. Raises StoreError."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads has had enough
    except OSError as error:
        text = f"{doing} {targets[0]}: {error.strerror or error}"
        hint = "name a file that you may write, where there is room"
        raise StoreError(text, hint=hint) from error
