"""What this host offers, and which modes work here or why not."""

from __future__ import annotations

import os
import platform

from udocker.engine import table
from udocker.host import missing_calls
from udocker.model.features import FOREIGN_TREE
from udocker.model.value import value
from udocker.ops.advice import is_noexec
from udocker.ops.trials import examine_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from udocker.model.host import Host
    from udocker.ops.modes import Verdict
    from udocker.ops.needs import Need
    from udocker.ops.session import Session

# Filesystems that several hosts have mounted, by the beginnings of their names in mountinfo.
_SHARED = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "orangefs", "9p", "afs")
_FILESYSTEMS = "/proc/self/mountinfo"


@value
class Row:
    """One mode: whether it works, what it is, and why not."""

    name: str
    ok: bool
    summary: str
    reason: str = ""
    hint: str = ""
    output: str = ""


@value
class Findings:
    """All that ``doctor`` prints."""

    host: tuple[str, ...]
    store: tuple[str, ...]
    modes: tuple[Row, ...]
    chosen: str
    mpi: tuple[str, ...] = ()
    job: tuple[str, ...] = ()  # of the batch job that this is in
    needs: tuple[Need, ...] = ()  # of the image that was asked about

    def as_json(self) -> dict[str, object]:
        return {
            "host": list(self.host),
            "store": list(self.store),
            "modes": [
                {
                    "name": row.name,
                    "ok": row.ok,
                    "summary": row.summary,
                    "reason": row.reason,
                    "hint": row.hint,
                }
                for row in self.modes
            ],
            "chosen": self.chosen,
            "mpi": list(self.mpi),
            "job": list(self.job),
            "needs": [
                {"what": need.what, "found": need.found, "ok": need.ok, "hint": need.hint}
                for need in self.needs
            ],
        }


def examine_host(session: Session, image: str = "") -> Findings:
    """Facts, then a verdict on every mode, and what ``image`` of the store needs.

    Raises ImageNotFound, before anything is tried, or another UdockerError.
    """
    needs = _needs(session, image) if image else ()
    rows = tuple(_row(verdict) for verdict in examine_all(session, table.MODES))
    automatic = {mode.name for mode in table.automatic()}
    working = [row.name for row in rows if row.ok and row.name in automatic]
    store = (*_store(session), *_stores_of_others(session, rows))
    chosen = working[0] if working else ""
    job: tuple[str, ...] = ()
    if session.task is not None:
        from udocker.ops.job_facts import facts

        job = facts(session, filesystem)
    return Findings(_host(session), store, rows, chosen, _mpi(session), job, needs)


def _mpi(session: Session) -> tuple[str, ...]:
    from udocker.ops import mpi

    found = mpi.launcher(session.environ)
    return (found.text if found else "no mpirun is in PATH", *mpi.fabrics())


def _needs(session: Session, image: str) -> tuple[Need, ...]:
    from udocker.ops.images import get_image
    from udocker.ops.needs import examine_image

    return examine_image(session, get_image(session, image))


def try_modes(session: Session) -> list[Row]:
    """Every mode, with what the embedded program said."""
    return [_row(verdict) for verdict in examine_all(session, table.MODES)]


def _row(verdict: Verdict) -> Row:
    mode = table.find(verdict.mode)
    support = verdict.support
    note = "" if not support.ok or verdict.union else " (each container has its own copy)"
    lines = verdict.output.strip().splitlines()
    return Row(
        name=mode.name,
        ok=support.ok,
        summary=mode.summary + note,
        reason=support.reason,
        hint=support.hint,
        output=lines[0] if lines else "",
    )


def _host(session: Session) -> tuple[str, ...]:
    host = session.host
    programs = ", ".join(path for _, path in host.programs)
    return (
        f"Linux {os.uname().release} on {host.architecture}, Python {platform.python_version()}",
        f"user {host.username} (uid {host.uid}, gid {host.gid})",
        f"user namespaces: {_namespaces(host)}",
        f"ptrace scope: {host.ptrace_scope}; seccomp: {_filters(host)}; cgroups: {host.cgroup}",
        f"programs: {programs or 'none that a mode needs'}",
        *_limits(host),
    )


def _namespaces(host: Host) -> str:
    spaces = host.max_user_namespaces
    text = {None: "none in this kernel", -1: "yes"}.get(spaces, str(spaces))
    if host.userns_for_root_only:
        text += ", for root only (kernel.unprivileged_userns_clone)"
    return f"{text}, restricted by AppArmor" if host.apparmor_restricts_userns else text


def _filters(host: Host) -> str:
    if host.seccomp:
        return "yes"
    return "forbidden" if host.forbids_filters else "no"


def _limits(host: Host) -> Iterator[str]:
    """What is not as it is on a plain machine."""
    confined = [host.sandbox] if host.sandbox else []
    confined += ["a seccomp filter is in force"] if host.is_filtered else []
    confined += ["no_new_privs is set"] if host.no_new_privileges else []
    if confined:
        yield f"confined: {', '.join(confined)}"
    missing = missing_calls()
    if missing:
        yield f"system calls that are not here: {', '.join(missing)}"


def _store(session: Session) -> tuple[str, ...]:
    top = session.store.topdir
    try:
        space = os.statvfs(top)
    except OSError as error:
        return (f"{top}: {error.strerror}",)
    free = space.f_bavail * space.f_frsize / 1e9
    facts = [filesystem(top), f"{free:.1f} GB and {space.f_favail} inodes free"]
    facts += _of_filesystem(facts[0])
    facts += ["noexec: only N1 runs what is here"] if is_noexec(top) else []
    noexec = ("/tmp is mounted noexec",) if is_noexec("/tmp") else ()
    return (f"{top} ({', '.join(facts)})", *noexec)


def _of_filesystem(kind: str) -> list[str]:
    """What its kind means for a store."""
    if kind.startswith(_SHARED):
        return ["of several hosts"]
    return ["each call goes to another process"] if kind.startswith("fuse") else []


def _stores_of_others(session: Session, rows: Iterable[Row]) -> Iterator[str]:
    able = [
        mode.name
        for mode, row in zip(table.MODES, rows)
        if row.ok and mode.is_automatic and FOREIGN_TREE in mode.engine.FEATURES
    ]
    for path in session.config.repos:
        try:
            owner = os.stat(f"{path}/trees").st_uid
        except OSError as error:
            yield f"{path}: no images are there ({error.strerror}); UDOCKER_REPOS or repos names it"
            continue
        if owner != os.getuid():
            first = f"auto takes {able[0]}" if able else "no mode can use them as they lie"
            yield f"{path}: image trees of uid {owner}: {first}, and N1 copies them"


def filesystem(path: str) -> str:
    """The kind of the filesystem that holds ``path``, as the kernel calls it."""
    try:
        device = os.stat(path).st_dev
        with open(_FILESYSTEMS, encoding="utf-8", errors="surrogateescape") as stream:
            for line in stream:
                fields = line.split(" ")
                if fields[2] == f"{os.major(device)}:{os.minor(device)}":
                    return fields[fields.index("-") + 1]
    except (OSError, ValueError):
        pass
    return "unknown filesystem"
