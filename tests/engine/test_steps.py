"""Steps that need no namespace: directories in a root that may be hostile, and words for steps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from builders.trees import Directory, File, Link, contents, grow
from udocker.engine.describing import describe
from udocker.engine.inside import make_inside
from udocker.engine.steps import Steps
from udocker.errors import EngineError
from udocker.model.launch import (
    Become,
    Bind,
    EnterRoot,
    FeignIds,
    GiveOwners,
    Launch,
    MakeDirectory,
    MountUnion,
    RefuseCalls,
    SetHostname,
    Unshare,
    WriteFile,
)
from udocker.model.run import IdMap

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from builders.trees import Node


IDS = IdMap(((0, 7, 1), (1, 50, 9)), ((0, 8, 1), (1, 60, 1)), ("/bin/u", "/bin/g"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the root, where nothing may appear."""
    return grow(tmp_path / "outside", {"kept": b""})


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("/srv", ["srv"]),
        ("/srv/deep/er", ["srv", "srv/deep", "srv/deep/er"]),
        ("/", []),
        ("", []),
        ("//srv//x/", ["srv", "srv/x"]),
        ("/srv/../x", ["srv", "x"]),
        ("/../../x", ["x"]),
        ("/./x/.", ["x"]),
    ],
)
def test_directories_are_made(tmp_path: Path, path: str, made: list[str]) -> None:
    root = grow(tmp_path / "root", {})
    make_inside(str(root), path, 0o1777)
    assert sorted(contents(root)) == made
    if made:
        assert contents(root)[made[-1]] == ("directory", "0o1777")
        assert all(contents(root)[name] == ("directory", "0o755") for name in made[:-1])


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/absolute/new", "outside/new"),
        ("/climb/new", "outside/new"),
        ("/far/new", "etc/new"),
        ("/dangling", "not/there"),
        ("/dangling/new", "not/there/new"),
        ("/chain/new", "outside/new"),
        ("/through/new", "new"),
    ],
)
def test_links_never_lead_out(tmp_path: Path, outside: Path, path: str, inside: str) -> None:
    table: dict[str, Node] = {
        "absolute": Link("/outside"),
        "climb": Link("../outside"),
        "far": Link("../../../../../../../../etc"),
        "dangling": Link("/not/there"),
        "chain": Link("absolute"),
        "through": Link("/.."),
    }
    root = grow(tmp_path / "root", table)
    make_inside(str(root), path, 0o755)
    assert (root / inside).is_dir()
    assert sorted(contents(outside)) == ["kept"]
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]
    assert not os.path.exists("/etc/new")


def test_a_link_to_a_real_place_of_the_host(tmp_path: Path, outside: Path) -> None:
    root = grow(tmp_path / "root", {"link": Link(str(outside))})
    make_inside(str(root), "/link/new", 0o755)
    assert sorted(contents(outside)) == ["kept"]
    assert os.path.isdir(f"{root}{outside}/new")


@pytest.mark.parametrize("path", ["/self", "/self/x", "/one/x", "/deep/chain/x"])
def test_loops_end(tmp_path: Path, path: str) -> None:
    root = grow(
        tmp_path / "root",
        {
            "self": Link("self"),
            "one": Link("two"),
            "two": Link("/one"),
            "deep/chain": Link("/deep/chain/x"),
        },
    )
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        make_inside(str(root), path, 0o755)


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"srv/data": b"", "srv": Directory(0o711)})
    make_inside(str(root), "/srv", 0o1777)
    make_inside(str(root), "/srv/new", 0o700)
    assert contents(root)["srv"] == ("directory", "0o711")
    assert contents(root)["srv/new"] == ("directory", "0o700")


def test_a_file_in_the_way(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"file": b"content", "link": Link("file")})
    for path in ("/file", "/file/x", "/link", "/link/x"):
        with pytest.raises(NotADirectoryError):
            make_inside(str(root), path, 0o755)
    assert (root / "file").read_bytes() == b"content"


def test_a_directory_that_may_not_be_written(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"locked/x": b"", "locked": Directory(0o555)})
    with pytest.raises(PermissionError):
        make_inside(str(root), "/locked/new", 0o755)


def test_the_umask_does_not_matter(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {})
    before = os.umask(0o077)
    try:
        make_inside(str(root), "/a/b", 0o1777)
    finally:
        os.umask(before)
    assert contents(root) == {"a": ("directory", "0o755"), "a/b": ("directory", "0o1777")}


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"self": Link("self"), "up": Link("../../x")})
    before = os.listdir("/proc/self/fd")
    make_inside(str(root), "/a/b/../../up/c", 0o755)
    with pytest.raises(OSError, match="Too many"):
        make_inside(str(root), "/a/../self", 0o755)
    assert os.listdir("/proc/self/fd") == before


def test_the_step_that_failed_is_named(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"file": File(b"")})
    launch = Launch(("x",), (), "/", steps=(MakeDirectory("/file/x", root=str(root)),))
    with pytest.raises(EngineError) as caught:
        Steps().run(launch)
    assert caught.value.message == (
        f"cannot make the directory {root}/file/x: Not a directory (file)"
    )


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (
            Unshare(0, 1, 1000, 1001),
            "make new namespaces (user, mount; uid 0 is 1000, gid 1 is 1001)",
        ),
        (
            Unshare(0, 1, 1000, 1001, uts=True),
            "make new namespaces (user, mount, uts; uid 0 is 1000, gid 1 is 1001)",
        ),
        (
            MountUnion("/l", "/u", "/w", "/t"),
            "mount overlayfs on /t (lower /l, upper /u), or the mount that another run has",
        ),
        (EnterRoot("/r"), "make /r the root"),
        (Bind("/s", "/t"), "bind /s on /t"),
        (Bind("/s", "/t", readonly=True), "bind /s on /t read-only"),
        (MakeDirectory("/d"), "make the directory /d"),
        (MakeDirectory("/d", root="/r"), "make the directory /r/d"),
        (SetHostname("box"), "set the host name box"),
        (RefuseCalls(), "refuse the system calls that no tracer knows, such as statx(2)"),
        (
            Unshare(0, 0, 7, 8, ids=IDS),
            "make new namespaces (user, mount; uid 0 is 7, 1-9 are 50-58; gid 0 is 8, 1 is 60)",
        ),
        (
            GiveOwners("/c", "/c/upper", IDS),
            "note in /c that files have other ids, and give /c/upper its owners",
        ),
        (Become(5, 6, (7,)), "become user 5, group 6"),
        (FeignIds(5), "feign success where ids other than 0:5, or devices, are wanted"),
        (WriteFile("/f", b"abc"), "write /f (3 bytes)"),
    ],
)
def test_steps_in_words(step: Any, text: str) -> None:
    assert describe(step) == text
