"""What this host offers, and which modes work here or why not."""

from __future__ import annotations

import os
import platform

from udocker.engine import table
from udocker.model.host import Support
from udocker.model.run import FOREIGN_TREE
from udocker.model.value import value
from udocker.ops.trials import examine_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from udocker.ops.modes import Verdict
    from udocker.ops.needs import Need
    from udocker.ops.session import Session

# statfs(2) and <linux/magic.h>: f_type of filesystems one meets under a store.
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
    return Findings(_host(session), store, rows, working[0] if working else "", needs)


def _needs(session: Session, image: str) -> tuple[Need, ...]:
    from udocker.ops.images import get_image
    from udocker.ops.needs import examine_image

    return examine_image(session, get_image(session, image))


def try_modes(session: Session) -> list[Row]:
    """Every mode, with what the embedded program said."""
    return [_row(verdict) for verdict in examine_all(session, table.MODES)]


def _row(verdict: Verdict) -> Row:
    mode = table.find(verdict.mode)
    support: Support = verdict.support
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
    spaces = host.max_user_namespaces
    return (
        f"Linux {os.uname().release} on {host.architecture}, Python {platform.python_version()}",
        f"user {host.username} (uid {host.uid}, gid {host.gid})",
        f"user namespaces: {'none in this kernel' if spaces is None else spaces}"
        + (", restricted by AppArmor" if host.apparmor_restricts_userns else ""),
        f"ptrace scope: {host.ptrace_scope}; seccomp: {'yes' if host.seccomp else 'no'}; "
        f"cgroups: {host.cgroup}",
        "programs: " + (", ".join(path for _, path in host.programs) or "none that a mode needs"),
    )


def _store(session: Session) -> tuple[str, ...]:
    top = session.store.topdir
    kind = filesystem(top)
    try:
        space = os.statvfs(top)
    except OSError as error:
        return (f"{top}: {error.strerror}",)
    free = space.f_bavail * space.f_frsize / 1e9
    return (f"{top} ({kind}, {free:.1f} GB and {space.f_favail} inodes free)",)


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
