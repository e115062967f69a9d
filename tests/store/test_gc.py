"""What nothing needs: each kind, and what looks like it and is in use."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builders.processes import environment, python
from builders.specs import container as make_container
from builders.stores import add_image
from builders.trees import grow
from udocker import files, leases, makers
from udocker.model.value import replace
from udocker.store import gc
from udocker.store.store import Store

PULLING = """
import sys
from udocker.store.store import Store
with Store(sys.argv[1]).pulling():
    print("pulling", flush=True)
    input()
"""


@pytest.fixture
def store(store_path: Path) -> Store:
    return Store(str(store_path))


def ended_name() -> str:
    return python("from udocker import files; print(files.temporary_name())").stdout.strip()


def old(path: Path, seconds: float = 1000) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment), follow_symlinks=False)


def names(found: object) -> list[str]:
    return sorted(doomed.name for doomed in found)  # type: ignore[attr-defined]


def test_leftovers(store: Store, store_path: Path) -> None:
    gone, here = ended_name(), files.temporary_name()
    grow(store_path / "tmp", {f"{gone}/file": b"x" * 5000, f"{here}/file": b"x"})
    grow(store_path, {f"cache/modes/.{gone}.tmp": b"", f"cache/modes/.{here}.tmp": b""})
    grow(store_path, {f"containers/{'a' * 32}/.{gone}.tmp": b"", f"patched/x/f.{gone}": b""})
    found = list(gc.leftovers(store))
    assert names(found) == sorted(
        [
            f"tmp/{gone}",
            f"cache/modes/.{gone}.tmp",
            f"containers/{'a' * 32}/.{gone}.tmp",
            f"patched/x/f.{gone}",
        ]
    )
    assert max(doomed.bytes for doomed in found) > 5000


def test_trees_and_blobs(store: Store) -> None:
    wanted, other = add_image(store, "a"), add_image(store, "b", layer=b"b")
    assert list(gc.trees(store, {wanted.chain_id})) == []  # they have just come
    time.sleep(1.1)
    assert names(gc.trees(store, {wanted.chain_id})) == [str(other.chain_id)]
    assert names(gc.blobs(store, {other.config})) == names(gc.blobs(store, set()))[:0] + sorted(
        str(digest) for digest in store.blobs.all() if digest != other.config
    )


def test_what_has_come_since_a_pull_began(store: Store) -> None:
    before = add_image(store, "before")
    time.sleep(1.1)
    puller = subprocess.Popen(
        [sys.executable, "-c", PULLING, store.topdir],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert puller.stdout is not None
    assert puller.stdout.readline() == b"pulling\n"
    time.sleep(1.1)
    since = add_image(store, "since", layer=b"since")
    time.sleep(1.1)
    assert names(gc.trees(store, set())) == [str(before.chain_id)]
    assert str(since.config) not in names(gc.blobs(store, set()))
    puller.kill()
    puller.communicate()
    assert len(names(gc.trees(store, set()))) == 2
    assert str(since.config) in names(gc.blobs(store, set()))


def test_a_pull_on_another_host(store: Store, store_path: Path) -> None:
    add_image(store, "since")
    time.sleep(1.1)
    name = f"pull.{'0' * 32}.{'f' * 12}{makers.mark()[12:]}"
    grow(store_path / "tmp", {name: str(time.time() - 100).encode()})
    assert names(gc.trees(store, set())) == []
    old(store_path / "tmp" / name, 7200)  # it has not been touched for long
    assert len(names(gc.trees(store, set()))) == 1


def test_tables_of_owners(store: Store, store_path: Path) -> None:
    record = add_image(store, "a")
    for letter, form in (("a", "union"), ("b", "plain")):
        identity = letter * 32
        with store.temporary() as directory:
            made = make_container(identity, top=store.topdir)
            made = replace(made, tree=store.trees.root(record.chain_id), form=form)
            store.containers.create(directory, made, None)
            grow(Path(made.path), {"image-owners": b"x"})
    assert names(gc.owners(store)) == ["b" * 12]
    grow(Path(store.trees.path(record.chain_id)), {"owners": b"x"})
    assert names(gc.owners(store)) == ["a" * 12, "b" * 12]


def test_locks(store: Store, store_path: Path) -> None:
    for name in ("references", "names", "new", "unused", "used"):
        (store_path / "locks").mkdir(parents=True, exist_ok=True)
        with leases.lease(f"{store_path}/locks/{name}"):
            pass
    for name in ("references", "names", "unused", "used"):
        old(store_path / "locks" / name, 100_000)
    (store_path / "locks/a.held").symlink_to(ended_name())
    (store_path / "locks/b.held").symlink_to(files.temporary_name())
    assert names(gc.locks(store)) == ["a.held", "unused", "used"]
    for doomed in gc.locks(store):
        if doomed.name != "used":
            gc.remove_lock(doomed.path)
    holder = os.open(store_path / "locks/used", os.O_RDWR)
    lock = files.lock_entry(f"{store_path}/locks/used")
    assert lock is not None
    gc.remove_lock(f"{store_path}/locks/used")
    assert (store_path / "locks/used").exists()
    os.close(lock)
    os.close(holder)
    gc.remove_lock(f"{store_path}/locks/used")
    assert not (store_path / "locks/used").exists()


def test_patched_copies(store: Store, store_path: Path) -> None:
    root = grow(store_path / "trees/sha256/x/root", {"bin/a": b"a", "bin/b": b"b"})
    engine = store_path / "patched/engine"
    copies = [letter * 64 for letter in "abcd"]
    grow(engine, dict.fromkeys(copies, b"x" * 5000) | {"files/x": b""})
    (engine / "files/x").unlink()
    for name, copy in (("bin/a", copies[0]), ("bin/b", copies[1])):
        s = os.lstat(root / name)
        link = f"{s.st_dev}-{s.st_ino}-{s.st_size}-{s.st_mtime_ns}"
        (engine / "files" / link).symlink_to(f"../{copy}")
    (engine / "files/1-2-3-4").symlink_to(f"../{copies[2]}")
    for path in (*engine.iterdir(), *(engine / "files").iterdir()):
        old(path)
    (root / "bin/b").write_bytes(b"another")
    found = names(gc.patched(store, [str(root)]))
    assert [name for name in found if len(name) == 64] == copies[1:]
    assert len(found) == 5
    assert names(gc.patched(store, [])) != found
    old(engine / copies[3], 0)
    assert copies[3] not in names(gc.patched(store, [str(root)]))


def test_an_empty_store(store: Store) -> None:
    kinds = (gc.leftovers, gc.containers, gc.names, gc.owners, gc.locks)
    assert [list(kind(store)) for kind in kinds] == [[]] * len(kinds)
    assert list(gc.trees(store, set())) == list(gc.blobs(store, set())) == []
    assert list(gc.patched(store, [])) == []
    assert not os.path.exists(store.topdir)
