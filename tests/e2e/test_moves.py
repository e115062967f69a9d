"""A container goes from every mode to every other one, and back: the same tree, with all changes.

The image is of a few dynamic programs of Debian's, because F1 runs no others.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.engines import Shared
from udocker.engine import table
from udocker.model.features import UNION_ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_IMAGE = "moves"
_PROGRAMS = "dash chmod find ln ls mkdir mv rm sort"
_LIBRARIES = ("ld-linux", "libc.so", "libc-", "libm.so", "libm-", "libselinux.", "libpcre")
_LIBRARIES += ("libacl.", "libattr.")
_LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "usr/bin/sh": "dash"}
# What the changes are made to. Directories end with a slash.
_DATA = {
    "data/keep": b"kept\n",
    "data/change": b"before\n",
    "data/gone": b"",
    "data/mode": b"",
    "data/dir/old": b"",
    "data/dir/sub/deep": b"",
    "data/moved/file": b"moved\n",
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": b"root:x:0:\n",
    "root/": b"",
    "tmp/": b"",
}
_LIST = """
cd / && find data -printf '%p %y %m %l\\n' | sort
find data -type f -links +1 -printf '%p %n\\n' | sort
find data -type f | sort | while read name; do
    text=; while read line; do text=$text$line.; done <$name; echo "$name: $text"
done
"""
_FIRST = """
set -e; cd /data
echo new >new; echo after >>change; rm gone; chmod 640 mode; ln -s keep soft; ln keep hard
rm -r dir; mkdir dir; echo replaced >dir/in; mkdir -p a/b; chmod 700 a/b; mv moved/file moved/name
"""
_SEEN = """
data d 755
data/a d 755
data/a/b d 700
data/change f 644
data/dir d 755
data/dir/in f 644
data/hard f 644
data/keep f 644
data/mode f 640
data/moved d 755
data/moved/name f 644
data/new f 644
data/soft l 777 keep
data/hard 2
data/keep 2
data/change: before.after.
data/dir/in: replaced.
data/hard: kept.
data/keep: kept.
data/mode:
data/moved/name: moved.
data/new: new.
"""
# Undoes all of that.
_BACK = """
set -e; cd /data
rm new soft hard; echo before >change; echo -n >gone; chmod 644 mode; mv moved/name moved/file
rm -r dir a; mkdir -p dir/sub; echo -n >dir/old; echo -n >dir/sub/deep
"""
_AT_FIRST = """
data d 755
data/change f 644
data/dir d 755
data/dir/old f 644
data/dir/sub d 755
data/dir/sub/deep f 644
data/gone f 644
data/keep f 644
data/mode f 644
data/moved d 755
data/moved/file f 644
data/change: before.
data/dir/old:
data/dir/sub/deep:
data/gone:
data/keep: kept.
data/mode:
data/moved/file: moved.
"""
# docs/architecture.md, "The store": names up to the first hyphen
_OF_A_CONTAINER = {
    *("container.json", "config.json", "upper", "work", "work.lock", "ROOT", "files", "runs"),
    *("owners", "in", "lock", "patched"),
}
_SHARING = [m.name for m in table.MODES if UNION_ROOT in m.engine.FEATURES]
_OWN = [name for name in table.names() if name not in _SHARING]
_EACH = 20  # steps of a walk, after which copies are looked at, too


@pytest.fixture(scope="module")
def image(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, in the store of the tests."""
    folder = tmp_path_factory.mktemp("moves")
    whole, few = folder / "debian.tar", folder / "few.tar"
    shared("create", "-q", "--name=source-of-moves", shared.image("debian:12"))
    shared("export", "-o", str(whole), "source-of-moves")
    shared("rm", "source-of-moves")
    with tarfile.open(whole) as source, tarfile.open(few, "w") as target:
        for member in source:
            if _is_taken(member):
                content = source.extractfile(member) if member.isfile() else None
                target.addfile(member, content)
        for path, link in _LINKS.items():
            _add(target, path, tarfile.SYMTYPE, link=link)
        for path, data in _DATA.items():
            kind = tarfile.DIRTYPE if path.endswith("/") else tarfile.REGTYPE
            _add(target, path.rstrip("/"), kind, data)
    shared("import", "-q", "-c", "ENV PATH=/bin", str(few), _IMAGE)
    return _IMAGE


def _is_taken(member: tarfile.TarInfo) -> bool:
    folder, _, name = member.name.removeprefix("./").rpartition("/")
    if folder == "usr/bin":
        return name in _PROGRAMS.split()
    return folder.startswith("usr/lib") and folder.count("/") < 3 and name.startswith(_LIBRARIES)


def _add(tar: tarfile.TarFile, path: str, kind: bytes, data: bytes = b"", link: str = "") -> None:
    member = tarfile.TarInfo(path)
    member.type, member.linkname, member.size = kind, link, len(data)
    member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    tar.addfile(member, io.BytesIO(data))


class Moved:
    """A container of the image; ``run`` is in the mode given, or in that of ``setup``."""

    def __init__(self, shared: Shared, name: str) -> None:
        self.shared = shared
        self.name = name

    def run(self, script: str, mode: str = "") -> str:
        option = [f"--execmode={mode}"] if mode else []
        result = self.shared("run", "-q", *option, self.name, "sh", "-c", script)
        assert result.err == "", result
        return tidy(result.out)

    def paths(self) -> dict[str, tuple[bytes, int, str]]:
        """What ``export`` has below /data: kind, mode and target."""
        file = self.shared.home / f"{self.name}.tar"
        self.shared("export", "-o", str(file), self.name)
        with tarfile.open(file) as archive:
            found = {m.name.removeprefix("./"): (m.type, m.mode, m.linkname) for m in archive}
        file.unlink()
        return {path: what for path, what in found.items() if path.startswith("data")}

    def directory(self) -> Path:
        link = self.shared.store / "names" / self.name
        return Path(os.path.realpath(self.shared.store / "containers" / os.readlink(link)))


def tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


AT_FIRST, SEEN = tidy(_AT_FIRST), tidy(_SEEN)


def walk(modes: Sequence[str]) -> list[str]:
    """Each ordered pair of modes comes after one another in it once (Hierholzer's algorithm)."""
    left = {mode: [other for other in modes if other != mode] for mode in modes}
    stack, found = list(modes[:1]), []
    while stack:
        if left[stack[-1]]:
            stack.append(left[stack[-1]].pop())
        else:
            found.append(stack.pop())
    return found


def test_a_walk_has_every_pair_once() -> None:
    steps = walk(table.names())
    pairs = list(zip(steps, steps[1:]))
    wanted = {(a, b) for a in table.names() for b in table.names() if a != b}
    assert sorted(pairs) == sorted(wanted)


def check_copy(moved: Moved, mode: str, seen: str) -> None:
    """What is cloned, renamed and exported is the same."""
    shared = moved.shared
    copy = Moved(shared, f"{moved.name}-renamed")
    shared("clone", "-q", f"--name={moved.name}-copy", moved.name)
    shared("rename", f"{moved.name}-copy", copy.name)
    assert copy.run(_LIST, mode) == seen
    exported = copy.paths()
    listed = [line.split(" ")[0] for line in seen.splitlines() if re.search(" [dfl] [0-7]", line)]
    assert sorted(exported) == sorted(listed)
    if seen == SEEN:
        assert exported["data/soft"] == (tarfile.SYMTYPE, 0o777, "keep")
        assert exported["data/mode"][1] == 0o640
        assert exported["data/hard"][0] == tarfile.REGTYPE != exported["data/keep"][0]
    check_left(copy)
    shared("rm", copy.name)


def check_left(moved: Moved) -> None:
    """Nothing is in the container's directory but what is documented."""
    left = {name.partition("-")[0] for name in os.listdir(moved.directory())}
    assert left <= _OF_A_CONTAINER
    runs = moved.directory() / "runs"
    assert not runs.exists() or os.listdir(runs) == []
    # F1 makes absolute links relative.
    changed = moved.shared("diff", moved.name).out.split()[1::2]
    assert [path for path in changed if not path.startswith(("/data", "/usr"))] == []


@pytest.mark.parametrize("form", ["shared", "own"])
def test_from_every_mode_to_every_other(
    form: str, shared: Shared, image: str, works_all: list[str]
) -> None:
    """One container on a walk: each mode sees what the one before has made, or undone."""
    modes = [m for m in works_all if form == "own" or m in _SHARING]
    moved = Moved(shared, f"walk-{form}")
    shared("create", "-q", f"--name={moved.name}", image)
    if form == "own":  # from here on it has a directory of its own
        moved.run("true", next(m for m in modes if m in _OWN))
    seen, change = (AT_FIRST, SEEN), (_FIRST, _BACK)
    steps = walk(modes)
    for number, mode in enumerate(steps):
        before, after = seen[number % 2], seen[1 - number % 2]
        script = f"{_LIST}echo --{change[number % 2]}{_LIST}"
        asked = mode
        if number % 2:
            shared("setup", f"--execmode={mode}", moved.name)
            asked = ""
        assert moved.run(script, asked).split("\n--\n") == [before, after], (number, mode)
        if number % _EACH == _EACH - 1:
            check_copy(moved, mode, after)
    check_left(moved)
    shared("rm", moved.name)


@pytest.mark.parametrize("second", _OWN)
@pytest.mark.parametrize("first", _SHARING)
def test_a_container_gets_a_directory_of_its_own(
    first: str, second: str, shared: Shared, image: str, works_all: list[str]
) -> None:
    """With what was changed in the union, and the first mode goes on in it."""
    if first not in works_all or second not in works_all:
        pytest.skip(f"host: mode {first} or {second} does not work here")
    moved = Moved(shared, f"moved-{first}-{second}")
    words = ("run", "-q", f"--name={moved.name}", f"--execmode={first}", image)
    assert tidy(shared(*words, "sh", "-c", _FIRST + _LIST).out) == SEEN
    assert moved.run(f"{_LIST}echo --{_BACK}{_LIST}", second).split("\n--\n") == [SEEN, AT_FIRST]
    assert moved.run(_LIST, first) == AT_FIRST
    shared("rm", moved.name)


@pytest.fixture(scope="module")
def works_all(refusals: dict[str, str]) -> list[str]:
    """The modes that work here, F1 too."""
    return [name for name in table.names() if not refusals[name]]
