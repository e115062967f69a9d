"""Facts about this host."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host as make_host
from builders.processes import environment, needs_namespaces, python
from udocker import host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory for programs that are found by their names."""
    folder = tmp_path / "programs"
    folder.mkdir()
    return folder


def install(folder: Path, *names: str, mode: int = 0o755) -> None:
    for name in names:
        (folder / name).write_bytes(b"#!/bin/true\n")
        (folder / name).chmod(mode)


def test_facts_are_those_of_the_kernel_and_the_user() -> None:
    found = host.probe({"PATH": "/nowhere"})
    system = os.uname()
    assert found.architecture == system.machine
    assert found.hostname == system.nodename
    assert ".".join(map(str, found.kernel)) in system.release
    assert (found.uid, found.gid) == (os.getuid(), os.getgid())
    assert found.groups == tuple(sorted(set(os.getgroups())))
    entry = pwd.getpwuid(os.getuid())
    assert (found.username, found.home) == (entry.pw_name, entry.pw_dir)
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        assert found.boot_id == stream.read().strip()
    assert found.cgroup in ("v1", "v2", "hybrid", "none")
    assert all(os.path.isdir(path) for path in found.shared)
    assert found.ptrace_scope in range(4)


def test_home_is_what_the_environment_says() -> None:
    assert host.probe({"HOME": "/elsewhere"}).home == "/elsewhere"


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("5.15.0-generic", (5, 15)),
        ("6.1", (6, 1)),
        ("3.10.0-1160.el7.x86_64", (3, 10)),
        ("112+", (112, 0)),
        ("4.x-odd", (4, 0)),
        ("", (0, 0)),
        ("odd", (0, 0)),
    ],
)
def test_kernels_of_any_name(release: str, version: tuple[int, int]) -> None:
    assert host._version(release) == version


def test_programs_are_found_in_the_path(programs: Path) -> None:
    install(programs, "runc", "proot")
    found = host.probe({"PATH": f"/nowhere:relative::{programs}"})
    assert found.program("runc") == f"{programs}/runc"
    assert found.program("proot") == f"{programs}/proot"
    assert found.program("no such program") is None


def test_the_first_in_the_path_is_taken(programs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    install(programs, "proot")
    install(other, "proot")
    assert host.probe({"PATH": f"{other}:{programs}"}).program("proot") == f"{other}/proot"


def test_what_cannot_be_executed_is_no_program(programs: Path, tmp_path: Path) -> None:
    install(programs, "proot", mode=0o644)
    (programs / "runc").mkdir()
    good = tmp_path / "good"
    good.mkdir()
    install(good, "proot", "runc")
    found = host.probe({"PATH": f"{programs}:{good}"})
    assert found.program("proot") == f"{good}/proot"
    assert found.program("runc") == f"{good}/runc"


def test_the_current_directory_is_never_asked(programs: Path) -> None:
    install(programs, "proot", "runc", "crun")
    code = (
        "import os, sys; os.chdir(sys.argv[1]); from udocker import host\n"
        "print([p for _, p in host.probe({'PATH': ':.:' + sys.argv[1][1:]}).programs])"
    )
    places = python(code, programs).stdout
    assert str(programs) not in places
    assert "'.'" not in places
    assert "'./" not in places
    assert "'/proot'" not in places


def test_a_program_of_the_users_choice_goes_before_the_path(programs: Path) -> None:
    install(programs, "proot", "runc", "crun")
    chosen = {"proot": "/own/proot-5", "libfakechroot": "/nowhere/x.so"}
    found = host.probe({"PATH": str(programs)}, chosen, runc="/own/runc-1.2")
    assert found.programs == (("runc", "/own/runc-1.2"), ("proot", "/own/proot-5"))
    chosen = {"libfakechroot": str(programs / "crun")}
    found = host.probe({"PATH": str(programs)}, chosen, runc="/own/crun-static")
    assert found.programs == (
        ("crun", "/own/crun-static"),
        ("proot", f"{programs}/proot"),
        ("libfakechroot", f"{programs}/crun"),
    )


def test_a_singularity_that_is_apptainer_is_called_so(programs: Path) -> None:
    install(programs, "apptainer", "singularity")
    (programs / "link").symlink_to("apptainer")
    for chosen, name in (("link", "apptainer"), ("singularity", "singularity")):
        found = host.probe({"PATH": str(programs)}, {"singularity": f"{programs}/{chosen}"})
        ours = [each for each in found.programs if each[0] in ("apptainer", "singularity")]
        assert ours == [(name, f"{programs}/{chosen}")]


def test_libfakechroot_is_found_where_distributions_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / f"{os.uname().machine}-linux-gnu", tmp_path / "lib64"]
    monkeypatch.setattr(host, "_LIBRARIES", (f"{tmp_path}/{{}}-linux-gnu", str(folders[1])))
    assert host.probe({}).program("libfakechroot") is None
    for place in (folders[1], folders[1] / "fakechroot", folders[0] / "fakechroot"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "libfakechroot.so").touch()
        assert host.probe({}).program("libfakechroot") == f"{place}/libfakechroot.so"


def test_a_user_without_an_account(tmp_path: Path) -> None:
    """Batch systems and pods run numbers that passwd(5) does not know."""
    code = (
        "from udocker import host\n"
        "import sys; found = host._account(2**31 - 7, dict([w.split('=') for w in sys.argv[1:]]))\n"
        "print(*found)"
    )
    assert python(code, "USER=ann", "HOME=/h", env=environment()).stdout == "ann /h\n"
    assert python(code, env=environment()).stdout == "2147483641 /\n"


def test_facts_can_be_asked_by_name() -> None:
    made = make_host(programs=(("runc", "/r"), ("proot", "/p")))
    assert made.program("proot") == "/p"
    assert made.program("crun") is None


@pytest.mark.parametrize(
    ("release", "version", "name"),
    [
        ("4.4.0", "#1 SMP Sun Jan 10 15:06:54 PST 2016", "gVisor"),
        ("4.19.0-gvisor", "#1 SMP Sun Jan 10 15:06:54 PST 2016", "gVisor"),
        ("4.19.0-gvisor", "#1 SMP", "gVisor"),
        ("4.4.0", "#1 SMP Mon Jan 11 10:00:00 UTC 2016", ""),
        ("6.1.0-18-amd64", "#1 SMP PREEMPT_DYNAMIC Debian", ""),
        ("", "", ""),
    ],
)
def test_what_is_no_linux_says_so(release: str, version: str, name: str) -> None:
    assert host.sandbox(release, version) == name


CONFINED = """
import sys
from builders.confinement import FILTERS, STATES, _filter
from udocker import host
kind = sys.argv[1]
if kind in STATES:
    STATES[kind]("")
elif kind in FILTERS:
    _filter(FILTERS[kind])
found = host.probe({"PATH": "/nowhere"})
print(found.seccomp, found.forbids_filters, found.no_new_privileges, found.is_filtered)
"""


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("kernel-without-filters", "False False True True"),
        ("no-filters", "False True True True"),
        ("no-new-privileges", "True False True"),
        ("docker", "True False True True"),
    ],
)
def test_confinement_is_seen(kind: str, facts: str) -> None:
    assert python(CONFINED, kind, env=environment()).stdout.startswith(facts)


@needs_namespaces
def test_a_limit_of_none_is_seen() -> None:
    code = (
        "from builders.confinement import STATES; from udocker import host\n"
        "STATES['none-left'](''); print(host.probe({}).max_user_namespaces)"
    )
    assert python(code, env=environment()).stdout == "0\n"


def test_calls_of_newer_kernels_are_missed() -> None:
    code = (
        "from builders.confinement import FILTERS, _filter; from udocker import host\n"
        "before = host.missing_calls(); _filter(FILTERS['old-kernel'])\n"
        "print(*before); print(*host.missing_calls())"
    )
    before, after = python(code, env=environment()).stdout.split("\n")[:2]
    assert after.split() == [
        *("statx", "open_tree", "clone3", "close_range", "openat2", "faccessat2", "mount_setattr")
    ]
    assert set(before.split()) < set(after.split())


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo tool 1.2", "tool 1.2\n"),
        ("echo tool 1.2 >&2", "tool 1.2\n"),
        ("echo odd; exit 3", ""),
        ("exec sleep 3", ""),
        ("exec sleep 1000", ""),
    ],
)
def test_versions_that_programs_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setattr(host, "_VERSION_LIMIT", 1.0)
    tool = tmp_path / "tool"
    tool.write_text(f"#!/bin/sh\n[ $1 = --version ] || exit 9\n{script}\n")
    tool.chmod(0o755)
    assert host.version_of(str(tool)) == said
    assert host.version_of(str(tmp_path / "none")) == ""


@pytest.mark.parametrize(
    ("label", "is_restricted"),
    [
        ("", True),
        ("unconfined", True),
        ("udocker (unconfined)", False),
        ("docker-default (enforce)", False),
    ],
)
def test_a_profile_may_allow_what_apparmor_restricts(label: str, is_restricted: bool) -> None:
    assert host.restricts(label) == is_restricted
