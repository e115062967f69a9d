"""What is kept of runs, and what lists make of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from udocker import makers
from udocker.model.life import CREATED, EXITED, RUNNING, Begun, Ended
from udocker.store import users
from udocker.store.runs import Runs

_THEN = "2026-01-01T00:00:00.000000+00:00"
# Of a process that cannot be: ids end at 4194304.
_GONE = "-".join([*makers.mark().split("-")[:2], "4194305", "1"])


def _begun(token: str, mark: str = _GONE) -> Begun:
    return Begun(token, mark, os.uname().nodename, _THEN)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(str(tmp_path))


def _supervised(runs: Runs, begun: Begun) -> None:
    os.makedirs(runs.folder, exist_ok=True)
    runs.begin(begun)


def test_what_never_ran(runs: Runs, tmp_path: Path) -> None:
    assert runs.outline().status == runs.life().status == CREATED
    (tmp_path / "files").mkdir()  # a directory that tells nothing
    assert runs.outline().status == runs.life().status == CREATED
    (tmp_path / "upper").mkdir()
    assert runs.outline().status == runs.life().status == EXITED


def test_what_runs_in_the_foreground(runs: Runs, tmp_path: Path) -> None:
    users.enter(str(tmp_path))
    assert runs.outline().is_in_front
    os.rename(tmp_path / "in-use" / makers.mark(), tmp_path / "in-use" / _GONE)
    assert runs.outline().status == CREATED
    runs.outline()
    assert not (tmp_path / "in-use").exists()  # there was nothing in it
    users.enter(str(tmp_path))
    assert runs.outline().is_in_front


def test_what_is_supervised(runs: Runs) -> None:
    _supervised(runs, _begun("first", makers.mark()))
    assert runs.outline().status == RUNNING
    ended = Ended("first", 3, _THEN)
    runs.end(ended)
    assert (runs.outline().status, runs.outline().ended) == (EXITED, ended)
    assert runs.life().ended == ended


def test_a_run_after_another(runs: Runs) -> None:
    """How the one before ended may still be asked for, and is not taken for this one's end."""
    _supervised(runs, _begun("first"))
    runs.end(Ended("first", 3, _THEN))
    _supervised(runs, _begun("second", makers.mark()))
    assert runs.outline().status == RUNNING
    before = runs.ended("first")
    assert before is not None
    assert before.code == 3
    assert runs.ended("second") is None
    runs.begin(_begun("second", makers.mark()))  # its command is known now
    assert runs.ended("first") == before
    runs.end(Ended("first", 4, _THEN))  # too late: nobody holds it against the second
    assert runs.outline().status == RUNNING


def test_nobody_was_left_to_note_the_end(runs: Runs) -> None:
    _supervised(runs, _begun("first"))
    for found in (runs.outline(), runs.life()):
        assert found.status == EXITED
        assert found.ended is not None
        assert (found.ended.code, found.ended.finished) == (137, "")
