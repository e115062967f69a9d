"""load and save as people and scripts see it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from builders.archives import Image, docker_files, tar
from builders.commands import Udocker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    return Udocker(tmp_path)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "box.tar"
    path.write_bytes(tar(docker_files((Image(), ["box:1", "q.io/box:2"]))))
    return path


class TestLoad:
    def test_names_are_printed(self, udocker: Udocker, archive: Path) -> None:
        ended = udocker("load", "-i", str(archive))
        assert (ended.code, ended.out) == (0, "box:1\nq.io/box:2\n")
        assert udocker("load", f"--input={archive}", "mine").out == "mine:latest\n"

    def test_from_a_pipe(self, udocker: Udocker, archive: Path) -> None:
        for words in (["load"], ["load", "-i", "-", "mine"]):
            process = udocker.start(*words, stdin=subprocess.PIPE)
            out, _ = process.communicate(archive.read_bytes())
            assert process.returncode == 0
            assert out.decode().split()[0] == ("mine:latest" if "mine" in words else "box:1")

    def test_bad_input(self, udocker: Udocker, archive: Path) -> None:
        ended = udocker("load", "-i", str(archive.parent / "absent"))
        assert (ended.code, ended.out) == (125, "")
        first, second = ended.err.splitlines()
        assert first == f"udocker: no such file: {archive.parent}/absent"
        assert second.startswith("  try: name an archive, or the directory of an OCI layout")
        ended = udocker("load", input="")
        assert (ended.code, ended.out) == (125, "")
        assert "udocker: standard input: it is empty\n" in ended.err
        assert udocker("load", "-i", str(archive), "Bad Name").code == 2

    def test_standard_input_is_closed(self, udocker: Udocker) -> None:
        process = udocker.start("load", preexec_fn=lambda: os.close(0))
        out, err = process.communicate()
        assert (process.returncode, out) == (125, b"")
        assert err.startswith(b"udocker: standard input is closed\n")

    def test_a_named_pipe(self, udocker: Udocker, archive: Path) -> None:
        pipe = archive.with_name("pipe")
        os.mkfifo(pipe)
        process = udocker.start("load", "-q", "-i", str(pipe))
        pipe.write_bytes(archive.read_bytes())
        assert process.communicate()[0].split()[0] == b"box:1"

    def test_many_descriptors_are_not_left(self, udocker: Udocker, archive: Path) -> None:
        ended = udocker("load", "-i", str(archive), env={"PYTHONWARNINGS": "error"})
        assert (ended.code, "Warning" in ended.err) == (0, False)


class TestSave:
    def test_and_load(self, udocker: Udocker, archive: Path) -> None:
        udocker("load", "-i", str(archive))
        ended = udocker("save", "-q", "-o", "out.tar", "box:1")
        assert (ended.code, ended.out, ended.err) == (0, "", "")
        assert udocker("load", "-i", "out.tar").out == "box:1\n"
        assert udocker("save", "--format=oci-dir", "-oout", "q.io/box:2").code == 0
        assert udocker("pull", "oci:out").out == "q.io/box:2\n"

    def test_bad_input(self, udocker: Udocker, archive: Path) -> None:
        assert udocker("save").code == 2
        assert udocker("save", "--format=zip", "x").code == 2
        ended = udocker("save", "-o", "out", "absent")
        assert (ended.code, ended.err.splitlines()[0]) == (125, "udocker: no such image: absent")
        udocker("load", "-i", str(archive))
        ended = udocker("save", "-q", "-o", "absent/out", "box:1")
        assert ended.code == 125
        assert ended.err == (
            "udocker: saving to absent/out: No such file or directory\n"
            "  try: name a file that you may write, where there is room\n"
        )


class TestPlaces:
    def test_pull(self, udocker: Udocker, archive: Path) -> None:
        assert udocker("pull", f"docker-archive:{archive}").out == "box:1\n"
        assert udocker("pull", "docker-archive:box.tar:q.io/box:2").out == "q.io/box:2\n"
        assert "no such image" in udocker("pull", "docker-archive:box.tar:other").err
        assert "not an OCI image layout" in udocker("pull", "oci-archive:box.tar").err
        assert udocker("pull", "oci:").code == 2

    def test_create(self, udocker: Udocker, archive: Path) -> None:
        ended = udocker("create", "--pull=never", f"docker-archive:{archive}")
        assert (ended.code, ended.out) == (125, "")
        assert "box:1 is not in the store" in ended.err
        ended = udocker("create", "--name=c", f"docker-archive:{archive}")
        assert ended.code == 0
        assert udocker("ps").out.split()[-2:] == ["c", "docker.io/library/box:1"]
        assert udocker("create", "--pull=never", f"docker-archive:{archive}").code == 0

    def test_run_looks_for_a_container_first(self, udocker: Udocker, archive: Path) -> None:
        ended = udocker("run", "--dry-run", "docker-archive:absent")
        assert ended.code == 125
        assert ended.err.splitlines()[0] == "udocker: no such file: absent"
