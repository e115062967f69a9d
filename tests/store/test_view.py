"""A container's files as its programs see them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from builders.trees import Directory, Link, Same, Whiteout, grow
from udocker.store.view import View

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builders.trees import Node


class Union:
    """An upper directory over a tree, both made of tables, and a host beside them."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.host = grow(top / "host", {"file": b"of the host", "dir/file": b"in the host's dir"})

    def view(
        self,
        tree: Mapping[str, Node],
        upper: Mapping[str, Node] | None = None,
        mounts: Mapping[str, str] | None = None,
    ) -> View:
        layers = [grow(self.top / "upper", upper or {}), grow(self.top / "tree", tree)]
        pairs = [(target, f"{self.host}/{name}") for target, name in (mounts or {}).items()]
        return View([str(layer) for layer in layers], pairs)

    def name(self, place: str) -> str:
        """A host path without the directory of the test."""
        return os.path.relpath(place, self.top)


@pytest.fixture
def union(tmp_path: Path) -> Union:
    return Union(tmp_path)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/etc/motd", "tree/etc/motd"),
        ("etc/motd", "tree/etc/motd"),
        ("//etc/./motd", "tree/etc/motd"),
        ("/etc/../etc/motd", "tree/etc/motd"),
        ("/../../etc/motd", "tree/etc/motd"),
        ("/", "tree"),
        ("/..", "tree"),
        ("", "tree"),
        ("/etc/", "tree/etc"),
    ],
)
def test_paths(union: Union, path: str, place: str) -> None:
    view = View([str(grow(union.top / "tree", {"etc/motd": b"hello"}))])
    assert union.name(view.locate(path)) == place


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("absolute", "/etc/motd"),
        ("relative", "motd"),
        ("up", "../etc/motd"),
        ("beyond", "../../../../etc/motd"),
        ("dir/through", "../absolute"),
        ("twice", "dir/through"),
        ("folder", "/etc"),
        ("dots", "./././motd"),
    ],
)
def test_links_lead_to_what_they_mean_inside(union: Union, link: str, target: str) -> None:
    tree: dict[str, Node] = {
        "etc/motd": b"inside",
        "etc/absolute": Link("/etc/motd"),
        "etc/relative": Link("motd"),
        "etc/up": Link("../etc/motd"),
        "etc/beyond": Link("../../../../etc/motd"),
        "etc/dir/through": Link("../absolute"),
        "etc/twice": Link("dir/through"),
        "etc/dots": Link("./././motd"),
        "etc/folder": Link("/etc"),
    }
    assert tree[f"etc/{link}"] in (Link(target), Link("/etc"))
    view = union.view(tree)
    path = f"/etc/{link}/motd" if link == "folder" else f"/etc/{link}"
    assert view.read(path) == b"inside"
    assert view.resolve(path) == "/etc/motd"


def test_links_never_lead_out(union: Union) -> None:
    view = union.view(
        {
            "out": Link(str(union.host)),
            "up": Link("../host"),
            "far": Link("../../../../../../../.." + str(union.host)),
            "passwd": Link("/etc/passwd"),
        }
    )
    for path in ("/out/file", "/up/file", "/far/file", "/passwd", f"/..{union.host}/file"):
        assert view.read(path) is None
        with pytest.raises(FileNotFoundError):
            view.locate(path)


@pytest.mark.parametrize("path", ["/self", "/one", "/a/chain/x"])
def test_loops_end(union: Union, path: str) -> None:
    view = union.view(
        {"self": Link("self"), "one": Link("two"), "two": Link("one"), "a/chain": Link("/a/chain")}
    )
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        view.locate(path)
    assert view.read(path) is None


def test_forty_links_are_followed_and_no_more(union: Union) -> None:
    chain: dict[str, Node] = {f"l{n}": Link(f"l{n - 1}") for n in range(1, 42)}
    view = union.view({"l0": b"end", **chain})
    assert view.read("/l40") == b"end"
    with pytest.raises(OSError, match="Too many levels"):
        view.locate("/l41")


def test_what_is_missing_or_no_directory(union: Union) -> None:
    view = union.view({"file": b"", "dangling": Link("nothing"), "folder/x": b""})
    with pytest.raises(FileNotFoundError):
        view.locate("/nothing")
    with pytest.raises(FileNotFoundError):
        view.locate("/dangling")
    with pytest.raises(NotADirectoryError):
        view.locate("/file/in")
    assert view.read("/folder") is None
    assert view.read("/nothing") is None


def test_read_takes_regular_files_only(union: Union) -> None:
    view = union.view({"file": b"content"})
    os.mkfifo(union.top / "tree/fifo")
    assert view.read("/file") == b"content"
    assert view.read("/fifo") is None


def test_directories_that_no_link_leads_to(union: Union) -> None:
    view = union.view(
        {
            "etc/apt/conf/x": b"",
            "file": b"",
            "link": Link("etc"),
            "gone/x": b"",
            "to": Link("loop"),
        },
        {"etc/apt/new": Directory(), "gone": Whiteout(), "loop": Link("to")},
    )
    for path in ("/", "/etc", "/etc/apt/conf", "/etc/apt/new"):
        assert view.is_directory(path)
    for path in (
        "/link",
        "/link/apt",
        "/file",
        "/file/x",
        "/gone",
        "/loop",
        "/none",
        "/etc/../etc",
    ):
        assert not view.is_directory(path)


# The union


def test_the_upper_is_above_the_tree(union: Union) -> None:
    view = union.view(
        {"etc/a": b"tree a", "etc/b": b"tree b", "only/tree": b"t", "file": b"f", "dir/x": b"x"},
        {"etc/a": b"upper a", "only/upper": b"u", "file/now": b"a directory", "dir": b"a file"},
    )
    assert view.read("/etc/a") == b"upper a"
    assert view.read("/etc/b") == b"tree b"
    assert view.read("/only/tree") == b"t"
    assert view.read("/only/upper") == b"u"
    assert view.read("/file/now") == b"a directory"
    assert view.read("/dir") == b"a file"
    with pytest.raises(NotADirectoryError):
        view.locate("/dir/x")


def test_whiteouts_hide(union: Union) -> None:
    view = union.view(
        {"gone": b"", "dir/gone": b"", "dir/kept": b"k", "folder/in/deep": b""},
        {"gone": Whiteout(), "dir/gone": Whiteout(), "folder": Whiteout()},
    )
    for path in ("/gone", "/dir/gone", "/folder", "/folder/in/deep"):
        with pytest.raises(FileNotFoundError):
            view.locate(path)
    assert view.read("/dir/kept") == b"k"


def test_names_of_a_directory_in_both_layers(union: Union) -> None:
    tree = {"d/a": b"", "d/b": b"", "d/c": b"", "e/x": b"", "f": b""}
    upper = {"d/b": Whiteout(), "d/c": b"new", "d/z": b"", "e": Directory(opaque=True), "e/y": b""}
    view = union.view(tree, upper, {"/m": "dir"})
    assert view.names("/d") == ("a", "c", "z")
    assert view.names("/e") == ("y",)
    assert view.names("/m") == ("file",)
    assert view.names("/f") == view.names("/none") == ()


def test_opaque_directories_hide_what_is_below(union: Union) -> None:
    view = union.view(
        {"dir/old": b"", "dir/sub/old": b"", "other/old": b"o"},
        {"dir": Directory(opaque=True), "dir/new": b"n", "dir/sub/new": b"s", "other/new": b"w"},
    )
    assert view.read("/dir/new") == b"n"
    assert view.read("/dir/sub/new") == b"s"
    for path in ("/dir/old", "/dir/sub/old"):
        with pytest.raises(FileNotFoundError):
            view.locate(path)
    assert view.read("/other/old") == b"o"


def test_links_of_one_layer_lead_into_the_other(union: Union) -> None:
    view = union.view(
        {"usr/bin/sh": b"shell", "lib": Link("usr/lib"), "was-dir/x": b""},
        {"bin": Link("usr/bin"), "usr/lib/new": b"new", "was-dir": Link("/usr/bin")},
    )
    assert view.read("/bin/sh") == b"shell"
    assert view.read("/lib/new") == b"new"
    assert view.read("/was-dir/sh") == b"shell"
    assert view.resolve("/bin/sh") == "/usr/bin/sh"
    with pytest.raises(FileNotFoundError):
        view.locate("/was-dir/x")


def test_dots_go_up_in_the_union_and_not_in_a_layer(union: Union) -> None:
    view = union.view(
        {"etc/motd": b"tree", "usr/share/x": b"x"}, {"etc/only": b"up", "usr/bin": Link("share")}
    )
    assert view.read("/etc/../etc/motd") == b"tree"
    assert view.read("/usr/bin/../share/x") == b"x"
    assert view.read("/usr/bin/x") == b"x"


# Mounts


def test_mounts_lie_over_files_and_directories(union: Union) -> None:
    view = union.view(
        {"etc/hosts": b"image", "data/hidden": b"", "data/file": b"image", "dev/null": b""},
        mounts={"/etc/hosts": "file", "/data": "dir"},
    )
    assert view.read("/etc/hosts") == b"of the host"
    assert view.read("/data/file") == b"in the host's dir"
    assert view.read("/data/../etc/hosts") == b"of the host"
    with pytest.raises(FileNotFoundError):
        view.locate("/data/hidden")


def test_a_link_into_a_mount(union: Union) -> None:
    view = union.view(
        {"shortcut": Link("/data/file"), "folder": Link("data"), "data/x": b""},
        mounts={"/data": "dir"},
    )
    assert view.read("/shortcut") == b"in the host's dir"
    assert view.read("/folder/file") == b"in the host's dir"
    assert view.resolve("/folder/file") == "/data/file"


def test_a_link_in_a_mount_means_the_container(union: Union) -> None:
    (union.host / "dir/absolute").symlink_to("/etc/motd")
    (union.host / "dir/up").symlink_to("../etc/motd")
    (union.host / "dir/out").symlink_to(union.host / "file")
    view = union.view({"etc/motd": b"inside", "data/x": b""}, mounts={"/data": "dir"})
    assert view.read("/data/absolute") == b"inside"
    assert view.read("/data/up") == b"inside"
    assert view.read("/data/out") is None


def test_a_mount_in_a_mount(union: Union) -> None:
    view = union.view({"data/x": b""}, mounts={"/data": "dir", "/data/file": "file"})
    assert view.read("/data/file") == b"of the host"


@pytest.mark.parametrize("target", ["/new", "/new/deep/er", "/etc/new/deep"])
def test_mount_points_that_the_image_does_not_have(union: Union, target: str) -> None:
    """The engine makes them, and their parents."""
    view = union.view({"etc/motd": b"inside"}, mounts={target: "dir"})
    assert view.read(f"{target}/file") == b"in the host's dir"
    assert view.read(f"{target}/../../etc/motd") in (b"inside", None)
    assert view.read("/etc/motd") == b"inside"
    with pytest.raises(FileNotFoundError):
        view.locate("/new/other" if target != "/new" else "/other")


def test_a_mount_point_through_a_link(union: Union) -> None:
    """The engine mounts where the link leads; both spellings see it."""
    view = union.view(
        {"usr/bin/sh": b"", "bin": Link("usr/bin"), "var/run": Link("/run"), "run/x": b""},
        mounts={"/bin/tool": "file", "/var/run/dir": "dir"},
    )
    assert view.read("/bin/tool") == b"of the host"
    assert view.read("/usr/bin/tool") == b"of the host"
    assert view.read("/run/dir/file") == b"in the host's dir"
    assert view.read("/var/run/dir/file") == b"in the host's dir"


def test_a_mount_on_a_dangling_link(union: Union) -> None:
    view = union.view({"data": Link("/not/there")}, mounts={"/data": "dir"})
    assert view.read("/data/file") == b"in the host's dir"
    assert view.read("/not/there/file") == b"in the host's dir"


def test_a_mount_on_a_link_that_loops_is_nowhere(union: Union) -> None:
    view = union.view({"data": Link("data"), "etc/motd": b"m"}, mounts={"/data": "dir"})
    assert view.read("/data/file") is None
    assert view.read("/etc/motd") == b"m"


def test_a_mount_over_what_was_removed(union: Union) -> None:
    view = union.view({"data/x": b""}, {"data": Whiteout()}, mounts={"/data": "dir"})
    assert view.read("/data/file") == b"in the host's dir"


def test_a_mount_over_the_root(union: Union) -> None:
    view = union.view({"file": b"tree"}, mounts={"/": "dir"})
    assert view.read("/file") == b"in the host's dir"


def test_hard_links_are_files(union: Union) -> None:
    view = union.view({"a": b"one", "b": Same("a")})
    assert view.read("/b") == b"one"
