"""F2 to F4: the command's system calls are stopped by a seccomp filter in the process itself.

No namespaces, no tracer, no mounts: the engine (``engines/inprocess``) is loaded into every
process of the container and gives the kernel host paths in place of the container's. In F3 and F4
the code of the C library and the like comes from patched copies (``patch``), which do not stop.
"""

from __future__ import annotations

import zlib

from udocker.engine.base import guest_file, working_directory
from udocker.model.host import Support
from udocker.model.run import (
    FILE_MOUNTS,
    READ_ONLY_MOUNTS,
    USER,
    Launch,
    MakeDirectory,
    MakeFile,
    WriteFile,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.host import Host
    from udocker.model.run import RunSpec, Step

MODES = ("F2", "F3", "F4")
FEATURES = frozenset((READ_ONLY_MOUNTS, FILE_MOUNTS, USER))
_SYSTEM = ("/dev", "/proc", "/sys")


def probe(host: Host, mode: str) -> Support:
    """The engine must be built for this machine, and the kernel must have seccomp filters."""
    if not host.inprocess:
        return Support(
            f"there is no in-process engine for {host.architecture} in this installation",
            "use another mode",
        )
    if not host.seccomp:
        return Support("this kernel has no seccomp filters", "use P2")
    return Support()


def launch(spec: RunSpec, host: Host, mode: str) -> Launch:
    """The engine takes udocker's place, and then the command the engine's."""
    description = _description(spec)
    place = f"{spec.directory}/files/guest-{zlib.crc32(description):08x}-{len(description)}"
    steps: list[Step] = [
        WriteFile(guest_file(spec, file), file.content, file.mode) for file in spec.files
    ]
    steps += _mount_points(spec)
    steps.append(working_directory(spec, _SYSTEM))
    steps.append(MakeDirectory("/tmp", 0o1777, root=spec.root.path))
    steps.append(WriteFile(place, description))
    program = spec.program or spec.argv[0]
    return Launch(
        argv=(host.inprocess, "start", place, program, *spec.argv),
        env=spec.env,
        cwd="/",
        steps=tuple(steps),
    )


def _mount_points(spec: RunSpec) -> list[Step]:
    """What is mounted is reached without them, but only they are seen in a listing.

    A point inside another mount would have to be made on the host: it is not.
    """
    root = spec.root.path
    outer = [*_SYSTEM, *(mount.target for mount in spec.mounts)]
    steps: list[Step] = [MakeDirectory(path, root=root) for path in _SYSTEM]
    points = [(mount.target, mount.is_dir) for mount in spec.mounts]
    points += [(file.target, False) for file in spec.files]
    for target, is_dir in points:
        if not any(target.startswith(f"{path}/") for path in outer):
            steps.append(MakeDirectory(target, root=root) if is_dir else MakeFile(target, root))
    return steps


def _mounts(spec: RunSpec) -> list[tuple[str, str, bool]]:
    mounts = [(path, path, False) for path in _SYSTEM]
    mounts += [(file.target, guest_file(spec, file), False) for file in spec.files]
    mounts += [(mount.target, mount.source, mount.readonly) for mount in spec.mounts]
    return mounts


def _description(spec: RunSpec) -> bytes:
    """What ``guest_read`` of engines/core/guest.h takes."""
    words = ["root", spec.root.path, "directory", spec.cwd]
    words += ["uid", str(spec.user.uid), "gid", str(spec.user.gid)]
    for target, source, readonly in _mounts(spec):
        words += ["ro" if readonly else "rw", target, source]
    for copy in spec.copies:
        seconds, nanoseconds = divmod(copy.mtime_ns, 10**9)
        words += ["copy", f"{copy.device} {copy.inode} {copy.size} {seconds} {nanoseconds}"]
        words.append(copy.path)
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
