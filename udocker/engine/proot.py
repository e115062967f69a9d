"""PRoot of the host: P1 and P2 where the user wants that, and what is inside of R2 and R3."""

from __future__ import annotations

from udocker.engine.base import guest_file, need_filters, working_directory
from udocker.errors import UnsupportedFeature
from udocker.model.host import Support
from udocker.model.launch import Launch, MakeDirectory, RefuseCalls, WriteFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.host import Host
    from udocker.model.launch import Step
    from udocker.model.run import RunSpec

_SYSTEM = ("/dev", "/proc", "/sys")
_WITHOUT = "udocker's own tracer can: leave UDOCKER_USE_PROOT_EXECUTABLE empty"
_ROOT_TRACES, _NOBODY_TRACES = 2, 3  # ptrace_scope: Documentation/admin-guide/LSM/Yama.rst


def probe(host: Host, mode: str) -> Support:
    """PRoot must be there, and the kernel must let a process trace its children."""
    if host.program("proot") is None:
        return Support(
            "the proot program is not in PATH",
            "install proot, or name it: UDOCKER_USE_PROOT_EXECUTABLE",
        )
    return can_trace(host, mode)


def can_trace(host: Host, mode: str) -> Support:
    """Whether the kernel lets an ordinary user trace, and (P1) filter."""
    if host.ptrace_scope >= (_NOBODY_TRACES if host.uid == 0 else _ROOT_TRACES):
        return Support(
            f"ptrace is switched off here (kernel.yama.ptrace_scope is {host.ptrace_scope})",
            "use a mode that does not trace, or ask the administrator for a scope of 1",
        )
    return need_filters(host, "P2") if mode == "P1" else Support()


def launch(spec: RunSpec, host: Host, mode: str) -> Launch:
    """PRoot with the container's own environment. Raises UnsupportedFeature."""
    _check(spec)
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


def _check(spec: RunSpec) -> None:
    """Refuse what udocker's own tracer can do and PRoot cannot."""
    if spec.root.is_union:
        raise UnsupportedFeature("PRoot needs a directory of its own for the container")
    if spec.emulators:
        raise UnsupportedFeature("PRoot starts no programs of other machines here", hint=_WITHOUT)
    if any(mount.readonly for mount in spec.mounts):
        raise UnsupportedFeature("PRoot cannot make read-only volumes", hint=_WITHOUT)
    check_ports(spec)


def check_ports(spec: RunSpec) -> None:
    """Those of the host are the container's here. Raises UnsupportedFeature."""
    if any(each.is_moved for each in spec.ports):
        text = "PRoot shows ports by the numbers that they have on the host"
        raise UnsupportedFeature(text, hint=_WITHOUT)


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
