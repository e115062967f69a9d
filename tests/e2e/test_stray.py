"""The F modes: threads close descriptors that they have not opened, and others change paths.

The engine holds places by descriptors of its own; a number that is closed is given to the next
file, and what was meant for one place must not be done in another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.inprocess import COMPILE

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.inprocess import Container

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines", "e2e.inprocess"]

_SECONDS = 4


def _state(folder: Path) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for path in sorted((folder, *folder.rglob("*"))):
        status = path.lstat()
        found.append((str(path), status.st_mode, status.st_size, status.st_ctime_ns))
    return found


@pytest.mark.parametrize("place", ["/srv/here", "/v/here"])
def test_nothing_is_done_in_another_place(
    mode: str, place: str, container: Container, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    for name in ("file", "moved"):
        (other / name).parent.mkdir(exist_ok=True)
        (other / name).write_text("of the volume")
    (other / "folder").mkdir()
    (other / "link").symlink_to("file")
    (tmp_path / "volume").mkdir()
    before = _state(other)
    script = COMPILE.format(name="stray", options="")
    script += f"rm -rf {place} && mkdir -p {place} && /tmp/stray {place} /other {_SECONDS}"
    volumes = ("-v", f"{other}:/other:ro", "-v", f"{tmp_path / 'volume'}:/v")
    container(mode, script, *volumes)
    assert _state(other) == before
