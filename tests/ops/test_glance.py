"""Rows of many containers: those that are kept are as those that are read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.sessions import TestSession
from builders.sessions import session as make_session
from builders.stores import add_image
from builders.trees import File
from udocker import makers
from udocker.model.life import CREATED, EXITED, RUNNING, Begun, Ended
from udocker.model.reference import Reference
from udocker.ops import glance
from udocker.ops.containers import remove, setup
from udocker.ops.create import create
from udocker.ops.protect import protect
from udocker.store import record, users
from udocker.store.runs import Runs

if TYPE_CHECKING:
    from udocker.model.container import Container
    from udocker.ops.glance import Row

_MANY = 70  # more than are read each time
_LONG_AGO = 1_600_000_000_000_000_000  # ns
_THEN = "2026-01-01T00:00:00.000000+00:00"


class Many:
    """A store of many containers, none of which has changed of late."""

    def __init__(self, session: TestSession, monkeypatch: pytest.MonkeyPatch) -> None:
        self.session = session
        self.containers = session.store.containers
        self.file = Path(session.store.topdir, "cache", "containers.json")
        self.read: list[str] = []
        self._when = _LONG_AGO
        whole = record.read

        def counted(path: str, identity: str, *more: object) -> Container | None:
            self.read.append(identity)
            return whole(path, identity, *more)  # type: ignore[arg-type]

        monkeypatch.setattr(record, "read", counted)
        add_image(session.store, "image", {"file": File(b"x")})
        for number in range(_MANY):
            create(session, Reference.parse("image"), name=f"box{number}", pull="never")
        for identity in self.containers.ids():
            self.age(identity)
        self.rows()

    def age(self, identity: str) -> None:
        """As if it had changed long ago, but at no other time's."""
        self._when += 1
        os.utime(self.containers.path(identity), ns=(self._when, self._when))

    def rows(self) -> dict[str, Row]:
        """By name; ``read`` are the containers that were not known."""
        self.read.clear()
        return {row.names[0]: row for row in glance.rows(self.session)}

    def one(self) -> tuple[str, Path]:
        identity = self.containers.get("box7").id
        return identity, Path(self.containers.path(identity))


@pytest.fixture
def many(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> Many:
    return Many(make_session(store_path, host()), monkeypatch)


def test_nothing_is_read_of_what_has_not_changed(many: Many) -> None:
    kept = many.rows()
    assert many.read == []
    many.file.unlink()
    assert many.rows() == kept
    assert len(many.read) == len(kept) == _MANY
    assert {row.life.status for row in kept.values()} == {CREATED}
    assert [row.created for row in kept.values()] == sorted(
        (row.created for row in kept.values()), reverse=True
    )


def test_what_was_changed_is_seen(many: Many) -> None:
    identity, _ = many.one()
    protect(many.session, "box7")
    assert many.rows()["box7"].is_protected
    assert many.read == [identity]
    protect(many.session, "box7", wanted=False)
    assert not many.rows()["box7"].is_protected
    setup(many.session, "box7", "P1")
    assert many.rows()["box7"].mode == "P1"
    many.containers.rename("box7", "other")
    assert "other" in many.rows()
    remove(many.session, "other")
    assert len(many.rows()) == _MANY - 1
    assert identity not in json.loads(many.file.read_bytes())


def test_a_run_is_seen_and_its_end(many: Many) -> None:
    identity, path = many.one()
    container = many.containers.get("box7")
    many.containers.make_ready(container)
    many.containers.enter(container)
    assert many.rows()["box7"].life.status == RUNNING
    many.age(identity)
    assert many.rows()["box7"].life.status == RUNNING
    [mark] = (path / "in-use").iterdir()
    mark.unlink()
    (path / "run").mkdir()
    runs = Runs(str(path))
    runs.begin(Begun("token", makers.mark(), os.uname().nodename, _THEN))
    runs.end(Ended("token", 3, _THEN, "an error"))
    found = many.rows()["box7"].life
    assert (found.status, found.ended and found.ended.code) == (EXITED, 3)
    assert not (path / "in-use").exists()
    many.age(identity)
    many.rows()
    again = many.rows()["box7"].life
    assert many.read == []
    assert (again.status, again.ended and again.ended.code) == (EXITED, 3)
    assert again.ended is not None
    assert again.ended.finished == _THEN


def test_a_run_beside_another_use_is_seen(many: Many) -> None:
    identity, _ = many.one()
    container = many.containers.get("box7")
    many.containers.make_ready(container)
    many.containers.enter(container, users.BESIDE)
    many.age(identity)
    assert many.rows()["box7"].life.status == EXITED
    [mark] = Path(container.path, "in-use").iterdir()
    mark.write_text(os.uname().nodename)  # a run's: the directory of the container is the same
    assert many.rows()["box7"].life.status == RUNNING


def test_of_a_run_in_the_foreground_the_code_is_not_known(many: Many) -> None:
    identity, _ = many.one()
    many.containers.make_ready(many.containers.get("box7"))
    many.age(identity)
    for _ in range(2):
        life = many.rows()["box7"].life
        assert (life.status, life.ended) == (EXITED, None)
    assert many.read == []


def test_what_changed_just_now_may_do_so_again(many: Many) -> None:
    identity, path = many.one()
    os.utime(path)
    for _ in range(2):
        many.rows()
        assert many.read == [identity]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "\udcff",
        '{"$": null}',
        '{"$": []}',
        '{"$": [@]}',
        '{"$": [@, "image", "", 5, true, null, null]}',
        '{"$": [@, "image", "", "when", false, "0", "then"]}',
        '{"$": [@, "image", "", "when", false, 0, "then", "more"]}',
    ],
)
def test_notes_that_are_none(many: Many, text: str) -> None:
    identity, path = many.one()
    kept = many.rows()
    changed = os.stat(path).st_mtime_ns
    text = text.replace("$", identity).replace("@", str(changed))
    many.file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert many.rows() == kept
    assert identity in many.read
    assert many.rows() == kept
    assert many.read == []


def test_a_store_that_is_only_read(many: Many) -> None:
    identity, path = many.one()
    (path / "protected").touch()
    many.file.parent.chmod(0o555)
    try:
        assert many.rows()["box7"].is_protected
        assert many.rows()["box7"].is_protected
        assert many.read == [identity]
    finally:
        many.file.parent.chmod(0o755)


def test_damaged_ones_are_told_of_each_time(many: Many) -> None:
    identity, path = many.one()
    (path / "container.json").unlink()
    for _ in range(2):
        many.session.report.warnings.clear()
        assert len(many.rows()) == _MANY - 1
        [told] = many.session.report.warnings
        assert identity[:12] in told


def test_few_are_read_each_time(many: Many) -> None:
    for number in range(10):
        remove(many.session, f"box{number}")
    many.file.unlink()
    assert len(many.rows()) == len(many.read) == _MANY - 10
    assert not many.file.exists()
