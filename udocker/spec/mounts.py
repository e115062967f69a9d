"""What of the host is visible in the container."""

from __future__ import annotations

import os

from udocker.errors import UdockerError, UsageError
from udocker.model.run import Mount, Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# z and Z ask for SELinux labels, the others for cache policies of Docker Desktop.
_IGNORED = ("z", "Z", "cached", "delegated", "consistent", "rbind", "rprivate", "rslave", "nocopy")
_HINT = "volumes look like /host/path:/container/path[:ro]"


def parse_volume(text: str, cwd: str) -> Volume:
    """Read the value of ``-v``. A relative source begins with a dot. Raises UsageError."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts) or "\0" in text:
        raise UsageError(f"not a volume: {text!r}", hint=_HINT)
    source = parts[0]
    if source == "." or source.startswith(("./", "../")) or source == "..":
        source = os.path.normpath(os.path.join(cwd, source))
    if not source.startswith("/"):
        raise UsageError(
            f"volume {text!r}: {source!r} is not a path; named volumes are not supported",
            hint=_HINT,
        )
    target = parts[1] if len(parts) > 1 else source
    if not target.startswith("/"):
        raise UsageError(f"volume {text!r}: {target!r} is not an absolute path", hint=_HINT)
    target = os.path.normpath(target).replace("//", "/")
    if target == "/":
        raise UsageError(f"volume {text!r}: a volume cannot take the place of /", hint=_HINT)
    return Volume(source, target, _is_readonly(parts[2] if len(parts) > 2 else "", text))


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
