"""A store that others only read, in every mode.

It is another user's in so far as nothing of it may be written: the tests have one user.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.conftest import Result, run
from e2e.engines import BUSYBOX, Shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.engines import Inside

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]


class Site:
    """A store that is only read, and commands in one of the user's own beside it."""

    def __init__(self, path: Path, own: Path, home: Path, image: str) -> None:
        self.path = path
        self.image = image
        self._settings = {
            "HOME": str(home),
            "UDOCKER_DIR": str(own),
            "UDOCKER_REPOS": str(path),
        }

    def __call__(self, *words: str) -> Result:
        result = run(list(words), self._settings)
        assert result.code == 0, result
        return result

    def state(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for folder, folders, names in os.walk(self.path):
            for name in (*folders, *names, "."):
                status = os.lstat(f"{folder}/{name}")
                found[f"{folder}/{name}"] = (
                    status.st_size,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                )
        return found


@pytest.fixture
def site(shared: Shared, tmp_path: Path) -> Iterator[Site]:
    path, home = tmp_path / "site", tmp_path / "home"
    home.mkdir()
    settings = {"HOME": str(home), "UDOCKER_DIR": str(path)}
    image = f"{shared.registry}/{BUSYBOX}"
    assert run(["pull", "-q", image], settings).code == 0
    shutil.rmtree(path / "tmp")
    for folder, _, _ in os.walk(path, topdown=False):
        if "/root/" not in folder[len(str(path)) :]:  # the modes in there are the image's
            os.chmod(folder, 0o555)
    yield Site(path, tmp_path / "own", home, image)
    for folder, _, _ in os.walk(path):
        os.chmod(folder, 0o755)


def test_run_writes_nothing_there(inside: Inside, site: Site) -> None:
    before = site.state()
    script = "cat /etc/passwd; rm /etc/passwd; echo new >/etc/group; cat /etc/group"
    words = ("run", "-q", "--rm", f"--execmode={inside.mode}", "--pull=never", site.image)
    assert "root:x:0:" in site(*words, "sh", "-c", script).out
    site("create", "-q", "--name=box", "--pull=never", site.image)
    for _ in range(2):
        result = site(
            "run", "-q", f"--execmode={inside.mode}", "box", "sh", "-c", "echo x >>/f; cat /f"
        )
    assert result.out == "x\nx\n"
    assert site("fsck").code == 0
    assert site("prune").code == 0
    site("rm", "box")
    assert site.state() == before


@pytest.fixture
def foreign(shared: Shared) -> Iterator[str]:
    """A container whose image's tree is another user's: root's, as every host has it."""
    if os.getuid() == os.stat("/etc/skel").st_uid:
        pytest.skip("host: /etc/skel is this user's own")
    identity = shared("create", "-q", shared.image(BUSYBOX)).out.strip()
    path = shared.store / "containers" / identity / "container.json"
    data = json.loads(path.read_bytes())
    path.write_text(json.dumps({**data, "tree": "/etc/skel"}))
    yield identity
    shared("rm", "-f", identity)


def test_a_tree_of_another_user(
    shared: Shared, foreign: str, works: tuple[str, ...], refusals: dict[str, str]
) -> None:
    script = "busybox echo more >>/.bashrc; busybox mkdir -p /new && busybox tail -n 1 /.bashrc"
    words = ("-v", "/usr/bin/busybox:/bin/busybox", foreign, "/bin/busybox", "sh", "-c", script)
    result = shared("run", "--execmode=auto", *words)
    assert result.out == "more\n"
    shows = "F3" in works
    assert ("own copy of the image" not in result.err) == shows
    if "N1" in works and shows:
        result = shared("run", "--execmode=N1", *words)
        assert result.out == "more\n"
        assert "own copy of the image: it belongs to uid 0, and N1 could not" in result.err
        assert shared("run", "--execmode=N1", *words).err == ""
