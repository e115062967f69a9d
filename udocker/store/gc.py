"""What is in a store that nothing needs, found so that nothing in use is taken for it.

Nothing here looks into images: what is wanted of trees and blobs is told.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from udocker import files, makers
from udocker.model.value import value
from udocker.store.partial import FOLDER
from udocker.store.usage import measure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from udocker.model.reference import Digest
    from udocker.store.blobs import Blobs
    from udocker.store.store import Store
    from udocker.store.trees import Trees

_UNUSED = 86400.0  # seconds after which a lock is one that nobody comes back to
# What refers to things is kept from what removes them by these: never without their file.
_LASTING = ("references", "names")
_PULL = "pull."


@value
class Doomed:
    """Something that can go: its kind and name for people, where it is, bytes on disk."""

    kind: str
    name: str
    path: str
    bytes: int


def leftovers(store: Store) -> Iterator[Doomed]:
    """What processes that are gone left in ``tmp``, in ``partial``, and under temporary names
    elsewhere."""
    unfinished = [*_paths(f"{store.topdir}/tmp"), *_paths(f"{store.topdir}/{FOLDER}")]
    for path in (*unfinished, *_strays(store)):
        with contextlib.suppress(OSError):
            if files.is_left_behind(path):
                yield _doomed("leftover", os.path.relpath(path, store.topdir), path)


def containers(store: Store) -> Iterator[Doomed]:
    """Containers of ``run --rm`` whose processes are gone."""
    for identity in store.containers.left():
        yield _doomed("container", identity[:12], store.containers.path(identity))


def trees(store: Store, wanted: Collection[Digest]) -> Iterator[Doomed]:
    """Trees that are not in ``wanted`` and that no pull under way may be about to use."""
    return _objects(store, "tree", store.trees, wanted)


def blobs(store: Store, wanted: Collection[Digest]) -> Iterator[Doomed]:
    """As ``trees``, of blobs."""
    return _objects(store, "blob", store.blobs, wanted)


def _objects(
    store: Store, kind: str, objects: Trees | Blobs, wanted: Collection[Digest]
) -> Iterator[Doomed]:
    begun = _pulls_began(store)
    for digest in objects.all():
        path = objects.path(digest)
        if digest not in wanted and not _is_younger(path, begun):
            yield _doomed(kind, str(digest), path)


def owners(store: Store) -> Iterator[Doomed]:
    """Tables of image owners in containers whose tree has one, or that have a copy of it."""
    for container in store.containers.sound():
        path = f"{container.path}/image-owners"
        beside = f"{os.path.dirname(container.tree)}/owners"
        if os.path.exists(path) and (container.form == "plain" or os.path.exists(beside)):
            yield _doomed("owners", container.id[:12], path)


def names(store: Store) -> Iterator[Doomed]:
    """Names of containers that are gone."""
    for name in store.containers.dangling():
        yield Doomed("name", name, f"{store.topdir}/names/{name}", 0)


def locks(store: Store) -> Iterator[Doomed]:
    """Lock files that nobody has used for a day, and links whose makers are gone."""
    for path in _paths(f"{store.topdir}/locks"):
        name = os.path.basename(path)
        with contextlib.suppress(OSError):
            if os.path.islink(path):
                if makers.state(makers.found_in(os.readlink(path))) == makers.ENDED:
                    yield Doomed("lock", name, path, 0)
            elif name not in _LASTING and files.older_than(path, _UNUSED):
                yield _doomed("lock", name, path)


def remove_lock(path: str) -> None:
    """Remove a lock file unless it is held; who waits for it notices. Raises OSError."""
    if os.path.islink(path):
        os.unlink(path)
        return
    with open(path, "rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            pass  # there are no locks: it is only a name
        os.unlink(path)


def patched(store: Store, roots: Collection[str]) -> Iterator[Doomed]:
    """Patched copies of files that are in none of the directories ``roots`` any more.

    Programs that run keep the copies that they have in memory.
    """
    engines = [path for path in _paths(f"{store.topdir}/patched") if os.path.isdir(path)]
    known = _known_files(roots) if engines else frozenset()
    for engine in engines:
        used = set()
        for link in _paths(f"{engine}/files"):
            if os.path.basename(link) in known or not files.older_than(link, files.TOO_YOUNG):
                used.add(os.path.basename(os.readlink(link)))
            else:
                yield Doomed("patched", os.path.basename(link), link, 0)
        for path in _paths(engine):
            name = os.path.basename(path)
            if len(name) == 64 and name not in used and files.older_than(path, files.TOO_YOUNG):
                yield _doomed("patched", name, path)


@contextlib.contextmanager
def pulling(directory: str) -> Iterator[None]:
    """While the block runs, what has come since it began is not taken for garbage."""
    path = f"{directory}/{_PULL}{files.temporary_name()}"
    with files.store_errors("using the store"):
        os.makedirs(directory, exist_ok=True)
        with open(path, "x", encoding="ascii") as stream:
            # The filesystem's clock, which all hosts share. Beats change the file's own time.
            stream.write(repr(os.fstat(stream.fileno()).st_mtime))
    try:
        with files.beating(path):
            yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _pulls_began(store: Store) -> float:
    """When the first of the pulls under way began."""
    first = time.time()
    for path in _paths(f"{store.topdir}/tmp"):
        if os.path.basename(path).startswith(_PULL):
            with contextlib.suppress(OSError, ValueError):
                if not files.is_left_behind(path):
                    with open(path, encoding="ascii") as stream:
                        first = min(first, float(stream.read() or os.lstat(path).st_mtime))
    return first


def _is_younger(path: str, moment: float) -> bool:
    """Whether ``path`` came after ``moment``; the times of files and of renames are whole."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return True
    return max(status.st_mtime, status.st_ctime) >= moment - 1


def _known_files(roots: Collection[str]) -> frozenset[str]:
    """As ops/patched.py names links."""
    found = set()
    for root in roots:
        for folder, _, entries in os.walk(root):
            for name in entries:
                with contextlib.suppress(OSError):
                    s = os.lstat(f"{folder}/{name}")
                    found.add(f"{s.st_dev}-{s.st_ino}-{s.st_size}-{s.st_mtime_ns}")
    return frozenset(found)


def _strays(store: Store) -> Iterator[str]:
    """Files that killed processes were writing beside the one they were to replace."""
    top = store.topdir
    places = [f"{top}/{name}" for name in ("cache", "patched", "names", "images")]
    for place in places:
        for folder, folders, entries in os.walk(place):
            for name in (*folders, *entries):
                if makers.found_in(name):
                    yield f"{folder}/{name}"
    for place in (*_paths(f"{top}/containers"), *_paths(f"{top}/trees/sha256")):
        for path in _paths(place):
            name = os.path.basename(path)
            if makers.found_in(name):
                yield path


def _doomed(kind: str, name: str, path: str) -> Doomed:
    return Doomed(kind, name, path, measure(path).bytes)


def _paths(directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in sorted(os.listdir(directory))]
    except (FileNotFoundError, NotADirectoryError):
        return []
