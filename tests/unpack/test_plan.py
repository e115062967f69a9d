"""Names of archive members, and what they ask for."""

from __future__ import annotations

import io

import pytest

from udocker.errors import HostileArchiveError, UnpackError
from udocker.unpack.compression import LayerStream, Source
from udocker.unpack.header import Member
from udocker.unpack.plan import HIDE, HIDE_CHILDREN, MAKE, SKIP, Operation, plan
from udocker.unpack.tar import Archive
from unpack.layers import extended, raw_header, record, seal


def named(name: bytes, kind: bytes = b"0") -> Member:
    data = seal(raw_header(name=name, kind=kind))
    (member,) = Archive(LayerStream(Source(io.BytesIO(data), lambda _: None, ""), "sha256"), 9)
    return member


@pytest.mark.parametrize(
    ("name", "action", "path"),
    [
        (b"a", MAKE, b"a"),
        (b"./a//b/.//", MAKE, b"a/b"),
        (b"///a", MAKE, b"a"),
        (b"...", MAKE, b"..."),
        (b"..a/b..", MAKE, b"..a/b.."),
        (b"a\\..\\b", MAKE, b"a\\..\\b"),
        (b" ", MAKE, b" "),
        (b"a.wh.b", MAKE, b"a.wh.b"),
        (b"d.wh./x", MAKE, b"d.wh./x"),
        (b".wh", MAKE, b".wh"),
        (b".WH.a", MAKE, b".WH.a"),
        (b".wh.a", HIDE, b"a"),
        (b"./d/.wh.a", HIDE, b"d/a"),
        (b"/.wh.a/", HIDE, b"a"),
        (b"d/.wh.a\nb", HIDE, b"d/a\nb"),
        (b".wh...a", HIDE, b"..a"),
        (b".wh.a.wh.b", HIDE, b"a.wh.b"),
        (b".wh..whx", HIDE, b".whx"),
        (b".wh..wh..opq", HIDE_CHILDREN, b""),
        (b"./a/b/.wh..wh..opq", HIDE_CHILDREN, b"a/b"),
        (b".wh..wh.plnk", SKIP, b".wh..wh.plnk"),
        (b".wh..wh.", SKIP, b".wh..wh."),
        (b".wh..wh.plnk/../x".replace(b"../", b""), SKIP, b".wh..wh.plnk/x"),
        (b".wh..wh.plnk/.wh.x", SKIP, b".wh..wh.plnk/.wh.x"),
        (b"d/.wh..wh.orph/x/y", SKIP, b"d/.wh..wh.orph/x/y"),
        (b"d/.wh..wh..opqx", SKIP, b"d/.wh..wh..opqx"),
    ],
)
def test_actions(name: bytes, action: str, path: bytes) -> None:
    assert plan(named(name), 9) == Operation(action, path)


@pytest.mark.parametrize(
    "name",
    [b"..", b"../a", b"a/../b", b"a/..", b"/..", b"./../", b"a/../../b", b".wh.a/..", b"../.wh.a"],
)
def test_names_that_lead_out(name: bytes) -> None:
    with pytest.raises(HostileArchiveError, match="leads out of the image"):
        plan(named(name), 9)


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"d/.wh./", b"d/.wh.."])
def test_whiteouts_of_no_name(name: bytes) -> None:
    with pytest.raises(HostileArchiveError, match="names no entry of its directory"):
        plan(named(name), 9)


def test_an_entry_in_a_whiteout() -> None:
    with pytest.raises(UnpackError, match=r"'\.wh\.d/x' is inside a whiteout"):
        plan(named(b".wh.d/x"), 9)


@pytest.mark.parametrize("name", [b"", b".", b"/", b"././", b"//"])
def test_the_root(name: bytes) -> None:
    assert plan(named(name, b"5"), 9) == Operation(MAKE, b"")
    for kind, word in ((b"0", "file"), (b"2", "symlink"), (b"3", "char")):
        with pytest.raises(UnpackError, match=f"a {word} has no name"):
            plan(named(name, kind), 9)


def test_too_long() -> None:
    name = b"x" * 4096
    data = extended(record(b"path", name)) + seal(raw_header())
    (member,) = Archive(LayerStream(Source(io.BytesIO(data), lambda _: None, ""), "sha256"), 9999)
    assert member.name == name
    with pytest.raises(UnpackError, match="the name is too long: 'xxx"):
        plan(member, 9)


def test_too_deep() -> None:
    assert plan(named(b"a/" * 9), 9).path.count(b"/") == 8
    with pytest.raises(UnpackError, match="nested more than 9 deep"):
        plan(named(b"a/" * 10), 9)
