"""What engines say of hosts that lack something."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import ALL_PROGRAMS, host
from udocker.engine import base, table

if TYPE_CHECKING:
    from typing import Any

NO_NAMESPACES = "this kernel has no user namespaces"
OFF = "user namespaces are switched off here (user.max_user_namespaces is 0)"
APPARMOR = (
    "AppArmor restricts user namespaces here (kernel.apparmor_restrict_unprivileged_userns is 1)"
)
ROOTS = "user namespaces are root's alone here (kernel.unprivileged_userns_clone is 0)"
RUNTIME = "runc and crun need user namespaces, which"
RUNTIME_NONE = f"{RUNTIME} this kernel has not"
RUNTIME_OFF = f"{RUNTIME} are switched off here (user.max_user_namespaces is 0)"
RUNTIME_ROOTS = f"{RUNTIME} are root's alone here (kernel.unprivileged_userns_clone is 0)"
NO_RUNTIME = "neither runc nor crun is in PATH"
HYBRID = "crun refuses a host with both versions of cgroups (hybrid mode)"
NO_PROOT = "the proot program is not in PATH"
NO_PTRACE = "ptrace is switched off here (kernel.yama.ptrace_scope is 3)"
ROOTS_PTRACE = "ptrace is switched off here (kernel.yama.ptrace_scope is 2)"
FORBIDDEN = "seccomp filters are forbidden here"
SINGULARITY = "apptainer and singularity"
NO_RIGHTS = ", or set-user-ID rights (no_new_privs is set, and they have no effect)"
NO_ENGINE = "there is no in-process engine for x86_64 in this installation"
FILTERLESS = {"seccomp": False, "forbids_filters": True}
CONFINED = {"no_new_privileges": True, "max_user_namespaces": 0}
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
        ("N1", {"max_user_namespaces": -1}, ""),  # older than the sysctl
        ("N1", {"userns_for_root_only": True}, ROOTS),
        ("N1", {"userns_for_root_only": True, "uid": 0}, ""),
        ("N1", {"no_new_privileges": True, "sandbox": "gVisor"}, ""),
        ("R1", {"max_user_namespaces": None}, RUNTIME_NONE),
        ("R1", {"userns_for_root_only": True}, RUNTIME_ROOTS),
        ("R1", {"userns_for_root_only": True, "uid": 0}, ""),
        *((mode, {"inprocess": ""}, NO_ENGINE) for mode in ("F2", "F3", "F4")),
        *((mode, {"seccomp": False}, NO_SECCOMP) for mode in ("F2", "F3", "F4")),
        *((mode, FILTERLESS, FORBIDDEN) for mode in ("F2", "F3", "F4", "P1", "R2")),
        *((mode, FILTERLESS, "") for mode in ("N1", "R1", "R3", "F1", "P2", "S1")),
        ("F3", {"max_user_namespaces": None, "ptrace_scope": 3, "programs": ()}, ""),
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
        ("P1", {"ptrace_scope": 2}, ROOTS_PTRACE),
        ("P1", {"ptrace_scope": 2, "uid": 0}, ""),
        ("P1", {"ptrace_scope": 3, "uid": 0}, NO_PTRACE),
        ("R2", {"ptrace_scope": 2}, ROOTS_PTRACE),
        ("P2", {"ptrace_scope": 3, "uid": 0}, NO_PTRACE),
        ("S1", CONFINED, RUNTIME_OFF.replace("runc and crun", SINGULARITY) + NO_RIGHTS),
        ("S1", {**CONFINED, "uid": 0}, ""),
        ("S1", {"no_new_privileges": True}, ""),
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


def test_every_refusal_of_the_engines_is_tested() -> None:
    """A new reason in an engine's ``probe`` wants a row above."""
    tested = Path(__file__).read_text(encoding="utf-8")
    for module in {mode.engine for mode in table.MODES} | {base}:
        source = inspect.getsource(module)
        for reason in re.findall(r"Support\(\s*f?\"([^\"]+)\"", source):
            part = max(re.split(r"\{[^}]*\}", reason), key=len).strip()
            assert part in tested, (module, reason)
