"""Carry out what a layer's archive asks for, in a directory of the layer's own.

Whiteouts are only noted: they are about the layers below, wherever in the archive they stand.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat

from udocker.errors import UnpackError
from udocker.model.value import value
from udocker.unpack import header
from udocker.unpack.index import Index, Record
from udocker.unpack.names import checked_path, components, join, show, split
from udocker.unpack.native import NativeWriter, native_module
from udocker.unpack.plan import HIDE, HIDE_CHILDREN, MAKE, plan
from udocker.unpack.root import Root, set_mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from udocker.unpack.header import Member
    from udocker.unpack.hidden import Hidden
    from udocker.unpack.limits import Budget
    from udocker.unpack.tar import Archive

    T = TypeVar("T")
    Attributes = tuple[tuple[bytes, bytes], ...]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_TREE = 0o1777  # setuid and setgid would give this user's rights to others
# What the filesystem says when it cannot make this hard link: too many, in another directory,
# or none at all.
_NO_LINK = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
# What it says of a name or a size that it cannot have: the archive is at fault, not the disk.
_IMPOSSIBLE = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EFBIG, errno.ELOOP)
# The tree may be the lower directory of an overlay, which would obey these.
_OVERLAY = b"user.overlay."


@value
class Tree:
    """A root directory, and the records of what it cannot hold."""

    root: Root
    index: Index


class LayerWriter:
    """Writes members into ``layer``; hard links may lead to what ``below`` gives, the tree of the
    layers below, for which it may have to wait."""

    def __init__(
        self, layer: Tree, below: Callable[[], Tree | None], hidden: Hidden, budget: Budget
    ) -> None:
        self._layer = layer
        self._root = layer.root
        self._index = layer.index
        self._below = below
        self._hidden = hidden
        self._budget = budget
        self._max_depth = budget.limits.max_depth
        self._has_devices = False
        self._makers: dict[str, Callable[[Member, bytes, Archive], None]] = {
            header.FILE: self._file,
            header.SYMLINK: self._symlink,
            header.HARDLINK: self._hardlink,
            header.FIFO: self._fifo,
            header.CHAR: self._device,
            header.BLOCK_DEVICE: self._device,
        }

    def write(self, archive: Archive) -> None:
        """Write every member, then the times of directories. Raises UnpackError, OSError."""
        with contextlib.ExitStack() as stack:
            native = self._native(stack)
            while True:
                if native is not None:
                    self._write_plain(native, archive)
                member = archive.next()
                if member is None:
                    break
                self._write(member, archive)
        self._set_directory_times()

    def _native(self, stack: contextlib.ExitStack) -> NativeWriter | None:
        module = native_module()
        if module is None:
            return None
        top = self._root.directory(b"")
        return stack.enter_context(NativeWriter(module, top, self._budget, self._noted))

    def _write_plain(self, native: NativeWriter, archive: Archive) -> None:
        # A record of a device must go when a file takes its name.
        try:
            archive.leave_to(lambda stream: native.write(stream, self._has_devices))
        except OSError as error:
            raise explained(error, self._root, native.path) from error

    def _noted(self, kind: str, path: bytes, *, mode: int, uid: int, gid: int, mtime: int) -> None:
        """Keep what the tree does not show of a member that is written."""
        record = _record(uid, gid, mode, _mode_in_tree(kind, mode))
        if kind == header.DIRECTORY:
            self._index.directory(path, record, mtime)
        else:
            self._index.entry(path, record)

    def _write(self, member: Member, archive: Archive) -> None:
        self._budget.entry()
        operation = plan(member, self._max_depth)
        try:
            if operation.action == MAKE:
                self._make(member, operation.path, archive)
            elif operation.action in (HIDE, HIDE_CHILDREN):
                self._hidden.add(operation.path, operation.action == HIDE_CHILDREN)
        except OSError as error:
            raise explained(error, self._root, operation.path) from error

    def _set_directory_times(self) -> None:
        for path, node in self._index.walk():
            if node.mtime is not None:
                try:
                    os.utime(self._root.directory(path), ns=(node.mtime, node.mtime))
                except OSError as error:
                    raise explained(error, self._root, path) from error

    def _make(self, member: Member, path: bytes, archive: Archive) -> None:
        self._budget.spend(member.stored, path)
        place = self._place(path) if path else path
        if member.kind == header.DIRECTORY:
            self._directory(member, place)
        else:
            self._makers[member.kind](member, place, archive)

    def _place(self, path: bytes) -> bytes:
        """``path`` with the links in its parent followed inside the layer; the parent is made."""
        parent, name = split(path)
        try:
            self._root.directory(parent)
        except FileNotFoundError:
            self._make_parent(parent, path)
        except NotADirectoryError:
            parent = self._root.resolve(parent)
            path = join(parent, name)
            checked_path(path.split(b"/"), self._max_depth)
            self._make_parent(parent, path)
        return path

    def _make_parent(self, parent: bytes, path: bytes) -> None:
        above = parent
        while above:
            record = self._index.record(above)
            if record is not None and record.device is not None:
                raise UnpackError(f"the parent of {show(path)} is a device")
            above, _ = split(above)
        try:
            self._root.make(parent)
        except NotADirectoryError:
            raise UnpackError(f"the parent of {show(path)} is not a directory") from None

    def _directory(self, member: Member, path: bytes) -> None:
        if path:
            try:
                self._root.add(path)
            except FileExistsError:
                self._keep_directory(path)
        descriptor = self._root.directory(path)
        xattrs = _set_xattrs(descriptor, member.xattrs)
        mode = _mode_in_tree(member.kind, member.mode)
        os.fchmod(descriptor, mode)
        self._index.directory(path, _record_of(member, mode, xattrs), member.mtime)

    def _keep_directory(self, path: bytes) -> None:
        """A directory keeps what is in it when it comes again; anything else makes way for it."""
        parent, name = split(path)
        descriptor = self._root.directory(parent)
        if not stat.S_ISDIR(os.lstat(name, dir_fd=descriptor).st_mode):
            os.unlink(name, dir_fd=descriptor)
            self._root.add(path)

    def _file(self, member: Member, path: bytes, archive: Archive) -> None:
        descriptor = self._fresh(
            path, lambda parent, name: os.open(name, _CREATE, 0o600, dir_fd=parent)
        )
        try:
            _write_content(descriptor, member, archive)
            xattrs = _set_xattrs(descriptor, member.xattrs)
            # After the last write, which clears bits of the mode on some filesystems.
            mode = _mode_in_tree(member.kind, member.mode)
            os.fchmod(descriptor, mode)
            os.utime(descriptor, ns=(member.mtime, member.mtime))
        finally:
            os.close(descriptor)
        self._index.entry(path, _record_of(member, mode, xattrs))

    def _symlink(self, member: Member, path: bytes, _: Archive) -> None:
        if not member.link:
            raise UnpackError(f"the symbolic link {show(member.name)} has no target")
        self._fresh(path, lambda parent, name: os.symlink(member.link, name, dir_fd=parent))
        self._set_time(path, member.mtime)
        self._index.entry(path, _record_of(member, member.mode, member.xattrs))

    def _fifo(self, member: Member, path: bytes, _: Archive) -> None:
        self._fresh(path, lambda parent, name: os.mkfifo(name, 0o600, dir_fd=parent))
        parent, name = split(path)
        mode = _mode_in_tree(member.kind, member.mode)
        set_mode(name, self._root.directory(parent), mode)
        self._set_time(path, member.mtime)
        self._index.entry(path, _record_of(member, mode, member.xattrs))

    def _device(self, member: Member, path: bytes, _: Archive) -> None:
        self._record_device(
            path,
            Record(
                uid=member.uid,
                gid=member.gid,
                mode=member.mode,
                device=(member.kind, member.major, member.minor),
                xattrs=member.xattrs,
            ),
        )

    def _record_device(self, path: bytes, record: Record) -> None:
        self._has_devices = True
        with contextlib.suppress(FileNotFoundError):
            self._root.remove(path)
        self._index.entry(path, record)

    def _hardlink(self, member: Member, path: bytes, _: Archive) -> None:
        """A second name for what is there: the link's own mode, owner and time say nothing new."""
        tree, target, status = self._link_target(member)
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise UnpackError(f"a hard link to a directory: {_linked(member)}")
        if tree is self._layer and target == path:
            return
        if tree is self._layer and target.startswith(path + b"/"):
            raise _no_target(member)  # it goes with what the link replaces
        record = tree.index.record(target)
        if status is None:
            assert record is not None
            self._record_device(path, record)
            return
        self._link(tree.root, target, status, path)
        self._index.entry(path, record)

    def _link_target(self, member: Member) -> tuple[Tree, bytes, os.stat_result | None]:
        """Where the target is, and its status; None for a recorded device."""
        target = checked_path(components(member.link), self._max_depth)
        for look in (lambda: self._layer, self._below):
            tree = look()
            if tree is not None:
                target, status = tree.root.find(target)
                record = tree.index.record(target)
                if status is not None or (record is not None and record.device is not None):
                    return tree, target, status
        raise _no_target(member)

    def _link(self, source: Root, target: bytes, status: os.stat_result, path: bytes) -> None:
        parent, name = split(target)
        with source.held(parent) as held:

            def link(to: int, new: bytes) -> None:
                os.link(name, new, src_dir_fd=held, dst_dir_fd=to, follow_symlinks=False)

            try:
                self._fresh(path, link)
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                self._budget.spend(status.st_size, path)
                self._fresh(path, functools.partial(_copy, held, name))

    def _fresh(self, path: bytes, make: Callable[[int, bytes], T]) -> T:
        """Call ``make`` with the parent and the name; what is there already makes way."""
        parent, name = split(path)
        try:
            return make(self._root.directory(parent), name)
        except FileExistsError:
            self._root.remove(path)
            return make(self._root.directory(parent), name)

    def _set_time(self, path: bytes, mtime: int) -> None:
        parent, name = split(path)
        os.utime(
            name,
            ns=(mtime, mtime),
            dir_fd=self._root.directory(parent),
            follow_symlinks=False,
        )


def explained(error: OSError, root: Root, path: bytes) -> OSError | UnpackError:
    """``error``, met at ``path`` of ``root``, with the whole path in it."""
    if isinstance(error.filename, str):
        return error  # of the layer's bytes, not of the tree
    if error.errno in _IMPOSSIBLE:
        return UnpackError(f"{show(path)} cannot be made here: {error.strerror}")
    return OSError(error.errno, error.strerror, os.path.join(root.path, os.fsdecode(path)))


def _write_content(descriptor: int, member: Member, archive: Archive) -> None:
    if member.sparse is None:
        for piece in archive.content(member.size):
            _write(descriptor, piece)
        return
    for offset, length in member.sparse:
        os.lseek(descriptor, offset, os.SEEK_SET)
        for piece in archive.content(length):
            _write(descriptor, piece)
    os.ftruncate(descriptor, member.size)


def _write(descriptor: int, data: memoryview) -> None:
    done = os.write(descriptor, data)
    while done < len(data):
        done += os.write(descriptor, data[done:])


def _copy(parent: int, name: bytes, new_parent: int, new_name: bytes) -> None:
    """Copy a file or a symbolic link with its mode, time and attributes."""
    import shutil

    shutil.copy2(_fd_path(parent, name), _fd_path(new_parent, new_name), follow_symlinks=False)


def _fd_path(parent: int, name: bytes) -> bytes:
    return b"/proc/self/fd/%d/%s" % (parent, name)


def _set_xattrs(descriptor: int, xattrs: Attributes) -> Attributes:
    """Set the attributes that a user may set; the others come back."""
    left = []
    for name, data in xattrs:
        if name.startswith(b"user.") and not name.startswith(_OVERLAY):
            try:
                os.setxattr(descriptor, name, data)
                continue
            except OSError:  # the filesystem has none, or none of this size: the index has
                pass
        left.append((name, data))
    return tuple(left)


def _mode_in_tree(kind: str, mode: int) -> int:
    """The mode that an entry gets; its owner must be able to read it."""
    if kind == header.SYMLINK:
        return mode
    return mode & _IN_TREE | (0o700 if kind == header.DIRECTORY else 0o400)


def _record_of(member: Member, mode: int, xattrs: Attributes) -> Record | None:
    """What a tree where the entry has ``mode`` and not ``xattrs`` does not say of ``member``."""
    return _record(member.uid, member.gid, member.mode, mode, xattrs)


def _record(uid: int, gid: int, mode: int, given: int, xattrs: Attributes = ()) -> Record | None:
    true_mode = None if given == mode else mode
    if xattrs:
        return Record(uid, gid, true_mode, None, xattrs)
    if uid or gid or true_mode is not None:
        return _shared_record(uid, gid, true_mode)
    return None


@functools.lru_cache(maxsize=256)
def _shared_record(uid: int, gid: int, mode: int | None) -> Record:
    """Most entries of a layer have one owner: one record in memory serves them all."""
    return Record(uid, gid, mode)


def _linked(member: Member) -> str:
    return f"{show(member.name)} to {show(member.link)}"


def _no_target(member: Member) -> UnpackError:
    return UnpackError(f"a hard link to what is not in the image: {_linked(member)}")
