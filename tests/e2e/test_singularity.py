"""S1: what Apptainer is asked for; the tests of all modes run it as well.

Most have a program here that stands in for it: it tells how it was called, and runs nothing.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from e2e.checks import is_told
from e2e.engines import need

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.engines import Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_PROGRAM = """#!{python}
import json, os, sys
root = next(word for word in sys.argv if word.endswith("/ROOT"))
places = os.listdir(root + "/srv") if os.path.isdir(root + "/srv") else []
print(json.dumps([sys.argv[1:], dict(os.environ), os.listdir(root), places]))
sys.exit({status})
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "apptainer"
    path.write_text(_PROGRAM.format(python=sys.executable, status=0))
    path.chmod(0o755)
    return path


def test_the_real_one_works_where_it_can(refusals: dict[str, str]) -> None:
    """Else the tests of all modes would leave S1 out without a word."""
    need(refusals, "N1")
    assert not refusals["S1"], "tools/images --apptainer makes one"


def chosen(program: Path) -> dict[str, str]:
    return {"UDOCKER_USE_SINGULARITY_EXECUTABLE": str(program)}


def called(text: str) -> tuple[list[str], dict[str, str], list[str], list[str]]:
    words: Any = json.loads(text)
    return tuple(words)  # type: ignore[return-value]


def options(words: list[str]) -> dict[str, list[str]]:
    """The values of the options before the root; of those without one, none."""
    found: dict[str, list[str]] = {}
    for word, after in zip(words, words[1:]):
        if word.startswith("--"):
            found.setdefault(word, []).extend([] if after.startswith(("--", "/store")) else [after])
    return found


def test_what_it_is_asked_for(shared: Shared, program: Path, tmp_path: Path) -> None:
    asked = ["-v", f"{tmp_path}:/srv/in,put:ro", "-e", "A=$x `id`", "-w", "/srv/new"]
    words = ["run", "-q", "--rm", "--execmode=S1", "--hostname=box", *asked]
    command = ["printf", "a b", "", "--flag"]
    image = shared.image("busybox:latest")
    result = shared(*words, image, *command, env=chosen(program))
    line, environ, top, places = called(result.out)
    end = next(number for number, word in enumerate(line) if word.endswith("/ROOT"))
    assert line[end + 1 :] == command
    given = options(line[:end])
    assert line[:2] == ["--silent", "exec"]
    assert {"--cleanenv", "--writable", "--no-eval"} <= given.keys()
    assert given["--no-mount"] == ["home,tmp,cwd,bind-paths"]
    assert (given["--home"], given["--pwd"]) == (["/root"], ["/srv/new"])
    assert given["--hostname"] == ["box"]
    assert f'type=bind,source={tmp_path},"destination=/srv/in,put",ro' in given["--mount"]
    assert [each for each in given["--mount"] if each.endswith(",destination=/etc/resolv.conf")]
    assert environ["APPTAINERENV_A"] == "$x `id`"
    assert environ["APPTAINERENV_container_execmode"] == "S1"
    assert "APPTAINERENV_HOME" not in environ
    assert {"dev", "proc", "sys", "tmp", "srv"} <= set(top)
    assert sorted(places) == ["in,put", "new"]


def test_its_status_is_the_command_s(shared: Shared, program: Path) -> None:
    name = shared.image("busybox:latest")
    shared("run", "-q", "--rm", "--execmode=S1", name, "true", env=chosen(program))
    program.write_text(_PROGRAM.format(python=sys.executable, status=7))
    words = ("run", "-q", "--rm", "--execmode=S1", name, "true")
    # The program has changed, so it is tried once more, and does not do.
    is_told(shared(*words, env=chosen(program), check=False), 125, "S1", "status 7")


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        (["-e", "a-b=1"], "variables that a shell can have, and not 'a-b'"),
        (["--user=1000"], "mode S1 lacks another user than root"),
    ],
)
def test_what_it_cannot_do_is_told(
    shared: Shared, program: Path, asked: list[str], part: str
) -> None:
    words = ("run", "-q", "--rm", "--execmode=S1", *asked, shared.image("busybox:latest"), "true")
    is_told(shared(*words, env=chosen(program), check=False), 125, part)


def test_a_program_that_is_not_there_is_told(shared: Shared, tmp_path: Path) -> None:
    words = ("run", "-q", "--rm", "--execmode=S1", shared.image("busybox:latest"), "true")
    is_told(shared(*words, env=chosen(tmp_path / "none"), check=False), 125, "S1", "none")
