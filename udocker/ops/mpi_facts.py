"""``doctor --mpi``: what MPI will find here: servers, libraries, and ways for its messages.

Nothing of MPI is started. What is said of ways between hosts is what devices and libraries allow;
which of them an MPI takes then, it decides itself.
"""

from __future__ import annotations

import functools
import os

from udocker.batch import passing
from udocker.devices import fabric
from udocker.devices import mpi as host_mpi
from udocker.engine import apart
from udocker.model.value import value
from udocker.ops import gpus, job_facts, mpi
from udocker.ops.preload import library_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.devices.places import Places
    from udocker.ops.session import Session
    from udocker.store.view import View

TCP = "TCP"
_SERVERS = {
    passing.PMIX: "PMIx (srun --mpi=pmix): for Open MPI",
    passing.PMI2: "PMI (srun --mpi=pmi2): for MPICH and what comes of it",
    passing.NONE: "neither PMI nor PMIx: to MPI each task is alone (srun --mpi=pmix or pmi2)",
}
# Yama's ptrace_scope, Documentation/admin-guide/LSM/Yama.rst.
_SCOPES = {
    0: "yes",
    1: "by programs that are allowed to, as UCX and Open MPI see to it (ptrace scope 1)",
    2: "no: for root only (ptrace scope 2): messages are copied twice",
    3: "no (ptrace scope 3): messages are copied twice",
}
# What drives a fabric, by the names that an MPI asks for.
_DRIVERS = {"libucp.so.0": "UCX", "libfabric.so.1": "libfabric", "libpsm2.so.2": "PSM2"}
_KINDS = {
    "infiniband": "InfiniBand or RoCE",
    "hfi1": "Omni-Path",
    "cxi": "Slingshot",
}


@value
class Fact:
    """``ok`` False: MPI does without it, or worse."""

    what: str
    text: str
    ok: bool = True

    def as_json(self) -> dict[str, object]:
        return {"what": self.what, "text": self.text, "ok": self.ok}


@value
class Findings:
    """``between_hosts``: the fabric by which messages go, or TCP."""

    facts: tuple[Fact, ...]
    between_hosts: str

    def as_json(self) -> dict[str, object]:
        facts = [fact.as_json() for fact in self.facts]
        is_tcp = self.between_hosts == TCP
        return {"facts": facts, "between_hosts": self.between_hosts, "falls_back_to_tcp": is_tcp}


def examine(session: Session, image: str = "") -> Findings:
    """What is here, and with ``image`` what that brings. Raises ImageNotFound, StoreError."""
    view = _view(session, image) if image else None
    here = gpus.places_of(session)
    facts = [_server(session), _launcher(session), *_libraries(session, here, view)]
    facts += _on_one_host(session)
    name, between = _between_hosts(session, here, view)
    return Findings((*facts, *between), name)


def _view(session: Session, image: str) -> View:
    from udocker.ops.images import get_image
    from udocker.store.view import View

    return View((session.store.trees.root(get_image(session, image).chain_id),))


def _server(session: Session) -> Fact:
    found = passing.server(session.environ)
    if found == passing.NONE and session.task is None:
        return Fact("server", "none, this is no job: mpirun is one for the tasks that it starts")
    return Fact("server", _SERVERS[found], found != passing.NONE)


def _launcher(session: Session) -> Fact:
    found = mpi.launcher(session.environ)
    return Fact("launcher", found.text if found else "no mpirun is in PATH", found is not None)


def _libraries(session: Session, here: Places, view: View | None) -> Iterator[Fact]:
    """Those of the host; of an image with which of the host's they may be replaced."""
    folders = _folders(session, view) if view else ()
    for family, groups in host_mpi.NAMES.items():
        for names in groups:
            host = host_mpi.discover(here, session.environ, names, family)
            if host is not None:
                abi = host_mpi.dotted(host.version)
                yield Fact("host's library", f"{family}, {host.library.path} (ABI {abi})")
            own = mpi.of_image_by_name(view, folders, names, family == mpi.OPEN) if view else ""
            if view is None or not own:
                continue
            image = host_mpi.version(view.resolve(own)) or host_mpi.version(own)
            text = f"{family}, {own} (ABI {host_mpi.dotted(image)})"
            fitting = [
                check
                for check in host_mpi.CHECKS
                if host is not None and host_mpi.fits(family, host.version, image, check)
            ]
            able = f"--mpi-host={fitting[-1]} works" if fitting else "the host has none for it"
            yield Fact("image's library", f"{text}: {able}")


def _folders(session: Session, view: View) -> tuple[str, ...]:
    return tuple(dict.fromkeys(library_directories(view, session.host.architecture)))


def _on_one_host(session: Session) -> Iterator[Fact]:
    can_share = os.access("/dev/shm", os.W_OK | os.X_OK)
    space = job_facts.space("/dev/shm")
    text = (
        f"/dev/shm, {space}" if can_share else "/dev/shm may not be written: TCP on one host, too"
    )
    yield Fact("shared memory", text, can_share)
    scope = session.host.ptrace_scope
    refusal = _refusal() if scope == 0 else ""
    said = f"no: {refusal}" if refusal else _SCOPES.get(scope, _SCOPES[3])
    yield Fact("reading another task's memory", said, not refusal and scope < 2)
    refusal = job_facts.refusal()
    apart_text = "each has its own, and MPI is told not to read the memory of others"
    text = f"{refusal}: {apart_text}" if refusal else "yes: containers in N1 read it, too"
    yield Fact("one user namespace for several tasks", text, not refusal)
    for path, name in (("/dev/knem", "knem"), ("/dev/xpmem", "xpmem")):
        if os.path.exists(path):
            yield Fact(name, path, os.access(path, os.R_OK | os.W_OK))


def _refusal() -> str:
    """Why a process may not read the memory of another one of this user's; "": it may.

    The kernel asks the same as for process_vm_readv(2).
    """
    begun, to_begin = os.pipe()
    done, to_end = os.pipe()
    first = functools.partial(_show, to_begin, done)
    second = functools.partial(_look, begun, to_end)
    try:
        return b"".join(apart.answers([first, second], 2)).decode(errors="replace")
    finally:
        for descriptor in (begun, to_begin, done, to_end):
            os.close(descriptor)


def _show(begun: int, done: int) -> bytes:
    os.write(begun, f"{os.getpid()}\n".encode())
    os.read(done, 1)
    return b""


def _look(begun: int, done: int) -> bytes:
    try:
        with open(f"/proc/{int(os.read(begun, 32))}/mem", "rb"):
            return b""
    except OSError as error:
        return (error.strerror or str(error)).encode()
    finally:
        os.write(done, b"x")


def _between_hosts(session: Session, here: Places, view: View | None) -> tuple[str, list[Fact]]:
    """What messages go by, and why."""
    found = fabric.discover(here, session.environ)
    nodes = [(_kind(each.path), each) for each in found.nodes] if found else []
    named = [(kind, each) for kind, each in nodes if kind]
    of_host = {each.soname for each in found.libraries} if found else set()
    facts = [_drivers("host's", [name for name in _DRIVERS if name in of_host])]
    drivers = of_host
    if view is not None:
        folders = _folders(session, view)
        drivers = {name for name in _DRIVERS if _has(view, folders, name)}
        facts.append(_drivers("image's", sorted(drivers)))
    where = "the image" if view is not None else "this host"
    hint = "; --mpi-host brings the host's" if view is not None and of_host & set(_DRIVERS) else ""
    usable = [kind for kind, each in named if each.is_open]
    if not named:
        why = "no device of InfiniBand, Omni-Path or Slingshot is here"
    elif not usable:
        why = f"{named[0][1].path} may not be opened by this user"
    elif not drivers & set(_DRIVERS):
        why = f"{where} has neither UCX nor libfabric nor PSM2{hint}"
    else:
        return usable[0], [*facts, Fact("between hosts", ", ".join(dict.fromkeys(usable)))]
    return TCP, [*facts, Fact("between hosts", f"TCP: {why}", ok=False)]


def _kind(path: str) -> str:
    return next((kind for name, kind in _KINDS.items() if f"/{name}" in path), "")


def _drivers(whose: str, names: list[str]) -> Fact:
    text = ", ".join(_DRIVERS[name] for name in names)
    return Fact(f"{whose} drivers of fabrics", text or "none", bool(text))


def _has(view: View, folders: tuple[str, ...], name: str) -> bool:
    for folder in folders:
        try:
            if os.path.exists(view.locate(f"{folder}/{name}")):
                return True
        except OSError:
            continue
    return False
