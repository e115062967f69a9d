"""Volumes, from the command line to what is mounted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from udocker.errors import UdockerError, UsageError
from udocker.model.request import Volume
from udocker.model.run import Mount
from udocker.spec.mounts import ordered, parse_volume, to_mount

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("/a:/b", Volume("/a", "/b")),
        ("/a", Volume("/a", "/a")),
        ("/a:/b:ro", Volume("/a", "/b", True)),
        ("/a:/b:rw", Volume("/a", "/b")),
        ("/a:/b:ro,rw", Volume("/a", "/b")),
        ("/a:/b:rw,ro", Volume("/a", "/b", True)),
        ("/a:/b:z", Volume("/a", "/b")),
        ("/a:/b:ro,Z", Volume("/a", "/b", True)),
        ("/a:/b:cached", Volume("/a", "/b")),
        ("/a:/b:rbind,rslave,ro", Volume("/a", "/b", True)),
        ("/a:/b,ro", Volume("/a", "/b,ro")),
        ("/a b:/c d", Volume("/a b", "/c d")),
        ("/a/:/b/", Volume("/a/", "/b")),
        ("/a:/b/../c", Volume("/a", "/c")),
        ("/a://b", Volume("/a", "/b")),
        (".:/b", Volume("/here", "/b")),
        ("./x:/b", Volume("/here/x", "/b")),
        ("..:/b", Volume("/", "/b")),
        ("../x:/b:ro", Volume("/x", "/b", True)),
        (".", Volume("/here", "/here")),
        ("/\udcff:/b", Volume("/\udcff", "/b")),
    ],
)
def test_every_spelling(text: str, volume: Volume) -> None:
    assert parse_volume(text, "/here") == volume


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a volume: ''"),
        (":", "not a volume: ':'"),
        ("/a:", "not a volume: '/a:'"),
        (":/b", "not a volume: ':/b'"),
        ("/a:/b:", "not a volume: '/a:/b:'"),
        ("/a:/b:ro:", "not a volume: '/a:/b:ro:'"),
        ("/a:/b:ro:x", "not a volume: '/a:/b:ro:x'"),
        ("/a\0:/b", "not a volume: '/a\\x00:/b'"),
        (
            "da/ta:/b",
            "volume 'da/ta:/b': 'da/ta' is neither a path nor the name of a volume",
        ),
        (
            ".hidden:/b",
            "volume '.hidden:/b': '.hidden' is neither a path nor the name of a volume",
        ),
        ("~/a:/b", "volume '~/a:/b': '~/a' is neither a path nor the name of a volume"),
        ("/a:b", "volume '/a:b': 'b' is not an absolute path"),
        ("/a:ro", "volume '/a:ro': 'ro' is not an absolute path"),
        ("/a:/", "volume '/a:/': a volume cannot take the place of /"),
        ("/a:/b/..", "volume '/a:/b/..': a volume cannot take the place of /"),
        ("/a://", "volume '/a://': a volume cannot take the place of /"),
        ("/", "volume '/': a volume cannot take the place of /"),
        ("/a:/b:readonly", "volume '/a:/b:readonly': unknown option 'readonly'"),
        ("/a:/b:RO", "volume '/a:/b:RO': unknown option 'RO'"),
        ("/a:/b:ro, z", "volume '/a:/b:ro, z': unknown option ' z'"),
    ],
)
def test_bad_spellings(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_volume(text, "/here")
    assert caught.value.message == message
    assert caught.value.hint == (
        "volumes look like /host/path:/container/path[:ro], or NAME:/container/path"
    )


def test_files_and_directories(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name, is_dir in (("file", False), (".", True)):
        source = os.path.normpath(tmp_path / name)
        assert to_mount(Volume(source, "/t", True)) == Mount(source, "/t", True, is_dir)


def test_links_of_the_host_are_followed(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("dir")
    made = to_mount(Volume(f"{tmp_path}/link", "/t"))
    assert made.source == os.path.realpath(tmp_path / "dir")
    assert made.target == "/t"


def test_special_files_are_files() -> None:
    assert to_mount(Volume("/dev/null", "/n")) == Mount("/dev/null", "/n", False, False)


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nothing")
    for name in ("missing", "dangling"):
        with pytest.raises(UdockerError) as caught:
            to_mount(Volume(f"{tmp_path}/{name}", "/t"))
        assert caught.value.message == f"volume source {tmp_path}/{name} does not exist"
        assert caught.value.hint == f"mkdir -p {tmp_path}/{name}"


def test_what_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir(mode=0)
    with pytest.raises(UdockerError, match="secret: permission denied"):
        to_mount(Volume(f"{tmp_path}/secret", "/t"))


def test_outer_mounts_come_first_and_the_later_of_two_is_kept() -> None:
    given = [
        Mount("/1", "/a/b/c"),
        Mount("/2", "/z"),
        Mount("/3", "/a"),
        Mount("/4", "/a/b"),
        Mount("/5", "/z", True),
    ]
    targets = [(mount.target, mount.source) for mount in ordered(given)]
    assert targets == [("/z", "/5"), ("/a", "/3"), ("/a/b", "/4"), ("/a/b/c", "/1")]
    assert ordered([]) == ()
