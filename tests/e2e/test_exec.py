"""What the F modes know between programs: it ends when it is no longer so, whoever has changed it.

Links of the image's root directory, which libraries have no patched copy, owners.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.engines import SCI, Shared, need
from e2e.test_together import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_PROGRAM = Path(__file__).parent / "programs" / "exec_fork.c"
_COMPILE = "gcc -O1 -w -pthread -o /tmp/exec_fork /w/exec_fork.c && "
_STEP_BY_STEP = 'while read line; do eval "$line"; echo "= $?"; done'

# /sbin is a link of the image's root directory.
_USE = "for n in 1 2 3; do /sbin/ldconfig -V >/dev/null; cat /sbin/tool 2>/dev/null; done; true"
_NEW = "mkdir /opt/new && (echo '#!/bin/sh'; echo echo new) >/opt/new/tool && chmod 755 /opt/new/*"
_EXCHANGE = (
    'import ctypes; libc = ctypes.CDLL("libc.so.6"); '
    'assert libc.renameat2(-100, b"/opt/new", -100, b"/sbin", 2) == 0'
)
# How it goes, and whether the new program is there then.
_WAYS = {
    "removed": ("rm /sbin", False),
    "renamed": ("mv /sbin /was", False),
    "renamed over": ("mv -T /link /sbin", True),
    "exchanged": (f"python3 -c '{_EXCHANGE}'", True),
    "made anew": ("rm /sbin && mv /opt/new /sbin", True),
}
_CALL = "python3 -c 'import ctypes; print(ctypes.CDLL(\"/usr/lib/libnumber.so\").number())'"
_LIBRARY = (
    "echo 'int number(void) {{ return {0}; }}' >/tmp/n.c && "
    "gcc -w -shared -fPIC -o /tmp/n.so /tmp/n.c && touch -d @1000000000 /tmp/n.so && "
    "mv /tmp/n.so /usr/lib/libnumber.so"
)


@pytest.fixture(params=["F2", "F3"])
def mode(request: pytest.FixtureRequest, refusals: dict[str, str]) -> str:
    name: str = request.param
    need(refusals, name)
    return name


class Runs:
    """Runs of one container."""

    def __init__(self, shared: Shared, mode: str) -> None:
        self.shared = shared
        self.mode = mode

    def once(self, script: str, *options: str, mode: str = "") -> str:
        words = ("run", "-q", f"--execmode={mode or self.mode}", *options, "exec")
        return self.shared(*words, "sh", "-c", script).out

    def start(self) -> Shell:
        words = ("run", "-q", f"--execmode={self.mode}", "exec", "sh", "-c", _STEP_BY_STEP)
        shell = Shell(self.shared.start(words, start_new_session=True))
        assert shell("true") == ""
        return shell


@pytest.fixture
def runs(mode: str, shared: Shared) -> Iterator[Runs]:
    shared("create", "-q", "--name=exec", shared.image(SCI))
    yield Runs(shared, mode)
    shared("rm", "-f", "exec")


@pytest.mark.parametrize("way", _WAYS)
def test_links_of_the_root_directory_are_replaced(way: str, runs: Runs) -> None:
    """By a process of the same run, and of another one."""
    change, is_new = _WAYS[way]
    runs.once(f"{_NEW}; cp -a /sbin /kept; ln -s opt/new /link")
    first, second = runs.start(), runs.start()
    assert first(_USE) + second(_USE) == ""
    assert second(change) == ""
    for shell in (first, second):
        assert shell("/sbin/ldconfig -V 2>/dev/null") == "= 127\n"
        assert shell("/sbin/tool 2>/dev/null") == ("new\n" if is_new else "= 127\n")
        assert shell("cat /sbin/tool 2>/dev/null | wc -l") == ("2\n" if is_new else "0\n")
    assert first("rm -rf /sbin; mv -T /kept /sbin; /sbin/ldconfig -V >/dev/null") == ""
    assert second("/sbin/tool 2>/dev/null") == "= 127\n"
    assert first.end() + second.end() == ""


def test_links_of_the_root_directory_are_replaced_in_n1(
    runs: Runs, refusals: dict[str, str]
) -> None:
    need(refusals, "N1")
    runs.once(f"{_NEW}; ln -s opt/new /link")
    runs.once(_USE)
    runs.once("mv -T /link /sbin", mode="N1")
    assert runs.once("/sbin/tool; cat /sbin/tool | wc -l") == "new\n2\n"


def test_volumes_below_a_link_of_the_root_directory(runs: Runs, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho host\n")
    tool.chmod(0o755)
    runs.once(_USE)
    assert runs.once("/sbin/tool; /usr/sbin/tool", "-v", f"{tmp_path}:/sbin") == "host\nhost\n"
    once = runs.once("/sbin/ldconfig; /usr/sbin/ldconfig", "-v", f"{tool}:/usr/sbin/ldconfig")
    assert once == "host\nhost\n"
    assert runs.once("/sbin/v/tool", "-v", f"{tmp_path}:/usr/sbin/v") == "host\n"
    assert runs.once("/sbin/ldconfig -V | grep -c ldconfig") == "1\n"


def test_a_library_is_replaced_while_programs_run(runs: Runs) -> None:
    """Of the same size and time, as a package manager that keeps times may leave it."""
    runs.once(_LIBRARY.format(1))
    first, second = runs.start(), runs.start()
    assert first(f"{_CALL}; {_CALL}") == "1\n1\n"
    for number in (2, 3):
        assert second(_LIBRARY.format(number)) == ""
        for shell in (first, second):
            assert shell(f"{_CALL}; {_CALL}") == f"{number}\n{number}\n"
    assert first.end() + second.end() == ""
    assert runs.once(_CALL) == "3\n"


def test_an_owner_is_seen_by_programs_that_run(runs: Runs) -> None:
    """Nobody had one before: programs know that, and that it has changed."""
    runs.once("touch /srv/file")
    first, second = runs.start(), runs.start()
    owned = "test -O /srv/file"  # without a program of its own
    shown = "stat -c %u:%g /srv/file"
    assert first(f"{owned} && {shown}") == "0:0\n"
    assert second("chown 7:8 /srv/file") == ""
    assert first(owned) == "= 1\n"
    assert first(shown) + second(shown) == "7:8\n7:8\n"
    assert first.end() + second.end() == ""


def test_a_thread_forks_while_another_executes(runs: Runs, tmp_path: Path) -> None:
    shutil.copy(_PROGRAM, tmp_path)
    script = f"{_COMPILE} /tmp/exec_fork 60"
    assert runs.once(script, "-v", f"{tmp_path}:/w") == "many\n"
