"""Unpack the layers of an image into one tree.

Every layer is unpacked into a directory of its own, several at a time, and moved over the tree
when its bytes have proved to be what the image says and all layers below it are there. Memory
holds pieces of 128 KiB, and one small node for each directory of the layers at hand and for each
record of the index.
"""

from __future__ import annotations

import contextlib
import os

from udocker.errors import UnpackError, VerificationError
from udocker.unpack.apply import LayerWriter, Tree
from udocker.unpack.compression import LayerStream, Source
from udocker.unpack.crew import Crew, Stopped
from udocker.unpack.hidden import Hidden
from udocker.unpack.index import NAME, Index, read
from udocker.unpack.limits import Budget, Limits
from udocker.unpack.merge import hide, merge
from udocker.unpack.root import Root
from udocker.unpack.tar import Archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from udocker.model.image import Layer

__all__ = ["Builder", "Limits", "build_tree"]

_ROOT = "root"
# Layers that may wait for those below them: each may have a file open, and an index.
_AHEAD = 16


def build_tree(
    layers: Sequence[Layer],
    directory: str,
    limits: Limits,
    advance: Callable[[int], None],
    workers: int = 1,
) -> None:
    """Unpack ``layers``, lowest first, into ``directory``/root, and write the index beside it.

    ``directory`` is empty and nobody else's; on an error what is in it is of no use. ``advance``
    is told of compressed bytes as they are read, by any of ``workers`` threads. Raises
    UnpackError, HostileArchiveError, ArchiveLimitError, VerificationError, which name the layer,
    and OSError with its path.
    """
    with Builder(layers, directory, limits, advance) as builder:
        if workers > 1:
            builder.start(workers)
        builder.finish()


class _Unpacked:
    """A layer in a directory of its own."""

    def __init__(self, place: str, index: Index, hidden: Hidden) -> None:
        self.place = place
        self.index = index
        self.hidden = hidden


class Builder:
    """What ``build_tree`` does, in steps: while threads work the caller may fetch the layers.

    ``base``: where a tree and its index are of which ``directory``/root is a copy. The layers go
    over that. ``archive`` makes the reader of an archive.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        directory: str,
        limits: Limits,
        advance: Callable[[int], None],
        *,
        base: str = "",
        archive: Callable[[LayerStream, int], Archive] = Archive,
    ) -> None:
        self._layers = layers
        self._directory = directory
        self._limits = limits
        self._advance = advance
        self._budget = Budget(limits)
        self._crew = Crew(self._work)
        self._cleanup = contextlib.ExitStack()
        self._index = Index(limits.max_index_bytes)
        self._base = base
        self._archive = archive
        self._tree: Tree | None = None
        # Of the following the crew's lock is held to change them.
        self._claimed = 0
        self._merged = 0
        self._merging = False
        self._unpacked: dict[int, _Unpacked] = {}
        self._blamed: Layer | None = None

    def __enter__(self) -> Builder:
        if self._base:
            with contextlib.suppress(FileNotFoundError):
                for path, record in read(f"{self._base}/{NAME}"):
                    self._index.directory(path, record)  # whatever it is: nothing is dropped
            root = Root(f"{self._directory}/{_ROOT}")
            self._tree = Tree(self._cleanup.enter_context(root), self._index)
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.stop()
        for unpacked in self._unpacked.values():
            unpacked.hidden.close()
        self._cleanup.close()

    def start(self, workers: int) -> None:
        """Begin, with so many threads."""
        self._crew.start(min(workers, len(self._layers)))

    def failure(self) -> tuple[BaseException, Layer | None] | None:
        """What a thread met so far, and in which layer."""
        failure = self._crew.failure
        return None if failure is None else (failure, self._blamed)

    def finish(self) -> None:
        """Wait for the threads, and complete the tree. Raises what one of them met."""
        self._crew.join()
        self._work()  # there may have been none
        if self._tree is None:
            _make_directory(f"{self._directory}/{_ROOT}")
        self._index.write(f"{self._directory}/{NAME}")

    def _work(self) -> None:
        """Unpack layers until none is left."""
        while (number := self._claim()) is not None:
            layer = self._layers[number]
            with self._naming(layer):
                unpacked = self._unpack(number, layer)
            with self._crew.changed:
                self._unpacked[number] = unpacked
            self._merge()

    def _claim(self) -> int | None:
        """The lowest layer that nobody unpacks yet, so that none waits for one that waits."""
        with self._crew.changed:
            while self._claimed < len(self._layers):
                if self._claimed < self._merged + _AHEAD:
                    self._claimed += 1
                    return self._claimed - 1
                self._crew.wait()
        return None

    def _unpack(self, number: int, layer: Layer) -> _Unpacked:
        place = f"{self._directory}/layer-{number}"
        _make_directory(place)
        limits = self._limits
        index = Index(limits.max_index_bytes)
        with contextlib.ExitStack() as stack:
            upper = Tree(stack.enter_context(Root(place)), index)
            hidden = Hidden(self._directory, limits.max_index_bytes)
            on_error = stack.enter_context(contextlib.ExitStack())
            on_error.callback(hidden.close)
            writer = LayerWriter(upper, lambda: self._below(number), hidden, self._budget)
            self._write(layer, writer)
            on_error.pop_all()
        return _Unpacked(place, index, hidden)

    def _write(self, layer: Layer, writer: LayerWriter) -> None:
        """Write all that ``layer`` has, then compare its bytes with its diffID."""
        limits = self._limits
        with contextlib.closing(layer.open()) as stream:
            source = Source(stream, self._told, f"layer {layer.descriptor.digest}")
            data = LayerStream(source, layer.diff_id.algorithm, limits.max_archive_bytes)
            writer.write(self._archive(data, limits.max_header_bytes))
            data.drain(limits.max_bytes)
        if not data.is_of(layer.diff_id.hex):
            raise VerificationError(
                f"{_name(layer)}: its uncompressed bytes are not those of the image's "
                f"configuration, {layer.diff_id}",
                hint="fetch the image again; if it stays, the image is broken",
            )

    @contextlib.contextmanager
    def _naming(self, layer: Layer) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not isinstance(error, Stopped):
                self._blamed = self._blamed or layer
            if isinstance(error, UnpackError):
                text = f"{_name(layer)}: {error.message}"
                raise type(error)(text, hint=error.hint) from error
            raise

    def _told(self, size: int) -> None:
        self._crew.check()
        self._advance(size)

    def _below(self, number: int) -> Tree | None:
        """The tree of all layers below ``number``, when it is there."""
        with self._crew.changed:
            while self._merged < number:
                self._crew.wait()
        return self._tree

    def _merge(self) -> None:
        """Put over the tree what can be, unless another thread is about it."""
        while True:
            with self._crew.changed:
                unpacked = None if self._merging else self._unpacked.get(self._merged)
                if unpacked is None:
                    return
                self._merging = True
            with self._naming(self._layers[self._merged]):
                self._put_over(unpacked)
            with self._crew.changed:
                del self._unpacked[self._merged]
                self._merged += 1
                self._merging = False
                self._crew.changed.notify_all()

    def _put_over(self, layer: _Unpacked) -> None:
        if self._tree is None:
            root = f"{self._directory}/{_ROOT}"
            os.rename(layer.place, root)
            self._index.graft(b"", layer.index.top)
            self._tree = Tree(self._cleanup.enter_context(Root(root)), self._index)
        else:
            hide(layer.hidden, self._tree)
            with Root(layer.place) as upper:
                merge(Tree(upper, layer.index), self._tree)
            with Root(self._directory) as top:
                top.remove(os.fsencode(os.path.basename(layer.place)))
        layer.hidden.close()


def _name(layer: Layer) -> str:
    return f"layer {layer.descriptor.digest.short}"


def _make_directory(path: str) -> None:
    os.mkdir(path, 0o700)
    os.chmod(path, 0o755)
