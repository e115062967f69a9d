"""What devices change in a container, brought into the specification of a run.

What the container gets lies below one directory. That is a directory of the container's own on
the host, named by what it holds: links, drivers' files that are written, and empty files on which
the host's are mounted. Runs share it, it goes with the container, nothing of it is in the image.
"""

from __future__ import annotations

import os
import zlib

from udocker.devices import ldcache, plan
from udocker.files import store_errors
from udocker.model.features import HOST_DEVICES, MOVED_DEVICES
from udocker.model.run import GuestFile, Mount
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.engine.table import Mode
    from udocker.model.container import Container
    from udocker.model.devices import Edits
    from udocker.model.run import RunSpec
    from udocker.ops.session import Session
    from udocker.store.view import View

CACHE = "/etc/ld.so.cache"
_HIDDEN = "hidden"  # an empty file, which is no device


def applied(
    session: Session,
    spec: RunSpec,
    container: Container,
    mode: Mode,
    *,
    edits: Edits,
    view: View,
    dry: bool,
) -> RunSpec:
    """``spec`` with ``edits``; what lies on the host is made unless ``dry``. Raises StoreError."""
    features = mode.engine.FEATURES
    mounts = _mounts(edits, features)
    stage = _stage(container, edits, mounts)
    if stage is not None:
        path, inside = stage
        if not dry:
            with store_errors("making what a device needs"):
                _make(path, inside, session)
        mounts = [Mount(path, plan.PLACE, True), *(_placed(mount, path) for mount in mounts)]
    taken = {mount.target for mount in spec.mounts}
    return replace(
        spec,
        mounts=(*spec.mounts, *(mount for mount in mounts if mount.target not in taken)),
        files=(*spec.files, *_files(session, view, edits, features)),
        env=_env(spec, edits),
    )


def _mounts(edits: Edits, features: frozenset[str]) -> list[Mount]:
    """Sources with a name of the directory of ours begin with a slash and that: ``_placed``."""
    mounts = [replace(each, source=os.path.realpath(each.source)) for each in edits.mounts]
    has_host_devices = HOST_DEVICES in features
    for source, target in edits.nodes:
        if source != target or not has_host_devices:
            mounts.append(Mount(os.path.realpath(source), target, is_dir=False))
    if has_host_devices:
        mounts += [Mount(f"/{_HIDDEN}", path, True, is_dir=False) for path in edits.hidden]
    return mounts


def _placed(mount: Mount, path: str) -> Mount:
    return replace(mount, source=path + mount.source) if mount.source == f"/{_HIDDEN}" else mount


def _files(
    session: Session, view: View, edits: Edits, features: frozenset[str]
) -> tuple[GuestFile, ...]:
    found = [
        file
        for file in edits.files
        if not _is_inside(file.target) and _has_place(file.target, features)
    ]
    if edits.libraries:
        found.append(GuestFile(CACHE, _cache(session, view, edits)))
    return tuple(found)


def _has_place(path: str, features: frozenset[str]) -> bool:
    """In the kernel's own directories nothing can be made to mount on."""
    needs_none = {HOST_DEVICES, MOVED_DEVICES} <= features  # F and P modes mount nothing
    return needs_none or not path.startswith("/proc/") or os.path.exists(path)


def _is_inside(path: str) -> bool:
    return path.startswith(f"{plan.PLACE}/")


def _cache(session: Session, view: View, edits: Edits) -> bytes:
    machine = session.host.architecture
    ours = [
        ldcache.Entry(os.fsencode(name), os.fsencode(path), ldcache.FLAGS[machine, bits])
        for name, path, bits in edits.libraries
        if (machine, bits) in ldcache.FLAGS
    ]
    return ldcache.merge(view.read(CACHE) or b"", ours)


def _env(spec: RunSpec, edits: Edits) -> tuple[tuple[str, str], ...]:
    """Variables; what ``-e`` and the image say of paths stays, behind ours."""
    found = dict(spec.env)
    for name, text in edits.env:
        if text is None:
            found.pop(name, None)
        else:
            found.setdefault(name, text)
    for name, path in edits.prepend:
        found[name] = f"{path}:{found[name]}" if found.get(name) else path
    return tuple(found.items())


def _stage(
    container: Container, edits: Edits, mounts: list[Mount]
) -> tuple[str, dict[str, str | bytes]] | None:
    """The directory for ``plan.PLACE``, and what is in it: bytes of a file, or a link's text.

    A name that ends with a slash is a directory to mount on.
    """
    size = len(plan.PLACE)
    inside: dict[str, str | bytes] = {
        mount.target[size:] + ("/" if mount.is_dir else ""): b""
        for mount in mounts
        if _is_inside(mount.target)
    }
    for file in edits.files:
        if _is_inside(file.target):
            inside[file.target[size:]] = file.content
    for link, target in edits.links:
        if _is_inside(link):
            inside[link[size:]] = target
    if edits.hidden:
        inside[f"/{_HIDDEN}"] = b""
    if not inside:
        return None
    check = zlib.crc32(repr(sorted(inside.items())).encode("utf-8", "surrogateescape"))
    return f"{container.path}/files/devices-{check:08x}", inside


def _make(path: str, inside: dict[str, str | bytes], session: Session) -> None:
    if os.path.isdir(path):
        return
    with session.store.temporary() as new:
        os.chmod(new, 0o755)  # the container's users are not all its owner
        for name, what in inside.items():
            os.makedirs(os.path.dirname(new + name), exist_ok=True)
            if name.endswith("/"):
                continue
            if isinstance(what, str):
                os.symlink(what, new + name)
            else:
                with open(new + name, "xb") as stream:
                    stream.write(what)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            os.rename(new, path)
        except OSError:
            if not os.path.isdir(path):  # another run was faster, with the same
                raise
