"""F1: programs of Debian's images with Debian's libfakechroot, and what it refuses."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from e2e.checks import is_told
from e2e.engines import Inside, need

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from e2e.conftest import Result
    from e2e.engines import Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]


class Run:
    """Runs in F1, in one container that stays."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.inside = Inside(shared, "F1")
        self.name = "f1"

    def __call__(
        self,
        *program: str,
        options: Sequence[str] = (),
        input: str | None = None,
        check: bool = True,
        mode: str = "F1",
    ) -> Result:
        if self.name not in {name for each in self.shared.containers() for name in each["names"]}:
            self.shared("create", "-q", f"--name={self.name}", self.shared.image("debian:12"))
        words = ("run", "-q", f"--execmode={mode}", *options, self.name, *program)
        return self.shared(*words, input=input, check=check)


@pytest.fixture
def run(shared: Shared, refusals: dict[str, str]) -> Run:
    need(refusals, "F1")
    return Run(shared)


def test_programs_and_what_they_start_are_the_container_s(run: Run) -> None:
    script = "cat /etc/debian_version; sh -c 'cat /etc/debian_version'; ls / | grep -c '^usr$'; pwd"
    version, *rest = run("sh", "-c", script, options=["-w", "/usr/share"]).out.split()
    assert version.startswith("12.")
    assert rest == [version, "1", "/usr/share"]


def test_words_environment_input_and_status(run: Run) -> None:
    script = 'cat; printf "%s;" "$A" "$@"; exit 7'
    result = run(
        "sh", "-c", script, "x", "", "b c", options=["-e", "A=1 2"], input="in\n", check=False
    )
    assert (result.code, result.out) == (7, "in\n1 2;;b c;")
    assert run("sh", "-c", "kill -9 $$", check=False).code == 137
    assert run("sh", "-c", "echo $0").out == "sh\n"


def test_scripts(run: Run) -> None:
    make = "printf '#!/bin/sh -e\\necho $0 $1 $-\\n' >/opt/script && chmod 755 /opt/script"
    run("sh", "-c", make)
    name, word, flags = run("/opt/script", "word").out.split()
    assert (name, word) == ("/opt/script", "word")
    assert "e" in flags


def test_absolute_links_lead_into_the_container(run: Run) -> None:
    """awk is /etc/alternatives/awk, and that is /usr/bin/mawk."""
    assert run("awk", "BEGIN { print 40 + 2 }").out == "42\n"
    assert "/alternatives/awk" in run("readlink", "/usr/bin/awk").out


def test_links_that_it_makes_are_right_in_other_modes(run: Run, refusals: dict[str, str]) -> None:
    need(refusals, "N1")
    run("sh", "-c", "echo text >/opt/file; ln -sf /opt/file /srv/link; cat /srv/link")
    assert run("cat", "/srv/link", mode="N1").out == "text\n"
    assert run("sh", "-c", "ln -sf /opt/file /srv/link2", mode="N1").out == ""
    assert run("cat", "/srv/link2").out == "text\n"


def test_a_volume_at_its_own_path(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    options = ["-v", str(tmp_path), "-w", str(tmp_path)]
    script = f"pwd; cat {tmp_path}/file; echo new >made; cat {tmp_path}/made"
    assert run("sh", "-c", script, options=options).out == f"{tmp_path}\nof the host\nnew\n"
    assert (tmp_path / "made").read_text() == "new\n"
    assert run("cat", str(tmp_path / "file"), check=False).code == 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["-v", "/tmp:/elsewhere"], "volumes at other paths than on the host"),
        (["-v", "/tmp:/tmp:ro"], "read-only volumes"),
        (["--user=daemon"], "another user than root"),
    ],
)
def test_what_it_lacks_is_told(run: Run, options: list[str], part: str) -> None:
    is_told(run("true", options=options, check=False), 125, "mode F1 lacks", part, "N1")


@pytest.mark.parametrize(
    ("image", "program", "part"),
    [
        ("busybox:latest", "true", "mode F1 cannot run static programs: /bin/true"),
        ("musl:latest", "probe", "takes programs of glibc, and /usr/bin/probe is one of musl"),
    ],
)
def test_programs_that_do_not_fit_are_refused_and_nothing_is_copied(
    run: Run, shared: Shared, image: str, program: str, part: str
) -> None:
    before = shared.containers()
    result = run.inside(program, image=image, options=["--user=root"], check=False)
    is_told(result, 125, part)
    assert "copy" not in result.err
    assert shared.containers() == before


def test_it_is_yourself(run: Run) -> None:
    assert run("id", "-u").out == f"{os.getuid()}\n"


def test_a_library_of_the_user_s_choice(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "none.so")
    result = run.shared("doctor", "--json", env={"UDOCKER_FAKECHROOT_SO": path})
    [row] = [row for row in json.loads(result.out)["modes"] if row["name"] == "F1"]
    assert "is not in the usual directories" in row["reason"]
    (tmp_path / "none.so").write_text("text")
    words = ("run", "-q", "--execmode=F1", run.name, "true")
    told = run.shared(*words, env={"UDOCKER_FAKECHROOT_SO": path}, check=False)
    is_told(told, 125, path, "not made for the machine")
