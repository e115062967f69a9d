"""What the images of the tests are made with: layers of what changed, and what is kept."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from image_maker.kept import Kept
from image_maker.layers import Tree, write_difference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_tree(path: Path, entries: list[str]) -> Path:
    """A tar of ``dir/``, ``file=content``, ``link->target`` and ``hard=>first``."""
    with tarfile.open(path, "w") as archive:
        for entry in ["./", *entries]:
            name, _, content = entry.partition("=")
            member = tarfile.TarInfo(name)
            if entry.endswith("/"):
                member.type = tarfile.DIRTYPE
            elif "->" in entry:
                member.name, _, member.linkname = entry.partition("->")
                member.type = tarfile.SYMTYPE
            elif content.startswith(">"):
                member.type, member.linkname = tarfile.LNKTYPE, content[1:]
            else:
                member.size = len(content)
            data = io.BytesIO(content.encode() if member.isreg() else b"")
            archive.addfile(member, data)
    return path


@pytest.fixture
def difference(tmp_path: Path) -> Callable[[list[str], list[str]], list[str]]:
    """The names in the layer between two trees, in order."""

    def layer(old: list[str], new: list[str]) -> list[str]:
        trees = [
            Tree(write_tree(tmp_path / name, entries))
            for name, entries in (("old", old), ("new", new))
        ]
        write_difference(*trees, tmp_path / "layer")
        with tarfile.open(tmp_path / "layer") as archive:
            return archive.getnames()

    return layer


@pytest.mark.parametrize(
    ("old", "new", "layer"),
    [
        (["a/", "a/x=1"], ["a/", "a/x=1"], []),
        ([], ["a/", "a/x=1"], ["a", "a/x"]),
        (["a/", "a/x=1", "a/y=1"], ["a/", "a/x=2", "a/y=1"], ["a", "a/x"]),
        (["a/", "a/x=1", "a/y=1"], ["a/", "a/y=1"], ["a", "a/.wh.x"]),
        (["x=1", "y=1"], ["y=1"], [".wh.x"]),
        (["a/", "a/x=1"], ["a/"], ["a", "a/.wh..wh..opq"]),
        (["a/", "a/x=1"], ["a/", "a/y=1"], ["a", "a/.wh..wh..opq", "a/y"]),
        (["a/", "a/b/", "a/b/x=1"], ["a/"], ["a", "a/.wh..wh..opq"]),
        (
            ["a/", "a/keep=1", "a/b/", "a/b/c/", "a/b/c/x=1"],
            ["a/", "a/keep=1", "a/b/", "a/b/c/"],
            ["a", "a/b", "a/b/c", "a/b/c/.wh..wh..opq"],
        ),
        (["a/", "a/b/", "a/b/x=1", "a/k=1"], ["a/", "a/k=1"], ["a", "a/.wh.b"]),
        (["a/", "a/x=1"], ["a->b"], ["a"]),
        (["a->b"], ["a/", "a/x=1"], ["a", "a/x"]),
        (["x=1", "y=>x"], ["x=1", "y=>x", "z=>x"], ["x", "y", "z"]),
        (["x=1", "y=>x", "k=1"], ["x=2", "y=>x", "k=1"], ["x", "y"]),
    ],
)
def test_layer_between_two_trees(
    difference: Callable[[list[str], list[str]], list[str]],
    old: list[str],
    new: list[str],
    layer: list[str],
) -> None:
    assert difference(old, new) == layer


def test_the_listing_tells_what_a_tree_holds(tmp_path: Path) -> None:
    tree = Tree(write_tree(tmp_path / "tar", ["a/", "a/x=1", "y=>a/x", "l->a"]))
    digest = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    assert tree.listing() == {
        "a": ("directory", 0o644, ""),
        "a/x": ("file", 0o644, digest),
        "y": ("file", 0o644, digest),
        "l": ("link", 0o644, "a"),
    }


class Work:
    """Makes something that is kept, and counts how often."""

    def __init__(self) -> None:
        self.times = 0
        self.fails = False

    def __call__(self, making: Path, final: Path) -> None:
        self.times += 1
        (making / "made").write_text(str(final))
        if self.fails:
            raise SystemExit("images: no mirror")


def test_what_is_kept_is_made_once(tmp_path: Path) -> None:
    work = Work()
    kept = Kept("thing", "now", (), work)
    link = kept.keep(tmp_path / "all", again=False)
    assert kept.keep(tmp_path / "all", again=False) == link == tmp_path / "all" / "now"
    assert work.times == 1
    assert (link / "made").read_text() == str(link.resolve())
    assert link.resolve().stat().st_mode & 0o777 == 0o755
    kept.keep(tmp_path / "all", again=True)
    assert work.times == 2


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    work = Work()
    work.fails = True
    with pytest.raises(SystemExit, match="no mirror"):
        Kept("thing", "now", (), work).keep(tmp_path, again=False)
    assert [path.name for path in tmp_path.iterdir()] == [".lock-thing"]


def test_of_what_is_kept_the_newest_stays(tmp_path: Path) -> None:
    for name in ("thing-old", ".making-thing-killed", "other-old"):
        (tmp_path / name).mkdir()
    Kept("thing", "now", (), Work()).keep(tmp_path, again=False)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {".lock-thing", "now", "other-old", (tmp_path / "now").resolve().name}


def test_a_link_that_leads_elsewhere_is_put_right(tmp_path: Path) -> None:
    work = Work()
    kept = Kept("thing", "now", (), work)
    final = kept.keep(tmp_path, again=False).resolve()
    (tmp_path / "now").unlink()
    (tmp_path / "now").symlink_to("nowhere")
    assert kept.keep(tmp_path, again=False).resolve() == final
    assert work.times == 1
