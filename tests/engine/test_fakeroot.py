"""What root of one id is answered: by the program alone, and by the kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builders import filters
from builders.processes import environment, needs_namespaces, python
from builders.specs import spec
from udocker.engine import fakeroot
from udocker.engine.bpf import AARCH64, ARM, I386, X32, X86_64
from udocker.engine.fakeroot import feigning
from udocker.model.run import APT_SETTINGS, User

ENGINE = Path(__file__).resolve().parents[2] / "engines/core"
ALLOW, SUCCESS = 0x7FFF0000, 0x00050000
NO_ID = 0xFFFFFFFF
GROUP = 5  # the group that is mapped
PROGRAM = feigning(0, GROUP, "of all")
FIFO, CHARACTER, DIRECTORY, BLOCK, FILE, SOCKET = (kind << 12 for kind in (1, 2, 4, 6, 8, 12))


def answer(number: int, *arguments: int, machine: int = X86_64) -> int:
    return filters.answer(PROGRAM, number, machine, arguments)


# Numbers as the kernel's tables have them: arch/*/entry/syscalls, include/uapi/asm-generic/unistd.h
I386_CALLS = {
    **{"mknod": 14, "mknodat": 297, "setgroups": 206, "fchownat": 298},
    **{"lchown": 198, "fchown": 207, "chown": 212},
    **{"setuid": 213, "setreuid": 203, "setresuid": 208},
    **{"setgid": 214, "setregid": 204, "setresgid": 210},
}
CALLS = {
    X86_64: {
        **{"mknod": 133, "mknodat": 259, "setgroups": 116, "fchownat": 260},
        **{"lchown": 94, "fchown": 93, "chown": 92},
        **{"setuid": 105, "setreuid": 113, "setresuid": 117},
        **{"setgid": 106, "setregid": 114, "setresgid": 119},
    },
    I386: I386_CALLS,
    AARCH64: {
        **{"mknodat": 33, "setgroups": 159, "fchownat": 54, "fchown": 55},
        **{"setuid": 146, "setreuid": 145, "setresuid": 147},
        **{"setgid": 144, "setregid": 143, "setresgid": 149},
    },
    ARM: {**I386_CALLS, "mknodat": 324, "fchownat": 325},
}
ALL = [(machine, name) for machine, calls in CALLS.items() for name in calls]
FIRST_ID = {"fchownat": 2, "lchown": 1, "fchown": 1, "chown": 1}
IDS = {"setuid": 1, "setgid": 1, "setreuid": 2, "setregid": 2, "setresuid": 3, "setresgid": 3}


def mapped(name: str) -> list[int]:
    """The ids of this call that the kernel knows."""
    if name in FIRST_ID:
        return [0, GROUP]
    return [GROUP if name.endswith("gid") else 0] * IDS[name]


def calls_with_ids() -> list[tuple[int, str]]:
    return [(machine, name) for machine, name in ALL if name in FIRST_ID or name in IDS]


@pytest.mark.parametrize(("machine", "name"), calls_with_ids())
def test_ids_that_are_mapped_are_the_kernel_s(machine: int, name: str) -> None:
    before = [77] * FIRST_ID.get(name, 0)
    number, ids = CALLS[machine][name], mapped(name)
    assert answer(number, *before, *ids, machine=machine) == ALLOW
    assert answer(number, *before, *[NO_ID for _ in ids], machine=machine) == ALLOW
    assert answer(number, *before, *[2**64 - 1 for _ in ids], machine=machine) == ALLOW


@pytest.mark.parametrize(("machine", "name"), calls_with_ids())
def test_every_other_id_is_feigned(machine: int, name: str) -> None:
    before = [0] * FIRST_ID.get(name, 0)
    number, ids = CALLS[machine][name], mapped(name)
    for index, own in enumerate(ids):
        for other in {1, 0, GROUP, 1000, 65534, 0xFFFF, 0x10000, 0xFFFFFFFE} - {own}:
            for rest in (ids, [NO_ID for _ in ids]):
                wanted = [*rest[:index], other, *rest[index + 1 :]]
                assert answer(number, *before, *wanted, machine=machine) == SUCCESS, wanted


@pytest.mark.parametrize("machine", CALLS)
def test_nobody_sets_groups(machine: int) -> None:
    assert answer(CALLS[machine]["setgroups"], 0, 0, machine=machine) == SUCCESS
    assert answer(CALLS[machine]["setgroups"], 3, 1000, machine=machine) == SUCCESS


@pytest.mark.parametrize(
    ("machine", "name"), [(machine, name) for machine, name in ALL if name.startswith("mknod")]
)
def test_devices_are_feigned_and_nothing_else(machine: int, name: str) -> None:
    before = [CHARACTER] * (2 if name == "mknodat" else 1)
    number = CALLS[machine][name]

    def made(mode: int, device: int) -> int:
        return answer(number, *before, mode, device, machine=machine)

    assert made(CHARACTER | 0o666, 0x103) == made(BLOCK | 0o660, 0x700) == SUCCESS
    assert made(BLOCK, 0) == SUCCESS
    assert made(CHARACTER | 0o7777, 0) == ALLOW  # overlayfs's whiteout
    for kind in (0, FIFO, DIRECTORY, FILE, SOCKET):
        assert made(kind | 0o777, 0x103) == ALLOW
    assert made(0x10000 | BLOCK, 1) == SUCCESS  # the kernel looks at 16 bits


def test_calls_of_sixteen_bits() -> None:
    for machine in (I386, ARM):
        for number in (16, 95, 182):  # lchown, fchown, chown
            assert answer(number, 7, 0, GROUP, machine=machine) == ALLOW
            assert answer(number, 7, 0xFFFF, NO_ID, machine=machine) == ALLOW
            assert answer(number, 7, 0xABCD0000, GROUP, machine=machine) == ALLOW
            assert answer(number, 7, 1, GROUP, machine=machine) == SUCCESS
            assert answer(number, 7, 0, 0, machine=machine) == SUCCESS
        for user, group, count in ((23, 46, 1), (70, 71, 2), (164, 170, 3)):
            assert answer(user, *[0] * count, machine=machine) == ALLOW
            assert answer(group, *[GROUP] * count, machine=machine) == ALLOW
            last = [0xFFFF] * (count - 1)
            assert answer(user, *last, 33, machine=machine) == SUCCESS
            assert answer(group, *last, 33, machine=machine) == SUCCESS
            assert answer(group, *last, 0xFFFF, machine=machine) == ALLOW
        assert answer(81, machine=machine) == SUCCESS  # setgroups


def test_x32_is_another_way_to_the_same_calls() -> None:
    for number in CALLS[X86_64].values():
        others = (0, BLOCK, BLOCK, 1)
        assert answer(X32 | number, 1, *others[1:]) == answer(number, 1, *others[1:]) == SUCCESS


@pytest.mark.parametrize("machine", CALLS)
def test_all_other_calls_are_left_alone(machine: int) -> None:
    ours = {*CALLS[machine].values()}
    if machine in (I386, ARM):
        ours |= {16, 23, 46, 70, 71, 81, 95, 164, 170, 182}
    arguments = (1, BLOCK | 1, BLOCK | 1, 1, 1, 1)
    found = {n for n in range(1000) if answer(n, *arguments, machine=machine) != ALLOW}
    assert found == ours
    assert answer(0xFFFFFFFF, *arguments, machine=machine) == ALLOW


def test_an_unknown_machine_is_left_alone() -> None:
    assert answer(CALLS[X86_64]["chown"], 0, 1, 1, machine=0x15) == ALLOW


@pytest.mark.parametrize(("machine", "name"), [(X86_64, "x86_64"), (AARCH64, "aarch64")])
def test_numbers_are_those_of_the_engine_s_tables(machine: int, name: str) -> None:
    text = (ENGINE / f"numbers_{name}.def").read_text()
    known = {name: int(number) for number, name in re.findall(r"NUMBER\((\d+), (\w+)\)", text)}
    assert {name: known[name] for name in CALLS[machine]} == CALLS[machine]


@pytest.mark.parametrize(
    ("architecture", "machines"), [("x86_64", (X86_64, I386)), ("aarch64", (AARCH64, ARM))]
)
def test_an_architecture_has_its_own_machines(architecture: str, machines: tuple[int, ...]) -> None:
    program = feigning(0, GROUP, architecture)
    for machine, calls in CALLS.items():
        found = filters.answer(program, calls["fchown"], machine, (3, 1, 1))
        assert found == (SUCCESS if machine in machines else ALLOW)


# A run


def test_only_root_is_told_lies() -> None:
    ann = spec(user=User(1000, 0, "ann", "/home/ann"), has_apt=True)
    assert fakeroot.steps(ann) == ()
    assert fakeroot.prepared(ann) == ann
    staff = spec(user=User(0, 50, "root", "/root"))
    assert [(step.uid, step.gid) for step in fakeroot.steps(staff)] == [(0, 50)]


def test_apt_is_told_to_stay_root_where_there_is_apt() -> None:
    assert fakeroot.prepared(spec()).files == ()
    (file,) = fakeroot.prepared(spec(has_apt=True)).files
    assert file.target == f"{APT_SETTINGS}/99udocker"
    assert file.content == b'APT::Sandbox::User "root";\n'


# The kernel

DRIVER = """
import errno, os, stat, sys
from udocker.engine.steps import Steps
from udocker.model.run import *

def go(*steps):
    Steps().run(Launch(("x",), (), sys.argv[1], steps=steps))

def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"

BEGIN = Unshare(0, 7, os.getuid(), os.getgid())
"""
TRIES = """
open("f", "w").close()
os.mkdir("d")
for tried in (
    (os.chown, "f", 1, 1), (os.lchown, "f", -1, 0), (os.chown, "d", 0, 12),
    (os.fchown, os.open("f", os.O_RDONLY), 5, 5), (os.chown, "f", 0, 7), (os.chown, "f", -1, -1),
    (os.chown, "missing", 0, 7),
    (os.setgroups, [1, 2]), (os.setgid, 9), (os.setregid, 9, 9), (os.setresgid, 9, 9, 9),
    (os.setuid, 9), (os.setreuid, 9, 9), (os.setresuid, 9, 9, 9),
    (os.setresgid, 7, 7, 7), (os.setresuid, 0, -1, 0),
    (os.mknod, "b", stat.S_IFBLK | 0o600, os.makedev(7, 0)),
    (os.mknod, "c", stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    (os.mknod, "p", stat.S_IFIFO | 0o600), (os.mknod, "r", stat.S_IFREG | 0o600),
):
    print(attempt(*tried), end=" ")
print()
print(os.getuid(), os.getgid(), os.stat("f").st_uid, sorted(os.listdir(".")))
"""


def _child(path: Path, code: str) -> list[str]:
    return python(DRIVER + code, path, env=environment()).stdout.splitlines()


@needs_namespaces
def test_what_the_kernel_says(tmp_path: Path) -> None:
    path = tmp_path / "with"
    path.mkdir()
    answers, after = _child(path, "go(BEGIN, FeignIds(0, 7))" + TRIES)
    assert answers.split() == [*["ok"] * 6, "ENOENT", *["ok"] * 13]
    assert after == "0 7 0 ['d', 'f', 'p', 'r']"


@needs_namespaces
def test_what_the_kernel_says_without(tmp_path: Path) -> None:
    """So that the other test shows something."""
    path = tmp_path / "without"
    path.mkdir()
    answers, after = _child(path, "go(BEGIN)" + TRIES)
    assert answers.split() == [
        *(*["EINVAL"] * 4, "ok", "ok", "ENOENT", "EPERM", *["EINVAL"] * 6, "ok", "ok"),
        *("EPERM", "EPERM", "ok", "ok"),
    ]
    assert after == "0 7 0 ['d', 'f', 'p', 'r']"


@needs_namespaces
def test_a_kernel_without_filters_is_no_reason_to_fail(tmp_path: Path) -> None:
    code = """
class NoFilters:
    def __init__(self, lib, ffi):
        self.lib, self.ffi = lib, ffi
    def __getattr__(self, name):
        return getattr(self.lib, name)
    def udocker_filter_calls(self, program, count):
        self.ffi.errno = errno.EINVAL
        return -1
steps = Steps()
steps._lib = NoFilters(steps._lib, steps._ffi)
steps.run(Launch(("x",), (), "/", steps=(BEGIN, FeignIds(0, 7))))
print(os.getuid(), attempt(os.setgroups, [1]))
"""
    assert _child(tmp_path, code) == ["0 EPERM"]
