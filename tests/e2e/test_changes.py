"""What diff, export and clone say of a container is what its programs see."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest

from e2e.engines import BUSYBOX
from udocker.model.features import UNION_ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.engines import Inside

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_WORK = """
mkdir -p /d/e && echo 1 >/d/e/f && ln /d/e/f /d/g && ln -s f /d/e/l && chmod 4750 /d/e/f
rm /etc/passwd && echo new >>/etc/group && rm -r /home && mkdir /home && echo 2 >/home/x
mkfifo /d/p && touch -d @5 /d/g && chmod 0 /home/x
"""
_WRITE = "echo 1 >/data/in/mine; rmdir /srv/a/b; mkdir /srv/a/b"
_CLOSE = """
mkdir -p /shut/in /half && echo kept >/shut/in/file && echo 1 >/half/x
chmod 0 /shut/in/file && touch -d @5 /shut/in/file /shut/in && chmod 0 /shut/in
touch -d @9 /half && chmod 300 /half && touch -d @7 /shut && chmod 0 /shut
"""
_HOSTS = ("./dev", "./proc", "./sys")
_REPLACED = {"./etc/hosts", "./etc/passwd", "./etc/resolv.conf"}  # P modes show them unmounted
_SHOW = r"cd /; find . -xdev \( -path ./dev -o -path ./proc -o -path ./sys \) -prune -o -print"


def test_as_programs_see_it(inside: Inside, tmp_path: Path) -> None:
    udocker, mode = inside.shared, f"--execmode={inside.mode}"
    image = udocker.image(BUSYBOX)
    try:
        udocker("create", "-q", "--name=first", image)
        udocker("run", "-q", mode, "first", "sh", "-ec", _WORK)
        told = udocker("diff", "first").out.splitlines()
        assert {"A /d/e/f", "A /d/p", "D /etc/passwd", "C /etc/group", "A /home/x"} <= set(told)
        assert "C /bin" not in told
        udocker("clone", "-q", "--name=second", "first")
        assert udocker("diff", "second").out.splitlines() == told
        for name in ("first", "second"):
            shown = udocker("run", "-q", mode, name, "sh", "-c", _SHOW).out.splitlines()
            target = tmp_path / f"{name}.tar"
            udocker("export", "-o", str(target), name)
            with tarfile.open(target) as archive:
                found = {f"./{each.name}": each for each in archive}
            here = {path for path in found if not path.startswith(_HOSTS)} - _REPLACED
            assert here == set(shown) - {"."} - _REPLACED
            assert found["./d/g"].mtime == 5
            assert {found["./d/e/f"].islnk(), found["./d/g"].islnk()} == {False, True}
            assert found["./home/x"].mode == 0
            if inside.has(UNION_ROOT) and inside.mode != "N1":
                assert found["./d/e/f"].mode == 0o4750
    finally:
        udocker("rm", "-f", "first", "second")


def test_what_runs_made_to_mount_on_is_no_change(inside: Inside, tmp_path: Path) -> None:
    udocker, mode = inside.shared, f"--execmode={inside.mode}"
    (tmp_path / "file").write_bytes(b"")
    volumes = [f"-v{tmp_path}:/{place}" for place in ("data/in", "srv/a/b", "var/run/x")]
    volumes.append(f"-v{tmp_path}/file:/etc/some/file")
    try:
        udocker("create", "-q", "--name=box", udocker.image(BUSYBOX))
        udocker("run", "-q", mode, *volumes, "box", "ls", "/data/in/file", "/etc/some/file")
        assert udocker("diff", "box").out == ""
        udocker("run", "-q", mode, "box", "sh", "-c", f"mkdir -p /data/in /srv/a/b; {_WRITE}")
        told = udocker("diff", "box").out.splitlines()
        assert {"A /data/in/mine", "A /srv/a/b"} <= set(told)
        assert not [line for line in told if "some" in line or "/x" in line or "hosts" in line]
    finally:
        udocker("rm", "-f", "box")


def test_what_a_program_closed_to_itself(inside: Inside, tmp_path: Path) -> None:
    udocker, mode = inside.shared, f"--execmode={inside.mode}"
    show = "stat -c %a:%Y:%n /shut /shut/in /shut/in/file /half"
    try:
        udocker("create", "-q", "--name=box", udocker.image(BUSYBOX))
        udocker("run", "-q", mode, "box", "sh", "-ec", _CLOSE)
        told = [line for line in udocker("diff", "box").out.splitlines() if line.startswith("A /")]
        made = ["/half", "/half/x", "/shut", "/shut/in", "/shut/in/file"]
        assert [line for line in told if "etc" not in line] == [f"A {path}" for path in made]
        target = tmp_path / "out.tar"
        udocker("export", "-o", str(target), "box")
        with tarfile.open(target) as archive:
            found = {each.name: (each.mode, each.mtime) for each in archive}
            stream = archive.extractfile("shut/in/file")
            assert stream is not None
            assert stream.read() == b"kept\n"
        wanted = {"shut": (0, 7), "shut/in": (0, 5), "shut/in/file": (0, 5), "half": (0o300, 9)}
        assert {name: found[name] for name in wanted} == wanted
        udocker("commit", "-q", "box", "committed:closed")
        again = udocker("run", "-q", "--rm", mode, "committed:closed", "cat", "/shut/in/file")
        assert again.out == "kept\n"
        shown = udocker("run", "-q", mode, "box", "sh", "-c", show, check=False).out
        assert {"0:7:/shut", "300:9:/half"} <= set(shown.splitlines())
        udocker("save", "-q", "-o", str(tmp_path / "image.tar"), "committed:closed")
        udocker("clone", "-q", "--name=second", "box")
        assert udocker("diff", "second").out == udocker("diff", "box").out
        assert "nothing is wrong" in udocker("fsck").out
    finally:
        udocker("rm", "-f", "box", "second", check=False)
        udocker("rmi", "-f", "committed:closed", check=False)
    assert not list((udocker.store / "containers").glob("*/upper/shut"))


def test_commit(inside: Inside) -> None:
    udocker, mode = inside.shared, f"--execmode={inside.mode}"
    try:
        udocker("create", "-q", "--name=box", udocker.image(BUSYBOX))
        udocker("run", "-q", mode, "box", "sh", "-ec", _WORK)
        told = udocker("diff", "box").out
        udocker("commit", "-q", "-c", 'CMD ["cat", "/d/e/l"]', "box", "committed:1")
        assert udocker("run", "-q", "--rm", mode, "committed:1").out == "1\n"
        shown = (
            "stat -c %h:%Y /d/g; stat -c %a /d/e; ls -A /home; test -p /d/p && tail -1 /etc/group"
        )
        wanted = udocker("run", "-q", mode, "box", "sh", "-c", shown).out
        assert udocker("run", "-q", "--rm", mode, "committed:1", "sh", "-c", shown).out == wanted
        assert udocker("diff", "box").out == told
        assert "nothing is wrong" in udocker("fsck").out
    finally:
        udocker("rm", "-f", "box")
        udocker("rmi", "-f", "committed:1")
