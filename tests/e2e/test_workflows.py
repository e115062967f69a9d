"""Workflow engines that run their steps by udocker: as they come, from PyPI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.engines import BUSYBOX, Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_PROGRAMS = Path(sys.executable).parent  # of the engines, which are installed beside Python
_CWL = """\
cwlVersion: v1.2
class: CommandLineTool
hints: {{DockerRequirement: {{dockerPull: "{image}"}}}}
baseCommand: [sh, -c, 'cat $1; pwd; echo $HOME; touch made; echo told >&2', sh]
inputs: {{file: {{type: File, inputBinding: {{}}}}}}
stdout: out.txt
outputs: {{out: stdout, made: {{type: File, outputBinding: {{glob: made}}}}}}
"""
_WDL = """\
version 1.0
task hello {{
  input {{ File f }}
  command <<< cat ~{{f}}; touch made >>>
  output {{ String said = read_string(stdout()) File made = "made" }}
  runtime {{ docker: "{debian}" }}
}}
"""


class Workflows:
    """Runs an engine where ``udocker`` is found in PATH and images are those of a registry."""

    def __init__(self, shared: Shared, directory: Path) -> None:
        self.directory = directory
        self.image = shared.image(BUSYBOX)
        self.debian = shared.image("debian:12")  # with bash
        programs = directory / "bin"
        programs.mkdir()
        for line in shared("shim", "--dir", str(programs), "docker", "podman").out.split():
            assert Path(line).parent == programs
        (programs / "podman").rename(programs / "udocker")
        path = f"{programs}:{_PROGRAMS}:{os.environ['PATH']}"
        self.environ = {**shared.environment(), "PATH": path}
        (directory / "in.txt").write_text("data\n")

    def write(self, name: str, text: str) -> str:
        (self.directory / name).write_text(text.format(image=self.image, debian=self.debian))
        return name

    def __call__(self, *words: str, **env: str) -> dict[str, object]:
        """What it prints, read as JSON."""
        ended = subprocess.run(
            words,
            cwd=self.directory,
            env={**self.environ, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
        found: dict[str, object] = json.loads(ended.stdout)
        return found


@pytest.fixture
def workflows(shared: Shared, tmp_path: Path) -> Workflows:
    return Workflows(shared, tmp_path)


def check_cwl(workflows: Workflows, *options: str) -> None:
    tool = workflows.write("tool.cwl", _CWL)
    workflows("cwltool", "--outdir", "out", *options, tool, "--file", "in.txt")
    data, folder, home = (workflows.directory / "out/out.txt").read_text().splitlines()
    assert data == "data"
    assert folder == home
    assert (workflows.directory / "out/made").read_bytes() == b""


def test_cwltool_with_udocker(workflows: Workflows) -> None:
    check_cwl(workflows, "--udocker")


def test_cwltool_with_docker(workflows: Workflows) -> None:
    """Its usual way: options of Docker, and a program of that name."""
    check_cwl(workflows)


def test_miniwdl(workflows: Workflows) -> None:
    task = workflows.write("task.wdl", _WDL)
    settings = {"MINIWDL__SCHEDULER__CONTAINER_BACKEND": "udocker"}
    found = workflows("miniwdl", "run", "--no-cache", task, "f=in.txt", **settings)
    outputs = found["outputs"]
    assert isinstance(outputs, dict)
    assert outputs["hello.said"] == "data"
    assert Path(outputs["hello.made"]).read_bytes() == b""
