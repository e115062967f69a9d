"""What a runtime says of itself, which is asked once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.sessions import session as make_session
from udocker.host import has_filters
from udocker.ops.filters import can_filter

if TYPE_CHECKING:
    from pathlib import Path

_RUNC = "runc version 1.1.5\\ngo: go1.19.8\\nlibseccomp: 2.5.4"
_CRUN = "crun version 1.8.1\\n+SYSTEMD +CAP +SECCOMP +EBPF"


def _runtime(path: Path, says: str, end: str = "exit 0") -> str:
    path.write_text(f"#!/bin/sh\necho asked >>{path}.asked\nprintf '{says}\\n'\n{end}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("says", "can"),
    [
        (_RUNC, True),
        (_CRUN, True),
        ("runc version 1.1.5\\ngo: go1.19.8", False),
        ("crun version 1.8.1\\n+SYSTEMD -SECCOMP", False),
        ("", False),
    ],
)
def test_what_it_says(tmp_path: Path, says: str, can: bool) -> None:
    assert has_filters(_runtime(tmp_path / "runtime", says)) is can


def test_what_says_nothing(tmp_path: Path) -> None:
    assert has_filters(str(tmp_path / "none")) is False
    (tmp_path / "text").write_text("x")
    assert has_filters(str(tmp_path / "text")) is False


def test_it_is_asked_once(tmp_path: Path, store_path: Path) -> None:
    session = make_session(store_path, host())
    runtime = tmp_path / "runtime"
    asked = tmp_path / "runtime.asked"
    for _ in range(3):
        assert can_filter(session, _runtime(runtime, _RUNC) if not asked.exists() else str(runtime))
    assert asked.read_text() == "asked\n"
    _runtime(runtime, "another")  # an update
    assert not can_filter(session, str(runtime))
    assert not can_filter(session, str(runtime))
    assert asked.read_text() == "asked\n" * 2
    assert not can_filter(session, str(tmp_path / "none"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 5}', '{"can": true}'])
def test_a_damaged_memory_is_no_answer(tmp_path: Path, store_path: Path, text: str) -> None:
    session = make_session(store_path, host())
    (store_path / "cache").mkdir(parents=True)
    (store_path / "cache/filters.json").write_text(text)
    assert can_filter(session, _runtime(tmp_path / "runtime", _RUNC))
