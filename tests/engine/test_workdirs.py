"""One mount of a union for several processes: who has it, who gets it, where it is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from builders.processes import PATIENCE, environment, needs_namespaces
from builders.trees import grow
from udocker.engine import workdirs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_namespaces

# A run that has the union as its root, and then says what it is asked.
RUN = """
import errno, os, signal, sys
from udocker.engine import others, workdirs
from udocker.engine.steps import Steps
from udocker.model.launch import EnterRoot, Launch, MountUnion, Unshare
top, prelude, uid = sys.argv[1:]
steps = Steps(lambda text: print("warned:", text))
def refused(*given):
    raise PermissionError(1, "Operation not permitted")
class OldKernel:
    def __init__(self, lib, ffi):
        self.lib, self.ffi = lib, ffi
    def __getattr__(self, name):
        return getattr(self.lib, name)
    def udocker_attach(self, tree, target):
        self.ffi.errno = errno.ENOSYS
        return -1
def write(path):
    with open(path, "w") as stream:
        return stream.write(path)
def fork():
    child = os.fork()
    if child == 0:
        os.closerange(0, 3)
        signal.pause()
    return child
exec(prelude)
union = MountUnion(*(f"{top}/{name}" for name in ("lower", "upper", "work", "union")))
begin = Unshare(int(uid), int(uid), os.getuid(), os.getgid())
steps.run(Launch(("x",), (), "/", steps=(begin, union, EnterRoot(union.target))))
print("ready", flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
"""
OLD_KERNEL = "steps._kernel.lib = OldKernel(steps._kernel.lib, steps._kernel.ffi)"
WARNING = "warned: the container is running, and its mount cannot be shared"


class Run:
    def __init__(self, top: Path, prelude: str, uid: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(top), prelude, str(uid)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.warnings = []
        line = self._line()
        while line != "ready":
            self.warnings.append(line)
            line = self._line()

    def __call__(self, code: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            err = self.process.communicate()[1]
            if "cannot mount overlayfs" in err and "not permitted" in err:
                pytest.skip("host: no overlayfs in user namespaces")
            pytest.fail(err)
        return line.strip()

    def end(self) -> None:
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    grow(tmp_path / "lower", {"etc/hosts": b"lower"})
    for name in ("upper", "work", "union"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def begin(top: Path) -> Iterator[Callable[..., Run]]:
    begun = []

    def _begin(prelude: str = "", uid: int = 0) -> Run:
        begun.append(Run(top, prelude, uid))
        return begun[-1]

    yield _begin
    for run in begun:
        run.process.kill()
        run.end()


def is_unused(top: Path) -> bool:
    with workdirs.unused(f"{top}/work") as unused:
        return unused


def test_a_later_run_has_the_mount_of_the_first(top: Path, begin: Callable[..., Run]) -> None:
    first = begin()
    assert first("os.listdir('/')") == "['etc']"
    second = begin(uid=1234)
    assert (first("write('/first')"), second("write('/second')")) == ("6", "7")
    assert first("sorted(os.listdir('/'))") == second("sorted(os.listdir('/'))")
    assert first("os.stat('/').st_dev") == second("os.stat('/').st_dev")
    assert (first.warnings, second.warnings) == ([], [])
    assert second("(os.getuid(), os.stat('/first').st_uid)") == "(1234, 1234)"
    assert sorted(os.listdir(top / "work")) == ["0", "0.owner"]


def test_the_mount_is_in_use_until_the_last_has_ended(top: Path, begin: Callable[..., Run]) -> None:
    assert is_unused(top)
    runs = [begin()]
    for _ in range(3):
        device = runs[-1]("os.stat('/').st_dev")
        runs.append(begin())
        runs[-2].end()
        assert not is_unused(top)
        assert runs[-1]("os.stat('/').st_dev") == device
    runs[-1].end()
    assert is_unused(top)
    assert begin().warnings == []
    assert sorted(os.listdir(top / "work")) == ["0", "0.owner"]


def test_one_of_two_processes_is_enough(top: Path, begin: Callable[..., Run]) -> None:
    first = begin()
    child = int(first("fork()"))
    try:
        first.end()
        assert not is_unused(top)
        assert begin()("write('/new')") == "4"
        assert sorted(os.listdir(top / "work")) == ["0", "0.owner"]
    finally:
        os.kill(child, 9)


@pytest.mark.parametrize(
    ("prelude", "reason"),
    [(OLD_KERNEL, "not implemented"), ("workdirs.borrow = refused", "not permitted")],
    ids=["attach", "clone"],
)
def test_where_it_is_refused_each_has_its_own_and_is_told(
    top: Path, begin: Callable[..., Run], prelude: str, reason: str
) -> None:
    first = begin(prelude)
    assert first.warnings == []
    second = begin(prelude)
    [line] = second.warnings
    assert line.startswith(WARNING)
    assert reason in line
    assert first("write('/etc/hosts')") == "10"
    assert second("write('/new')") == "4"
    assert sorted(os.listdir(top / "work")) == ["0", "0.owner", "1", "1.owner"]
    first.end()
    assert not is_unused(top)
    third = begin()  # the only one that is left has the second work directory
    assert third.warnings == []
    assert third("os.stat('/').st_dev") == second("os.stat('/').st_dev")


def test_a_holder_that_is_changing_its_root_has_nothing_to_give(
    top: Path, begin: Callable[..., Run]
) -> None:
    """What lies over it would be taken for the container: in the worst case the host's root."""
    first = begin()
    flags = first(
        "steps._kernel.lib.udocker_mount(b'tmpfs', b'/', b'tmpfs', 0, steps._kernel.ffi.NULL)"
    )
    assert flags == "0"
    second = begin()
    [line] = second.warnings
    assert line.startswith(WARNING)
    assert "its root is another mount" in line
    assert second("os.listdir('/')") == "['etc']"
