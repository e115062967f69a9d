"""Real images give the tree that umoci and podman give."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.conftest import Udocker
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


# Not skipped but absent: the long form is another set of tests, not something this host lacks.
def _an_older_debian(tmp_path: Path) -> None:
    suite = "bullseye"
    for path in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        path.chmod(0o711)  # mmdebstrap without root works under other user ids
    tmp_path.chmod(0o777)
    (tar,) = debian.snapshots(suite, [], tmp_path)
    layout = Layout(tmp_path / "oci")
    layout.tag(f"{suite}:latest", layout.image([layout.layer(tar)], "amd64", {}))
    layout.finish()
    check(tmp_path / "oci", [f"{suite}:latest"], tmp_path)


if LONG:
    test_an_older_debian = _an_older_debian


def test_what_a_limit_says(udocker: Udocker, registry: str) -> None:
    few = {"UDOCKER_MAX_UNPACKED_BYTES": "1000"}
    result = udocker("pull", f"{registry}/busybox", check=False, env=few)
    first, second = result.err.strip().split("\n")[-2:]
    assert result.code == 125
    assert "the image unpacks to more than 1000 bytes, at " in first
    assert second.endswith("if you trust the image, raise the limit max_unpacked_bytes")
    assert udocker("images", "-q").out == ""
