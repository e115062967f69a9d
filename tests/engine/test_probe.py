"""What engines say of hosts that lack something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.hosts import ALL_PROGRAMS, host
from udocker.engine import table

if TYPE_CHECKING:
    from typing import Any

NO_NAMESPACES = "this kernel has no user namespaces"
OFF = "user namespaces are switched off here (user.max_user_namespaces is 0)"
APPARMOR = (
    "AppArmor restricts user namespaces here (kernel.apparmor_restrict_unprivileged_userns is 1)"
)
RUNTIME_OFF = "runc and crun need user namespaces, which are switched off here"
NO_RUNTIME = "neither runc nor crun is in PATH"
HYBRID = "crun refuses a host with both versions of cgroups (hybrid mode)"
NO_PROOT = "the proot program is not in PATH"
NO_PTRACE = "ptrace is switched off here (kernel.yama.ptrace_scope is 3)"
NO_SECCOMP = "this kernel has no seccomp filters"
NO_LIBRARY = "libfakechroot.so is not in the usual directories of libraries"
NO_APPTAINER = "neither apptainer nor singularity is in PATH"
RUNC, CRUN, PROOT, LIBRARY, APPTAINER = ((entry,) for entry in ALL_PROGRAMS)


@pytest.mark.parametrize(
    ("mode", "facts", "reason"),
    [
        ("N1", {"max_user_namespaces": None}, NO_NAMESPACES),
        ("N1", {"max_user_namespaces": 0}, OFF),
        ("N1", {"max_user_namespaces": 1}, ""),
        ("N1", {"apparmor_restricts_userns": True}, APPARMOR),
        ("N1", {"apparmor_restricts_userns": True, "uid": 0}, ""),
        ("N1", {"programs": (), "ptrace_scope": 3, "seccomp": False, "cgroup": "none"}, ""),
        ("R1", {"max_user_namespaces": None}, RUNTIME_OFF),
        ("R1", {"max_user_namespaces": 0}, RUNTIME_OFF),
        ("R1", {"programs": PROOT}, NO_RUNTIME),
        ("R1", {"programs": ()}, NO_RUNTIME),
        ("R1", {"programs": RUNC, "cgroup": "hybrid"}, ""),
        ("R1", {"programs": CRUN, "cgroup": "hybrid"}, HYBRID),
        ("R1", {"programs": CRUN, "cgroup": "v2"}, ""),
        ("R1", {"programs": CRUN, "cgroup": "v1"}, ""),
        ("R1", {"apparmor_restricts_userns": True}, ""),  # it has profiles for both
        ("P1", {"programs": RUNC + CRUN}, ""),
        ("P1", {"programs": RUNC + CRUN, "inprocess": ""}, NO_PROOT),
        ("P1", {"programs": RUNC + CRUN, "chosen": ("proot",)}, NO_PROOT),
        ("P1", {"programs": PROOT, "inprocess": ""}, ""),
        ("P1", {"programs": PROOT, "chosen": ("proot",), "seccomp": False}, NO_SECCOMP),
        ("R2", {"programs": RUNC}, ""),
        ("R2", {"programs": RUNC, "inprocess": ""}, NO_PROOT),
        ("R3", {"programs": RUNC, "chosen": ("proot",)}, NO_PROOT),
        ("R2", {"programs": PROOT}, NO_RUNTIME),
        ("R2", {"max_user_namespaces": 0}, RUNTIME_OFF),
        ("R2", {"seccomp": False}, NO_SECCOMP),
        ("R3", {"seccomp": False}, ""),
        ("R3", {"ptrace_scope": 3}, NO_PTRACE),
        ("R3", {"programs": RUNC + PROOT}, ""),
        ("F1", {"programs": RUNC}, NO_LIBRARY),
        ("S1", {"programs": RUNC + PROOT}, NO_APPTAINER),
        ("S1", {"programs": APPTAINER, "max_user_namespaces": 0}, ""),  # it may be setuid
        ("S1", {"programs": (("singularity", "/opt/s"),)}, ""),
        ("F1", {"programs": LIBRARY, "seccomp": False, "ptrace_scope": 3}, ""),
        (
            "F1",
            {"programs": (("libfakechroot", "/a b.so"),)},
            "a library with a blank or colon in its path cannot be preloaded: /a b.so",
        ),
        ("P2", {"programs": ()}, ""),
        ("P2", {"programs": (), "inprocess": ""}, NO_PROOT),
        ("P1", {"ptrace_scope": 1}, ""),
        ("P1", {"ptrace_scope": 2}, NO_PTRACE.replace("3", "2")),
        ("P1", {"ptrace_scope": 2, "uid": 0}, ""),
        ("P1", {"ptrace_scope": 3, "uid": 0}, NO_PTRACE),
        ("P1", {"ptrace_scope": 3}, NO_PTRACE),
        ("P2", {"ptrace_scope": 3}, NO_PTRACE),
        ("P1", {"seccomp": False}, NO_SECCOMP),
        ("P2", {"seccomp": False}, ""),
        ("P1", {"programs": PROOT, "max_user_namespaces": None}, ""),
    ],
)
def test_refusals(mode: str, facts: dict[str, Any], reason: str) -> None:
    support = table.find(mode).engine.probe(host(**{"programs": ALL_PROGRAMS, **facts}), mode)
    assert support.reason == reason
    assert support.ok == (not reason)
    assert bool(support.hint) == bool(reason)
    assert "\n" not in support.reason + support.hint
