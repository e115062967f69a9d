"""Containers of images in the store, and a container's own copy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.processes import race
from builders.sessions import session as make_session
from builders.stores import add_image
from builders.trees import Whiteout, contents, grow
from fakes.registry import FakeRegistry, make_image, make_layer
from udocker.errors import (
    ContainerNotFound,
    ImageNotFound,
    NameInUse,
    StoreError,
    UsageError,
    VerificationError,
)
from udocker.files import remove_tree
from udocker.model.oci import Platform
from udocker.model.reference import Reference
from udocker.model.request import DeviceOptions
from udocker.ops.containers import describe, private_root, setup
from udocker.ops.create import create, ensure_image, private_copy
from udocker.ops.images import remove_image

if TYPE_CHECKING:
    from typing import Any

    from builders.sessions import TestSession
    from udocker.store.images import ImageRecord

TEST = Reference.parse("test")


@pytest.fixture
def session(store_path: Path) -> TestSession:
    return make_session(store_path, host())


def nothing_new(session: TestSession) -> bool:
    tmp = f"{session.store.topdir}/tmp"
    left = os.listdir(tmp) if os.path.isdir(tmp) else []
    return session.store.containers.all() == [] and left == []


def test_a_container_is_nothing_but_two_files(session: TestSession) -> None:
    add_image(session.store, "test", {"etc/motd": b"hello"})
    made = create(session, TEST, pull="never")
    assert sorted(os.listdir(made.path)) == ["config.json", "container.json"]


def test_a_container_is_an_empty_upper_over_the_tree(session: TestSession) -> None:
    record = add_image(session.store, "test", {"etc/motd": b"hello"}, {"Cmd": ["/x"], "User": "5"})
    made = create(session, TEST, name="box", pull="never")
    assert session.store.containers.get("box") == made
    assert made.tree == session.store.trees.root(record.chain_id)
    assert made.image == "docker.io/library/test:latest"
    assert made.manifest == record.manifest
    assert (made.config.cmd, made.config.user) == (("/x",), "5")
    assert (made.form, made.mode, made.names) == ("union", "", ("box",))
    session.store.containers.make_ready(made)
    assert os.listdir(made.upper) == []


def test_containers_are_never_the_same(session: TestSession) -> None:
    add_image(session.store)
    made = [create(session, TEST) for _ in range(3)]
    assert len({container.id for container in made}) == 3
    assert [c.id for c in session.store.containers.all()] == [c.id for c in made[::-1]]


def test_never_pulls(session: TestSession) -> None:
    with pytest.raises(ImageNotFound, match="image test is not in the store") as caught:
        create(session, TEST, pull="never")
    assert caught.value.hint == "udocker pull test"
    add_image(session.store, architecture="arm64")
    with pytest.raises(ImageNotFound):
        create(session, TEST, pull="never", platform=Platform.parse("linux/amd64"))
    made = create(session, TEST, pull="never", platform=Platform.parse("linux/arm64"))
    assert str(made.config.platform) == "linux/arm64"


def test_an_image_whose_tree_is_gone_is_not_here(session: TestSession) -> None:
    record = add_image(session.store)
    remove_tree(session.store.trees.path(record.chain_id))
    with pytest.raises(ImageNotFound):
        create(session, TEST, pull="never")
    assert nothing_new(session)


def test_pull_says_when_to_ask_the_registry(session: TestSession) -> None:
    with FakeRegistry() as registry:
        name = Reference.parse(f"{registry.host}/test/app")
        make_image(registry, "test/app", "latest", [make_layer({"a": b""})])
        create(session, name)
        assert registry.log
        registry.log.clear()
        create(session, name)
        create(session, name, pull="never")
        assert registry.log == []
        make_image(registry, "test/app", "latest", [make_layer({"b": b""})])
        old = create(session, name)
        new = create(session, name, pull="always")
    assert (os.listdir(old.tree), os.listdir(new.tree)) == (["a"], ["b"])


class Remover:
    """Another process, which removes an image as soon as it has been found, some ``times``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self.left = times
        self._find = ensure_image
        monkeypatch.setattr("udocker.ops.create.ensure_image", self)

    def __call__(self, session: TestSession, reference: Reference, *rest: Any) -> ImageRecord:
        record = self._find(session, reference, *rest)
        if self.left:
            self.left -= 1
            remove_image(session, str(reference))
        return record


def test_an_image_that_is_removed_meanwhile(
    session: TestSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeRegistry() as registry:
        name = Reference.parse(f"{registry.host}/test/app")
        make_image(registry, "test/app", "latest", [make_layer({"a": b""})])
        remover = Remover(monkeypatch, 7)
        with pytest.raises(StoreError, match="was removed or replaced 5 times while") as caught:
            create(session, name)
        assert str(caught.value.hint).startswith("end what removes it")
        assert nothing_new(session)
        assert remover.left == 2
        assert os.listdir(create(session, name).tree) == ["a"]
        assert remover.left == 0


def test_a_bad_name_is_told_before_a_pull(session: TestSession) -> None:
    with FakeRegistry() as registry:
        name = Reference.parse(f"{registry.host}/test/app")
        make_image(registry, "test/app", "latest", [make_layer({"a": b""})])
        with pytest.raises(UsageError):
            create(session, name, name="no/slash")
        add_image(session.store)
        create(session, TEST, name="box")
        with pytest.raises(NameInUse):
            create(session, name, name="box")
        assert registry.log == []


def test_a_damaged_configuration_is_no_container(session: TestSession) -> None:
    record = add_image(session.store)
    Path(session.store.blobs.path(record.config)).write_bytes(b"{}")
    with pytest.raises(VerificationError) as caught:
        create(session, TEST)
    assert caught.value.hint == "pull again"
    assert nothing_new(session)


CREATE = """
import sys
from pathlib import Path
from builders.hosts import host
from builders.sessions import session
from udocker.errors import NameInUse
from udocker.model.reference import Reference
from udocker.ops.create import create
made = session(Path(sys.argv[1]), host())
go()
try:
    create(made, Reference.parse("test"), name="box", pull="never")
    print("mine")
except NameInUse:
    print("taken")
"""


def test_of_many_containers_of_one_name_one_is_made(session: TestSession) -> None:
    add_image(session.store)
    ended = race(CREATE, 4, session.store.topdir)
    assert sorted(process.stdout for process in ended) == ["mine\n", *["taken\n"] * 3], ended
    [made] = session.store.containers.all()
    assert made.names == ("box",)
    assert os.listdir(f"{session.store.topdir}/tmp") == []


# A copy of its own


def test_a_copy_is_the_tree_with_what_was_written(session: TestSession) -> None:
    add_image(session.store, "test", {"etc/motd": b"image", "gone": b""})
    made = create(session, TEST, name="box")
    grow(Path(made.upper), {"etc/motd": b"changed", "gone": Whiteout(), "new": b""})
    plain = private_copy(session, made)
    assert plain.form == "plain"
    assert session.store.containers.get("box").form == "plain"
    assert sorted(contents(Path(plain.root))) == ["etc", "etc/motd", "new"]
    assert Path(plain.root, "etc/motd").read_bytes() == b"changed"
    assert Path(made.tree, "etc/motd").read_bytes() == b"image"
    assert session.report.infos == ["making the container's own copy of the image"]


def test_a_copy_is_made_once(session: TestSession) -> None:
    add_image(session.store, "test", {"file": b"image"})
    made = create(session, TEST)
    plain = private_copy(session, made)
    Path(plain.root, "file").write_bytes(b"of the container")
    for container in (made, plain):  # the first is what another process may still believe
        assert private_copy(session, container).form == "plain"
    assert Path(plain.root, "file").read_bytes() == b"of the container"
    assert len(session.report.infos) == 1


COPY = """
import sys
from pathlib import Path
from builders.hosts import host
from builders.sessions import session
from udocker.ops.create import private_copy
made = session(Path(sys.argv[1]), host())
container = made.store.containers.get("box")
go()
print(private_copy(made, container).form, len(made.report.infos))
"""


def test_of_many_that_copy_one_does_the_work(session: TestSession) -> None:
    add_image(session.store, "test", {f"dir/{n}": b"x" for n in range(100)})
    made = create(session, TEST, name="box")
    ended = race(COPY, 3, session.store.topdir)
    lines = sorted(process.stdout for process in ended)
    assert lines == ["plain 0\n", "plain 0\n", "plain 1\n"], ended
    assert len(os.listdir(f"{made.root}/dir")) == 100
    assert os.listdir(f"{session.store.topdir}/tmp") == []


def test_the_root_is_made_when_it_is_asked_for(session: TestSession) -> None:
    add_image(session.store, "test", {"file": b"image"})
    create(session, TEST, name="box")
    root = private_root(session, "box")
    assert os.listdir(root) == ["file"]
    assert private_root(session, "box") == root
    with pytest.raises(ContainerNotFound):
        private_root(session, "test")


# What is known of it


def test_a_container_is_described(session: TestSession) -> None:
    record = add_image(session.store, "test", {"file": b""}, {"Env": ["A=b"]})
    made = create(session, TEST, name="box")
    found = describe(session, "box")
    assert found == {
        "id": made.id,
        "names": ["box"],
        "image": "docker.io/library/test:latest",
        "manifest": str(record.manifest),
        "mode": "auto",
        "created": made.created,
        "form": "union",
        "state": {
            "status": "created",
            "running": False,
            "paused": False,
            "pid": 0,
            "exitCode": 0,
            "error": "",
            "startedAt": "",
            "finishedAt": "",
            "node": "",
        },
        "path": made.path,
        "tree": made.tree,
        "root": None,
        "devices": vars(DeviceOptions()),
        "labels": {},
        "mounts": [],
        "ports": {},
        "config": found["config"],
    }
    config = found["config"]
    assert isinstance(config, dict)
    assert config["config"] == {"Env": ["A=b"]}
    plain = private_copy(session, made)
    assert describe(session, made.id[:12])["root"] == plain.root


def test_an_image_is_described(session: TestSession) -> None:
    record = add_image(session.store, "test", {"file": b""}, {"Env": ["A=b"]})
    for text in ("test", "docker.io/library/test:latest", record.config.hex[:6]):
        found = describe(session, text)
        assert found["reference"] == record.reference
        assert found["id"] == str(record.config)
        assert found["tree"] == session.store.trees.root(record.chain_id)
        assert found["index"] is None
    create(session, TEST, name="test")
    assert "names" in describe(session, "test")  # a container goes first
    with pytest.raises(ImageNotFound, match="no such container or image: other"):
        describe(session, "other")


def test_a_short_id_means_an_image_of_that_name_first(session: TestSession) -> None:
    add_image(session.store)
    made = create(session, TEST)
    name = made.id[:7]
    add_image(session.store, name)
    assert describe(session, name)["reference"] == f"docker.io/library/{name}:latest"
    assert describe(session, made.id[:8])["id"] == made.id


def test_the_mode_of_a_container(session: TestSession) -> None:
    add_image(session.store)
    made = create(session, TEST, name="box")
    assert setup(session, "box", None) == made
    assert setup(session, "box", "N1").mode == "N1"
    assert session.store.containers.get("box").mode == "N1"
    assert setup(session, "box", "auto").mode == ""
    assert session.report.warnings == []
    assert setup(session, "box", "R1").mode == "R1"
    [warning] = session.report.warnings
    assert warning.startswith("R1 does not work on this host: ")
    with pytest.raises(UsageError, match="unknown execution mode 'X9'"):
        setup(session, "box", "X9")
    assert session.store.containers.get("box").mode == "R1"
    with pytest.raises(ContainerNotFound):
        setup(session, "none", "N1")
