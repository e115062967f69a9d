"""A process and all that comes of it, stopped at every system call."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ptrace import PtraceError
from ptrace.binding import func as binding

from auditor.calls import AT_EMPTY_PATH, AT_FDCWD, PathCall, path_calls
from auditor.places import Places, led_to

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ALL = 0x40000000  # __WALL of <linux/wait.h>
_SYSCALL_STOP = signal.SIGTRAP | 0x80
# PTRACE_O_: TRACESYSGOOD, the events, EXITKILL
_OPTIONS = 1 | 2 | 4 | 8 | 16 | 0x100000
_EVENT_EXEC = 4
_EVENTS_OF_BIRTH = (1, 2, 3)  # fork, vfork, clone
_ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
_OPENAT2 = "openat2"
_RESOLVE_NO_SYMLINKS = 4
_REFUSED = (-1, -38)  # EPERM and ENOSYS, which a filter gives
_LONGEST = 4096
_AF_UNIX = 1


@dataclass(frozen=True, order=True)
class Finding:
    """A path of the host outside of the container that a call gave the kernel."""

    program: str
    call: str
    path: str


@dataclass(frozen=True)
class Guest:
    """A container that runs: there may be several, as when udocker tries an engine."""

    places: Places
    code: range  # of the engine, in memory


@dataclass
class _Thread:
    guest: Guest | None = None
    is_new: bool = False  # it stops once before it begins
    is_inside: bool = False  # between the stop at a call and the one behind it
    number: int = -1
    waiting: list[Finding] = field(default_factory=list)  # unless the call was stopped


class Tracer:
    """Runs a command; ``findings`` are what was seen once the engine had begun."""

    def __init__(self) -> None:
        self.findings: set[Finding] = set()
        self.calls = 0  # that were looked at
        self._known = path_calls()
        self._threads: dict[int, _Thread] = {}
        self._early: set[int] = set()  # stopped before its parent had told of it
        self._guests: dict[str, Guest] = {}  # by description

    def run(self, words: Sequence[str]) -> int:
        """The exit code of the command, as shells have it."""
        first = os.fork()
        if first == 0:
            binding.ptrace_traceme()
            os.kill(os.getpid(), signal.SIGSTOP)
            try:
                os.execvp(words[0], list(words))
            finally:
                os._exit(127)
        os.waitpid(first, 0)
        binding.ptrace_setoptions(first, _OPTIONS)
        self._threads[first] = _Thread()
        binding.ptrace_syscall(first)
        code = 0
        for pid, status in _stops():
            if os.WIFSTOPPED(status):
                self._stopped(pid, status)
                continue
            self._threads.pop(pid, None)
            if pid == first:
                code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _stopped(self, pid: int, status: int) -> None:
        number, event = os.WSTOPSIG(status), status >> 16
        deliver = 0
        thread = self._threads.get(pid)
        if thread is None:
            self._early.add(pid)
            return
        try:
            if thread.is_new:
                thread.is_new = False
            elif number == _SYSCALL_STOP:
                self._at_call(pid, thread)
            elif event in _EVENTS_OF_BIRTH:
                self._born(pid, thread)
            elif event == _EVENT_EXEC:
                self._executed(pid, thread)
            elif event == 0:
                deliver = number
            binding.ptrace_syscall(pid, deliver)
        except PtraceError:  # it was killed meanwhile
            self._threads.pop(pid, None)

    def _born(self, pid: int, thread: _Thread) -> None:
        child = binding.ptrace_geteventmsg(pid)
        self._threads[child] = _Thread(guest=thread.guest, is_new=child not in self._early)
        if child in self._early:
            self._early.remove(child)
            binding.ptrace_syscall(child)

    def _executed(self, pid: int, thread: _Thread) -> None:
        """The engine has its words still as it was given them: see engines/inprocess/main.c."""
        thread.waiting = []
        thread.guest = None
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            words = [os.fsdecode(word) for word in stream.read().split(b"\0")]
        if len(words) < 5 or not (words[1] == "start" or words[1].startswith("exec ")):
            return
        if words[2] not in self._guests:
            engine = os.readlink(f"/proc/{pid}/exe")
            places = Places.of(words[0], words[2])
            self._guests[words[2]] = Guest(places, _code_of(pid, engine))
        thread.guest = self._guests[words[2]]

    def _at_call(self, pid: int, thread: _Thread) -> None:
        thread.is_inside = not thread.is_inside
        registers = binding.ptrace_getregs(pid)
        if not thread.is_inside:
            result = struct.unpack("q", struct.pack("Q", registers.rax))[0]
            if result != thread.number and result not in _REFUSED:
                self.findings.update(thread.waiting)
            thread.waiting = []
            return
        thread.number = registers.orig_rax
        call = self._known.get(registers.orig_rax)
        if thread.guest is None or call is None:
            return
        self.calls += 1
        arguments = [getattr(registers, name) for name in _ARGUMENTS]
        how = _word(pid, arguments[2]) if call.name == _OPENAT2 else 0
        writes = call.writes(arguments, how)
        found = [
            Finding(_program(pid), call.name, path)
            for path in self._paths(pid, call, arguments)
            if not thread.guest.places.have(path, writes)
        ]
        if registers.rip in thread.guest.code:
            self.findings.update(found)
        else:
            # The filter stops it, and then the result is the number; or it goes through.
            thread.waiting = found

    def _paths(self, pid: int, call: PathCall, arguments: list[int]) -> Iterator[str]:
        for position, directory in call.paths:
            text = _text(pid, arguments[position])
            if text is None or (text == "" and _may_be_empty(call, arguments)):
                continue
            base = _base(pid, AT_FDCWD if directory is None else arguments[directory])
            links = not (call.name == _OPENAT2 and _limits(pid, arguments) & _RESOLVE_NO_SYMLINKS)
            yield led_to(pid, base, text, links=links, last=call.follows(arguments, position))
        address = arguments[call.address] if call.address is not None else 0
        if call.message and arguments[1]:
            address = _word(pid, arguments[1])
        path = _address(pid, address)
        if path:
            yield led_to(pid, _base(pid, AT_FDCWD), path, links=True, last=call.name != "bind")


def _stops() -> Iterator[tuple[int, int]]:
    """What happens to the processes, until there are no more."""
    while True:
        try:
            yield os.waitpid(-1, _ALL)
        except ChildProcessError:
            return


def _code_of(pid: int, engine: str) -> range:
    """Where the code of the engine is mapped."""
    with open(f"/proc/{pid}/maps") as stream:
        for line in stream:
            place, access, *rest = line.split()
            if "x" in access and rest[-1] == engine:
                begin, _, end = place.partition("-")
                return range(int(begin, 16), int(end, 16))
    raise RuntimeError(f"{engine} has no code")


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", errors="surrogateescape") as stream:
            return stream.read().strip()
    except OSError:
        return "?"


def _memory(pid: int, address: int, size: int) -> bytes:
    """As much of it as is there."""
    found = b""
    with contextlib.suppress(OSError, OverflowError), open(f"/proc/{pid}/mem", "rb", 0) as stream:
        stream.seek(address)
        while len(found) < size:
            piece = stream.read(min(size - len(found), 4096 - (address + len(found)) % 4096))
            if not piece:
                break
            found += piece
    return found


def _text(pid: int, address: int) -> str | None:
    if address == 0:
        return None
    found = b""
    while len(found) < _LONGEST and b"\0" not in found:
        piece = _memory(pid, address + len(found), 256)
        if not piece:
            return None
        found += piece
    return os.fsdecode(found.split(b"\0")[0])


def _word(pid: int, address: int) -> int:
    found = _memory(pid, address, 8)
    return int.from_bytes(found, "little") if len(found) == 8 else 0


def _limits(pid: int, arguments: list[int]) -> int:
    """The flags of openat2(2) about links."""
    return _word(pid, arguments[2] + 16)


def _address(pid: int, address: int) -> str:
    """The path in an address of unix(7), or nothing."""
    found = _memory(pid, address, 110) if address else b""
    if len(found) < 3 or int.from_bytes(found[:2], "little") != _AF_UNIX:
        return ""
    return os.fsdecode(found[2:].split(b"\0")[0])


def _may_be_empty(call: PathCall, arguments: list[int]) -> bool:
    return call.flags is not None and bool(arguments[call.flags] & AT_EMPTY_PATH)


def _base(pid: int, directory: int) -> str:
    number = struct.unpack("i", struct.pack("I", directory & 0xFFFFFFFF))[0]
    name = "cwd" if number == AT_FDCWD else f"fd/{number}"
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/{name}")
    return "/nowhere"
