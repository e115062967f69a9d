"""Unpack the layers of an image into one tree.

Every layer is unpacked into a directory of its own, and moved over the tree when its bytes have
proved to be what the image says. Memory holds pieces of 128 KiB, and one small node for each
directory of the current layer and for each record of the index.
"""

from __future__ import annotations

import contextlib
import os

from udocker.errors import UnpackError, VerificationError
from udocker.unpack.apply import LayerWriter, Tree
from udocker.unpack.compression import LayerStream, Source
from udocker.unpack.hidden import Hidden
from udocker.unpack.index import NAME, Index
from udocker.unpack.limits import Budget, Limits
from udocker.unpack.merge import hide, merge
from udocker.unpack.root import Root
from udocker.unpack.tar import Archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from udocker.model.image import Layer

__all__ = ["Limits", "build_tree"]

_LAYER = "layer"
_ROOT = "root"


def build_tree(
    layers: Sequence[Layer], directory: str, limits: Limits, advance: Callable[[int], None]
) -> None:
    """Unpack ``layers``, lowest first, into ``directory``/root, and write the index beside it.

    ``directory`` is empty and nobody else's; on an error what is in it is of no use. ``advance``
    is told of compressed bytes as they are read. Raises UnpackError, HostileArchiveError,
    ArchiveLimitError, VerificationError, which name the layer, and OSError with its path.
    """
    budget = Budget(limits)
    index = Index(limits.max_index_bytes)
    for layer in layers:
        with _naming(layer):
            _add_layer(layer, directory, index, budget, advance)
    if not layers:
        _make_directory(f"{directory}/{_ROOT}")
    index.write(f"{directory}/{NAME}")


def _add_layer(
    layer: Layer, directory: str, index: Index, budget: Budget, advance: Callable[[int], None]
) -> None:
    limits = budget.limits
    place = f"{directory}/{_LAYER}"
    _make_directory(place)
    with contextlib.ExitStack() as stack:
        upper = Tree(stack.enter_context(Root(place)), Index(limits.max_index_bytes))
        hidden = stack.enter_context(Hidden(directory, limits.max_index_bytes))
        below = None
        if os.path.isdir(f"{directory}/{_ROOT}"):
            below = Tree(stack.enter_context(Root(f"{directory}/{_ROOT}")), index)
        _unpack(layer, LayerWriter(upper, below, hidden, budget), limits, advance)
        if below is None:
            os.rename(place, f"{directory}/{_ROOT}")
            index.graft(b"", upper.index.top)
            return
        hide(hidden, below)
        merge(upper, below)
    with Root(directory) as top:
        top.remove(os.fsencode(_LAYER))


def _unpack(
    layer: Layer, writer: LayerWriter, limits: Limits, advance: Callable[[int], None]
) -> None:
    """Write all that ``layer`` has, then compare its bytes with its diffID."""
    with contextlib.closing(layer.open()) as stream:
        source = Source(stream, advance, f"layer {layer.descriptor.digest}")
        data = LayerStream(source, layer.diff_id.algorithm, limits.max_archive_bytes)
        writer.write(Archive(data, limits.max_header_bytes))
        data.drain(limits.max_bytes)
    if data.hexdigest() != layer.diff_id.hex:
        raise VerificationError(
            f"{_name(layer)}: its uncompressed bytes are not those of the image's configuration, "
            f"{layer.diff_id}",
            hint="fetch the image again; if it stays, the image is broken",
        )


@contextlib.contextmanager
def _naming(layer: Layer) -> Iterator[None]:
    try:
        yield
    except UnpackError as error:
        raise type(error)(f"{_name(layer)}: {error.message}", hint=error.hint) from error


def _name(layer: Layer) -> str:
    return f"layer {layer.descriptor.digest.short}"


def _make_directory(path: str) -> None:
    os.mkdir(path, 0o700)
    os.chmod(path, 0o755)
