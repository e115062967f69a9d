"""What of the host is visible in the container."""

from __future__ import annotations

import os
import re

from udocker.errors import UdockerError, UsageError
from udocker.model.request import Volume
from udocker.model.run import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# z and Z ask for SELinux labels, the others for cache policies of Docker Desktop.
_IGNORED = ("z", "Z", "cached", "delegated", "consistent", "rbind", "rprivate", "rslave", "nocopy")
_HINT = "volumes look like /host/path:/container/path[:ro], or NAME:/container/path"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def parse_volume(text: str, cwd: str) -> Volume:
    """Read the value of ``-v``. A relative source begins with a dot. Raises UsageError."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts) or "\0" in text:
        raise UsageError(f"not a volume: {text!r}", hint=_HINT)
    source = parts[0]
    if source == "." or source.startswith(("./", "../")) or source == "..":
        source = os.path.normpath(os.path.join(cwd, source))
    if not source.startswith("/") and (len(parts) == 1 or not is_volume_name(source)):
        raise UsageError(
            f"volume {text!r}: {source!r} is neither a path nor the name of a volume", hint=_HINT
        )
    target = guest_directory(parts[1] if len(parts) > 1 else source, f"volume {text!r}")
    options = parts[2] if len(parts) > 2 else ""
    return Volume(source, target, _is_readonly(options, text), "nocopy" not in options.split(","))


def is_volume_name(text: str) -> bool:
    """Whether a volume of the store may be called so."""
    return _NAME.fullmatch(text) is not None


def guest_directory(target: str, where: str) -> str:
    """A path to mount at. Raises UsageError."""
    if not target.startswith("/") or "\0" in target:
        raise UsageError(f"{where}: {target!r} is not an absolute path", hint=_HINT)
    target = os.path.normpath(target).replace("//", "/")
    if target == "/":
        raise UsageError(f"{where}: a volume cannot take the place of /", hint=_HINT)
    return target


def _is_readonly(options: str, text: str) -> bool:
    readonly = False
    for option in filter(None, options.split(",")):
        if option in ("ro", "rw"):
            readonly = option == "ro"
        elif option not in _IGNORED:
            raise UsageError(f"volume {text!r}: unknown option {option!r}", hint=_HINT)
    return readonly


def to_mount(volume: Volume) -> Mount:
    """The mount that a volume asks for. Raises UdockerError when its source is not there."""
    source = os.path.realpath(volume.source)
    if not os.path.exists(source):
        raise UdockerError(
            f"volume source {volume.source} does not exist", hint=f"mkdir -p {volume.source}"
        )
    if not os.access(source, os.R_OK) and not os.access(source, os.X_OK):
        raise UdockerError(f"volume source {volume.source}: permission denied")
    return Mount(source, volume.target, volume.readonly, os.path.isdir(source))


def ordered(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """Outer targets before those inside them; of two on one target the later is kept."""
    by_target = {mount.target: mount for mount in mounts}
    return tuple(sorted(by_target.values(), key=lambda mount: mount.target.count("/")))
