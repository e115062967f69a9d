"""The plain members of a layer, written by the extension module: see engines/native/layer.h.

It does what ``apply`` does, for members about which there is nothing more to say, and holds no
lock of the interpreter meanwhile: so several layers can be unpacked at once.
"""

from __future__ import annotations

import os
import struct

from udocker.unpack.header import DIRECTORY, FILE, SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from udocker.unpack.compression import LayerStream
    from udocker.unpack.limits import Budget

    # Told of a member that was written: kind and path, and by name mode, uid, gid, and mtime in
    # nanoseconds.
    Noted = Callable[..., None]

_NOTES = 1 << 16  # bytes
_NOTE = struct.Struct("@qIIHHc3x")
_KINDS = {b"0": FILE, b"2": SYMLINK, b"5": DIRECTORY}


class NativeWriter:
    """Writes members below the directory ``root``, a descriptor that stays open meanwhile."""

    def __init__(self, module: Any, root: int, budget: Budget, noted: Noted) -> None:
        self._lib = module.lib
        self._ffi = module.ffi
        self._budget = budget
        self._noted = noted
        self._buffer = self._ffi.new("char[]", _NOTES)
        self._notes = memoryview(self._ffi.buffer(self._buffer))
        self._step = self._ffi.new("struct udocker_step *")
        self._layer = self._lib.udocker_layer_begin(root, self._buffer, _NOTES)
        if not self._layer:
            raise MemoryError

    def __enter__(self) -> NativeWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._lib.udocker_layer_end(self._layer)

    @property
    def path(self) -> bytes:
        """The member that was the last."""
        found: bytes = self._ffi.string(self._lib.udocker_layer_path(self._layer))
        return found

    def write(self, stream: LayerStream, tell_all: bool) -> bytes | None:
        """Write members up to one that must be dealt with otherwise, or to the end.

        The path of the member that the end came in the middle of, if it did. ``tell_all``: note
        every member. Raises OSError, ArchiveLimitError.
        """
        self._lib.udocker_layer_forget(self._layer)
        step = self._step
        while True:
            code = self._advance(stream, tell_all)
            if code < 0:
                raise OSError(-code, os.strerror(-code), self.path)
            if code == self._lib.UDOCKER_YOURS:
                return None
            if code == self._lib.UDOCKER_MORE and not stream.more():
                return self.path if step.open else None

    def _advance(self, stream: LayerStream, tell_all: bool) -> int:
        step = self._step
        step.entries, step.bytes = self._budget.left()
        chunk, at = stream.held()
        with self._ffi.from_buffer(chunk) as data:
            code: int = self._lib.udocker_layer_write(
                self._layer, data + at, len(chunk) - at, tell_all, step
            )
        stream.skip(step.used)
        self._budget.entry(step.entries)
        if step.bytes:
            self._budget.spend(step.bytes, self.path)
        if step.noted:
            self._tell(step.noted)
        return code

    def _tell(self, size: int) -> None:
        at = 0
        while at < size:
            mtime, uid, gid, mode, length, kind = _NOTE.unpack_from(self._notes, at)
            at += _NOTE.size
            path = bytes(self._notes[at : at + length])
            at += length
            self._noted(
                _KINDS[kind], path, mode=mode, uid=uid, gid=gid, mtime=mtime * 1_000_000_000
            )


def native_module() -> Any:
    """The extension module; None where udocker runs without it."""
    try:
        from udocker import _native
    except ImportError:
        return None
    return _native
