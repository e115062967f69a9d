"""Modes tried at once: the verdicts are those of one after the other, and nobody waits for ever."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from builders.hosts import ALL_PROGRAMS, host
from builders.sessions import session as make_session
from udocker.engine import apart, table
from udocker.model.host import Support
from udocker.ops import embedded, modes, trials
from udocker.ops.modes import Verdict
from udocker.ops.trials import examine_all

if TYPE_CHECKING:
    from pathlib import Path

    from udocker.engine.table import Mode
    from udocker.ops.session import Session

needs_embedded = pytest.mark.skipif(
    embedded.chain_id() is None, reason="the embedded image is not built: setup.py build_ext"
)
PARTS = 0.3  # seconds


@pytest.fixture
def given(store_path: Path) -> Session:
    return make_session(store_path, host(programs=ALL_PROGRAMS))


def log(path: Path, word: str) -> None:
    with open(path, "a", encoding="ascii") as stream:
        stream.write(f"{word}\n")


@pytest.mark.parametrize("at_once", [1, 3])
def test_verdicts_come_in_order_and_so_many_at_once(
    given: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    def examine(session: Session, mode: Mode, fresh: bool = False) -> Verdict:
        assert fresh
        log(tmp_path / "log", "+")
        # The first take longest.
        time.sleep(PARTS / (1 + table.names().index(mode.name)))
        log(tmp_path / "log", "-")
        return Verdict(mode.name, Support(f"not {mode.name}\udcff", "a hint"), True, "x" * 100_000)

    monkeypatch.setattr(trials, "examine", examine)
    found = examine_all(given, table.MODES, at_once)
    assert [verdict.mode for verdict in found] == list(table.names())
    assert found[1] == Verdict("R1", Support("not R1\udcff", "a hint"), True, "x" * 100_000)
    now = most = 0
    for line in (tmp_path / "log").read_text().split():
        now += 1 if line == "+" else -1
        most = max(most, now)
    assert most == at_once


def test_a_trial_that_dies_is_one_refusal(given: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def examine(session: Session, mode: Mode, fresh: bool = False) -> Verdict:
        if mode.name == "R1":
            os.kill(os.getpid(), 9)
        if mode.name == "F3":
            raise ValueError("odd\nlines")
        return Verdict(mode.name, Support())

    monkeypatch.setattr(trials, "examine", examine)
    found = {verdict.mode: verdict.support for verdict in examine_all(given, table.MODES)}
    assert found["R1"].reason == "the process that tried it has ended without an answer"
    assert found["F3"].reason == "ValueError: odd"
    assert all(found[name].ok for name in table.names() if name not in ("R1", "F3"))


@needs_embedded
def test_an_engine_that_hangs(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither doctor nor a first run waits longer than the limit; nothing stays in the store."""
    runc = tmp_path / "runc"
    runc.write_text("#!/bin/sh\ntrap '' TERM\nsleep 1000 & wait\nwait\n")
    runc.chmod(0o755)
    monkeypatch.setattr(modes, "_PATIENCE", 1.0)
    session = make_session(store_path, host(programs=(("runc", str(runc)),)))
    begun = time.monotonic()
    [found, _] = examine_all(session, (table.find("R1"), table.find("S1")))
    assert time.monotonic() - begun < 10
    assert found.support.reason == "a first run did not end within 1 seconds"
    assert found.support.hint
    assert os.listdir(store_path / "tmp") == []


def test_an_interrupt_ends_all(
    given: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def examine(session: Session, mode: Mode, fresh: bool = False) -> Verdict:
        log(tmp_path / "log", "+")
        try:
            time.sleep(60)
        finally:
            log(tmp_path / "log", "-")
        return Verdict(mode.name, Support())

    def interrupted(*given: object) -> None:
        while (tmp_path / "log").exists() is False:
            time.sleep(0.01)
        time.sleep(PARTS)
        raise KeyboardInterrupt

    monkeypatch.setattr(trials, "examine", examine)
    monkeypatch.setattr(apart.select, "select", interrupted)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        examine_all(given, table.MODES, 2)
    assert time.monotonic() - begun < 10
    assert sorted((tmp_path / "log").read_text().split()) == ["+", "+", "-", "-"]
