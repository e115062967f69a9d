"""A container goes from every mode to every other one, and back: the same tree, with all changes.

The image is of a few dynamic programs of Debian's, because F1 runs no others.
"""

from __future__ import annotations

import io
import itertools
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.engines import Shared, need
from udocker.engine import table

if TYPE_CHECKING:
    from collections.abc import Iterator

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
_SECOND = """
set -e; cd /data
echo more >>new; rm hard change; echo again >gone; chmod 755 mode; rm soft; ln -s dir/in soft
rm -r moved; mkdir moved; ln new moved/same; mv dir/in dir/out; rm -r a; echo file >a
"""
_SEEN_THEN = """
data d 755
data/a f 644
data/dir d 755
data/dir/out f 644
data/gone f 644
data/keep f 644
data/mode f 755
data/moved d 755
data/moved/same f 644
data/new f 644
data/soft l 777 dir/in
data/moved/same 2
data/new 2
data/a: file.
data/dir/out: replaced.
data/gone: again.
data/keep: kept.
data/mode:
data/moved/same: new.more.
data/new: new.more.
"""
# docs/architecture.md, "The store": names up to the first hyphen
_OF_A_CONTAINER = {
    *("container.json", "config.json", "upper", "work", "work.lock", "ROOT", "files", "runs"),
    *("owners", "in", "lock", "patched"),
}
_PAIRS = list(itertools.permutations(table.names(), 2))


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


SEEN, SEEN_THEN = tidy(_SEEN), tidy(_SEEN_THEN)


@pytest.fixture
def moved(
    shared: Shared, refusals: dict[str, str], image: str, first: str, second: str
) -> Iterator[Moved]:
    need(refusals, first, second)
    made = Moved(shared, f"moved-{first}-{second}")
    yield made
    shared("rm", "-f", made.name, f"{made.name}-renamed", check=False)


@pytest.mark.parametrize(("first", "second"), _PAIRS, ids=["-".join(pair) for pair in _PAIRS])
def test_there_and_back(shared: Shared, image: str, moved: Moved, first: str, second: str) -> None:
    words = ("run", "-q", f"--name={moved.name}", f"--execmode={first}", image)
    assert tidy(shared(*words, "sh", "-c", _FIRST + _LIST).out) == SEEN
    if _PAIRS.index((first, second)) % 2:
        shared("setup", f"--execmode={second}", moved.name)
        there = moved.run(_LIST + "echo --" + _SECOND + _LIST)
    else:
        there = moved.run(_LIST + "echo --" + _SECOND + _LIST, second)
    assert there.split("\n--\n") == [SEEN, SEEN_THEN]
    assert moved.run(_LIST, first) == SEEN_THEN

    copy = Moved(shared, f"{moved.name}-renamed")
    shared("clone", "-q", f"--name={moved.name}-copy", moved.name)
    shared("rename", f"{moved.name}-copy", copy.name)
    assert copy.run(_LIST, second) == SEEN_THEN
    exported = copy.paths()
    assert sorted(exported) == sorted(line.split(" ")[0] for line in SEEN_THEN.splitlines()[:11])
    assert exported["data/soft"] == (tarfile.SYMTYPE, 0o777, "dir/in")
    assert exported["data/mode"][1] == 0o755
    assert exported["data/moved/same"][0] == tarfile.REGTYPE != exported["data/new"][0]

    for each in (moved, copy):
        left = {name.partition("-")[0] for name in os.listdir(each.directory())}
        assert left <= _OF_A_CONTAINER
        runs = each.directory() / "runs"
        assert not runs.exists() or os.listdir(runs) == []
    # F1 makes absolute links relative.
    own = ("/data", "/usr") if "F1" in (first, second) else ("/data",)
    changed = shared("diff", moved.name).out.split()[1::2]
    assert [path for path in changed if not path.startswith(own)] == []
