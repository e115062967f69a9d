"""The tree that other tools make of the same image, entry by entry: umoci, podman (overlayfs).

Owners, modes and attributes that a tree cannot hold are compared with what the index records.
Where another tool gives something else on purpose or by mistake, DECIDED says what, and why it is
not done here. UDOCKER_TEST_LONG=1 adds what takes long: 120 layers, 300,000 files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from unpack import gallery
from unpack.layers import FakeLayer, directory, file, tar
from unpack.peers import PEERS, Layout, Tree, differences, ours, stored, theirs

LONG = bool(os.environ.get("UDOCKER_TEST_LONG"))
UMOCI, PODMAN = PEERS
Images = dict[str, list[FakeLayer | bytes]]

# Of every image: podman gives the root 0555 and no more, whatever its entry says.
_OF_ALL = {PODMAN: ["", ": (mode|uid|gid|mtime)"]}
# Image and peer -> patterns of what differs; or, after "refuses", one of the peer's message.
DECIDED: dict[tuple[str, str], list[str]] = {
    # Both of these drop an attribute without a value; newer ones, and GNU tar, keep it.
    ("shared", UMOCI): [
        "attributes/empty: xattrs",
        # A time of zero, and that of a directory before an opaque whiteout in it, are lost.
        "whiteout-like: mtime",
        "opaque/p: mtime",
    ],
    ("shared", PODMAN): [
        "attributes/empty: xattrs",
        # It makes directories for whiteouts of what is absent, even in place of a file. The rule
        # is that whiteouts only hide.
        "absent/(new|other)",
        "whiteouts/d/e/g: .*",
        # It gives a file the mode, owner and time of each of its hard links in turn; GNU tar and
        # umoci do not. No builder writes links that say something else than their files.
        "kinds/d/[fh]: .*",
        "links/(a|a0|setuid|setuid-too): .*",
        "owners/h: .*",
        # A directory that the layer does not name, but has something in: it gets the mode and
        # time of a new one. Here and in umoci and containerd it stays as it is below.
        "dev/dev: mtime",
        "modes/d0000: .*",
        "times/older: mtime",  # it has no time before 1970
    ],
    ("only-on-the-way", PODMAN): ["tmp: .*"],
    # Neither can make device nodes without root; one makes files, the other nothing.
    ("devices", UMOCI): [".*: (content|kind|number|same|size|mtime)"],
    ("devices", PODMAN): ["d/x", "dev/null"],
    # A directory over a link of a lower layer replaces it, as overlayfs has it: Docker and podman.
    ("through-a-lower-link", UMOCI): ["lib: .*", "lib/f", "usr/f"],
    # A whiteout behind a link hides nothing. umoci follows the link; podman, having made a
    # directory for the whiteout, has that in place of the link.
    ("whiteout-of-link", UMOCI): ["d/f"],
    ("whiteout-of-link", PODMAN): ["l: .*"],
    # overlayfs obeys no opaque mark on the top of a layer; the specification says nothing of it.
    ("root-opaque", PODMAN): ["a", "d", "d/e"],
    # What only one of them takes is taken.
    ("twice", PODMAN): ["refuses", "duplicates of file paths"],
    ("link-below", PODMAN): ["refuses", "no such file"],
    ("link-to-replaced", PODMAN): ["refuses", "no such file"],
    ("link-to-hidden", PODMAN): ["refuses", "no such file"],
    ("whiteout-last", PODMAN): ["refuses", "file exists"],
    ("sparse-gnu", UMOCI): ["refuses", "unknown typeflag"],
    ("sparse-gnu", PODMAN): ["refuses", "unhandled tar header type 83"],
    ("sparse-oldgnu", UMOCI): ["refuses", "unknown typeflag"],
    ("sparse-oldgnu", PODMAN): ["refuses", "unhandled tar header type 83"],
    ("pax", UMOCI): ["refuses", "unknown typeflag"],  # a global header
    # umoci does not give a directory its time back after making another on the way to a file.
    ("ustar", UMOCI): [": mtime"],
    ("gnu", UMOCI): [": mtime"],
    ("debian:13", UMOCI): [": mtime"],  # no layer names the root; umoci lets it be of 1970
    ("sci:latest", UMOCI): [": mtime"],
    ("200-layers", PODMAN): ["refuses", "max depth exceeded"],
}


def made(place: Path) -> Images:
    """The images of the gallery."""
    return {
        "shared": list(gallery.together(gallery.shared())),
        "histories": list(gallery.histories(count=100, layers=5, seed=5)),
        "devices": list(gallery.device_nodes()),
        **gallery.alone(),
        **gallery.formats(),
        **gallery.sparse(place),
    }


def many_layers(count: int) -> list[FakeLayer | bytes]:
    found: list[FakeLayer | bytes] = []
    for number in range(count):
        entries = [directory("./", mtime=number), directory("d", mtime=number)]
        entries.append(file(f"d/{number}", str(number)))
        if number:
            entries.append(file(f"d/.wh.{number - 1}"))
        if number % 50 == 49:
            entries += [directory("o"), file("o/.wh..wh..opq"), file(f"o/{number}")]
        found.append(tar(*entries))
    return found


def many_files(count: int) -> list[FakeLayer | bytes]:
    entries = [directory("./")]
    for number in range(count):
        if number % 300 == 0:
            entries.append(directory(f"{number // 300}", mtime=number))
        entries.append(file(f"{number // 300}/{number}", str(number), mtime=number, uid=number % 3))
    return [tar(*entries)]


def check(images: Path, names: list[str], place: Path, peers: tuple[str, ...] = PEERS) -> None:
    """Every image is the same here and there, but for what is decided, and that does differ."""
    found = theirs(images, names, peers)
    wrong: dict[str, Any] = {}
    for name in names:
        tree = ours(stored(images, name), place / name)
        for peer in peers:
            for what, facts in _undecided(name, peer, tree, found[name][peer]).items():
                wrong[f"{name}, {peer}: {what!r}"] = facts
    assert wrong == {}


def _undecided(name: str, peer: str, mine: Tree, result: dict[str, Any]) -> dict[str, Any]:
    decided = DECIDED.get((name, peer), [])
    if decided[:1] == ["refuses"]:
        said = str(result["error"])
        return {} if re.search(decided[1], said) else {"was to refuse": said}
    if result["error"]:
        return {"error": result["error"]}
    found = differences(mine, result["tree"])
    left = dict(found)
    for pattern in (*decided, *_OF_ALL.get(peer, [])):
        fits = [what for what in left if re.fullmatch(pattern, what, re.DOTALL)]
        if not fits and pattern in decided:
            left[f"decided, but not so: {pattern}"] = None
        for what in fits:
            del left[what]
    return left


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def test_every_rule(tmp_path: Path, layout: Layout) -> None:
    images = made(tmp_path / "holes")
    for name, layers in images.items():
        layout.add(name, layers)
    check(layout.path, list(images), tmp_path)


@pytest.mark.parametrize(
    ("count", "peers"), [(200, (UMOCI,)), *([(120, PEERS), (200, (PODMAN,))] if LONG else [])]
)
def test_many_layers(tmp_path: Path, layout: Layout, count: int, peers: tuple[str, ...]) -> None:
    layout.add(f"{count}-layers", many_layers(count))
    check(layout.path, [f"{count}-layers"], tmp_path, peers)


@pytest.mark.parametrize("count", [300_000] if LONG else [3_000])
def test_many_files(tmp_path: Path, layout: Layout, count: int) -> None:
    layout.add("many-files", many_files(count))
    check(layout.path, ["many-files"], tmp_path)
