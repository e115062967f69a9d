"""The directory of a container's device files: made aside, once, whoever is first."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from builders.sessions import session as make_session
from udocker.errors import StoreError
from udocker.ops import devices

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_INSIDE = {"/lib64/liba.so": "liba.so.1", "/lib64/liba.so.1": b"", "/share/a/": b"", "/x": b"text"}


def test_what_is_made(store_path: Path, tmp_path: Path) -> None:
    place = tmp_path / "files/devices-1"
    devices._make(str(place), dict(_INSIDE), make_session(store_path))
    assert (place / "lib64/liba.so").readlink().name == "liba.so.1"
    assert (place / "lib64/liba.so.1").read_bytes() == b""
    assert (place / "share/a").is_dir()
    assert (place / "x").read_bytes() == b"text"
    assert place.stat().st_mode & 0o777 == 0o755  # the container's users are not all its owner
    assert list((store_path / "tmp").iterdir()) == []


def test_another_run_was_faster(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(store_path)
    place = tmp_path / "files/devices-1"
    temporary = session.store.temporary

    @contextlib.contextmanager
    def while_another_ends() -> Iterator[str]:
        with temporary() as path:
            place.mkdir(parents=True)
            (place / "theirs").touch()
            yield path

    monkeypatch.setattr(session.store, "temporary", while_another_ends)
    devices._make(str(place), dict(_INSIDE), session)
    assert [path.name for path in place.iterdir()] == ["theirs"]
    assert list((store_path / "tmp").iterdir()) == []


def test_what_cannot_be_made_is_an_error(store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/devices-1").write_text("no directory")
    with pytest.raises(StoreError, match="Not a directory"):
        devices._make(str(tmp_path / "files/devices-1"), dict(_INSIDE), make_session(store_path))
