"""A container's own copy: the tree with the upper directory applied to it."""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.processes import SMALL_DISK, needs_namespaces, python
from builders.specs import container as make_container
from builders.trees import Directory, File, Link, Same, Whiteout, contents, describe, grow
from udocker.errors import StoreError
from udocker.files import remove_tree
from udocker.model.value import replace
from udocker.store.copy import copy_container
from udocker.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Union

    from builders.trees import Node


def merged(
    top: Path, tree: Mapping[str, Node], upper: Mapping[str, Node] | None = None
) -> tuple[Path, Path, Path]:
    """Copy a container whose tree and upper are as said: its root, its tree, its upper."""
    store = Store(str(top / "store"))
    made = replace(
        make_container(top=store.topdir),
        tree=str(grow(top / "tree", tree)),
    )
    grow(Path(made.upper), upper or {})
    Path(made.root).mkdir()
    copy_container(made, store.temporary)
    assert os.listdir(top / "store/tmp") == []
    return Path(made.root), top / "tree", Path(made.upper)


def test_a_tree_alone_is_copied_as_it_is(tmp_path: Path) -> None:
    table: dict[str, Node] = {
        "etc/passwd": b"root:x:0:0::/:/bin/sh\n",
        "bin/sh": File(b"#!", 0o755),
        "empty": b"",
        "tmp": Directory(0o1777),
        "sh": Link("bin/sh"),
        "dangling": Link("/not/there"),
        "readonly/file": File(b"", 0o444),
        "readonly": Directory(0o555),
    }
    root, tree, _ = merged(tmp_path, table)
    assert contents(root) == contents(tree)
    assert len(contents(root)) == 10


def test_the_upper_adds_replaces_and_hides(tmp_path: Path) -> None:
    root, tree, _ = merged(
        tmp_path,
        {
            "kept": b"k",
            "changed": b"old",
            "gone": b"",
            "dir/gone": b"",
            "dir/kept": b"k",
            "old/x": b"",
        },
        {
            "changed": File(b"new", 0o600),
            "gone": Whiteout(),
            "dir/gone": Whiteout(),
            "dir/new": b"n",
            "old": Whiteout(),
            "never": Whiteout(),
        },
    )
    assert contents(root) == {
        "kept": ("file", "0o644", b"k"),
        "changed": ("file", "0o600", b"new"),
        "dir": ("directory", "0o755"),
        "dir/kept": ("file", "0o644", b"k"),
        "dir/new": ("file", "0o644", b"n"),
    }
    assert (tree / "gone").exists()
    assert (tree / "changed").read_bytes() == b"old"


def test_kinds_may_change(tmp_path: Path) -> None:
    root, _, _ = merged(
        tmp_path,
        {"file": b"", "dir/x": b"", "link": Link("dir"), "other": Link("dir"), "gone/deep/x": b""},
        {"file/in": b"1", "dir": b"2", "link/in": b"3", "other": b"4", "gone/deep": Whiteout()},
    )
    assert contents(root) == {
        "file": ("directory", "0o755"),
        "file/in": ("file", "0o644", b"1"),
        "dir": ("file", "0o644", b"2"),
        "link": ("directory", "0o755"),
        "link/in": ("file", "0o644", b"3"),
        "other": ("file", "0o644", b"4"),
        "gone": ("directory", "0o755"),
    }


def test_opaque_directories_start_anew(tmp_path: Path) -> None:
    root, _, _ = merged(
        tmp_path,
        {"dir/old": b"", "dir/sub/old": b"", "file": b""},
        {
            "dir": Directory(0o700, opaque=True),
            "dir/sub/new": b"",
            "dir/old": Whiteout(),  # overlayfs leaves such
            "file": Directory(opaque=True),
        },
    )
    assert sorted(contents(root)) == ["dir", "dir/sub", "dir/sub/new", "file"]
    assert os.listxattr(root / "dir") == []


def test_a_link_in_the_tree_is_never_written_through(tmp_path: Path) -> None:
    outside = grow(tmp_path / "outside", {"victim": b"whole", "dir/victim": b"whole"})
    merged(
        tmp_path,
        {"file": Link(str(outside / "victim")), "dir": Link(str(outside / "dir"))},
        {"file": b"written", "dir/victim": b"written", "dir": Directory(0o700)},
    )
    assert (outside / "victim").read_bytes() == b"whole"
    assert (outside / "dir/victim").read_bytes() == b"whole"
    assert describe(outside / "dir") == ("directory", "0o755")


def test_modes_of_directories_are_those_of_the_upper(tmp_path: Path) -> None:
    root, _, _ = merged(
        tmp_path,
        {"a/b/c": b"", "a": Directory(0o755), "a/b": Directory(0o555)},
        {"a/b/d": b"", "a": Directory(0o711), "a/b": Directory(0o1777)},
    )
    assert contents(root)["a"] == ("directory", "0o711")
    assert contents(root)["a/b"] == ("directory", "0o1777")
    assert sorted(contents(root)) == ["a", "a/b", "a/b/c", "a/b/d"]


def test_what_only_root_may_read_is_copied_too(tmp_path: Path) -> None:
    """In a user namespace the user has written it as root."""
    upper: dict[str, Node] = {
        "shadow": File(b"secret", 0),
        "writable": File(b"w", 0o200),
        "locked/in": b"deep",
        "locked": Directory(0),
        "new/locked/in": File(b"deep", 0),
        "new/locked": Directory(0o300),
    }
    root, _, above = merged(tmp_path, {"locked/old": b"old"}, upper)
    modes = {name: os.lstat(above / name).st_mode for name in ("shadow", "locked", "new/locked")}
    for name, mode in modes.items():
        assert os.lstat(root / name).st_mode == mode
    for top in (root, above):
        (top / "locked").chmod(0o700)
        (top / "new/locked").chmod(0o700)
    assert contents(root)["shadow"] == ("file", "0o0", b"secret")
    assert contents(root)["writable"] == ("file", "0o200", b"w")
    assert contents(root)["new/locked/in"] == ("file", "0o0", b"deep")
    assert (root / "locked/in").read_bytes() == b"deep"
    assert (root / "locked/old").read_bytes() == b"old"
    assert contents(above)["shadow"] == ("file", "0o0", b"secret")


def test_hard_links_stay_one_file(tmp_path: Path) -> None:
    root, tree, upper = merged(
        tmp_path,
        {"a": b"1", "dir/b": Same("a"), "c": Same("a"), "link": Link("a"), "same": Same("link")},
        {"c": b"own", "x": b"2", "dir/y": Same("x")},
    )
    assert os.path.samefile(root / "a", root / "dir/b")
    assert os.path.samefile(root / "x", root / "dir/y")
    assert os.lstat(root / "link").st_ino == os.lstat(root / "same").st_ino
    assert (root / "c").read_bytes() == b"own"
    assert (root / "a").read_bytes() == b"1"
    assert not os.path.samefile(root / "a", tree / "a")
    assert not os.path.samefile(root / "x", upper / "x")


def test_holes_stay_holes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with open(tree / "sparse", "wb") as stream:
        stream.write(b"begin")
        stream.seek(64 << 20)
        stream.write(b"middle")
        stream.truncate(128 << 20)
    with open(tree / "nothing", "wb") as stream:
        stream.truncate(1 << 30)
    if os.stat(tree / "sparse").st_blocks * 512 > 1 << 20:
        pytest.skip("host: this filesystem has no holes")
    root, _, _ = merged(tmp_path, {})
    for name in ("sparse", "nothing"):
        assert os.stat(root / name).st_size == os.stat(tree / name).st_size
        assert os.stat(root / name).st_blocks * 512 < 1 << 20
    with open(root / "sparse", "rb") as stream:
        assert stream.read(6) == b"begin\0"
        stream.seek(64 << 20)
        assert stream.read(7) == b"middle\0"


def test_large_files_come_whole(tmp_path: Path) -> None:
    data = os.urandom((3 << 20) + 17)
    root, _, _ = merged(tmp_path, {"tree": data}, {"upper": data[::-1]})
    assert (root / "tree").read_bytes() == data
    assert (root / "upper").read_bytes() == data[::-1]


def test_times_and_attributes_come_along(tmp_path: Path) -> None:
    tree = grow(tmp_path / "tree", {"file": b"", "dir/in": b"", "link": Link("file")})
    for name in ("file", "dir/in", "dir", "link"):
        os.utime(tree / name, ns=(1_000_000_123, 2_000_000_456), follow_symlinks=False)
    os.setxattr(tree / "file", "user.origin", b"there")
    os.setxattr(tree / "dir", "user.origin", b"here")
    os.setxattr(tree / "file", "user.overlay.origin", b"internal")
    root, _, _ = merged(tmp_path, {})
    for name in ("file", "dir/in", "dir", "link"):
        assert os.lstat(root / name).st_mtime_ns == 2_000_000_456, name
    assert os.getxattr(root / "dir", "user.origin") == b"here"
    assert os.listxattr(root / "file") == ["user.origin"]


def test_pipes_are_made_and_sockets_left_out(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "pipe")
    (tree / "pipe").chmod(0o622)
    here = os.getcwd()
    os.chdir(tree)  # the name of a socket may have 107 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        os.chdir(here)
        root, _, _ = merged(tmp_path, {})
    assert contents(root) == {"pipe": ("p", "0o622")}


def test_names_of_any_bytes(tmp_path: Path) -> None:
    names = ["\udcff\udcfe", "a\nb", "ü", " ", "-rf", "x" * 255]
    root, _, _ = merged(tmp_path, dict.fromkeys(names, b"same"), {"\udcff\udcfe": b"new"})
    assert sorted(contents(root)) == sorted(names)
    assert (root / "\udcff\udcfe").read_bytes() == b"new"


def test_a_root_that_may_not_be_written(tmp_path: Path) -> None:
    """Fedora's / has mode 0555."""
    tree = grow(tmp_path / "tree", {"file": b""})
    tree.chmod(0o555)
    root, _, _ = merged(tmp_path, {}, {"new": b""})
    assert sorted(contents(root)) == ["file", "new"]


def test_an_error_leaves_the_container_as_it_was(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    made = replace(make_container(top=store.topdir), tree=str(tmp_path / "not there"))
    Path(made.root).mkdir(parents=True)
    with pytest.raises(Exception, match="No such file"):
        copy_container(made, store.temporary)
    assert os.listdir(made.root) == []
    assert os.listdir(tmp_path / "store/tmp") == []


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    """The copy was there, and the record did not say so yet."""
    root = Path(make_container(top=str(tmp_path / "store")).root)
    grow(root, {"old/locked/x": b"", "old/locked": Directory(0), "old": Directory(0o500)})
    root.chmod(0o555)
    store = Store(str(tmp_path / "store"))
    made = replace(make_container(top=store.topdir), tree=str(grow(tmp_path / "t", {"new": b""})))
    copy_container(made, store.temporary)
    assert sorted(contents(root)) == ["new"]


@needs_namespaces
def test_a_full_disk_leaves_the_container_as_it_was(tmp_path: Path) -> None:
    tree = grow(tmp_path / "tree", {f"file{n}": b"x" * 5000 for n in range(30)})
    code = (
        SMALL_DISK
        + """
from builders.specs import container
from udocker.errors import NoSpaceError
from udocker.model.value import replace
from udocker.store.copy import copy_container
from udocker.store.store import Store
store = Store(sys.argv[1])
made = replace(container(top=store.topdir), tree=sys.argv[3])
os.makedirs(made.root)
try:
    copy_container(made, store.temporary)
except NoSpaceError as error:
    print(error.message)
print(os.listdir(made.root), os.listdir(store.topdir + "/tmp"))
"""
    )
    (tmp_path / "disk").mkdir()
    message, left = python(code, tmp_path / "disk", 65536, tree).stdout.splitlines()
    assert message.startswith("writing to the store: No space left on device: ")
    assert left == "[] []"


# Any tree and any upper, against a model of the union


@dataclass(frozen=True)
class Dir:
    """A directory of the model."""

    mode: int
    opaque: bool = False
    children: dict[str, Entry] = field(default_factory=dict)


if TYPE_CHECKING:
    Entry = Union[Dir, File, Link, Whiteout]


def union(lower: Entry | None, upper: Entry) -> Entry:
    """What overlayfs shows of ``upper`` over ``lower``."""
    if not isinstance(upper, Dir):
        return upper
    below = lower.children if isinstance(lower, Dir) and not upper.opaque else {}
    shown = {name: node for name, node in below.items() if name not in upper.children}
    for name, node in upper.children.items():
        if not isinstance(node, Whiteout):
            shown[name] = union(below.get(name), node)
    return Dir(upper.mode, False, shown)


def table(entry: Dir, prefix: str = "") -> dict[str, Any]:
    """A directory of the model as ``grow`` takes it."""
    found: dict[str, Any] = {}
    for name, node in entry.children.items():
        if isinstance(node, Dir):
            found[prefix + name] = Directory(node.mode, node.opaque)
            found.update(table(node, f"{prefix}{name}/"))
        else:
            found[prefix + name] = node
    return found


def modelled(entry: Dir) -> dict[str, tuple[object, ...]]:
    """What ``contents`` says of a copy that is right."""
    described: dict[str, tuple[object, ...]] = {}
    for name, node in table(entry).items():
        if isinstance(node, Directory):
            described[name] = ("directory", oct(node.mode))
        elif isinstance(node, Link):
            described[name] = ("link", node.target)
        else:
            described[name] = ("file", oct(node.mode), node.content)
    return described


NAMES = st.sampled_from("abc")
FILES = st.builds(File, st.binary(max_size=3), st.sampled_from([0o644, 0o400, 0o755]))
LINKS = st.builds(Link, st.sampled_from(["a", "/b", "../c", "a/b", "/"]))


def directories(leaves: Any, modes: list[int], opaque: Any) -> Any:
    """Up to three levels of ``leaves``."""
    level = leaves
    for _ in range(3):
        children = st.dictionaries(NAMES, level, max_size=3)
        folder = st.builds(Dir, st.sampled_from(modes), opaque, children)
        level = folder | leaves
    return folder


TREES = directories(FILES | LINKS, [0o755, 0o700, 0o555, 0o1777], st.just(False))
UPPERS = directories(
    FILES | LINKS | st.builds(Whiteout), [0o755, 0o700, 0o500, 0o1777], st.booleans()
)


@settings(database=None, deadline=None, max_examples=80)
@given(TREES, UPPERS)
def test_any_union_is_copied_as_it_is_shown(tree: Dir, upper: Dir) -> None:
    top = Path(tempfile.mkdtemp(prefix="union-"))
    try:
        root, _, above = merged(top, table(tree), table(upper))
        expected = union(tree, transparent(upper))
        assert isinstance(expected, Dir)
        assert contents(root) == modelled(expected)
        assert len(contents(above)) == len(table(upper))
    finally:
        remove_tree(str(top))


def transparent(upper: Dir) -> Dir:
    """The upper directory itself is never opaque."""
    return Dir(upper.mode, False, upper.children)


@pytest.mark.skipif(os.getuid() == 0, reason="host: root may read everything")
def test_what_another_user_keeps_to_himself(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    made = replace(make_container(top=store.topdir), tree="/root")
    Path(made.root).mkdir(parents=True)
    with pytest.raises(StoreError, match="uid 0 keeps the directory /root from others") as caught:
        copy_container(made, store.temporary)
    assert "UDOCKER_READABLE_TREES" in str(caught.value.hint)
    assert os.listdir(made.root) == os.listdir(tmp_path / "store/tmp") == []


@pytest.mark.skipif(os.getuid() == 0, reason="host: everything would be root's own")
def test_what_another_user_lets_be_read(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    made = replace(make_container(top=store.topdir), tree="/etc/skel")
    Path(made.root).mkdir(parents=True)
    copy_container(made, store.temporary)
    assert sorted(os.listdir(made.root)) == sorted(os.listdir("/etc/skel"))
    assert os.stat(made.root).st_uid == os.getuid()
