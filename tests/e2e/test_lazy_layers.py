"""Layers made to be fetched a file at a time: zstd:chunked by skopeo, and eStargz."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from fakes.estargz import TOC, estargz
from fakes.registry import Entry, FakeRegistry, directory, hardlink, make_image, program, symlink
from image_maker.registry import serving

if TYPE_CHECKING:
    from e2e.conftest import Udocker

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.checks"]

_POSITION = "io.containers.zstd-chunked.manifest-position"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_COPY = ("skopeo", "--insecure-policy", "copy", "--quiet")
_CHUNK = 50_000  # bytes


@pytest.mark.parametrize("name", ["busybox", "debian:12"])
def test_zstd_chunked(udocker: Udocker, registry: str, tmp_path: Path, name: str) -> None:
    plain, storage = tmp_path / "plain", tmp_path / "storage"
    storage.mkdir()
    source = f"docker://{registry}/{name}"
    decompress = ("--src-tls-verify=false", "--dest-decompress", source, f"dir:{plain}")
    subprocess.run([*_COPY, *decompress], check=True)
    with serving(storage, readonly=False) as address:
        compress = ("--dest-tls-verify=false", "--dest-compress-format", "zstd:chunked")
        target = f"docker://{address}/chunked"
        subprocess.run([*_COPY, *compress, f"dir:{plain}", target], check=True)
        assert is_chunked(address)
        told = udocker("run", "--rm", f"{address}/chunked", "cat", "/etc/os-release")
    direct = udocker("run", "--rm", f"{registry}/{name}", "cat", "/etc/os-release")
    assert told.out == direct.out
    assert "PRETTY_NAME" in told.out


def is_chunked(address: str) -> bool:
    """Whether the layers of the image have a table of what is where."""
    url = f"http://{address}/v2/chunked/manifests/latest"
    request = urllib.request.Request(url, headers={"Accept": _MANIFEST})
    with urllib.request.urlopen(request, timeout=60) as reply:
        layers = json.load(reply)["layers"]
    return all(_POSITION in layer["annotations"] for layer in layers)


def layer() -> tuple[bytes, bytes]:
    """A layer with a shell and a file of noise; and the noise."""
    noise = os.urandom(3 * _CHUNK + 17)
    entries = {
        "bin": directory(),
        "bin/busybox": program(Path("/bin/busybox").read_bytes()),
        "bin/sh": hardlink("bin/busybox"),
        "noise": Entry(noise),
        "empty": Entry(),
        "whole": Entry(noise[:_CHUNK]),
        "link": symlink("noise"),
    }
    return estargz(entries, _CHUNK), noise


@pytest.mark.parametrize("footer", [51, 0])
def test_estargz(udocker: Udocker, fake: FakeRegistry, store_path: Path, footer: int) -> None:
    data, noise = layer()
    data = data[: len(data) - 51 + footer]
    assert data.count(b"\x1f\x8b\x08") > len(noise) // _CHUNK
    assert TOC.encode() in gzip.decompress(data)
    make_image(fake, "lazy/image", "latest", [data, checks.file_layer("over")])
    name = f"{fake.host}/lazy/image"
    udocker("pull", name)
    (tree,) = checks.trees(store_path)
    root = store_path / "trees" / "sha256" / tree / "root"
    assert (root / "noise").read_bytes() == (root / "link").read_bytes() == noise
    assert (root / "whole").read_bytes() == noise[:_CHUNK]
    assert (root / "empty").read_bytes() == b""
    assert udocker("run", "--rm", name, "sh", "-c", "echo $((6 * 7))").out == "42\n"
