"""Files and directories whose owner may not read them, opened for a while."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING

import pytest

from builders.trees import Directory, File, Link, Same, grow
from udocker.files import remove_tree
from udocker.store.changes import walk
from udocker.store.closed import Opener, restore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE = {
    "upper/a/b/c": File(b"text", 0),
    "upper/a/b": Directory(0o300),
    "upper/a/link": Link("../../outside"),
    "upper/a": Directory(0),
    "upper/open": File(b"", 0o4711),
    "upper/own": File(b"x", 0o200),
    "upper/name": Same("upper/own"),
}


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    made = grow(tmp_path / "box", TABLE)
    yield made
    remove_tree(str(made))


def mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def modes(top: Path) -> list[int]:
    """From outside, of what can be reached."""
    return [mode(top / f"upper/{name}") for name in ("a", "open", "own", "name")]


CLOSED = [0, 0o4711, 0o200, 0o200]
OPENED = [0o500, 0o4711, 0o600, 0o600]


def open_all(opener: Opener, top: Path) -> dict[str, int | None]:
    return {each.path: each.mode for each in walk(f"{top}/upper", "", opened=opener.open)}


def test_all_is_read_and_closed_again(top: Path) -> None:
    os.utime(top / "upper/a", ns=(5, 7))
    with Opener(str(top)) as opener:
        found = open_all(opener, top)
        assert {name: each for name, each in found.items() if each is not None} == {
            "/a": 0,
            "/a/b": 0o300,
            "/a/b/c": 0,
            "/own": 0o200,
            "/name": 0o200,
        }
        assert modes(top) == OPENED
        assert (top / "upper/a/b/c").read_bytes() == b"text"
    assert modes(top) == CLOSED
    assert os.lstat(top / "upper/a").st_mtime_ns == 7
    assert os.listdir(top) == ["upper"]
    (top / "upper/a").chmod(0o700)
    assert mode(top / "upper/a/b") == 0o300
    (top / "upper/a/b").chmod(0o700)
    assert mode(top / "upper/a/b/c") == 0


def test_it_is_closed_again_after_an_error(top: Path) -> None:
    def fail(path: str) -> int | None:
        if path.endswith("/c"):
            raise KeyboardInterrupt
        return opener.open(path)

    with pytest.raises(KeyboardInterrupt), Opener(str(top)) as opener:
        list(walk(f"{top}/upper", "", opened=fail))
    assert modes(top) == CLOSED


def be_killed(top: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            with Opener(str(top)) as opener:
                open_all(opener, top)
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert modes(top) == OPENED


def test_what_a_killed_process_left_open(top: Path) -> None:
    be_killed(top)
    with (top / "opened").open("ab") as record:
        record.write(b'["upper/op')
    restore(str(top))
    assert modes(top) == CLOSED
    assert os.listdir(top) == ["upper"]
    restore(str(top))


def test_the_next_one_tells_the_same(top: Path) -> None:
    with Opener(str(top)) as opener:
        wanted = open_all(opener, top)
    be_killed(top)
    with Opener(str(top)) as opener:
        assert open_all(opener, top) == wanted
    assert modes(top) == CLOSED


def test_what_another_has_open_stays_so(top: Path) -> None:
    with Opener(str(top)) as opener:
        open_all(opener, top)
        restore(str(top))
        assert modes(top) == OPENED
    assert modes(top) == CLOSED


def test_what_changes_meanwhile(top: Path) -> None:
    outside = top / "outside"
    outside.write_bytes(b"")
    outside.chmod(0o600)
    with Opener(str(top)) as opener:
        open_all(opener, top)
        (top / "upper/a").chmod(0o755)  # that of the program inside is the newer one
        (top / "upper/own").unlink()
        (top / "upper/own").symlink_to(outside)
        (top / "upper/name").rename(top / "upper/elsewhere")
    assert mode(top / "upper/a") == 0o755
    assert mode(outside) == 0o600


def test_where_nothing_can_be_written_down(top: Path) -> None:
    top.chmod(0o500)
    with Opener(str(top)) as opener:
        open_all(opener, top)
        assert modes(top) == OPENED
    assert modes(top) == CLOSED


def test_nothing_is_written_where_all_is_open(tmp_path: Path) -> None:
    top = grow(tmp_path / "box", {"upper/a/b": b"", "upper/p": File(b"", 0o444)})
    with Opener(str(top)) as opener:
        assert set(open_all(opener, top).values()) == {None}
        assert os.listdir(top) == ["upper"]
