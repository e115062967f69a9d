"""The files by which the in-process engine knows owners: made, and made again when moved."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.sessions import session as make_session
from fakes.registry import Entry, FakeRegistry, directory, make_image, make_layer, program
from udocker.model.reference import Reference
from udocker.ops import owners
from udocker.ops.create import create, private_copy
from udocker.store.owners import ATTRIBUTE, remember

if TYPE_CHECKING:
    from builders.sessions import TestSession
    from udocker.model.container import Container


@pytest.fixture
def session(store_path: Path) -> TestSession:
    return make_session(store_path, host())


@pytest.fixture
def container(session: TestSession) -> Container:
    su = Entry(b"#!", mode=0o4755)
    spool = Entry(kind=directory().kind, mode=0o2770, gid=8)
    shadow = Entry(b"x", mode=0, uid=0, gid=42)
    layer = make_layer(
        {"bin/sh": program(b"#!"), "bin/su": su, "var/mail": spool, "etc/shadow": shadow}
    )
    with FakeRegistry() as registry:
        make_image(registry, "test/app", "latest", [layer])
        made = create(session, Reference.parse(f"{registry.host}/test/app"))
        session.store.containers.make_ready(made)
        return made


def test_a_copy_has_the_owners_of_the_image(session: TestSession, container: Container) -> None:
    Path(container.upper, "var").mkdir()
    Path(container.upper, "var/new").write_bytes(b"")
    remember(f"{container.upper}/var/new", 5, 6, None)

    plain = private_copy(session, container)

    def of(path: str) -> bytes:
        return os.getxattr(f"{plain.root}/{path}", ATTRIBUTE)

    assert of("bin/su") == b"0:0:4755"
    assert of("var/mail") == b"0:8:2770"
    assert of("etc/shadow") == b"0:42:0000"
    assert of("var/new") == b"5:6"
    with pytest.raises(OSError, match="No data available"):
        of("bin/sh")
    assert owners.of_image(plain) == ""


def test_the_shared_file_is_made_once(session: TestSession, container: Container) -> None:
    path = owners.shared(session, container)
    inode = os.stat(path).st_ino
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert owners.shared(session, container) == path
    assert os.stat(path).st_ino == inode
    upper = Path(container.upper)
    shutil.copytree(upper, upper.with_name("moved"))
    upper.rmdir()
    upper.with_name("moved").rename(upper)
    owners.shared(session, container)
    assert os.stat(path).st_ino != inode


def test_a_tree_has_one_table(container: Container) -> None:
    path = owners.of_image(container)
    assert path == f"{os.path.dirname(container.tree)}/owners"
    inode = os.stat(path).st_ino
    assert owners.of_image(container) == path
    assert os.stat(path).st_ino == inode


def test_a_tree_of_others_has_its_table_in_the_container(container: Container) -> None:
    beside = os.path.dirname(container.tree)
    os.chmod(beside, 0o500)
    try:
        assert owners.of_image(container) == f"{container.path}/image-owners"
        assert os.path.exists(f"{container.path}/image-owners")
    finally:
        os.chmod(beside, 0o700)
