"""Facts about this host, read from the kernel. No decisions: those are the engines'."""

from __future__ import annotations

import contextlib
import errno
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
_APPARMOR = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
# What gVisor has for uname -v; since 2025 its release has its name.
_GVISOR = "#1 SMP Sun Jan 10 15:06:54 PST 2016"
_PROCESSORS = "/proc/cpuinfo"
_FORMATS = "/proc/sys/fs/binfmt_misc"
_QEMU_NAMES = {"armv7l": "arm", "i686": "i386"}  # where they are not those of uname -m
_VERSION_LIMIT = 10.0  # seconds
# Numbers ("" is every machine), and arguments with which each fails and does nothing.
_NEW_CALLS: dict[str, tuple[dict[str, int], tuple[int, ...]]] = {
    "statx": ({"x86_64": 332, "aarch64": 291}, (-1, 0, 0, 0, 0)),  # Linux 4.11
    "open_tree": ({"": 428}, (-1, 0, 0)),  # 5.2, with the five of fsopen(2)
    "clone3": ({"": 435}, (0, 0)),  # 5.3
    "close_range": ({"": 436}, (2, 1, 0)),  # 5.9
    "openat2": ({"": 437}, (-1, 0, 0, 0)),  # 5.6
    "faccessat2": ({"": 439}, (-1, 0, 0, 0)),  # 5.8
    "mount_setattr": ({"": 442}, (-1, 0, 0, 0, 0)),  # 5.12
}
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
    refusal = _filter_refusal()
    confinement = _confinement()
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
        max_user_namespaces=_user_namespaces(),
        apparmor_restricts_userns=_line(_APPARMOR) == "1" and restricts(_label()),
        ptrace_scope=_number("/proc/sys/kernel/yama/ptrace_scope", 0) or 0,
        seccomp=refusal == 0,
        confinement=confinement,
        cgroup=_cgroup(),
        shared=tuple(path for path in ("/dev/shm", "/dev/mqueue") if os.path.isdir(path)),
        inprocess=_inprocess(),
        chosen=tuple(sorted(name for name, path in dict(chosen or {}).items() if path)),
        programs=_programs(environ.get("PATH", os.defpath), dict(chosen or {}), runc)
        + _fakechroot(system.machine, dict(chosen or {}).get("libfakechroot", "")),
        userns_for_root_only=_line("/proc/sys/kernel/unprivileged_userns_clone") == "0",
        forbids_filters=refusal in (errno.EPERM, errno.EACCES),
        no_new_privileges="NoNewPrivs: 1" in confinement,
        sandbox=sandbox(system.release, system.version),
    )


def sandbox(release: str, version: str) -> str:
    """The program that stands for a kernel here, by what uname(2) says; "": it is Linux."""
    return "gVisor" if "gvisor" in release or version == _GVISOR else ""


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


def is_started_by_kernel(head: bytes) -> bool:
    """Whether programs that begin with ``head`` run in any root: by a binfmt_misc entry with F.

    https://docs.kernel.org/admin-guide/binfmt-misc.html
    """
    if _line(f"{_FORMATS}/status") != "enabled":
        return False
    with contextlib.suppress(OSError):
        return any(_has_format(name, head) for name in os.listdir(_FORMATS))
    return False


def _has_format(name: str, head: bytes) -> bool:
    """Whether that entry takes such programs, by an interpreter that the kernel holds open (F)."""
    try:
        with open(f"{_FORMATS}/{name}", encoding="ascii", errors="replace") as stream:
            state, *lines = stream.read().split("\n")
        words = dict(line.split(" ", 1) for line in lines if " " in line)
        magic = bytes.fromhex(words.get("magic", ""))
        mask = bytes.fromhex(words.get("mask", "ff" * len(magic)))
        start = int(words.get("offset", "0"))
    except (OSError, ValueError):
        return False
    part = head[start : start + len(magic)]
    is_like = len(part) == len(magic) and all(
        (byte ^ wanted) & bits == 0 for byte, wanted, bits in zip(part, magic, mask)
    )
    return bool(magic) and is_like and state == "enabled" and "F" in words.get("flags:", "")


def qemu_name(machine: str) -> str:
    """What qemu calls a machine."""
    return _QEMU_NAMES.get(machine, machine)


def emulators(machine: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Programs in PATH that by their names run those of ``machine`` (uname -m): qemu-user's."""
    name = qemu_name(machine)
    path = f"{environ.get('PATH', os.defpath)}:{_MORE_PATH}"
    found = (which(f"qemu-{name}{ending}", path) for ending in ("-static", ""))
    return tuple(place for place in found if place is not None)


def version_of(program: str) -> str:
    """What ``program --version`` prints, at most 2,000 characters; "" where it cannot be had."""
    import subprocess

    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_VERSION_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return os.fsdecode(done.stdout[:2000]) if done.returncode == 0 else ""


def missing_calls() -> tuple[str, ...]:
    """System calls of newer kernels that this one does not have, or that a filter hides."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    missing = []
    for name, (number, words) in _NEW_CALLS.items():
        wanted = number.get(os.uname().machine, number.get("", -1))
        arguments = [ctypes.c_long(word) for word in words]
        ctypes.set_errno(0)
        if wanted >= 0:
            library.syscall(ctypes.c_long(wanted), *arguments)
        if ctypes.get_errno() == errno.ENOSYS:
            missing.append(name)
    return tuple(missing)


def has_filters(runtime: str) -> bool:
    """Whether that runc or crun was built with libseccomp, as it says itself (--version)."""
    said = version_of(runtime)
    return "libseccomp: " in said or "+SECCOMP" in said


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


def _user_namespaces() -> int | None:
    if not os.path.exists("/proc/self/ns/user"):
        return None
    return _number("/proc/sys/user/max_user_namespaces", -1)  # since Linux 4.9


def _filter_refusal() -> int:
    """An errno; 0: a filter can be installed."""
    from udocker._native import lib

    refusal: int = lib.udocker_filter_refusal()
    return refusal


def restricts(label: str) -> bool:
    """Whether AppArmor's restriction of user namespaces is for a process that it calls ``label``.

    A profile may allow them: then only a first run can tell.
    """
    return label in ("", "unconfined")


def _label() -> str:
    return _line("/proc/self/attr/current").rstrip("\0")


def _confinement() -> str:
    """Filters, privileges, the user namespace and what a security module calls this process:
    they differ between containers of one host."""
    found = []
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as stream:
        fields = ("CapBnd:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:")
        found = [" ".join(line.split()) for line in stream if line.startswith(fields)]
    with contextlib.suppress(OSError):
        found.append(os.readlink("/proc/self/ns/user"))
    if _label():
        found.append(_label())
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
            place = which(name, f"{path}:{_MORE_PATH}")
        if place is not None:
            found.append((name, place))
    return tuple(found)


def which(name: str, path: str) -> str | None:
    """The program of that name in the absolute directories of ``path``."""
    for folder in path.split(":"):
        candidate = f"{folder}/{name}"
        if folder.startswith("/") and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return None
