"""What a seccomp filter answers, without a kernel."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from udocker.engine.callfilter import INSTRUCTION

if TYPE_CHECKING:
    from collections.abc import Sequence


def answer(program: bytes, number: int, machine: int, arguments: Sequence[int] = ()) -> int:
    """What the kernel would do: bpf(2) in its classic form, as far as the filters use it."""
    instructions = list(INSTRUCTION.iter_unpack(program))
    given = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, machine, 0, *given)
    at = accumulator = 0
    while True:
        code, left, right, value = instructions[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            return value
        else:
            assert code in (0x15, 0x25)
            holds = accumulator == value if code == 0x15 else accumulator > value
            at += left if holds else right
