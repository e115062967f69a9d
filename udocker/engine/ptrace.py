"""P1 and P2: system calls that name a path are rewritten by a tracer, PRoot found on the host.

P1 lets a seccomp filter pass the calls that name no path; P2 stops at every call, for hosts
whose kernel or PRoot gets that wrong.
"""

from __future__ import annotations

from udocker.engine.base import guest_file, need_filters, working_directory
from udocker.errors import UnsupportedFeature
from udocker.model.host import Support
from udocker.model.run import (
    FILE_MOUNTS,
    MOVED_MOUNTS,
    USER,
    Launch,
    MakeDirectory,
    RefuseCalls,
    WriteFile,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.host import Host
    from udocker.model.run import RunSpec, Step

MODES = ("P1", "P2")
FEATURES = frozenset((FILE_MOUNTS, USER, MOVED_MOUNTS))
_SYSTEM = ("/dev", "/proc", "/sys")
_ROOT_TRACES, _NOBODY_TRACES = (
    2,
    3,
)  # kernel.yama.ptrace_scope, Documentation/admin-guide/LSM/Yama.rst


def probe(host: Host, mode: str) -> Support:
    """PRoot must be there, and the kernel must let a process trace its children."""
    if host.program("proot") is None:
        return Support(
            "the proot program is not in PATH",
            "install proot, or name it: UDOCKER_USE_PROOT_EXECUTABLE",
        )
    if host.ptrace_scope >= (_NOBODY_TRACES if host.uid == 0 else _ROOT_TRACES):
        return Support(
            f"ptrace is switched off here (kernel.yama.ptrace_scope is {host.ptrace_scope})",
            "use a mode that does not trace, or ask the administrator for a scope of 1",
        )
    return need_filters(host, "P2") if mode == "P1" else Support()


def launch(spec: RunSpec, host: Host, mode: str) -> Launch:
    """PRoot with the container's own environment. Raises UnsupportedFeature."""
    steps: list[Step] = [
        WriteFile(guest_file(spec, file), file.content, file.mode) for file in spec.files
    ]
    steps.append(working_directory(spec, _SYSTEM))
    steps.append(MakeDirectory("/tmp", 0o1777, root=spec.root.path, is_point=True))
    if host.seccomp:
        steps.append(RefuseCalls())
    env = spec.env
    if mode == "P2":
        env = (*env, ("PROOT_NO_SECCOMP", "1"))
    return Launch(
        argv=(host.program("proot") or "proot", *_options(spec), *spec.argv),
        env=env,
        cwd="/",
        steps=tuple(steps),
        go_betweens=1,  # PRoot ignores signals
    )


def _options(spec: RunSpec) -> list[str]:
    options = ["-v", "-1", "-r", spec.root.path, "-w", spec.cwd]
    options += ["-0"] if spec.user.uid == 0 else ["-i", f"{spec.user.uid}:{spec.user.gid}"]
    for path in _SYSTEM:
        options += ["-b", path]
    for file in spec.files:
        options += _bind(guest_file(spec, file), file.target)
    for mount in spec.mounts:
        options += _bind(mount.source, mount.target)
    return options


def _bind(source: str, target: str) -> list[str]:
    for path in (source, target):
        if ":" in path:
            raise UnsupportedFeature(f"PRoot cannot bind a path with a colon: {path}")
    return ["-b", f"{source}:{target}"]
