"""Memory and time do not grow with archives: half a gigabyte of one layer, most of it holes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.archives import tar
from builders.commands import Udocker
from udocker.model.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE = 512 << 20
_MOST = 100 << 10  # KiB: Python, threads with a few megabytes each, and no layer


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("large") / "large.tar"
    member = tarfile.TarInfo("zeros")
    member.size = _SIZE
    head, tail = member.tobuf(), bytes(1024)
    found = hashlib.sha256(head)
    for _ in range(_SIZE >> 20):
        found.update(bytes(1 << 20))
    found.update(tail)
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{found.hexdigest()}"]}
    config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs}).encode()
    name = f"{Digest.of(config).hex}.json"
    entry = {"Config": name, "RepoTags": ["large:1"], "Layers": ["l/layer.tar"]}
    layer = tarfile.TarInfo("l/layer.tar")
    layer.size = len(head) + _SIZE + len(tail)
    with path.open("wb") as stream:
        stream.write(layer.tobuf() + head)
        stream.seek(_SIZE, os.SEEK_CUR)
        stream.write(tail)
        stream.seek(-stream.tell() % 512, os.SEEK_CUR)
        stream.write(tar({name: config, "manifest.json": json.dumps([entry]).encode()}))
    yield path
    path.unlink()


def peak(udocker: Udocker, *words: str, **options: object) -> int:
    """The most memory of a command that succeeds, in KiB.

    Not what wait4(2) says of it: that begins with the peak of the process that starts it.
    """
    most = 0
    with udocker.start(*words, **options) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
            most = int(found.group(1)) if found else most
            time.sleep(0.005)
        assert process.returncode == 0, process.stderr.read()
    assert most > 0
    return most


def test_load_and_save(tmp_path: Path, archive: Path) -> None:
    udocker = Udocker(tmp_path)
    assert peak(udocker, "load", "-q", "-i", str(archive)) < _MOST
    out = tmp_path / "out.tar"
    assert peak(udocker, "save", "-q", "-o", str(out), "large:1") < _MOST
    assert out.stat().st_size > _SIZE
    out.unlink()


def test_load_from_a_pipe(tmp_path: Path, archive: Path) -> None:
    udocker = Udocker(tmp_path)
    with subprocess.Popen(["cat", str(archive)], stdout=subprocess.PIPE) as cat:
        assert peak(udocker, "load", "-q", stdin=cat.stdout) < _MOST
