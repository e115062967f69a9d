"""Which process made something, and whether it goes on.

A *mark* names a process for as long as the machine is up: boot, pid namespace, process id and
start. It is put into names and links, where it is as soon as the file is there, so nothing has to
be locked for others to know whether the maker is alive.
"""

from __future__ import annotations

import os
import re

ALIVE = "alive"
ENDED = "ended"
UNKNOWN = "unknown"  # of another machine, another boot, or another pid namespace

_MARK = re.compile(r"([0-9a-f]{12})-([0-9]+)-([0-9]+)-([0-9]+)")
_NOWHERE = "0" * 12


def mark(number: int = 0) -> str:
    """The mark of the process with that id; 0: of this one."""
    number = number or os.getpid()
    return f"{_boot()}-{_namespace()}-{number}-{_start(number)}"


def found_in(name: str) -> str:
    """The mark that ``name`` has in it, or "" when there is none."""
    found = _MARK.search(name)
    return found.group() if found else ""


def state(text: str) -> str:
    """Whether the process of a mark goes on: ALIVE, ENDED, or UNKNOWN."""
    found = _MARK.fullmatch(text)
    if not found:
        return UNKNOWN
    boot, namespace, pid, start = found.group(1), *map(int, found.groups()[1:])
    if boot in (_NOWHERE, "") or (boot, namespace) != (_boot(), _namespace()):
        return UNKNOWN
    return ALIVE if _goes_on(pid, start) else ENDED


def is_of_this_boot(text: str) -> bool:
    """Whether its process was started on this machine since that is up."""
    found = _MARK.fullmatch(text)
    return bool(found) and text[:12] == _boot() != _NOWHERE


def pid(text: str) -> int:
    """The process id in a mark."""
    found = _MARK.fullmatch(text)
    return int(found.group(3)) if found else 0


def _goes_on(number: int, start: int) -> bool:
    try:
        os.kill(number, 0)  # where /proc hides the processes of others, this does not
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    now = _start(number)
    return not (now and start and now != start) and not _is_zombie(number)


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return stream.read().replace("-", "")[:12] or _NOWHERE
    except OSError:
        return _NOWHERE


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _start(number: int) -> int:
    """When a process began, in ticks since the boot. 0 where it is hidden."""
    fields = _fields(number)
    return int(fields[19]) if fields else 0


def _is_zombie(number: int) -> bool:
    """Whether it has ended, and nobody has waited for it; threads that go on count."""
    fields = _fields(number)
    return bool(fields) and fields[0] in (b"Z", b"X") and int(fields[17]) <= 1


def _fields(number: int) -> list[bytes]:
    """What proc_pid_stat(5) has behind the name; nothing where it is hidden."""
    try:
        with open(f"/proc/{number}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except OSError:
        return []
    return fields if len(fields) > 19 else []
