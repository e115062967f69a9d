"""Facts about this host, read from the kernel. No decisions: those are the engines'."""

from __future__ import annotations

import contextlib
import os

from udocker.model.host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_PROGRAMS = ("runc", "crun", "proot", "apptainer", "singularity")
# Where administrators put programs that ordinary users may run though it is not in their PATH.
_MORE_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
# Where distributions put libraries, and libfakechroot in a directory of its own.
_LIBRARIES = ("/usr/lib/{}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
_PROCESSORS = "/proc/cpuinfo"
# x86-64 psABI, "Micro-architecture levels", by the names in /proc/cpuinfo.
_LEVELS = (
    "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
    "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave",
    "avx512f avx512bw avx512cd avx512dq avx512vl",
)


def probe(
    environ: Mapping[str, str], chosen: Mapping[str, str] | None = None, runc: str = ""
) -> Host:
    """Gather the facts. ``chosen``, and ``runc`` (or crun), are what the user named, else the
    usual places are asked."""
    system = os.uname()
    uid = os.getuid()
    username, home = _account(uid, environ)
    return Host(
        architecture=system.machine,
        kernel=_version(system.release),
        boot_id=_line("/proc/sys/kernel/random/boot_id"),
        hostname=system.nodename,
        uid=uid,
        gid=os.getgid(),
        groups=tuple(sorted(set(os.getgroups()))),
        username=username,
        home=home,
        max_user_namespaces=_number("/proc/sys/user/max_user_namespaces", None),
        apparmor_restricts_userns=_line("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        == "1",
        ptrace_scope=_number("/proc/sys/kernel/yama/ptrace_scope", 0) or 0,
        seccomp=os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
        confinement=_confinement(),
        cgroup=_cgroup(),
        shared=tuple(path for path in ("/dev/shm", "/dev/mqueue") if os.path.isdir(path)),
        inprocess=_inprocess(),
        programs=_programs(environ.get("PATH", os.defpath), dict(chosen or {}), runc)
        + _fakechroot(system.machine, dict(chosen or {}).get("libfakechroot", "")),
    )


def libraries(program: str, loader: str) -> tuple[tuple[str, str], ...] | None:
    """Name and path of each library that ``loader`` would load for ``program``: ld.so(8), --list.

    None: it does not find them all, or cannot tell.
    """
    import subprocess

    words = [loader, "--list", program]
    try:
        done = subprocess.run(words, env={}, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = []
    for line in os.fsdecode(done.stdout).splitlines():
        name, arrow, place = line.strip().partition(" => ")
        place = place.rpartition(" (")[0] or place
        if arrow and not place.startswith("/"):
            return None
        if arrow and os.path.realpath(place) != os.path.realpath(loader):
            found.append((os.path.basename(name), place))
    return tuple(found) if done.returncode == 0 else None


def has_filters(runtime: str) -> bool:
    """Whether that runc or crun was built with libseccomp, as it says itself (--version)."""
    import subprocess

    try:
        done = subprocess.run([runtime, "--version"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"libseccomp: " in done.stdout or b"+SECCOMP" in done.stdout


def processor_level() -> int:
    """The level of x86-64 that every program here may use; 1 where it cannot be read."""
    flags: set[str] = set()
    try:
        with open(_PROCESSORS, encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith("flags"):
                    flags = set(line.split())
                    break
    except OSError:
        return 1
    level = 1
    for names in _LEVELS:
        if not flags.issuperset(names.split()):
            break
        level += 1
    return level


def _confinement() -> str:
    """Filters, privileges and the user namespace: they differ between containers of one host."""
    found = []
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as stream:
        fields = ("CapBnd:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:")
        found = [" ".join(line.split()) for line in stream if line.startswith(fields)]
    with contextlib.suppress(OSError):
        found.append(os.readlink("/proc/self/ns/user"))
    return ", ".join(found)


def _inprocess() -> str:
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data/engine/inprocess")
    return path if os.access(path, os.X_OK) else ""


def _account(uid: int, environ: Mapping[str, str]) -> tuple[str, str]:
    import pwd

    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return environ.get("USER") or str(uid), environ.get("HOME") or "/"
    return entry.pw_name, environ.get("HOME") or entry.pw_dir


def _version(release: str) -> tuple[int, int]:
    """Major and minor of whatever a kernel calls itself ("5.15.0-generic", "112+")."""
    numbers = []
    for part in release.split(".")[:2]:
        digits = ""
        for character in part:
            if not character.isdigit():
                break
            digits += character
        numbers.append(int(digits or 0))
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


def _line(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.readline().strip()
    except OSError:
        return ""


def _number(path: str, default: int | None) -> int | None:
    text = _line(path)
    return int(text) if text.isdigit() else default


def _cgroup() -> str:
    top = "/sys/fs/cgroup"
    if os.path.exists(f"{top}/cgroup.controllers"):
        return "v2"
    if os.path.isdir(f"{top}/unified"):
        return "hybrid"
    try:
        return "v1" if os.listdir(top) else "none"
    except OSError:
        return "none"


def _fakechroot(machine: str, chosen: str) -> tuple[tuple[str, str], ...]:
    folders = [folder.format(machine) for folder in _LIBRARIES]
    places = [f"{f}{name}/libfakechroot.so" for f in folders for name in ("/fakechroot", "")]
    for place in [chosen] if chosen else places:
        if os.path.isfile(place):
            return (("libfakechroot", place),)
    return ()


def _programs(path: str, chosen: dict[str, str], runc: str) -> tuple[tuple[str, str], ...]:
    # The user's choice is called what it is, so that each engine knows its quirks.
    passed_over = set()
    if runc:
        name = "crun" if os.path.basename(runc).startswith("crun") else "runc"
        chosen[name] = runc
        passed_over = {"runc", "crun"}
    singularity = chosen.pop("singularity", "")
    if singularity:
        real = os.path.basename(os.path.realpath(singularity))
        chosen["apptainer" if real.startswith("apptainer") else "singularity"] = singularity
        passed_over |= {"apptainer", "singularity"}
    found = []
    for name in _PROGRAMS:
        if chosen.get(name):
            place: str | None = chosen[name]
        elif name in passed_over:
            place = None
        else:
            place = _which(name, f"{path}:{_MORE_PATH}")
        if place is not None:
            found.append((name, place))
    return tuple(found)


def _which(name: str, path: str) -> str | None:
    for folder in path.split(":"):
        candidate = f"{folder}/{name}"
        if folder.startswith("/") and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return None
