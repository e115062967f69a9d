"""The F modes: directories become links to places of the host while calls are about what is there.

The engine resolves a path, and the kernel then walks the result on the host: a link that came into
it meanwhile must not lead there.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.engines import SCI, Shared, need

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_SECONDS = 5
_PROGRAM = Path(__file__).parent / "programs" / "swap.c"
_COMPILE = "gcc -O1 -w -pthread -o /tmp/swap /w/swap.c"
_SCRIPT = _COMPILE + " && mkdir -p {0} && cd {0} && /tmp/swap {1} {2}"


@pytest.fixture(params=["F2", "F3"])
def mode(request: pytest.FixtureRequest, refusals: dict[str, str]) -> str:
    name: str = request.param
    need(refusals, name)
    return name


@pytest.fixture
def container(shared: Shared) -> Iterator[str]:
    shared("create", "-q", "--name=swapped", shared.image(SCI))
    yield "swapped"
    shared("rm", "swapped")


def _state(folder: Path) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for path in sorted((folder, *folder.rglob("*"))):
        status = path.lstat()
        found.append((str(path), status.st_mode, status.st_nlink, status.st_size, status.st_ctime))
    return found


@pytest.mark.parametrize("place", ["/srv/new", "/w/new"])
def test_links_that_come_into_a_path(
    mode: str,
    place: str,
    shared: Shared,
    container: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sentinel = tmp_path / "sentinel"
    sentinel.mkdir()
    for number in range(3):
        (sentinel / f"f{number}").write_text("of the host")
        os.setxattr(sentinel / f"f{number}", "user.of", b"host")
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(_PROGRAM, work)
    listener = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(sentinel)  # the path may be too long for an address
    listener.bind("s")
    listener.listen(1)
    before = _state(sentinel)
    script = _SCRIPT.format(place, sentinel, _SECONDS)
    volume = f"{work}:/w"
    ran = shared("run", "-q", f"--execmode={mode}", "-v", volume, container, "sh", "-c", script)
    listener.close()
    assert ran.out == ""
    assert _state(sentinel) == before
