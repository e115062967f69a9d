"""Real images give the tree that umoci and podman give."""

from __future__ import annotations

from pathlib import Path

import pytest

from image_maker import debian
from image_maker.layout import Layout
from unpack.peers import PEERS
from unpack.test_same_tree import LONG, PODMAN, check

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("image", "peers"), [("debian:13", PEERS), ("sci:latest", PEERS if LONG else (PODMAN,))]
)
def test_a_real_image(images: Path, tmp_path: Path, image: str, peers: tuple[str, ...]) -> None:
    check(images / "oci", [image], tmp_path, peers)


@pytest.mark.parametrize("suite", ["bullseye"] if LONG else [])
def test_an_older_debian(tmp_path: Path, suite: str) -> None:
    (tar,) = debian.snapshots(suite, [], tmp_path)
    layout = Layout(tmp_path / "oci")
    layout.tag(f"{suite}:latest", layout.image([layout.layer(tar)], "amd64", {}))
    layout.finish()
    check(tmp_path / "oci", [f"{suite}:latest"], tmp_path)
