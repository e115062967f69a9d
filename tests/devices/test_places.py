"""Links inside a root, patterns, and nodes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builders.trees import Directory, Link, grow
from udocker.devices.places import Places, Root, is_device, names, node, number, places, text
from udocker.model.devices import Node


@pytest.fixture
def root(tmp_path: Path) -> Root:
    grow(
        tmp_path / "root",
        {
            "usr/lib/a.so.2": b"a",
            "usr/lib/a.so.1": Link("a.so.2"),
            "lib": Link("usr/lib"),
            "lib64": Link("/lib"),
            "up": Link("../../../usr/lib/a.so.1"),
            "out": Link("/etc/passwd"),
            "loop": Link("loop"),
            "in": Link("in/in"),
            "one": Link("two/x"),
            "two": Link("one/x"),
            "gone": Link("none"),
            "etc": Directory(),
        },
    )
    return Root(str(tmp_path / "root"))


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/usr/lib/a.so.1", "/usr/lib/a.so.2"),
        ("/lib64/a.so.1", "/usr/lib/a.so.2"),
        ("/lib64/../lib/./a.so.2", "/usr/lib/a.so.2"),
        ("/up", "/usr/lib/a.so.2"),
        ("//lib64//", "/usr/lib"),
        ("/", "/"),
        ("/..", "/"),
        ("/out", None),  # never the host's
        ("/loop", None),
        ("/loop/x", None),
        ("/in", None),
        ("/in/x/y", None),
        ("/one/y", None),
        ("/gone", None),
        ("/usr/lib/a.so.2/x", None),
        ("/nowhere/at/all", None),
        ("/" + "d/" * 3000, None),
        ("/\0", None),
    ],
)
def test_links_stay_inside(root: Root, path: str, real: str | None) -> None:
    assert root.resolve(path) == real


def test_many_links(tmp_path: Path) -> None:
    """As many as the kernel follows, and not one more."""
    table = {f"l{number}": Link(f"l{number - 1}") for number in range(1, 42)}
    root = Root(str(grow(tmp_path / "r", {"l0": b"", **table})))
    assert root.resolve("/l40") == "/l0"
    assert root.resolve("/l41") is None


def test_patterns(root: Root) -> None:
    assert list(root.glob("/usr/lib/a.so.*")) == ["/usr/lib/a.so.1", "/usr/lib/a.so.2"]
    assert list(root.glob("/lib*/a.so.1")) == ["/lib/a.so.1", "/lib64/a.so.1"]
    assert list(root.glob("/etc/*")) == list(root.glob("/gone/*")) == list(root.glob("/none")) == []
    assert root.names("/lib64") == ["a.so.1", "a.so.2"]
    assert root.read("/lib64/a.so.1") == "a"
    assert root.read("/etc") == root.read("/none") == ""


def test_the_real_root() -> None:
    root = Root("/")
    assert root.host("/etc") == "/etc"
    real = os.path.realpath("/proc/self/exe")
    assert root.resolve("/proc/self/exe") == real


def test_nodes(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "dangling").symlink_to("nothing")
    assert node(str(tmp_path / "null")) == Node(str(tmp_path / "null"))
    assert is_device(str(tmp_path / "null"))
    assert node(str(tmp_path)) is node(str(tmp_path / "dangling")) is None


def test_texts_and_names(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # does not hang
    assert text(str(tmp_path / "pipe")) == text(str(tmp_path)) == text("/none") == ""
    assert names("/none") == []
    assert names("/proc/self/status") == []
    assert sorted(["card10", "card9"], key=number) == ["card9", "card10"]


def test_the_kernel_s_facts_of_another_root(tmp_path: Path) -> None:
    bare = places("/", str(tmp_path), "x86_64")
    assert (bare.proc, bare.sys) == ("/proc", "/sys")
    grow(tmp_path, {"proc/x": b"", "sys": Directory()})
    own = places("/drv", f"{tmp_path}/", "x86_64")
    assert own == Places("/drv", f"{tmp_path}/", f"{tmp_path}/proc", "/sys", "x86_64")
    assert own.dev("dri") == f"{tmp_path}/dev/dri"
    assert Places().dev("null") == "/dev/null"
