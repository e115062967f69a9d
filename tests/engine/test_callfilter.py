"""What the filter before PRoot answers: system calls by number, on every machine it knows."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from udocker.engine.callfilter import INSTRUCTION, refusing

ENGINE = Path(__file__).resolve().parents[2] / "engines/core"
X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
ALLOW, ENOSYS = 0x7FFF0000, 0x00050000 | 38
NEWEST_KNOWN_TO_PROOT = 315  # sched_getattr: 5.1.0 is older than renameat2


def answer(number: int, machine: int = X86_64) -> int:
    """What the kernel would do: bpf(2) in its classic form, as far as the filter uses it."""
    program = list(INSTRUCTION.iter_unpack(refusing()))
    data = struct.pack("=IIQ6Q", number, machine, 0, *[0] * 6)
    at = accumulator = 0
    while True:
        code, left, right, value = program[at]
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x06:
            return value
        else:
            holds = accumulator == value if code == 0x15 else accumulator > value
            assert code in (0x15, 0x25)
            at += left if holds else right
        at += 1


def rows() -> dict[str, str]:
    """What the in-process engine, which knows them all, makes of each system call."""
    text = "".join((ENGINE / name).read_text() for name in ("table_common.def", "table_legacy.def"))
    return {name: kind for kind, name in re.findall(r"^([A-Z]+)\((\w+)", text, re.MULTILINE)}


def numbers() -> dict[str, int]:
    text = (ENGINE / "numbers_x86_64.def").read_text()
    return {name: int(number) for number, name in re.findall(r"NUMBER\((\d+), (\w+)\)", text)}


def test_every_younger_call_that_names_a_path_is_refused() -> None:
    own = {"execveat", "statx", "openat2", "faccessat2"}
    kinds = rows()
    paths = [
        name
        for name, number in numbers().items()
        if number > NEWEST_KNOWN_TO_PROOT and (kinds[name] in ("ONE", "TWO") or name in own)
    ]
    assert len(paths) >= 12
    assert {name for name in paths if answer(numbers()[name]) != ENOSYS} == set()


def test_calls_that_name_none_are_left_alone() -> None:
    free = [name for name, kind in rows().items() if kind == "FREE" and name in numbers()]
    assert len(free) > 100
    assert {name for name in free if answer(numbers()[name]) != ALLOW} == set()


def test_what_proot_translates_is_left_to_it() -> None:
    allowed = {number for number in range(NEWEST_KNOWN_TO_PROOT + 1) if answer(number) == ALLOW}
    assert allowed == set(range(NEWEST_KNOWN_TO_PROOT + 1))


@pytest.mark.parametrize("machine", [X86_64, I386, AARCH64, ARM])
def test_what_does_not_exist_yet_is_refused_everywhere(machine: int) -> None:
    for number in (470, 500, 100000, 0xFFFFFFFF):
        assert answer(number, machine) == ENOSYS
    for number in (425, 435, 437, 439, 452, 463, 469):
        assert answer(number, machine) == ENOSYS
    for number in (424, 434, 436, 438, 440, 449, 451, 462):
        assert answer(number, machine) == ALLOW


def test_x32_is_another_way_to_the_same_calls() -> None:
    assert answer(0x40000000 | 332) == answer(0x40000000 | 2) == ENOSYS


@pytest.mark.parametrize(
    ("machine", "refused", "around"),
    [
        (I386, (353, 358, 383, 412), (352, 354, 382, 384, 411, 5, 332)),
        (AARCH64, (276, 281, 291), (275, 277, 292, 56, 79)),
        (ARM, (382, 387, 397, 412), (381, 383, 396, 398, 5, 332)),
    ],
)
def test_other_machines_have_their_own_numbers(
    machine: int, refused: tuple[int, ...], around: tuple[int, ...]
) -> None:
    assert {answer(number, machine) for number in refused} == {ENOSYS}
    assert {answer(number, machine) for number in around} == {ALLOW}


def test_an_unknown_machine_is_left_alone() -> None:
    assert answer(332, 0x15) == ALLOW
