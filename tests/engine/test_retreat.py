"""The way back from namespaces and another root: afterwards the process is as it was."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from builders.processes import environment, needs_namespaces, python
from builders.trees import Directory, Link, grow
from udocker import host
from udocker.ops import ranges

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_namespaces

# `told` carries out steps, says how they fail, goes back and shows what there is then.
DRIVER = """
import functools, os, sys
from udocker.engine.steps import Steps
from udocker.errors import EngineError
from udocker.model.launch import *
from udocker.model.run import *
top = sys.argv[1]
root = top + "/root"
steps = Steps()
BEGIN = Unshare(0, 0, os.getuid(), os.getgid())
ENTER = EnterRoot(root)
os.chdir(top + "/here")
print = functools.partial(print, flush=True)

def told(*given, steps=steps):
    try:
        steps.run(Launch(("x",), (), "/", steps=given))
    except EngineError as error:
        print(type(error).__name__)
    before = os.getuid()
    print(steps.go_back(), before)

def look():
    import colorsys  # from the host, whatever the root was
    here = os.path.realpath(top + "/here")
    ids = [str(os.getuid()), str(os.getgid())]
    print(ids == sys.argv[2:4], os.getcwd() == here)
    print(os.path.exists("/only-in-the-root"), os.path.exists(root + "/only-in-the-root"))
    print(sum(" %s " % root in line for line in open("/proc/self/mountinfo")))
    rights = "" if os.getuid() == 0 else "grep CapEff /proc/self/status; "
    os.execv("/bin/sh", ["sh", "-c", rights + "id -u"])
"""
NO_RIGHTS = ["CapEff:\t0000000000000000"] if os.getuid() != 0 else []
AS_IT_WAS = ["True True", "False True", "0", *NO_RIGHTS, str(os.getuid())]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    grow(
        tmp_path / "root",
        {
            "only-in-the-root": b"",
            "dev": b"a file",
            "proc": Directory(),
            "tmp": Directory(),
            "loop": Link("/loop"),
        },
    )
    grow(tmp_path, {"here": Directory(), "lower": Directory(), "upper": Directory()})
    return tmp_path


def child(top: Path, code: str) -> list[str]:
    done = python(DRIVER + code, top, os.getuid(), os.getgid(), env=environment())
    return done.stdout.splitlines()


NO_SOURCE = 'Bind("/dev", "/dev")'  # over a file: it fails


@pytest.mark.parametrize(
    "given",
    [
        f"BEGIN, ENTER, {NO_SOURCE}",
        f'BEGIN, ENTER, Bind("/proc", "/proc"), {NO_SOURCE}',
        'BEGIN, EnterRoot(root + "/none")',
        f"Unshare(77, 78, os.getuid(), os.getgid()), ENTER, {NO_SOURCE}",
        'BEGIN, EnterRoot(root + "/only-in-the-root")',
    ],
)
def test_after_a_failure_all_is_as_it_was(top: Path, given: str) -> None:
    first, second, *rest = child(top, f"told({given})\nlook()")
    assert first == "EngineFailed"
    assert second.split()[0] == "True"
    assert rest == AS_IT_WAS


def test_an_overlay_is_taken_away(top: Path) -> None:
    (top / "mounted").mkdir()
    (top / "work").mkdir()
    code = (
        'told(BEGIN, MountUnion(root, top + "/upper", top + "/work", top + "/mounted"), '
        f'EnterRoot(top + "/mounted"), {NO_SOURCE})\n'
        'print(os.listdir(top + "/mounted"))\nlook()'
    )
    first, second, listing, *rest = child(top, code)
    assert (first, second.split()[0], listing) == ("EngineFailed", "True", "[]")
    assert rest == AS_IT_WAS


def test_from_a_namespace_with_ranges(top: Path) -> None:
    """There, unlike elsewhere, groups may be set."""
    found = ranges.find(host.probe({}), os.environ["PATH"])
    if isinstance(found, str):
        pytest.skip(f"host: no ranges of ids for this user: {found}")
    code = (
        "from udocker import host\nfrom udocker.ops import ranges\n"
        'ids = ranges.find(host.probe({}), os.environ["PATH"])\n'
        f"told(Unshare(0, 0, os.getuid(), os.getgid(), False, ids), ENTER, {NO_SOURCE})\nlook()"
    )
    lines = child(top, code)
    assert lines[:2] == ["EngineFailed", "True 0"]
    assert lines[2:] == AS_IT_WAS


def test_where_nothing_was_changed(top: Path) -> None:
    lines = child(top, 'told(EnterRoot(root + "/none"))\nlook()')
    assert lines[:2] == ["EngineFailed", f"True {os.getuid()}"]
    assert lines[2:] == AS_IT_WAS


def test_it_can_be_done_once_more(top: Path) -> None:
    code = (
        f"told(BEGIN, ENTER, {NO_SOURCE})\ntold(BEGIN, ENTER, {NO_SOURCE}, steps=Steps())\nlook()"
    )
    assert child(top, code)[4:] == AS_IT_WAS


def test_a_filter_stays(top: Path) -> None:
    """Nobody takes one off, so another engine would meet it."""
    lines = child(top, f"told(RefuseCalls(), BEGIN, ENTER, {NO_SOURCE})")
    assert lines[1].split()[0] == "False"


def test_no_way_back_from_a_namespace_without_ids(top: Path) -> None:
    lines = child(top, "told(Unshare(0, 0, 12345678, os.getgid()))")
    assert lines[0] == "EngineFailed"
    assert lines[1].split()[0] == "False"


@pytest.mark.parametrize(
    "given",
    [
        'WriteFile(root + "/dev/file", b"")',
        'BEGIN, ENTER, Bind(top + "/absent", "/tmp")',
        "BEGIN, ENTER, Bind(top, '/dev')",
        'MountUnion(root, top + "/upper", root + "/dev", top + "/here")',
        'BEGIN, MountUnion(root, top + "/upper", top + "/none", top + "/here")',
    ],
)
def test_what_would_fail_in_every_engine_is_no_failure_of_this_one(top: Path, given: str) -> None:
    assert child(top, f"told({given})")[0] == "EngineError"
