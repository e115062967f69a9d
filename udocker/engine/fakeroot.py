"""Root of a user namespace with one user id and one group id, for programs that expect more.

Package managers, tar and useradd give files and processes other ids, which the kernel refuses where
they are not mapped. A seccomp filter answers such calls with success, and nothing is done. Nothing
is remembered either: files stay root's, and who becomes another user stays root. Calls with the ids
that are mapped go to the kernel.

Not here: setfsuid(2) and setfsgid(2), which tell of no failure; capset(2) and the attribute
security.capability, which root of a user namespace may really use.
"""

from __future__ import annotations

from udocker.engine import bpf
from udocker.model.run import APT_SETTINGS, FeignIds, GuestFile
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from udocker.engine.bpf import Instruction, Line
    from udocker.model.run import RunSpec

# apt's downloads become the user _apt, look who they are, and give up.
_APT = GuestFile(f"{APT_SETTINGS}/99udocker", b'APT::Sandbox::User "root";\n')

# What a call's arguments are, a character each: user or group id (capitals: of 16 bits), a mode
# that a device number follows. "*": the call never succeeds, whatever they are.
_SHORT = {  # of i386 and arm alike
    **{14: ".m", 81: "*", 206: "*"},  # mknod, setgroups, setgroups32
    **dict.fromkeys((16, 95, 182), ".UG"),  # lchown, fchown, chown
    **{23: "U", 70: "UU", 164: "UUU"},  # setuid, setreuid, setresuid
    **{46: "G", 71: "GG", 170: "GGG"},  # setgid, setregid, setresgid
    **dict.fromkeys((198, 207, 212), ".ug"),  # lchown32, fchown32, chown32
    **{213: "u", 203: "uu", 208: "uuu"},  # setuid32, setreuid32, setresuid32
    **{214: "g", 204: "gg", 210: "ggg"},  # setgid32, setregid32, setresgid32
}
_MACHINES: dict[int, dict[int, str]] = {
    bpf.X86_64: {
        **{133: ".m", 259: "..m"},  # mknod, mknodat
        **dict.fromkeys((92, 93, 94), ".ug"),  # chown, fchown, lchown
        **{105: "u", 113: "uu", 117: "uuu"},  # setuid, setreuid, setresuid
        **{106: "g", 114: "gg", 119: "ggg"},  # setgid, setregid, setresgid
        **{116: "*", 260: "..ug"},  # setgroups, fchownat
    },
    bpf.I386: {**_SHORT, 297: "..m", 298: "..ug"},  # mknodat, fchownat
    bpf.AARCH64: {
        **{33: "..m", 54: "..ug", 55: ".ug"},  # mknodat, fchownat, fchown
        **{146: "u", 145: "uu", 147: "uuu"},
        **{144: "g", 143: "gg", 149: "ggg"},
        159: "*",  # setgroups: /proc/self/setgroups says "deny"
    },
    bpf.ARM: {**_SHORT, 324: "..m", 325: "..ug"},
}
# Fewer are sooner made, which every start waits for.
_OF_ARCHITECTURE = {"x86_64": (bpf.X86_64, bpf.I386), "aarch64": (bpf.AARCH64, bpf.ARM)}
_UNCHANGED = 0xFFFFFFFF  # no new id: chown(2), setresuid(2)
_KIND, _CHARACTER, _BLOCK = 0xF000, 0x2000, 0x6000  # inode(7)


def prepared(spec: RunSpec) -> RunSpec:
    """The run with what lets root's programs go on with one id."""
    if spec.user.uid != 0 or not spec.has_apt:
        return spec
    return replace(spec, files=(*spec.files, _APT))


def steps(spec: RunSpec) -> tuple[FeignIds, ...]:
    """Who is not root expects no more than the kernel gives."""
    return (FeignIds(spec.user.uid, spec.user.gid),) if spec.user.uid == 0 else ()


def feigning(uid: int, gid: int, architecture: str) -> bytes:
    """The program where these ids are mapped, for all machines that the architecture can be.

    ``architecture``: as uname(2) has it; personality(2) makes it one of which nothing is known.
    """
    machines = _OF_ARCHITECTURE.get(architecture, tuple(_MACHINES))
    return bpf.program({machine: _part(_MACHINES[machine], uid, gid) for machine in machines})


def _part(calls: Mapping[int, str], uid: int, gid: int) -> list[Instruction]:
    """Other calls are passed by number alone: since Linux 5.11 the kernel asks only once."""
    lines: list[Line | str] = [
        (bpf.LOAD, bpf.NUMBER, "", ""),
        (bpf.AND, 0xFFFFFFFF ^ bpf.X32, "", ""),
        *_search(calls, sorted(calls)),
    ]
    for arguments in sorted(set(calls.values())):
        lines += [arguments, *_judged(arguments, uid, gid)]
    lines += ["allow", (bpf.RETURN, bpf.ALLOW, "", ""), "feign", (bpf.RETURN, bpf.ERRNO, "", "")]
    return bpf.resolved(lines)


def _search(calls: Mapping[int, str], numbers: Sequence[int]) -> Iterator[Line | str]:
    """Go on at what the call's arguments are; ``numbers`` are sorted."""
    if len(numbers) == 1:
        yield (bpf.IF_EQUAL, numbers[0], calls[numbers[0]], "allow")
        return
    half = len(numbers) // 2
    above = f"from {numbers[half]}"
    yield (bpf.IF_ABOVE, numbers[half] - 1, above, "")
    yield from _search(calls, numbers[:half])
    yield above
    yield from _search(calls, numbers[half:])


def _judged(arguments: str, uid: int, gid: int) -> Iterator[Line | str]:
    """Feign the call if one of its ids is not mapped, or if it makes a device."""
    for index, what in enumerate(arguments):
        if what == "*":
            yield (bpf.RETURN, bpf.ERRNO, "", "")
        elif what == "m":
            yield from _device(index)
        elif what != ".":
            is_short = what.isupper()
            passed = f"{arguments} {index}"
            yield (bpf.LOAD, bpf.argument(index), "", "")
            if is_short:
                yield (bpf.AND, 0xFFFF, "", "")
            yield (bpf.IF_EQUAL, _UNCHANGED & 0xFFFF if is_short else _UNCHANGED, passed, "")
            yield (bpf.IF_EQUAL, uid if what in "uU" else gid, "", "feign")
            yield passed
    yield (bpf.RETURN, bpf.ALLOW, "", "")


def _device(mode: int) -> Iterator[Line]:
    """The character device 0:0 is a whiteout of overlayfs, and everybody's to make."""
    yield (bpf.LOAD, bpf.argument(mode), "", "")
    yield (bpf.AND, _KIND, "", "")
    yield (bpf.IF_EQUAL, _BLOCK, "feign", "")
    yield (bpf.IF_EQUAL, _CHARACTER, "", "allow")
    yield (bpf.LOAD, bpf.argument(mode + 1), "", "")
    yield (bpf.IF_EQUAL, 0, "allow", "feign")
