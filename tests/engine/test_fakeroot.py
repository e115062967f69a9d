"""What root of one id is answered: by the program alone, and by the kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from udocker._native import ffi, lib

from builders import filters
from builders.hosts import host
from builders.processes import environment, needs_namespaces, python
from builders.specs import spec
from udocker.engine import namespace, runc, table
from udocker.engine.base import feigning
from udocker.model.launch import FeignIds, WriteFile
from udocker.model.run import APT_SETTINGS

ENGINE = Path(__file__).resolve().parents[2] / "engines/core"
ALLOW, SUCCESS = 0x7FFF0000, 0x00050000
NO_ID = 0xFFFFFFFF
GROUP = 5  # the group that is mapped
X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
X32 = 0x40000000  # set in the number of a call of x32, whose machine is x86_64
LONGEST = 4096  # instructions that the kernel takes
FIFO, CHARACTER, DIRECTORY, BLOCK, FILE, SOCKET = (kind << 12 for kind in (1, 2, 4, 6, 8, 12))


def program(is_arm: bool) -> bytes:
    room = ffi.new("char[]", LONGEST * filters.INSTRUCTION.size)
    count = lib.udocker_feigning(is_arm, GROUP, room, LONGEST)
    assert count > 0
    return bytes(ffi.buffer(room, count * filters.INSTRUCTION.size))


PROGRAMS = {
    **dict.fromkeys((X86_64, I386), program(False)),
    **dict.fromkeys((AARCH64, ARM), program(True)),
}


def answer(number: int, *arguments: int, machine: int = X86_64) -> int:
    return filters.answer(PROGRAMS[machine], number, machine, arguments)


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
OWNERS = [(machine, name) for machine, name in ALL if name in FIRST_ID]


@pytest.mark.parametrize(("machine", "name"), OWNERS)
def test_owners_that_are_mapped_are_the_kernel_s(machine: int, name: str) -> None:
    before = [77] * FIRST_ID[name]
    number, ids = CALLS[machine][name], [0, GROUP]
    assert answer(number, *before, *ids, machine=machine) == ALLOW
    assert answer(number, *before, *[NO_ID for _ in ids], machine=machine) == ALLOW
    assert answer(number, *before, *[2**64 - 1 for _ in ids], machine=machine) == ALLOW


@pytest.mark.parametrize(("machine", "name"), OWNERS)
def test_every_other_owner_is_feigned(machine: int, name: str) -> None:
    before = [0] * FIRST_ID[name]
    number, ids = CALLS[machine][name], [0, GROUP]
    for index, own in enumerate(ids):
        for other in {1, 0, GROUP, 1000, 65534, 0xFFFF, 0x10000, 0xFFFFFFFE} - {own}:
            for rest in (ids, [NO_ID for _ in ids]):
                wanted = [*rest[:index], other, *rest[index + 1 :]]
                assert answer(number, *before, *wanted, machine=machine) == SUCCESS, wanted


@pytest.mark.parametrize(
    ("machine", "name"), [(machine, name) for machine, name in ALL if name.startswith("set")]
)
def test_whoever_becomes_another_stays_who_it_is(machine: int, name: str) -> None:
    """Also where the kernel would say yes: with one id there is nobody else to be."""
    for arguments in ((0, 0, 0), (33, 33, 33), (NO_ID, 5, NO_ID), (3, 1000)):
        assert answer(CALLS[machine][name], *arguments, machine=machine) == SUCCESS


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
        for number in (23, 46, 70, 71, 81, 164, 170):  # setuid, setgid, and so on to setresgid
            assert answer(number, 33, 33, 33, machine=machine) == SUCCESS


def test_x32_is_the_kernel_s() -> None:
    """Nearly no kernel has it: its calls are other numbers."""
    assert {answer(X32 | number, 1, BLOCK, BLOCK, 1) for number in CALLS[X86_64].values()} == {
        ALLOW
    }


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
    number = CALLS[X86_64]["chown"]
    assert filters.answer(PROGRAMS[X86_64], number, 0x15, (0, 1, 1)) == ALLOW


@pytest.mark.parametrize(("machine", "name"), [(X86_64, "x86_64"), (AARCH64, "aarch64")])
def test_numbers_are_those_of_the_engine_s_tables(machine: int, name: str) -> None:
    text = (ENGINE / f"numbers_{name}.def").read_text()
    known = {name: int(number) for number, name in re.findall(r"NUMBER\((\d+), (\w+)\)", text)}
    assert {name: known[name] for name in CALLS[machine]} == CALLS[machine]


def test_one_program_is_for_two_machines() -> None:
    for machine, calls in CALLS.items():
        found = filters.answer(program(machine in (AARCH64, ARM)), calls["fchown"], machine, (3, 1))
        other = filters.answer(program(machine in (X86_64, I386)), calls["fchown"], machine, (3, 1))
        assert (found, other) == (SUCCESS, ALLOW)


def test_a_program_without_room_is_none() -> None:
    for room in (0, 1, 50):
        place = ffi.new("char[]", (room + 1) * filters.INSTRUCTION.size)
        assert lib.udocker_feigning(0, GROUP, place, room) == -1
        assert bytes(ffi.buffer(place))[room * filters.INSTRUCTION.size :] == b"\0" * 8


def test_a_jump_is_never_too_long() -> None:
    for each in PROGRAMS.values():
        count = len(each) // filters.INSTRUCTION.size
        assert count < 192
        for at, (code, left, right, _) in enumerate(filters.INSTRUCTION.iter_unpack(each), 1):
            assert code != 0x15 or max(at + left, at + right) < count


# A run


def test_only_who_is_told_lies_is_told_to_stay_root() -> None:
    assert feigning(spec(has_apt=True)) == spec(has_apt=True)
    assert feigning(spec(feigns=True)) == spec(feigns=True)
    (file,) = feigning(spec(feigns=True, has_apt=True)).files
    assert file.target == f"{APT_SETTINGS}/99udocker"
    assert file.content == b'APT::Sandbox::User "root";\n'


def test_the_filter_is_the_last_that_is_done() -> None:
    """What comes before is ours, and is to be done."""
    told = namespace.launch(spec(feigns=True), host(), "N1")
    assert told.steps[-1] == FeignIds(0)
    assert FeignIds(0) not in namespace.launch(spec(), host(), "N1").steps


def test_a_runtime_is_asked_only_where_it_is_wanted() -> None:
    for feigns in (True, False):
        (config,) = [
            json.loads(step.content)
            for step in runc.launch(spec(feigns=feigns), host(), "R1").steps
            if isinstance(step, WriteFile) and step.path.endswith("config.json")
        ]
        assert ("seccomp" in config["linux"]) is feigns
        assert config["process"]["noNewPrivileges"] is not feigns


def test_a_mode_that_feigns_is_one_of_a_namespace_with_one_id() -> None:
    assert [mode.name for mode in table.MODES if mode.feigns] == ["N1", "R1"]
    assert [mode.name for mode in table.MODES if mode.has_runtime] == ["R1"]


# The kernel

DRIVER = """
import errno, os, stat, sys
from udocker.engine.steps import Steps
from udocker.model.launch import *
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
    answers, after = _child(path, "go(BEGIN, FeignIds(7))" + TRIES)
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
    def udocker_feign_ids(self, group):
        self.ffi.errno = errno.EINVAL
        return -1
steps = Steps()
steps._kernel.lib = NoFilters(steps._kernel.lib, steps._kernel.ffi)
steps.run(Launch(("x",), (), "/", steps=(BEGIN, FeignIds(7))))
print(os.getuid(), attempt(os.setgroups, [1]))
"""
    assert _child(tmp_path, code) == ["0 EPERM"]
