"""Containers on disk: records, names, and how they go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from builders.processes import environment, python, race
from builders.specs import container as make_container
from builders.trees import Directory, File, grow
from udocker import makers
from udocker.errors import (
    ContainerInUse,
    ContainerNotFound,
    NameInUse,
    StoreError,
    StoreUnwritableError,
    UsageError,
)
from udocker.model.container import Container
from udocker.model.request import DeviceOptions
from udocker.model.value import replace
from udocker.store.containers import Containers
from udocker.store.store import Store

A = "a" * 32
B = "ab" + "0" * 30
C = "c0ffee" + "0" * 26


@pytest.fixture
def store(store_path: Path) -> Store:
    return Store(str(store_path))


@pytest.fixture
def containers(store: Store) -> Containers:
    return store.containers


def create(
    store: Store, identity: str = A, name: str | None = None, *, remove: bool = False
) -> Container:
    with store.temporary() as directory:
        made = make_container(identity, top=store.topdir)
        created = store.containers.create(directory, made, name, remove=remove)
    store.containers.make_ready(created)
    return created


def test_a_new_container_has_its_directories_and_comes_back_whole(store: Store) -> None:
    made = create(store, A, "box")
    assert made == replace(make_container(A, top=store.topdir), names=("box",))
    assert store.containers.find(A) == made
    assert store.containers.get("box") == made
    assert store.containers.all() == [made]
    assert os.listdir(made.upper) == os.listdir(made.work) == os.listdir(made.root) == []
    assert os.listdir(f"{store.topdir}/tmp") == []


def test_what_was_removed_is_not_made_ready(store: Store) -> None:
    made = create(store, A, "box")
    store.containers.delete(A)
    with pytest.raises(ContainerNotFound, match=f"container {A[:12]} has just been removed"):
        store.containers.make_ready(made)
    assert not os.path.exists(made.path)


def test_a_plain_container_has_no_union(store: Store) -> None:
    with store.temporary() as directory:
        made = make_container(A, top=store.topdir, plain=True)
        store.containers.create(directory, made, None)
    assert not os.path.exists(made.upper)
    assert store.containers.get(A).form == "plain"


def test_the_newest_is_first(store: Store) -> None:
    for number, identity in enumerate((B, A, C)):
        with store.temporary() as directory:
            made = make_container(
                identity, top=store.topdir, created=f"2026-01-0{number + 1}T00:00:00"
            )
            store.containers.create(directory, made, None)
    assert [found.id for found in store.containers.all()] == [C, A, B]


def test_an_empty_store_has_none(containers: Containers) -> None:
    assert containers.all() == []
    assert containers.find("box") is None
    assert containers.find(A) is None
    with pytest.raises(ContainerNotFound, match="no such container: box") as caught:
        containers.get("box")
    assert caught.value.hint == "udocker ps lists them"
    containers.sweep()


def test_an_update_is_kept_and_names_are_no_part_of_it(store: Store) -> None:
    made = create(store, A, "box")
    store.containers.update(replace(made, mode="P1", form="plain", names=("other",)))
    assert store.containers.get(A) == replace(made, mode="P1", form="plain")


# Which container a text means


@pytest.mark.parametrize("text", [A, "box", "a" * 31, "aa", "aaaaaaaaaaaa"])
def test_names_ids_and_beginnings(store: Store, text: str) -> None:
    create(store, A, "box")
    create(store, B, "ab1")
    assert store.containers.get(text).id == A
    assert store.containers.get("ab").id == B


@pytest.mark.parametrize(
    "text", ["", "bo", "BOX", "b", "aaA", "a" * 33, "../" + A, ".", "a/b", "d"]
)
def test_texts_that_mean_none(store: Store, text: str) -> None:
    create(store, A, "box")
    assert store.containers.find(text) is None


def test_a_beginning_of_two_is_told(store: Store) -> None:
    create(store, A)
    create(store, B)
    with pytest.raises(ContainerNotFound, match="a is the beginning of several container ids"):
        store.containers.find("a")


def test_a_name_goes_before_the_beginning_of_an_id(store: Store) -> None:
    create(store, A)
    create(store, C, "aa")
    assert store.containers.get("aa").id == C


def test_beginnings_may_have_to_be_longer(store: Store) -> None:
    create(store, C, "cafe")
    assert store.containers.find("c0ffee0", least=8) is None
    assert store.containers.find("c0ffee00", least=8) is not None
    assert store.containers.find("cafe", least=8) is not None
    assert store.containers.find(C, least=33) is not None


# Names


@pytest.mark.parametrize("name", ["box", "a", "9", "A.b-c_d", "x" * 200, "tmp.tmp", "cafe"])
def test_good_names(store: Store, name: str) -> None:
    create(store, A, name)
    assert store.containers.get(name).names == (name,)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".box", "-box", "_x", "a/b", "a b", "a\n", "ä", "../../x", "a\0b", "b" * 32],
)
def test_bad_names_leave_nothing(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="not a container name"):
        create(store, A, name)
    assert store.containers.all() == []
    assert os.listdir(f"{store.topdir}/tmp") == []


def test_a_name_too_long_for_the_filesystem_leaves_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match="File name too long"):
        create(store, A, "x" * 300)
    assert store.containers.all() == []


def test_a_name_is_given_once(store: Store) -> None:
    create(store, A, "box")
    with pytest.raises(NameInUse, match="'box' is taken by container aaaaaaaaaaaa") as caught:
        create(store, B, "box")
    assert caught.value.hint == "udocker rm box, or choose another name"
    assert [found.id for found in store.containers.all()] == [A]
    assert os.listdir(f"{store.topdir}/tmp") == []
    with pytest.raises(NameInUse):
        store.containers.check_name("box")


def test_more_names_for_one_container(store: Store) -> None:
    made = create(store, A, "box")
    store.containers.add_name(made, "chest")
    assert store.containers.get("chest").names == ("box", "chest")
    with pytest.raises(NameInUse):
        store.containers.add_name(made, "chest")
    with pytest.raises(UsageError):
        store.containers.add_name(made, "no/slash")
    store.containers.remove_name("box")
    assert store.containers.get(A).names == ("chest",)
    assert store.containers.find("box") is None


def test_renaming(store: Store) -> None:
    create(store, A, "box")
    create(store, B, "chest")
    store.containers.rename("box", "crate")
    assert store.containers.get(A).names == ("crate",)
    with pytest.raises(NameInUse):
        store.containers.rename("crate", "chest")
    with pytest.raises(UsageError):
        store.containers.rename("crate", "no/slash")
    with pytest.raises(ContainerNotFound, match="no container has the name 'box'"):
        store.containers.rename("box", "other")
    assert store.containers.get(A).names == ("crate",)
    assert store.containers.get(B).names == ("chest",)


@pytest.mark.parametrize("name", ["box", A, "", "..", "../containers"])
def test_names_that_are_not_there_cannot_be_removed(store: Store, name: str) -> None:
    create(store, A, "other")
    with pytest.raises(ContainerNotFound, match="no container has the name"):
        store.containers.remove_name(name)
    assert store.containers.get("other").id == A


def test_a_name_whose_container_is_gone_is_free(store: Store) -> None:
    names = Path(store.topdir, "names")
    names.mkdir(parents=True)
    (names / "box").symlink_to(B)
    (names / "odd").symlink_to("../../etc")
    (names / ".0123.tmp").symlink_to(B)
    assert store.containers.find("box") is None
    with pytest.raises(ContainerNotFound):
        store.containers.remove_name("box")
    create(store, A, "box")
    assert store.containers.get("box").id == A
    store.containers.check_name("odd")
    assert [found.names for found in store.containers.all()] == [("box",)]


CLAIM = """
import sys
from builders.specs import container
from udocker.errors import NameInUse
from udocker.store.store import Store
store = Store(sys.argv[1])
identity = sys.argv[2] * 32
with store.temporary() as directory:
    go()
    try:
        store.containers.create(directory, container(identity, top=store.topdir), "box")
        print("mine")
    except NameInUse as error:
        print("taken")
"""


def test_of_many_that_claim_a_name_one_gets_it(store: Store) -> None:
    for _ in range(5):
        ended = race(CLAIM, 4, store.topdir)
        assert [process.returncode for process in ended] == [0] * 4, ended
        assert sorted(process.stdout for process in ended) == ["mine\n", *["taken\n"] * 3]
        [winner] = store.containers.all()
        assert winner.names == ("box",)
        store.containers.delete(winner.id)


def test_of_many_renames_to_a_name_one_gets_it(store: Store) -> None:
    for number in range(4):
        create(store, str(number) * 32, f"box{number}")
    code = """
import sys
from udocker.errors import NameInUse
from udocker.store.containers import Containers
containers = Containers(sys.argv[1])
go()
try:
    containers.rename(f"box{sys.argv[2]}", "box")
    print("mine")
except NameInUse as error:
    print("taken")
"""
    ended = race(code, 4, store.topdir)
    assert sorted(process.stdout for process in ended) == ["mine\n", *["taken\n"] * 3]
    assert sum("box" in found.names for found in store.containers.all()) == 1
    assert all(found.names for found in store.containers.all())


# Removal


def test_delete_takes_container_names_and_content(store: Store) -> None:
    made = create(store, A, "box")
    store.containers.add_name(made, "chest")
    create(store, B, "stays")
    grow(
        Path(made.upper),
        {"locked/in/file": File(b"", 0), "locked/in": Directory(0), "locked": Directory(0o111)},
    )
    Path(made.work, "work").mkdir(mode=0)  # as overlayfs leaves it
    store.containers.delete(A)
    assert [found.id for found in store.containers.all()] == [B]
    assert os.listdir(f"{store.topdir}/names") == ["stays"]
    assert os.listdir(f"{store.topdir}/tmp") == []
    store.containers.check_name("box")


def test_delete_follows_no_link(store: Store, tmp_path: Path) -> None:
    outside = grow(tmp_path / "outside", {"file": b"kept"})
    made = create(store, A)
    Path(made.upper, "link").symlink_to(outside)
    os.rmdir(made.root)
    Path(made.root).symlink_to(outside)
    store.containers.delete(A)
    assert (outside / "file").read_bytes() == b"kept"


@pytest.mark.parametrize("text", ["box", "aaa", A])
def test_remove_by_any_text(store: Store, text: str) -> None:
    create(store, A, "box")
    store.containers.remove(text)
    assert store.containers.all() == []
    with pytest.raises(ContainerNotFound, match="no such container"):
        store.containers.remove(text)


def test_delete_of_what_is_gone(store: Store) -> None:
    with pytest.raises(ContainerNotFound, match=r"no such container: a{12}$"):
        store.containers.delete(A)


DAMAGE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b"\xff",
    b'{"image": "a", "manifest": 1}',
    b'{"image": "a", "manifest": "sha256:1"}',
]
NO_DEVICES = [
    '"all"',
    "[]",
    "{}",
    '{"gpus": "all", "nv": false, "rocm": false, "devices": [], "cdi_dirs": []}',
    '{"gpus": [1], "nv": false, "rocm": false, "devices": [], "cdi_dirs": []}',
    '{"gpus": [], "nv": false, "devices": [], "cdi_dirs": []}',
]


@pytest.mark.parametrize("devices", NO_DEVICES)
def test_a_record_whose_devices_are_damaged(store: Store, devices: str) -> None:
    made = create(store, A, "box")
    path = Path(made.path, "container.json")
    record = json.loads(path.read_bytes())
    assert "devices" not in record  # as before there were any
    path.write_text(json.dumps({**record, "devices": json.loads(devices)}))
    with pytest.raises(StoreError, match="container aaaaaaaaaaaa is damaged"):
        store.containers.get("box")


def test_devices_are_kept(store: Store) -> None:
    made = create(store, A, "box")
    wanted = DeviceOptions(("all",), True, False, ("/dev/fuse",), ("/specs",), True, True)
    store.containers.update(replace(made, devices=wanted))
    assert store.containers.get("box").devices == wanted
    path = Path(made.path, "container.json")
    record = json.loads(path.read_bytes())
    del record["devices"]["skip_hooks"], record["devices"]["host_libc"]
    path.write_text(json.dumps(record))  # as versions before them wrote it
    wanted = replace(wanted, skip_hooks=False, host_libc=False)
    assert store.containers.get("box").devices == wanted


@pytest.mark.parametrize("content", DAMAGE)
@pytest.mark.parametrize("name", ["container.json", "config.json"])
def test_a_damaged_container_is_told_and_can_be_removed(
    store: Store, content: bytes, name: str
) -> None:
    made = create(store, A, "box")
    Path(made.path, name).write_bytes(content)
    with pytest.raises(StoreError, match="aaaaaaaaaaaa") as caught:
        store.containers.get("box")
    hint = "udocker fsck --repair may mend it; udocker rm aaaaaaaaaaaa removes it"
    assert caught.value.hint == hint
    store.containers.remove("aaaaaaaaaaaa")
    assert store.containers.all() == []
    store.containers.check_name("box")


def test_a_container_without_a_record_can_be_removed(store: Store) -> None:
    made = create(store, A, "box")
    os.unlink(f"{made.path}/container.json")
    assert store.containers.find("box") is None
    store.containers.remove("box")
    assert os.listdir(f"{store.topdir}/containers") == []


def test_a_record_that_may_not_be_read(store: Store) -> None:
    made = create(store, A)
    os.chmod(f"{made.path}/container.json", 0)
    with pytest.raises(StoreUnwritableError, match="reading the container: Permission denied"):
        store.containers.get(A)


# Containers of --rm


HOLD = """
import sys
from udocker.store.containers import Containers
containers = Containers(sys.argv[1])
containers.hold(containers.get(sys.argv[2]))
print("held", flush=True)
input()
"""


def orphaned(container: Container) -> Container:
    """As if the process that made it had ended."""
    Path(container.path, "remove-after-run").write_text(ended_mark())
    return container


def ended_mark() -> str:
    return python("from udocker import makers; print(makers.mark())").stdout.strip()


def mark_of(boot: str) -> str:
    return boot + makers.mark()[12:]


def test_a_sweep_removes_what_a_dead_process_left(store: Store) -> None:
    kept = create(store, B)
    left = create(store, A, "box", remove=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, store.topdir, A],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    store.containers.sweep()
    assert store.containers.find(left.id) is not None
    holder.kill()
    holder.communicate()
    with store.temporary():
        pass  # every maker of something sweeps
    assert [found.id for found in store.containers.all()] == [kept.id]
    assert os.listdir(f"{store.topdir}/names") == []


def test_a_sweep_leaves_a_container_whose_maker_is_alive(store: Store) -> None:
    """However old: its image may take long to be copied before it runs."""
    made = create(store, A, remove=True)
    os.utime(made.path, (0, 0))
    os.utime(f"{made.path}/remove-after-run", (0, 0))
    store.containers.sweep()
    assert store.containers.find(A) is not None


def test_a_sweep_leaves_a_container_that_another_process_uses(store: Store) -> None:
    made = orphaned(create(store, A, remove=True))
    store.containers.enter(made)
    store.containers.sweep()
    assert store.containers.find(A) is not None
    for mark in os.listdir(f"{made.path}/in-use"):
        os.rename(f"{made.path}/in-use/{mark}", f"{made.path}/in-use/{ended_mark()}")
    store.containers.sweep()
    assert store.containers.find(A) is None


@pytest.mark.parametrize(("days", "stays"), [(1, True), (8, False)])
def test_a_sweep_and_a_container_of_another_host(store: Store, days: int, stays: bool) -> None:
    made = create(store, A, remove=True)
    path = Path(made.path, "remove-after-run")
    path.write_text(mark_of("f" * 12))
    os.utime(path, (time.time() - days * 86400,) * 2)
    store.containers.sweep()
    assert (store.containers.find(A) is not None) is stays


def test_a_damaged_container_does_not_stop_a_sweep(store: Store) -> None:
    made = [create(store, each, remove=True) for each in (A, B)]
    Path(orphaned(made[0]).path, "container.json").write_bytes(b"{")
    orphaned(made[1])
    store.containers.sweep()
    assert os.listdir(f"{store.topdir}/containers") == []


def test_two_may_hold_one_container(store: Store) -> None:
    """``run --rm`` of one container twice: the second must run too."""
    made = create(store, A)
    store.containers.hold(made)
    code = """
import sys
from udocker.store.containers import Containers
containers = Containers(sys.argv[1])
containers.hold(containers.get(sys.argv[2]))
"""
    python(code, store.topdir, A)


def test_the_lease_of_a_container_is_exclusive(store: Store) -> None:
    made = create(store, A)
    code = """
import sys
from udocker.store.store import Store
containers = Store(sys.argv[1]).containers
made = containers.get(sys.argv[2])
go()
for _ in range(50):
    with containers.lease(made):
        path = f"{made.path}/counter"
        with open(path) as stream:
            number = int(stream.read())
        with open(path, "w") as stream:
            stream.write(str(number + 1))
"""
    Path(made.path, "counter").write_text("0")
    ended = race(code, 3, store.topdir, A)
    assert [process.returncode for process in ended] == [0] * 3, ended
    assert Path(made.path, "counter").read_text() == "150"


# Use


def test_one_that_is_in_use_is_not_removed(store: Store) -> None:
    made = create(store, A, "box")
    store.containers.enter(made)
    with pytest.raises(ContainerInUse, match=f"container box is in use: process {os.getpid()}$"):
        store.containers.remove("box")
    assert store.containers.get("box").id == A
    store.containers.remove("box", force=True)
    assert store.containers.find(A) is None


def test_a_run_that_ended_is_no_use(store: Store) -> None:
    made = create(store, A)
    code = """
import sys
from udocker.store.containers import Containers
containers = Containers(sys.argv[1])
containers.enter(containers.get(sys.argv[2]))
"""
    python(code, store.topdir, A)
    assert len(os.listdir(f"{made.path}/in-use")) == 1
    store.containers.remove(A)
    assert store.containers.find(A) is None


@pytest.mark.parametrize(
    ("boot", "node", "refused"),
    [
        ("f" * 12, "elsewhere", True),
        ("f" * 12, os.uname().nodename, os.uname().nodename.startswith("localhost")),
        ("f" * 12, "localhost", True),
        (makers.mark()[:12], os.uname().nodename, True),
    ],
)
def test_use_on_another_host_or_before_a_restart(
    store: Store, boot: str, node: str, refused: bool
) -> None:
    """Of this very machine, in another pid namespace: it may go on."""
    made = create(store, A)
    namespace = makers.mark().split("-", 2)[1]
    mark = mark_of(boot).replace(f"-{namespace}-", "-1-")
    grow(Path(made.path), {f"in-use/{mark}": node.encode()})
    if refused:
        with pytest.raises(ContainerInUse, match=f"process {os.getpid()} on {node}"):
            store.containers.remove(A)
    else:
        store.containers.remove(A)
    assert (store.containers.find(A) is not None) is refused


def test_processes_that_no_mark_tells_of(store: Store) -> None:
    made = create(store, A)
    with pytest.raises(ContainerInUse, match="a run has left processes"):
        store.containers.remove(A, runs=lambda path: path == made.path)


def test_a_run_that_begins_while_its_container_is_removed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create(store, A, "box")
    rename = os.rename

    def entering(source: str, target: str) -> None:
        if source == made.path:
            store.containers.enter(made)
        rename(source, target)

    monkeypatch.setattr(os, "rename", entering)
    with pytest.raises(ContainerInUse):
        store.containers.remove("box")
    assert store.containers.get("box").id == A


def test_what_was_removed_does_not_come_back(store: Store) -> None:
    """As where another process removes it when it has just been found."""
    made = create(store, A)
    store.containers.delete(A)
    with pytest.raises(ContainerNotFound, match="has just been removed"):
        store.containers.enter(made)
    for change in (store.containers.hold, store.containers.update):
        with pytest.raises(StoreError):
            change(made)
    with pytest.raises(StoreError), store.containers.lease(made):
        pass
    assert not os.path.exists(made.path)


def test_many_runs_leave_few_marks(store: Store) -> None:
    made = create(store, A)
    boot, namespace, _, start = makers.mark().split("-")
    gone = {f"in-use/{boot}-{namespace}-{4194304 + number}-{start}": b"" for number in range(200)}
    grow(Path(made.path), gone)
    store.containers.enter(made)
    assert os.listdir(f"{made.path}/in-use") == [makers.mark()]


def test_a_mark_that_cannot_be_made_stops_nobody(store: Store) -> None:
    made = create(store, A)
    Path(made.path).chmod(0o500)
    store.containers.enter(made)
    Path(made.path).chmod(0o700)
    assert not os.path.exists(f"{made.path}/in-use")


# What is wrong


def test_sound_and_damaged_ones(store: Store) -> None:
    create(store, A)
    damaged = create(store, B)
    Path(damaged.path, "container.json").write_bytes(b"{")
    assert [found.id for found in store.containers.sound()] == [A]
    assert store.containers.damaged() == [B]


def test_a_name_is_not_without_a_container_while_that_is_removed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create(store, A, "box")
    rename = os.rename
    answers: list[bool] = []
    look = threading.Thread(target=lambda: answers.append(store.containers.is_dangling("box")))

    def renaming(source: str, target: str) -> None:
        rename(source, target)
        if source == made.path:
            look.start()
            time.sleep(0.3)  # it would have its answer long ago

    monkeypatch.setattr(os, "rename", renaming)
    store.containers.delete(A)
    look.join()
    assert answers == [False]


def test_names_without_a_container(store: Store) -> None:
    create(store, A, "box")
    assert store.containers.dangling() == []
    os.symlink(B, f"{store.topdir}/names/lost")
    assert store.containers.dangling() == ["lost"]
    store.containers.remove_dangling("box")
    store.containers.remove_dangling("lost")
    store.containers.remove_dangling("lost")
    assert os.listdir(f"{store.topdir}/names") == ["box"]
