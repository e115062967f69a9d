"""``stage``: images on the nodes of a batch job, fetched once, sent once, unpacked once on each.

One node fetches the images and writes them to one file; sbcast(1), or where that is not possible
srun(1), brings it to all; each checks the file by its digest and unpacks it into a store of the
job's own, which runs of the job look into first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat

from udocker import files
from udocker.batch import slurm
from udocker.batch.job import SLURM
from udocker.errors import StoreError, UsageError, VerificationError
from udocker.model.place import OCI_ARCHIVE
from udocker.ops import batch, program, staged
from udocker.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from udocker.batch.job import Task
    from udocker.ops.session import Session

STDIN = "-"
_CHUNK = 1 << 20


def stage(session: Session, names: Sequence[str], parent: str = "") -> int:
    """Bring the images to every node of the job; how many nodes that are. ``parent``: below this
    directory of each node, and not in the job's scratch space. Raises UdockerError.
    """
    task = _task(session)
    images = [_fetched(session, name) for name in names]
    place = staged.directory(session, task)
    if not place:
        raise StoreError(
            f"no directory of this job can be written: {', '.join(task.scratch)}",
            hint="--to DIR, a directory that each node has",
        )
    from udocker.ops.save import save

    archive = f"{os.path.dirname(place)}/{files.unique_name()}.oci"
    try:
        save(session, images, archive, OCI_ARCHIVE)
        with open(archive, "rb") as stream:
            found = _digest(stream)
        count = slurm.nodes(session.environ) if task.system == SLURM else 1
        if count == 1:
            receive(session, archive, found, parent)
        else:
            _send(session, archive, found, count, parent)
        return count
    finally:
        with contextlib.suppress(OSError):
            os.unlink(archive)


def receive(session: Session, source: str, digest: str, parent: str = "") -> None:
    """Unpack the file ``source`` ("-": standard input) on this node, and remove it.

    Raises VerificationError where it is not the one that was sent, UdockerError.
    """
    task = _task(session)
    path = staged.directory(session, task, parent)
    if not path:
        raise StoreError(f"{os.uname().nodename}: no directory can be written", hint="--to DIR")
    if source == STDIN:
        source = _taken(os.path.dirname(path))
    try:
        with open(_opened(source), "rb") as stream:
            found = _digest(stream)
        if found != digest:
            size = os.stat(source).st_size
            raise VerificationError(
                f"{os.uname().nodename}: {source} arrived damaged ({size} bytes)",
                hint="is there room on the node? --to DIR names another place",
            )
        from udocker.ops.load import load

        load(session.over(Store(path)), source)
        with files.store_errors("noting where the images are"):
            staged.note(task, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(source)


def remove(session: Session) -> None:
    """Remove what was brought, on every node of the job. Raises UdockerError."""
    task = _task(session)
    count = slurm.nodes(session.environ) if task.system == SLURM else 1
    if count == 1:
        remove_here(session)
        return
    words = [*program.words(), "stage", "--remove-here"]
    failed = slurm.everywhere(words, count, session.environ)
    if failed:
        raise StoreError(f"not everything is removed: {failed}")


def remove_here(session: Session) -> None:
    """As ``remove``, on this node alone."""
    task = _task(session)
    path = staged.find(task)
    with files.store_errors("removing the staged images"):
        if path:
            files.remove_tree(path)
        node = batch.node_directory()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{node}/{staged.name(task)}.link")


def _task(session: Session) -> Task:
    task = session.task
    if task is None or not task.job:
        raise UsageError(
            "stage: this is no batch job", hint="in a job's script, before its srun lines"
        )
    return task


def _fetched(session: Session, name: str) -> str:
    """The image, which is fetched unless it is there with its layers; its name."""
    from udocker.model.place import Place
    from udocker.model.reference import Reference
    from udocker.ops.images import find_image
    from udocker.ops.load import load_one
    from udocker.ops.pull import lacks_layers, pull

    place = Place.parse(name)
    if place is not None:
        return load_one(session, place).canonical
    reference = Reference.parse(name, session.config.registry)
    known = find_image(session, reference)
    if known is not None and not lacks_layers(session, known):
        return known.reference
    return pull(session, reference, whole=True).reference


def _send(session: Session, archive: str, digest: str, count: int, parent: str) -> None:
    """Raises StoreError."""
    size = os.stat(archive).st_size
    report = session.report.task(f"sending {size >> 20} MiB to {count} nodes", None)
    target, halves = _broadcast(session, archive)
    words = [*program.words(), "--quiet", "stage", "--digest", digest, "--receive", target or STDIN]
    words += ["--to", parent] if parent else []
    for path in halves:
        words += ["--discard", path]
    failed = slurm.everywhere(words, count, session.environ, "" if target else archive)
    if failed:
        raise StoreError(f"staging failed: {failed}", hint="udocker stage --remove, and once more")
    report.done()


def _broadcast(session: Session, archive: str) -> tuple[str, list[str]]:
    """Where the file is on each node now ("": not on all), and what may be there of a part of it.

    The job's own directory for temporary files need not be there on all nodes.
    """
    halves: list[str] = []
    for folder in dict.fromkeys((_task(session).scratch[0], "/tmp")):
        target = f"{folder}/udocker-{os.path.basename(archive)}"
        refusal = slurm.broadcast(archive, target, session.environ)
        if not refusal:
            return target, halves
        session.report.debug(f"sbcast to {target}: {refusal}")
        halves.append(target)
    return "", halves


def discard(paths: Sequence[str]) -> None:
    """Remove files of this user's own, if they are there. Never fails."""
    for path in paths:
        with contextlib.suppress(OSError):
            if os.lstat(path).st_uid == os.getuid():
                os.unlink(path)


def _opened(path: str) -> int:
    """A file of this user's own, whoever else can write to the directory. Raises StoreError."""
    with files.store_errors("reading what was sent"):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        status = os.fstat(descriptor)
    if status.st_uid != os.getuid() or not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise StoreError(f"{path} is not a file of this user's own")
    return descriptor


def _taken(folder: str) -> str:
    """Standard input, as a file."""
    path = f"{folder}/{files.unique_name()}.oci"
    with files.store_errors("receiving the images"), open(path, "xb") as stream:
        while True:
            data = os.read(0, _CHUNK)
            if not data:
                return path
            stream.write(data)


def _digest(stream: BinaryIO) -> str:
    found = hashlib.sha256()
    while True:
        data = stream.read(_CHUNK)
        if not data:
            return f"sha256:{found.hexdigest()}"
        found.update(data)
