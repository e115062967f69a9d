"""The porter, run on the host's own files: what it does, and what it says of what it cannot."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import sys
from pathlib import Path

import pytest

import udocker
from udocker.engine.porter import Description, Porter, launch, read
from udocker.engine.processes import children
from udocker.errors import NotRunning, UdockerError
from udocker.model.launch import Launch, ShareUnion, WriteFile

PROGRAM = f"{Path(udocker.__file__).parent}/data/engine/porter"

pytestmark = pytest.mark.skipif(
    not os.path.exists(PROGRAM), reason="host: the engine is not built for this machine"
)


def started(*argv: str) -> Porter:
    return Porter(Launch(argv or (PROGRAM,), (), "/"), lambda text: None)


def test_what_it_does(tmp_path: Path) -> None:
    data = os.urandom(200_000)
    old = os.umask(0o077)
    try:
        with started() as porter:
            porter.make_directory(f"{tmp_path}/d", 0o751)
            porter.make_file(f"{tmp_path}/aside")
            porter.write(data)
            porter.write(b"")
            porter.write(b"end")
            porter.seal(0o644, -1, 1_500_000_000_123_456_789)
            porter.rename(f"{tmp_path}/aside", f"{tmp_path}/d/file")
            porter.make_link(f"{tmp_path}/aside", "d/file")
            porter.rename(f"{tmp_path}/aside", f"{tmp_path}/link")
            kinds = [porter.kind(f"{tmp_path}/{name}") for name in ("d", "d/file", "link")]
            porter.change_mode(f"{tmp_path}/d", 0o700)
    finally:
        os.umask(old)
    assert [stat.S_IFMT(kind) for kind in kinds] == [stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK]
    assert [stat.S_IMODE(kind) for kind in kinds[:2]] == [0o751, 0o644]
    status = (tmp_path / "d/file").stat()  # reading changes it
    assert (tmp_path / "d/file").read_bytes() == data + b"end"
    assert (status.st_atime_ns, status.st_mtime_ns) == (-1, 1_500_000_000_123_456_789)
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
    assert os.readlink(tmp_path / "link") == "d/file"
    assert sorted(os.listdir(tmp_path)) == ["d", "link"]


def test_what_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "there").mkdir()
    there, nowhere = f"{tmp_path}/there", f"{tmp_path}/no/where"
    with started() as porter:
        for number, path, ask in (
            (errno.ENOENT, nowhere, lambda: porter.kind(nowhere)),
            (errno.EEXIST, there, lambda: porter.make_directory(there, 0o755)),
            (errno.EEXIST, f"{tmp_path}/file", lambda: porter.make_file(f"{tmp_path}/file")),
            (errno.EISDIR, there, lambda: porter.rename(f"{tmp_path}/file", there)),
            (errno.EEXIST, there, lambda: porter.make_link(there, "x")),
            (errno.ENOENT, nowhere, lambda: porter.change_mode(nowhere, 0o755)),
            (errno.ENAMETOOLONG, "/x" * 2048, lambda: porter.kind("/x" * 2048)),
            (errno.ENAMETOOLONG, "/l", lambda: porter.make_link("/l", "x" * 4096)),
            (errno.ENOENT, "/l", lambda: porter.make_link("/l", "")),
            (errno.EBADF, None, lambda: porter.write(b"x")),
            (errno.EBADF, None, lambda: porter.seal(0o644, 0, 0)),
        ):
            with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
                ask()
            assert caught.value.filename == path
        assert stat.S_ISREG(porter.kind(f"{tmp_path}/file"))  # and goes on


@pytest.mark.parametrize("kind", ["open", "sealed", "link"])
def test_what_has_no_name_yet_goes(tmp_path: Path, kind: str) -> None:
    """Also when whoever asked was killed, or the terminal sent SIGINT to both."""
    with started() as porter:
        if kind == "link":
            porter.make_link(f"{tmp_path}/aside", "x")
        else:
            porter.make_file(f"{tmp_path}/aside")
        if kind == "sealed":
            porter.seal(0o600, 0, 0)
        for pid in children(os.getpid()):
            os.kill(pid, signal.SIGINT)
        assert porter.kind(f"{tmp_path}/aside")
    assert os.listdir(tmp_path) == []


def test_a_program_that_ends() -> None:
    with started(sys.executable, "-c", "import os; os.write(1, bytes(8))") as porter:
        for _ in range(2):
            with pytest.raises(NotRunning, match="has just ended"):
                porter.kind("/")
    for argv in (("/bin/true",), ("/nonexistent",)):
        with pytest.raises(UdockerError), started(*argv):
            pass


def test_descriptions(tmp_path: Path) -> None:
    words = ["root", "/u", "lower", "/t", "work", "/w/inprocess", "state", "/w/inprocess/b"]
    words += ["make", "/m", "directory", "/d", "uid", "7", "group", "9", "copies", "/c"]
    words += ["traced", "some", "ro", "/data/in", "/host/in", "rw", "/data", "/host\udcff"]
    place = tmp_path / "files/guest-1"
    place.parent.mkdir()
    content = b"".join(os.fsencode(word) + b"\0" for word in words)
    place.write_bytes(content)
    described = read(str(place))
    assert described.mounts == (("/data", "/host\udcff"), ("/data/in", "/host/in"))
    made = launch(described, "/engine", "/porter")
    share, write = made.steps
    assert share == ShareUnion("/u", "/t", "/w", "/w/inprocess/b", f"{tmp_path}/ROOT")
    assert isinstance(write, WriteFile)
    assert made.argv == ("/engine", "start", write.path, "/.udocker-porter", "porter")
    assert os.fsdecode(write.content).split("\0") == [
        *words[:8],
        *("traced", "some", "ro", "/data/in", "/host/in", "rw", "/data", "/host\udcff"),
        *("directory", "/", "uid", "0", "gid", "0", "ro", "/.udocker-porter", "/porter", ""),
    ]
    plain = Description(str(place.parent), (("root", "/plain"),))
    assert [type(step) for step in launch(plain, "/engine", "/porter").steps] == [WriteFile]
    place.write_bytes(content[: content.rindex(b"/host")])
    with pytest.raises(OSError, match="Invalid argument"):
        read(str(place))
