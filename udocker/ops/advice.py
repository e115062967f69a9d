"""What to try where a first run of a mode has failed, though no fact speaks against it."""

from __future__ import annotations

import os

from udocker.engine import fakechroot, inprocess, namespace, nested, ptrace, runc, singularity
from udocker.model.host import Support

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.engine.base import Engine
    from udocker.engine.table import Mode
    from udocker.model.host import Host

_NAMESPACES = "user namespaces and mounts"
_FILTERS = "seccomp filters and executable memory"
_TRACING = "ptrace(2)"
_NEEDS: dict[Engine, str] = {
    namespace: _NAMESPACES,
    runc: _NAMESPACES,
    nested: f"{_NAMESPACES}, and {_TRACING}",
    singularity: _NAMESPACES,
    ptrace: _TRACING,
    inprocess: _FILTERS,
    fakechroot: "programs of its own",
}


def advice(host: Host, mode: Mode, store: str) -> str:
    """One line: who could change it. ``store``: the directory of the store."""
    place = executable(store)
    if not place.ok:
        return f"{place.hint}: {place.reason}"
    needed = _NEEDS[mode.engine]
    if host.sandbox:
        return f"a host where Linux itself runs, not {host.sandbox}, has {needed}"
    if host.is_filtered:
        return (
            f"whoever started this container can allow {needed}: "
            "with Docker, --security-opt seccomp=unconfined"
        )
    return f"the administrator can see whether a security module or limit forbids {needed}"


def executable(store: str) -> Support:
    """Whether what lies in the store may be executed."""
    if is_noexec(store):
        return Support(
            f"the store is mounted noexec ({store})", "a store elsewhere: UDOCKER_DIR=DIR"
        )
    return Support()


def is_noexec(path: str) -> bool:
    """Whether nothing below ``path`` may be executed; False where that cannot be asked."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_NOEXEC)
    except OSError:
        return False
