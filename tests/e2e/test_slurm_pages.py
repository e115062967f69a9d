"""Every script of the pages on Slurm, sent as it stands; only the images are the tests' own."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.jobs import BUSYBOX, Slurm, at_once

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.jobs"]

_PAGE = Path(__file__).parents[2] / "docs/slurm/README.md"


@pytest.fixture
def sent(slurm: Slurm) -> dict[str, list[str]]:
    """What each script prints, by the name of its job."""
    image = slurm.images.parent / "mpi" / "oci"
    slurm(*slurm.words("pull", "-q", f"oci:{image}:mpi:12"))
    programs = slurm.programs()
    return dict(at_once(lambda text: _send(slurm, programs, text), _scripts()))


def _scripts() -> Iterator[str]:
    text = _PAGE.read_text(encoding="utf-8")
    yield from re.findall(r"^```sh\n#!/bin/sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _send(slurm: Slurm, programs: Path, text: str) -> tuple[str, list[str]]:
    found = re.search(r"--job-name=(\w+)", text)
    assert found is not None
    options = [
        word for line in re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE) for word in line.split()
    ]
    path = f"PATH={shlex.quote(str(programs))}:/usr/bin:/bin"
    script = f"export {path}\n{text.replace('debian:12', BUSYBOX)}"
    output = slurm.place / f"{found[1]}-%a.out"
    slurm.submit(script, "--wait", f"--output={output}", *options)
    files = sorted(slurm.place.glob(f"{found[1]}-*.out"))
    return found[1], [file.read_text() for file in files]


def test_they_do_what_they_say(sent: dict[str, list[str]]) -> None:
    assert set(sent) == {"one", "many", "mpi", "gpu", "staged"}
    [one] = sent["one"]
    assert re.search(r"^working in /", one, re.MULTILINE), one
    arrays = "".join(sent["many"])
    assert sorted(re.findall(r"task (\d) of 4", arrays)) == ["1", "2", "3", "4"], arrays
    [mpi] = sent["mpi"]
    assert sorted(re.findall(r"task (\d) of 4 on", mpi)) == ["0", "1", "2", "3"], mpi
    [gpu] = sent["gpu"]
    assert re.search(r"^GPU 0$", gpu, re.MULTILINE), gpu
    [staged] = sent["staged"]
    assert len(set(re.findall(r"^node\d$", staged, re.MULTILINE))) == 3, staged
    assert "1 image on 3 nodes" in staged
