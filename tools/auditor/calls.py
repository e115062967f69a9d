"""Which arguments of a system call are paths.

The prototypes of python-ptrace, and what is newer: an opinion of its own, so that a mistake in the
engine's table is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from ptrace.syscall.linux.x86_64 import SYSCALL_NAMES
from ptrace.syscall.prototypes import SYSCALL_PROTOTYPES

AT_FDCWD = -100
# <linux/fcntl.h>
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000
_O_CREAT, _O_EXCL, _O_NOFOLLOW = 0o100, 0o200, 0o400000
_IN_DONT_FOLLOW = 0x02000000
# Text that is no path, in arguments called as if it were.
_NO_PATHS = """
    add_key delete_module finit_module init_module kexec_file_load memfd_create mq_open mq_unlink
    mq_timedsend request_key seccomp setdomainname sethostname getcwd __getcwd gethostname
"""
_PATH_NAMES = """
    filename pathname path oldname newname old new dev_name dir_name special specialfile library
    new_root put_old name
"""
_NEVER_FOLLOW = """
    lstat newlstat readlink readlinkat unlink unlinkat rename renameat renameat2 mkdir mkdirat
    rmdir mknod mknodat symlink symlinkat link lchown lgetxattr lsetxattr llistxattr
    lremovexattr bind
"""
# Calls that change what their paths name; opening does so with these flags.
_WRITING = """
    unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir mknod mknodat symlink symlinkat
    link linkat chmod fchmodat fchmodat2 chown lchown fchownat truncate utime utimes utimensat
    futimesat setxattr lsetxattr removexattr lremovexattr setxattrat removexattrat file_setattr
    bind creat
"""
_O_WRITING = 0o3 | 0o100 | 0o1000 | 0o20000000  # O_ACCMODE, O_CREAT, O_TRUNC, O_TMPFILE
# number: (name, ((position of the path, that of the directory or None), ...), that of the flags)
_NEWER = {
    166: ("umount2", ((0, None),), None),
    316: ("renameat2", ((1, 0), (3, 2)), None),
    322: ("execveat", ((1, 0),), 4),
    332: ("statx", ((1, 0),), 2),
    428: ("open_tree", ((1, 0),), 2),
    429: ("move_mount", ((1, 0), (3, 2)), None),
    433: ("fspick", ((1, 0),), 2),
    437: ("openat2", ((1, 0),), None),
    439: ("faccessat2", ((1, 0),), 3),
    442: ("mount_setattr", ((1, 0),), 2),
    452: ("fchmodat2", ((1, 0),), 3),
    463: ("setxattrat", ((1, 0),), 2),
    464: ("getxattrat", ((1, 0),), 2),
    465: ("listxattrat", ((1, 0),), 2),
    466: ("removexattrat", ((1, 0),), 2),
    467: ("open_tree_attr", ((1, 0),), 2),
    468: ("file_getattr", ((1, 0),), 4),
    469: ("file_setattr", ((1, 0),), 4),
}
_FLAGS = {"newfstatat": 3, "fchownat": 4, "utimensat": 3, "name_to_handle_at": 4, "linkat": 4}
_ADDRESSES = {"bind": 1, "connect": 1, "sendto": 4}


@dataclass(frozen=True)
class PathCall:
    """A system call that takes paths."""

    name: str
    paths: tuple[tuple[int, int | None], ...]  # positions of a path, and of its directory
    flags: int | None = None
    address: int | None = None  # position of an address of unix(7)
    message: bool = False  # the address is in the message that argument 1 points to

    def follows(self, arguments: list[int], position: int) -> bool:
        """Whether a symbolic link at the end of the path at that position is followed."""
        if self.name in _NEVER_FOLLOW.split():
            return False
        flags = arguments[self.flags] if self.flags is not None else 0
        if self.name in ("open", "openat"):
            flags = arguments[position + 1]
            exclusive = flags & (_O_CREAT | _O_EXCL) == _O_CREAT | _O_EXCL
            return not (flags & _O_NOFOLLOW or exclusive)
        if self.name in ("linkat", "name_to_handle_at"):
            return position == 1 and bool(flags & _AT_SYMLINK_FOLLOW)
        if self.name == "inotify_add_watch":
            return not arguments[2] & _IN_DONT_FOLLOW
        return not flags & _AT_SYMLINK_NOFOLLOW

    def writes(self, arguments: list[int], how: int) -> bool:
        """Whether it changes what the path names; ``how``: the flags of openat2(2)."""
        flags = {"open": arguments[1], "openat": arguments[2], "openat2": how}.get(self.name, 0)
        return self.name in _WRITING.split() or bool(flags & _O_WRITING)


def _old() -> dict[int, PathCall]:
    found = {}
    for number, name in SYSCALL_NAMES.items():
        arguments = SYSCALL_PROTOTYPES.get(name, ("", ()))[1]
        is_directory = [kind == "int" and "d" in called for kind, called in arguments]
        paths = tuple(
            (
                at,
                at - 1 if at > 0 and is_directory[at - 1] and name != "inotify_add_watch" else None,
            )
            for at, (kind, called) in enumerate(arguments)
            if kind in ("const char *", "char *") and called in _PATH_NAMES.split()
        )
        if name.endswith("xattr"):
            paths = tuple(pair for pair in paths if pair[0] == 0 and not name.startswith("f"))
        if name in ("symlink", "symlinkat"):
            paths = paths[1:]  # the first is what the link says
        if paths and name not in _NO_PATHS.split():
            found[number] = PathCall(name, paths, _FLAGS.get(name))
        elif name in _ADDRESSES:
            found[number] = PathCall(name, (), address=_ADDRESSES[name])
        elif name in ("sendmsg", "sendmmsg"):
            found[number] = PathCall(name, (), message=True)
    return found


def path_calls() -> dict[int, PathCall]:
    """All of them, by number."""
    newer = {number: PathCall(*row) for number, row in _NEWER.items()}
    return {**_old(), **newer}
