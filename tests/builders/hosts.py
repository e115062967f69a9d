"""Hosts of any kind, none of them this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udocker.model.host import Host
from udocker.model.value import replace

if TYPE_CHECKING:
    from typing import Any

# A login node where everything is allowed and nothing is installed.
PLAIN = Host(
    architecture="x86_64",
    kernel=(5, 14),
    boot_id="b00t",
    hostname="login1",
    uid=1000,
    gid=1001,
    groups=(1001, 2000),
    username="ann",
    home="/home/ann",
    max_user_namespaces=10000,
    apparmor_restricts_userns=False,
    ptrace_scope=0,
    seccomp=True,
    confinement="",
    cgroup="v2",
    shared=("/dev/shm", "/dev/mqueue"),
    inprocess="/opt/udocker/inprocess",
    programs=(),
)
ALL_PROGRAMS = (
    ("runc", "/usr/bin/runc"),
    ("crun", "/usr/bin/crun"),
    ("proot", "/usr/bin/proot"),
    ("libfakechroot", "/usr/lib/libfakechroot.so"),
    ("apptainer", "/usr/bin/apptainer"),
)


def host(**changes: Any) -> Host:
    """``PLAIN`` with some facts changed."""
    return replace(PLAIN, **changes)
