"""R1: runc or crun as found on the host, with an OCI bundle of our making, without root.

https://github.com/opencontainers/runtime-spec/blob/main/config.md
"""

from __future__ import annotations

import json
import stat

from udocker.engine.base import feigning, guest_file, mount_points, need_namespaces
from udocker.errors import UnsupportedFeature
from udocker.model.features import (
    BY_KERNEL,
    FILE_MOUNTS,
    HOSTNAME,
    MOVED_DEVICES,
    MOVED_MOUNTS,
    NO_NETWORK,
    OTHER_MACHINES,
    READ_ONLY_MOUNTS,
    READ_ONLY_ROOT,
    TMPFS,
)
from udocker.model.host import Support
from udocker.model.launch import Launch, RemoveTree, RunProgram, WriteFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from udocker.model.host import Host
    from udocker.model.launch import Step
    from udocker.model.request import Tmpfs
    from udocker.model.run import RunSpec

MODES = ("R1",)
# No other user than root: of the one id that an ordinary user can map, runc makes root's.
FEATURES = frozenset(
    (
        HOSTNAME,
        READ_ONLY_MOUNTS,
        FILE_MOUNTS,
        MOVED_DEVICES,
        MOVED_MOUNTS,
        OTHER_MACHINES,
        BY_KERNEL,
        NO_NETWORK,
        READ_ONLY_ROOT,
        TMPFS,
    )
)

# Docker's default set: what root in a container may do to what belongs to the user.
_CAPABILITIES = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
]
# What a kernel of uname(2)'s machine runs, as libseccomp calls it.
_MACHINES = {"x86_64": ("X86_64", "X86", "X32"), "aarch64": ("AARCH64", "ARM")}
_BECOME = ("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups")
_SYSTEM = ("/dev", "/proc", "/sys")
_RUNTIME_PATH = (("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),)


def probe(host: Host, mode: str) -> Support:
    """A runtime must be there, with user namespaces, and take this host's cgroups."""
    support = need_namespaces(host, "runc and crun need")
    if not support.ok:
        return support
    if host.program("runc"):
        return Support()
    if host.program("crun"):
        if host.cgroup == "hybrid":
            return Support(
                "crun refuses a host with both versions of cgroups (hybrid mode)",
                "install runc, or name one: UDOCKER_USE_RUNC_EXECUTABLE",
            )
        return Support()
    return Support(
        "neither runc nor crun is in PATH", "install one, or name it: UDOCKER_USE_RUNC_EXECUTABLE"
    )


def runtime(host: Host) -> str:
    """The program that makes the container."""
    return host.program("runc") or host.program("crun") or "runc"


def launch(spec: RunSpec, host: Host, mode: str) -> Launch:
    """The runtime runs a bundle that is made for this run and removed after it."""
    spec = feigning(spec)
    bundle = f"{spec.directory}/runs/{spec.token}"
    config = _encoded(_config(spec, host), mode)
    steps: list[Step] = [
        WriteFile(guest_file(spec, file), file.content, file.mode) for file in spec.files
    ]
    steps.append(WriteFile(f"{bundle}/config.json", config))
    # The runtime would make them as well, and nobody could tell them from the user's.
    steps += mount_points(spec, _SYSTEM)
    # The log takes the runtime's warnings about cgroups; what is fatal goes to stderr as well.
    command = (runtime(host), "--root", f"{bundle}/state", "--log", f"{bundle}/log")
    # Detached, the runtime's failures are told from the command's, and the command has our streams
    # themselves. A terminal must be its session's own, which takes the runtime as a go-between.
    pid_file = "" if spec.tty else f"{bundle}/pid"
    detached = ("--detach", "--pid-file", pid_file) if pid_file else ()
    return Launch(
        argv=(*command, "run", *detached, "--bundle", bundle, spec.token),
        env=_RUNTIME_PATH,
        cwd="/",
        steps=tuple(steps),
        undo=(*_end(command, spec, pid_file), RemoveTree(bundle)),
        pid_file=pid_file,
    )


def _end(command: tuple[str, ...], spec: RunSpec, pid_file: str) -> tuple[RunProgram, ...]:
    """A detached runtime is not there to remove the control group, where it could make one."""
    return (RunProgram((*command, "delete", "--force", spec.token)),) if pid_file else ()


def _encoded(config: dict[str, Any], mode: str) -> bytes:
    try:
        return json.dumps(config, indent=1, sort_keys=True, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        # JSON has no other text, and runc would change the bytes without a word.
        raise UnsupportedFeature(
            f"mode {mode} passes on UTF-8 only, and a word, variable or path of this run is not",
            hint="--execmode=auto or another mode",
        ) from error


def _config(spec: RunSpec, host: Host) -> dict[str, Any]:
    namespaces = [{"type": "user"}, {"type": "mount"}]
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": _process(spec, not _feigns(spec, host)),
        "root": {"path": spec.root.path, "readonly": spec.readonly},
        "mounts": _mounts(spec, host),
        "linux": {
            "uidMappings": [{"containerID": spec.user.uid, "hostID": host.uid, "size": 1}],
            "gidMappings": [{"containerID": spec.user.gid, "hostID": host.gid, "size": 1}],
            "namespaces": namespaces,
        },
    }
    if not spec.network:
        namespaces.append({"type": "network"})
    if _feigns(spec, host):
        config["linux"]["seccomp"] = _feigned(spec.user.gid, host.architecture)
    if spec.hostname is not None:
        namespaces.append({"type": "uts"})
        config["hostname"] = spec.hostname
    return config


def _feigns(spec: RunSpec, host: Host) -> bool:
    return spec.feigns and host.architecture in _MACHINES


def _process(spec: RunSpec, no_new_privileges: bool) -> dict[str, Any]:
    capabilities = _CAPABILITIES if spec.user.uid == 0 else []
    sets = ("bounding", "effective", "permitted")
    return {
        "terminal": spec.tty,
        "user": {"uid": spec.user.uid, "gid": spec.user.gid},
        "args": list(spec.argv),
        "env": [f"{name}={text}" for name, text in spec.env],
        "cwd": spec.cwd,
        "capabilities": dict.fromkeys(sets, capabilities),
        # Without it a filter is installed with privileges, before they are given away.
        "noNewPrivileges": no_new_privileges,
    }


def _feigned(gid: int, architecture: str) -> dict[str, Any]:
    """As the filter of N1 (engines/native/feign.h), as far as rules of libseccomp can say it.

    One argument cannot be asked for two values, so "no change" (-1) counts as another id: what
    the kernel would do besides, such as to miss the file, is done for chown(2) to 0:gid only.
    """
    become = _named(*_BECOME)
    one, at = _named("chown", "lchown", "fchown"), ["fchownat"]
    rules = [
        _rule(become),
        *(_rule(names, _other(first, 0)) for names, first in ((one, 1), (at, 2))),
        *(_rule(names, _other(first + 1, gid)) for names, first in ((one, 1), (at, 2))),
    ]
    for names, mode in ((["mknod"], 1), (["mknodat"], 2)):
        rules.append(_rule(names, _kind(mode, stat.S_IFBLK)))
        rules.append(_rule(names, _kind(mode, stat.S_IFCHR), _other(mode + 1, 0)))
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        # Programs of a machine that is not named would be killed.
        "architectures": [f"SCMP_ARCH_{name}" for name in _MACHINES[architecture]],
        "syscalls": rules,
    }


def _rule(names: list[str], *arguments: dict[str, Any]) -> dict[str, Any]:
    rule = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 0}
    return {**rule, "args": list(arguments)} if arguments else rule


def _named(*names: str) -> list[str]:
    return [f"{name}{size}" for name in names for size in ("", "32")]


def _other(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_NE"}


def _kind(index: int, kind: int) -> dict[str, Any]:
    """Of file: inode(7)."""
    mask = stat.S_IFMT(0xFFFF)
    return {"index": index, "value": mask, "valueTwo": kind, "op": "SCMP_CMP_MASKED_EQ"}


def _mounts(spec: RunSpec, host: Host) -> list[dict[str, Any]]:
    mounts = [
        _bind("/proc", "/proc"),
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        *(_bind(path, path) for path in host.shared),
        _bind("/sys", "/sys", readonly=True),
    ]
    mounts += [_bind(guest_file(spec, file), file.target) for file in spec.files]
    mounts += [_bind(m.source, m.target, m.readonly) for m in spec.mounts]
    mounts += [_tmpfs(each) for each in spec.tmpfs]
    return mounts


def _tmpfs(tmpfs: Tmpfs) -> dict[str, Any]:
    options = ["nosuid", "nodev", *(tmpfs.options or ("mode=1777",))]
    options += ["ro"] * tmpfs.readonly + ["noexec"] * (not tmpfs.executable)
    return {
        "destination": tmpfs.target,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": options,
    }


def _bind(source: str, target: str, readonly: bool = False) -> dict[str, Any]:
    access = "ro" if readonly else "rw"
    return {
        "destination": target,
        "type": "bind",
        "source": source,
        "options": ["rbind", "rprivate", access],
    }
