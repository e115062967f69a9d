"""Put an unpacked layer over the tree of the layers below, as an overlay filesystem shows it.

A directory over a directory is merged; anything else over anything, a directory over a symbolic
link included, replaces it. Entries are renamed, so what the layer alone has is moved whole.
"""

from __future__ import annotations

import contextlib
import os
import stat

from udocker.unpack.apply import Tree, explained
from udocker.unpack.names import join, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.unpack.hidden import Hidden
    from udocker.unpack.root import Root

_ABSENT = (FileNotFoundError, NotADirectoryError)


def hide(hidden: Hidden, tree: Tree) -> None:
    """Remove from ``tree`` what a layer hides. What is absent, or behind a link, is no error."""
    for path, children_only in hidden:
        try:
            _hide(tree, path, children_only)
        except OSError as error:
            raise explained(error, tree.root, path) from error


def merge(layer: Tree, tree: Tree) -> None:
    """Move all of ``layer`` into ``tree``; directories that both had stay behind, empty.

    Raises OSError.
    """
    pending = [b""]
    while pending:
        path = pending.pop()
        try:
            pending += _merge_directory(layer, tree, path)
        except OSError as error:
            raise explained(error, tree.root, path) from error


def _hide(tree: Tree, path: bytes, children_only: bool) -> None:
    directory = path if children_only else split(path)[0]
    with contextlib.suppress(*_ABSENT), _time_kept(tree.root, directory):
        if children_only:
            tree.root.empty(path)
        else:
            tree.root.remove(path)
    if children_only:
        tree.index.clear(path)
    else:
        tree.index.drop(path)


@contextlib.contextmanager
def _time_kept(root: Root, path: bytes) -> Iterator[None]:
    with root.held(path) as descriptor:
        mtime = os.fstat(descriptor).st_mtime_ns
        yield
        os.utime(descriptor, ns=(mtime, mtime))


def _merge_directory(layer: Tree, tree: Tree, path: bytes) -> list[bytes]:
    """Merge one directory that both have; the subdirectories that both have come back."""
    both = []
    with layer.root.held(path) as source, tree.root.held(path) as target:
        mtime = os.fstat(target).st_mtime_ns
        with os.scandir(source) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                is_directory = entry.is_dir(follow_symlinks=False)
                if _make_way(tree, target, path, name, is_directory):
                    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
                    child = join(path, name)
                    tree.index.graft(child, layer.index.find(child))
                else:
                    both.append(join(path, name))
        _place_devices(layer, tree, path)
        node = layer.index.find(path)
        if node is not None and node.mtime is not None:  # the layer names the directory itself
            mtime = node.mtime
            _adopt(source, target)
            tree.index.directory(path, node.record)
        os.utime(target, ns=(mtime, mtime))
    return both


def _make_way(tree: Tree, target: int, path: bytes, name: bytes, is_directory: bool) -> bool:
    """Make a rename to ``name`` possible; False where two directories are to be merged."""
    try:
        there = stat.S_ISDIR(os.lstat(name, dir_fd=target).st_mode)
    except FileNotFoundError:
        return True
    if is_directory and there:
        return False
    if is_directory or there:
        tree.root.remove(join(path, name))
    return True


def _place_devices(layer: Tree, tree: Tree, path: bytes) -> None:
    """Device nodes are in the index only, so no rename has brought them."""
    node = layer.index.find(path)
    for name, child in list(node.children.items()) if node else ():
        if child.record is not None and child.record.device is not None:
            device = join(path, name)
            with contextlib.suppress(FileNotFoundError):
                tree.root.remove(device)
            tree.index.graft(device, child)


def _adopt(source: int, target: int) -> None:
    """Give a directory the mode and the attributes of the one above it."""
    os.fchmod(target, stat.S_IMODE(os.fstat(source).st_mode))
    with contextlib.suppress(OSError):  # a filesystem without attributes
        for name in os.listxattr(target):
            if name.startswith("user."):
                os.removexattr(target, name)
        for name in os.listxattr(source):
            if name.startswith("user."):
                os.setxattr(target, name, os.getxattr(source, name))
