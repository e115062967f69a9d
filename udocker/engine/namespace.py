"""N1: a user namespace and a mount namespace of our own; the kernel does the rest.

No pid namespace, no parent that waits, no subordinate ids: the command takes udocker's place as
a process of the user's. /dev, /proc and /sys are the host's: without a pid namespace the kernel
lets nobody mount a new /proc, and terminals, GPUs and fabrics are where programs expect them.
What the user could change there only because of being root on the host is read-only.
"""

from __future__ import annotations

from udocker.engine.base import feigning, guest_file, need_namespaces
from udocker.model.features import (
    BARE,
    BY_KERNEL,
    FILE_MOUNTS,
    HOST_DEVICES,
    HOSTNAME,
    MOVED_MOUNTS,
    NO_NETWORK,
    OTHER_MACHINES,
    READ_ONLY_MOUNTS,
    READ_ONLY_ROOT,
    TMPFS,
    UNION_ROOT,
    USER,
)
from udocker.model.host import Support
from udocker.model.launch import (
    Become,
    Bind,
    EnterRoot,
    FeignIds,
    GiveOwners,
    Launch,
    MakeDirectory,
    MountTmpfs,
    MountUnion,
    ReadOnlyRoot,
    SetHostname,
    Unshare,
    WriteFile,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.host import Host
    from udocker.model.launch import Step
    from udocker.model.run import RunSpec

MODES = ("N1",)
FEATURES = frozenset(
    (
        HOSTNAME,
        READ_ONLY_MOUNTS,
        FILE_MOUNTS,
        HOST_DEVICES,
        USER,
        UNION_ROOT,
        MOVED_MOUNTS,
        OTHER_MACHINES,
        BY_KERNEL,
        BARE,
        NO_NETWORK,
        READ_ONLY_ROOT,
        TMPFS,
    )
)

# Kernel files that obey whoever is root on the host, capabilities or not (proc(5)).
_GUARDED = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")


def probe(host: Host, mode: str) -> Support:
    """What the kernel and the administrator say about user namespaces."""
    support = need_namespaces(host)
    if not support.ok:
        return support
    if host.apparmor_restricts_userns and host.uid != 0:
        return Support(
            "AppArmor restricts user namespaces here "
            "(kernel.apparmor_restrict_unprivileged_userns is 1)",
            "ask the administrator for an AppArmor profile for udocker, or that sysctl set to 0",
        )
    return Support()


def launch(spec: RunSpec, host: Host, mode: str) -> Launch:
    """Steps that end in the command itself."""
    spec = feigning(spec)
    steps: list[Step] = [
        WriteFile(guest_file(spec, file), file.content, file.mode) for file in spec.files
    ]
    steps.append(_namespaces(spec, host))
    if spec.ids is not None:
        steps.append(GiveOwners(spec.directory, spec.root.upper, spec.ids))
    if spec.root.is_union:
        steps.append(MountUnion(spec.root.tree, spec.root.upper, spec.root.work, spec.root.path))
    steps.append(EnterRoot(spec.root.path))
    steps += _system(spec, host)
    steps += [
        Bind(guest_file(spec, file), file.target, is_dir=False, required=False)
        for file in spec.files
    ]
    steps += [
        Bind(m.source, m.target, readonly=m.readonly, is_dir=m.is_dir, required=m.required)
        for m in spec.mounts
    ]
    steps += [MountTmpfs(t.target, t.options, t.readonly, t.executable) for t in spec.tmpfs]
    if spec.hostname is not None:
        steps.append(SetHostname(spec.hostname))
    steps.append(MakeDirectory(spec.cwd))
    if spec.readonly:
        steps.append(ReadOnlyRoot())
    if spec.ids is not None and (spec.user.uid, spec.user.gid) != (0, 0):
        steps.append(Become(spec.user.uid, spec.user.gid, spec.user.groups))
    if spec.feigns:
        steps.append(FeignIds(spec.user.gid))
    return Launch(spec.argv, spec.env, spec.cwd, tuple(steps), apart=spec.apart)


def _namespaces(spec: RunSpec, host: Host) -> Unshare:
    uts = spec.hostname is not None
    net = not spec.network
    if spec.ids is None:
        inside, outside = (spec.user.uid, spec.user.gid), (host.uid, host.gid)
        return Unshare(*inside, *outside, uts, net=net, group=spec.group, tells=spec.tells)
    # Root sets up what the user is shown.
    return Unshare(0, 0, host.uid, host.gid, uts, spec.ids, net=net)


def _system(spec: RunSpec, host: Host) -> list[Step]:
    binds = {
        "/dev": Bind("/dev", "/dev", readonly=host.uid == 0, shallow=True),
        "/proc": Bind("/proc", "/proc"),
        "/sys": Bind("/sys", "/sys", readonly=True, required=False),
    }
    steps: list[Step] = [bind for path, bind in binds.items() if path in spec.system]
    steps.append(MakeDirectory("/tmp", 0o1777, is_point=True))
    if host.uid == 0 and "/proc" in spec.system:
        steps += [
            Bind(path, path, readonly=True, is_dir="trigger" not in path, required=False)
            for path in _GUARDED
        ]
    return steps
