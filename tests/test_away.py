"""Files of other ids, taken home and given out again: by the kernel, with the ids that are here."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import struct
from pathlib import Path

import pytest

from udocker import away, idmaps
from udocker.errors import StoreError
from udocker.host import probe
from udocker.model.run import IdMap
from udocker.ops import ranges

OWNER = "user.overlay.owner"
CAPABILITY = "security.capability"
# struct vfs_cap_data, revision 2: cap_net_raw=ep
NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


@pytest.fixture
def ids() -> IdMap:
    found = ranges.find(probe(os.environ), f"{os.environ['PATH']}:/usr/bin")
    if isinstance(found, str):
        pytest.skip(f"host: {found}")
    return found


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """The directory of a container."""
    (tmp_path / "upper/d").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    for name in ("f", "d/x", "s", "kept"):
        (tmp_path / "upper" / name).write_text(name)
    (tmp_path / "upper/l").symlink_to("f")
    return tmp_path


def _change(upper: Path) -> None:
    os.chown(upper / "f", 5, 6)
    os.chmod(upper / "f", 0o400)
    os.chown(upper / "l", 7, 7, follow_symlinks=False)
    os.chown(upper / "s", 8, 9)
    os.chmod(upper / "s", 0o6755)
    os.setxattr(upper / "s", CAPABILITY, NET_RAW)
    os.chown(upper / "d/x", 3, 0)
    os.chown(upper / "d", 0, 4)
    os.chmod(upper / "d", 0o2700)


CHANGED = {
    "d": (0, 4, 0o2700),
    "d/x": (3, 0, 0o644),
    "f": (5, 6, 0o400),
    "kept": (0, 0, 0o644),
    "l": (7, 7, 0o777),
    "s": (8, 9, 0o6755),
}


def _seen(ids: IdMap, upper: Path) -> dict[str, tuple[int, int, int]]:
    """What root of the namespace sees."""
    place = upper.parent / "seen"

    def look() -> None:
        found = {}
        for folder, directories, names in os.walk(upper):
            for name in (*directories, *names):
                path = Path(folder, name)
                status = path.lstat()
                mode = stat.S_IMODE(status.st_mode)
                found[str(path.relative_to(upper))] = (status.st_uid, status.st_gid, mode)
        place.write_text(json.dumps([found, os.getxattr(upper / "s", CAPABILITY).hex()]))

    idmaps.call(ids, look)
    shown, capability = json.loads(place.read_text())
    assert bytes.fromhex(capability) == NET_RAW
    return {name: tuple(numbers) for name, numbers in shown.items()}


def _are_mine(top: Path) -> bool:
    return {path.lstat().st_uid for path in (*top.rglob("*"), top)} == {os.getuid()}


def test_there_and_back(ids: IdMap, top: Path) -> None:
    upper = top / "upper"
    assert away.note(str(top), ids)
    assert not away.note(str(top), ids)
    idmaps.call(ids, lambda: _change(upper))
    assert _seen(ids, upper) == CHANGED
    (top / "owners").touch()
    away.come_home(str(top))
    assert away.ids_of(str(top)) is None
    assert _are_mine(top)
    assert not (top / "owners").exists()
    assert {n: _owner(upper / n) for n in CHANGED} == {
        **dict.fromkeys(("kept", "l")),
        **{"d": "0:4", "d/x": "3:0", "f": "5:6", "s": "8:9"},
    }
    assert stat.S_IMODE((upper / "s").stat().st_mode) == 0o6755
    # Links keep no owner; all else is what it was.
    assert away.note(str(top), ids)
    idmaps.call(ids, lambda: away.go_out(str(upper)))
    assert _seen(ids, upper) == {**CHANGED, "l": (0, 0, 0o777)}
    # What root takes back is root's from then on.
    idmaps.call(ids, lambda: os.chown(upper / "f", 0, 0))
    away.come_home(str(top))
    assert _are_mine(top)
    assert (_owner(upper / "f"), _owner(upper / "s")) == (None, "8:9")


def _owner(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return os.getxattr(path, OWNER, follow_symlinks=False).decode()
    return None


def test_owners_that_nobody_has_stay_where_they_are_kept(ids: IdMap, top: Path) -> None:
    upper = top / "upper"
    kept = {"f": "4000000000:5", "kept": "", "s": "a:b", "d": "5", "d/x": "1:2:3:4"}
    for name, text in kept.items():
        os.setxattr(upper / name, OWNER, text.encode())
    away.note(str(top), ids)
    idmaps.call(ids, lambda: away.go_out(str(upper)))
    assert _are_mine(top)
    assert {name: _owner(upper / name) for name in kept} == kept


def test_a_mode_that_is_kept_becomes_real(ids: IdMap, top: Path) -> None:
    os.setxattr(top / "upper/s", OWNER, b"8:9:4711")
    away.note(str(top), ids)

    def change() -> None:
        away.go_out(str(top / "upper"))
        os.setxattr(top / "upper/s", CAPABILITY, NET_RAW)

    idmaps.call(ids, change)
    assert _seen(ids, top / "upper")["s"] == (8, 9, 0o4711)
    away.come_home(str(top))


def test_a_failure_is_told_and_nothing_is_forgotten(ids: IdMap, top: Path) -> None:
    with pytest.raises(
        StoreError, match=r"cannot use the container's files: .*newuidmap: uid range"
    ):
        idmaps.call(IdMap(((0, 0, 5),), ids.gids, ids.programs), lambda: None)
    with pytest.raises(StoreError, match="No such file"):
        idmaps.call(IdMap(ids.uids, ids.gids, ("/none", "/none")), lambda: None)

    def fail() -> None:
        raise ValueError("what went wrong")

    with pytest.raises(StoreError, match="what went wrong"):
        idmaps.call(ids, fail)
    with pytest.raises(StoreError, match="was killed"):
        idmaps.call(ids, lambda: os.kill(os.getpid(), 9))
    away.note(str(top), ids)
    idmaps.call(ids, lambda: _change(top / "upper"))
    right = (top / "ranges").read_text()
    (top / "ranges").write_text(right.replace(ids.programs[0], "/none"))
    with pytest.raises(StoreError):
        away.check(str(top))
    with pytest.raises(StoreError):
        away.come_home(str(top))
    (top / "ranges").write_text(right)
    away.check(str(top))
    away.come_home(str(top))
    assert _are_mine(top)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uids": 5}', '{"uids": [["x"]], "gids": []}'])
def test_a_damaged_mark_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "ranges").write_text(text)
    with pytest.raises(StoreError, match=r"cannot read .*ranges"):
        away.come_home(str(tmp_path))


def test_what_is_home_is_left_alone(tmp_path: Path) -> None:
    away.check(str(tmp_path))
    away.come_home(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
