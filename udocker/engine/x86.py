"""How long x86_64 instructions are, and which of them may stand elsewhere.

Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, chapter 2 and appendix A.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 15
_PREFIXES = frozenset((0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65))
_OPERAND_SIZE = 0x66
_ADDRESS_SIZE = 0x67
_INVALID = frozenset(bytes.fromhex("06 07 0e 16 17 1e 1f 27 2f 37 3f 60 61 82 9a ce d4 d5 d6 ea"))


def _one_byte_modrm() -> frozenset[int]:
    found = {0x63, 0x69, 0x6B, 0xC0, 0xC1, 0xC6, 0xC7, 0xF6, 0xF7, 0xFE, 0xFF}
    for row in range(0x00, 0x40, 8):
        found.update(range(row, row + 4))
    found.update(range(0x80, 0x90))
    found.update(range(0xD0, 0xD4))
    found.update(range(0xD8, 0xE0))
    return frozenset(found)


def _two_byte_plain() -> frozenset[int]:
    """Of the map behind 0F: those without a ModRM byte."""
    found = {0x05, 0x06, 0x07, 0x08, 0x09, 0x0B, 0x0E, 0x77, 0xA0, 0xA1, 0xA2, 0xA8, 0xA9, 0xAA}
    found.update(range(0x30, 0x38))
    found.update(range(0x80, 0x90))
    found.update(range(0xC8, 0xD0))
    return frozenset(found)


_MODRM = _one_byte_modrm()
_PLAIN_0F = _two_byte_plain()
_BYTE_IMMEDIATE = frozenset(
    (
        *bytes.fromhex("04 0c 14 1c 24 2c 34 3c 6a 6b 80 83 a8 c0 c1 c6 cd eb"),
        *range(0x70, 0x80),
        *range(0xB0, 0xB8),
        *range(0xE0, 0xE8),
    )
)
# What may be executed at another address: no branches, nothing that looks at where it is.
_MOVABLE = frozenset(
    (
        *bytes.fromhex("01 03 09 0b 21 23 29 2b 31 33 39 3b 63 81 83 85 88 89 8a 8b 8d 90 c6 c7"),
        *range(0x50, 0x60),
        *range(0xB8, 0xC0),
    )
)
_MOVABLE_0F = frozenset(bytes.fromhex("10 11 12 16 1f 28 29 6c 6e 6f 7f b6 b7 be bf"))
_MOVABLE_PREFIXES = frozenset((0x64, _OPERAND_SIZE))
_WITH_IMMEDIATE = frozenset((0x81, 0x83, 0xC6, 0xC7))
_WORD_IMMEDIATE = frozenset(  # four bytes, or two with the operand-size prefix
    (0x05, 0x0D, 0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x68, 0x69, 0x81, 0xA9, 0xC7)
)
_BYTE_IMMEDIATE_0F = frozenset((0x70, 0x71, 0x72, 0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6))


def length(code: bytes, start: int) -> int:
    """The length of the instruction at ``start``; 0 when it is none that is known."""
    try:
        end = _end(code, start)
    except IndexError:
        return 0
    size = end - start
    return size if 0 < size <= _LONGEST and end <= len(code) else 0


def instructions(code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each instruction from ``start`` on; ends early at an unknown one."""
    while start < end:
        size = length(code, start)
        if size == 0:
            return
        yield start, size
        start += size


def moved(instruction: bytes, distance: int) -> bytes | None:
    """The whole instruction as it must be ``distance`` bytes further on; None: it cannot be."""
    at = 0
    while instruction[at] in _MOVABLE_PREFIXES:
        at += 1
    if instruction[at] & 0xF0 == 0x40:
        at += 1
    opcode = instruction[at]
    is_long = opcode == 0x0F
    at += 2 if is_long else 1
    if (instruction[at - 1] not in _MOVABLE_0F) if is_long else (opcode not in _MOVABLE):
        return None
    has_modrm = is_long or opcode in _MODRM
    if not is_long and opcode in (0xC6, 0xC7) and instruction[at] & 0x38:
        return None  # xbegin, a branch
    if not has_modrm or instruction[at] & 0xC7 != 0x05:
        return instruction
    if not is_long and opcode in _WITH_IMMEDIATE:
        return None
    # Relative to the instruction pointer; the displacement is the last of it.
    displacement = int.from_bytes(instruction[-4:], "little", signed=True) - distance
    return instruction[:-4] + displacement.to_bytes(4, "little", signed=True)


def _end(code: bytes, at: int) -> int:
    """Where the instruction ends; something at or before its start when it is not known."""
    start = at
    has_operand_size = has_address_size = False
    while code[at] in _PREFIXES and at - start < _LONGEST:
        has_operand_size = has_operand_size or code[at] == _OPERAND_SIZE
        has_address_size = has_address_size or code[at] == _ADDRESS_SIZE
        at += 1
    is_wide = False
    if code[at] & 0xF0 == 0x40:
        is_wide = bool(code[at] & 8)
        at += 1
    opcode = code[at]
    at += 1
    if opcode == 0x0F:
        return _end_0f(code, at)
    if opcode in (0xC4, 0xC5, 0x62):
        return _end_vector(code, at, opcode)
    if opcode in _INVALID:
        return start
    immediate = _immediate(
        code,
        at,
        opcode,
        narrow=has_operand_size,
        is_wide=is_wide,
        has_address_size=has_address_size,
    )
    if opcode in _MODRM:
        at = _after_modrm(code, at)
    return at + immediate


def _immediate(
    code: bytes, at: int, opcode: int, *, narrow: bool, is_wide: bool, has_address_size: bool
) -> int:
    short = narrow and not is_wide
    size = 0
    if opcode in _BYTE_IMMEDIATE:
        size = 1
    elif opcode in _WORD_IMMEDIATE:
        size = 2 if short else 4
    elif opcode in (0xE8, 0xE9):
        size = 4  # the operand-size prefix changes nothing here on Intel; compilers do not use it
    elif 0xB8 <= opcode <= 0xBF:
        size = 8 if is_wide else 2 if narrow else 4
    elif 0xA0 <= opcode <= 0xA3:
        size = 4 if has_address_size else 8
    elif opcode in (0xC2, 0xCA):
        size = 2
    elif opcode == 0xC8:
        size = 3
    elif opcode in (0xF6, 0xF7) and (code[at] >> 3) & 7 < 2:
        size = 1 if opcode == 0xF6 else 2 if short else 4
    return size


def _end_0f(code: bytes, at: int) -> int:
    opcode = code[at]
    at += 1
    if opcode == 0x38:
        return _after_modrm(code, at + 1)
    if opcode == 0x3A:
        return _after_modrm(code, at + 1) + 1
    if 0x80 <= opcode <= 0x8F:
        return at + 4
    if opcode in _PLAIN_0F:
        return at
    at = _after_modrm(code, at)
    return at + 1 if opcode in _BYTE_IMMEDIATE_0F or opcode == 0x0F else at


def _end_vector(code: bytes, at: int, prefix: int) -> int:
    """Behind the first byte of a VEX or EVEX prefix."""
    if prefix == 0xC5:
        opcode_map, at = 1, at + 1
    elif prefix == 0xC4:
        opcode_map, at = code[at] & 0x1F, at + 2
    else:
        opcode_map, at = code[at] & 0x07, at + 3
    opcode = code[at]
    at += 1
    if prefix != 0x62 and opcode_map == 1 and opcode == 0x77:
        return at  # vzeroupper
    at = _after_modrm(code, at)
    has_immediate = opcode_map == 3 or (opcode_map == 1 and opcode in _BYTE_IMMEDIATE_0F)
    return at + 1 if has_immediate else at


def _after_modrm(code: bytes, at: int) -> int:
    """Behind ModRM, SIB and displacement."""
    modrm = code[at]
    at += 1
    mode, register = modrm >> 6, modrm & 7
    if mode == 3:
        return at
    if register == 4:
        base = code[at] & 7
        at += 1
        if mode == 0 and base == 5:
            return at + 4
    elif mode == 0 and register == 5:
        return at + 4
    return at + (0, 1, 4)[mode]
