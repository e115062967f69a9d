from __future__ import annotations

import pytest

from udocker.errors import UsageError
from udocker.model.request import Tmpfs, Volume
from udocker.spec.storage import parse_mount, parse_size, parse_tmpfs, parse_volumes_from


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("type=bind,source=/a,target=/b", Volume("/a", "/b")),
        ("type=bind,src=/a,dst=/b,readonly", Volume("/a", "/b", True)),
        ("type=bind,src=/a,destination=/b,ro=true", Volume("/a", "/b", True)),
        ("type=bind,src=/a,dst=/b,readonly=false", Volume("/a", "/b")),
        ("type=bind,src=./a,dst=/b", Volume("/here/a", "/b")),
        ("type=bind,src=/a:b,dst=/c", Volume("/a:b", "/c")),
        ('"type=bind","source=/a,b",target=/c', Volume("/a,b", "/c")),
        ("type=bind,src=/a,dst=/b/../c,bind-propagation=rslave", Volume("/a", "/c")),
        ("type=volume,source=data,target=/b", Volume("data", "/b")),
        ("source=data,target=/b", Volume("data", "/b")),
        ("source=data,target=/b,volume-nocopy", Volume("data", "/b", False, False)),
        ("target=/b", None),
        ("type=tmpfs,target=/b", Tmpfs("/b")),
        (
            "type=tmpfs,target=/b,tmpfs-size=1m,tmpfs-mode=700,ro",
            Tmpfs("/b", ("size=1048576", "mode=700"), True),
        ),
    ],
)
def test_mounts(text: str, found: Volume | Tmpfs | None) -> None:
    assert parse_mount(text, "/here") == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no target"),
        ("type=bind,source=/a", "there is no target"),
        ("type=foo,source=/a", "type=foo is not known here"),
        ("type=bind,target=/a", "a bind has a source"),
        ("type=bind,source=a/b,target=/b", "neither a path"),
        ("type=bind,source=a,target=/b", "'a' is not an absolute path"),
        ("type=bind,source=/a,target=b", "'b' is not an absolute path"),
        ("type=bind,source=/a,target=/", "cannot take the place of /"),
        ("type=bind,source=/a,target=/b,readonly=perhaps", "readonly is true or false"),
        ("type=npipe,source=/a,target=/b", "type=npipe is not known here"),
        ("type=image,source=a,target=/b", "type=image is not known here"),
        ("type=bind,source=/a,target=/b,sauce=1", "sauce means nothing here"),
        ("source=a/b,target=/b", "is not a volume's name"),
        ("source=a,target=/b,volume-driver=nfs", "no volume driver but local"),
        ("type=tmpfs,target=/b,tmpfs-mode=9", "is not a file mode"),
        ("type=tmpfs,target=/b,tmpfs-size=big", "not a size"),
        ("=x,target=/b", "is not NAME=VALUE"),
        ('type=bind,"src', "unexpected end"),
    ],
)
def test_wrong_mounts(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_mount(text, "/here")
    assert why in caught.value.message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/a", Tmpfs("/a")),
        ("/a:size=64m,mode=1777", Tmpfs("/a", ("size=67108864", "mode=1777"))),
        ("/a:rw,noexec,nosuid,size=50%", Tmpfs("/a", ("size=50%",), False, False)),
        ("/a:ro,uid=1000", Tmpfs("/a", (), True)),
        ("/a:exec,", Tmpfs("/a")),
    ],
)
def test_tmpfs(text: str, found: Tmpfs) -> None:
    assert parse_tmpfs(text) == found
    assert found.mode == 0o1777


@pytest.mark.parametrize("text", ["", "a", "/", "/a:huge", "/a:size=x", "/a:mode=rwx", "/a:mode="])
def test_wrong_tmpfs(text: str) -> None:
    with pytest.raises(UsageError):
        parse_tmpfs(text)


def test_volumes_from() -> None:
    assert parse_volumes_from("box") == ("box", False)
    assert parse_volumes_from("box:ro") == ("box", True)
    for text in ("", ":ro", "box:read"):
        with pytest.raises(UsageError):
            parse_volumes_from(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("1k", 1024), ("2M", 2 << 20), ("1gb", 1 << 30), ("1GiB", 1 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, "--x") == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5g", "1x", "1e3"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text, "--x")
