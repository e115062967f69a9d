"""F2 to F4: the command's system calls are stopped by a seccomp filter in the process itself.

P1 and P2 have the same engine, and a tracer before it (``ptrace``). No namespaces, no mounts:
the engine (``engines/inprocess``) is loaded into every process of the container and gives the
kernel host paths in place of the container's. In F3, F4 and P1 the code of the C library and the
like comes from patched copies (``patch``), which do not stop.
"""

from __future__ import annotations

import os
import zlib

from udocker.engine.base import guest_file, mount_points, need_filters, working_directory
from udocker.engine.union import FOLDER
from udocker.errors import UnsupportedFeature
from udocker.model.features import (
    BARE,
    BY_EMULATOR,
    FILE_MOUNTS,
    FOREIGN_TREE,
    HOST_DEVICES,
    MOVED_DEVICES,
    MOVED_MOUNTS,
    MOVED_PORTS,
    OTHER_MACHINES,
    PORT_ADDRESSES,
    READ_ONLY_MOUNTS,
    READ_ONLY_ROOT,
    UNION_ROOT,
    USER,
)
from udocker.model.host import Support
from udocker.model.launch import Launch, MakeDirectory, MakeFile, ShareUnion, WriteFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.host import Host
    from udocker.model.launch import Step
    from udocker.model.run import RunSpec

MODES = ("F2", "F3", "F4")
PORTS = (MOVED_PORTS, PORT_ADDRESSES)  # wherever the engine is in the processes
FEATURES = frozenset(
    (
        READ_ONLY_MOUNTS,
        FILE_MOUNTS,
        HOST_DEVICES,
        USER,
        UNION_ROOT,
        FOREIGN_TREE,
        MOVED_DEVICES,
        MOVED_MOUNTS,
        OTHER_MACHINES,
        BY_EMULATOR,
        BARE,
        READ_ONLY_ROOT,
        *PORTS,
    )
)
_MOST_GROUPS = 64  # of guest.h
_MOST_MOUNTS = 256
_MOST_PORTS = 64  # of ports.h
_TRACED = {"P1": "some", "P2": "all"}  # which calls a tracer stops
_EMULATOR = "/.udocker-qemu-"  # and the number of the machine: engines/inprocess/execute.c


def probe(host: Host, mode: str) -> Support:
    """The engine must be built for this machine, and the kernel must have seccomp filters."""
    if not host.inprocess:
        return Support(
            f"there is no in-process engine for {host.architecture} in this installation",
            "use another mode",
        )
    return need_filters(host, "P2")


def launch(spec: RunSpec, host: Host, mode: str) -> Launch:
    """The engine takes udocker's place, and then the command the engine's."""
    steps: list[Step] = [
        WriteFile(guest_file(spec, file), file.content, file.mode) for file in spec.files
    ]
    # What is mounted is reached without them, but only they are seen in a listing.
    points = mount_points(spec, spec.system)
    points.append(working_directory(spec, spec.system))
    points.append(MakeDirectory("/tmp", 0o1777, root=spec.root.path, is_point=True))
    union: tuple[str, ...] = ()
    if spec.root.is_union:
        union, points = _in_union(spec, points, host)
        root = spec.root
        steps.append(ShareUnion(root.upper, root.tree, root.work, union[5], root.path))
    description = _description(spec, union, mode)
    place = description_file(spec, description)
    steps += points
    steps.append(WriteFile(place, description))
    program = spec.program or spec.argv[0]
    return Launch(
        argv=(host.inprocess, "start", place, program, *spec.argv),
        env=spec.env,
        cwd="/",
        steps=tuple(steps),
    )


def description_file(spec: RunSpec, description: bytes) -> str:
    """Where on the host it is put: as ``guest_file`` does it."""
    return f"{spec.directory}/files/guest-{zlib.crc32(description):08x}-{len(description)}"


def described_by(launch: Launch, host: Host) -> str:
    """The name of the description among the container's ``files``; "": it is another engine's."""
    is_ours = bool(host.inprocess) and launch.argv[:2] == (host.inprocess, "start")
    return os.path.basename(launch.argv[2]) if is_ours else ""


def _in_union(
    spec: RunSpec, points: list[MakeDirectory | MakeFile], host: Host
) -> tuple[tuple[str, ...], list[MakeDirectory | MakeFile]]:
    """The words about the union, and the points that are not in it: only the engine can make them.

    The fifth of the words is what the processes share.
    """
    state = f"{spec.root.work}/{FOLDER}/{host.boot_id or 'no-boot'}"
    words = ["lower", spec.root.tree, "work", f"{spec.root.work}/{FOLDER}", "state", state]
    others = []
    for point in points:
        if point.root != spec.root.path:
            others.append(point)
        else:
            words += [_word(point), point.path]
    return tuple(words), others


def _word(point: MakeDirectory | MakeFile) -> str:
    if isinstance(point, MakeDirectory):
        return "point" if point.is_point else "make"
    return "touch"


def _mounts(spec: RunSpec) -> list[tuple[str, str, bool]]:
    mounts = [(path, path, False) for path in spec.system]
    mounts += [(file.target, guest_file(spec, file), False) for file in spec.files]
    mounts += [(f"{_EMULATOR}{number}", path, True) for number, path in spec.emulators]
    mounts += [(mount.target, mount.source, mount.readonly) for mount in spec.mounts]
    if len(mounts) > _MOST_MOUNTS:
        raise UnsupportedFeature(
            f"{len(spec.mounts)} volumes: the F modes have room for "
            f"{_MOST_MOUNTS - len(mounts) + len(spec.mounts)}",
            hint="give a directory above them as one volume, or choose another mode",
        )
    return mounts


def _description(spec: RunSpec, union: tuple[str, ...], mode: str) -> bytes:
    """What ``guest_read`` of engines/core/guest.h takes."""
    root = spec.root.upper if spec.root.is_union else spec.root.path
    words = ["root-ro" if spec.readonly else "root", root, *union]
    if mode in _TRACED:
        words += ["traced", _TRACED[mode]]
    words += process_words(spec)
    for target, source, readonly in _mounts(spec):
        words += ["ro" if readonly else "rw", target, source]
    return encoded(words)


def process_words(spec: RunSpec) -> list[str]:
    """What a description says of the first process, and of the files that go with it."""
    words = ["directory", spec.cwd, "uid", str(spec.user.uid), "gid", str(spec.user.gid)]
    for group in spec.user.groups[:_MOST_GROUPS]:
        words += ["group", str(group)]
    words += _port_words(spec)
    places = {"owners": spec.owners, "image-owners": spec.image_owners, "copies": spec.copies}
    for name, place in places.items():
        if place:
            words += [name, place]
    return words


def _port_words(spec: RunSpec) -> list[str]:
    if len(spec.ports) > _MOST_PORTS:
        raise UnsupportedFeature(
            f"{len(spec.ports)} ports are redirected: the engine has room for {_MOST_PORTS}",
            hint="publish ranges, such as -p 18000-18099:8000-8099, which count once each",
        )
    words = []
    for each in spec.ports:
        numbers = (str(each.container), str(each.host), str(each.count))
        words += ["port", each.protocol, *numbers, _digits(each.address)]
    return words


def _digits(address: str) -> str:
    if not address:
        return ""
    import ipaddress

    return ipaddress.ip_address(address).packed.hex()


def encoded(words: list[str]) -> bytes:
    """A description as the engine reads it."""
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
