from __future__ import annotations

import pytest

from udocker.errors import UsageError
from udocker.spec import limits
from udocker.spec.labels import parse_label, read_labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nofile=10", ("nofile", 10, 10)),
        ("nofile=10:20", ("nofile", 10, 20)),
        ("memlock=-1", ("memlock", -1, -1)),
        ("stack=unlimited:unlimited", ("stack", -1, -1)),
        ("core=0:-1", ("core", 0, -1)),
    ],
)
def test_ulimits(text: str, found: tuple[str, int, int]) -> None:
    assert limits.parse_ulimit(text) == found


@pytest.mark.parametrize(
    "text", ["", "nofile", "nofile=", "files=3", "nofile=20:10", "nofile=-1:5", "nofile=x", "=3"]
)
def test_wrong_ulimits(text: str) -> None:
    with pytest.raises(UsageError):
        limits.parse_ulimit(text)


def test_cpus() -> None:
    assert limits.parse_cpus("1.5") == 1.5
    assert limits.parse_cpuset("0-2,5,1") == (0, 1, 2, 5)
    for text in ("", "x", "-1", "nan", "inf"):
        with pytest.raises(UsageError):
            limits.parse_cpus(text)
    for text in ("", "a", "3-1", "0,,1", "-1", "1-", "9999999"):
        with pytest.raises(UsageError):
            limits.parse_cpuset(text)


def test_memory_and_processes() -> None:
    assert limits.parse_memory("512m") == 512 << 20
    assert limits.parse_memory("0") == 0
    assert limits.parse_pids("100") == 100
    assert limits.parse_pids("-1") == 0
    for text in ("1m", "x", "-1"):
        with pytest.raises(UsageError):
            limits.parse_memory(text)
    for text in ("-2", "x", "", "1.5"):
        with pytest.raises(UsageError):
            limits.parse_pids(text)


def test_labels(tmp_path: Path) -> None:
    assert parse_label("a=b=c") == ("a", "b=c")
    assert parse_label("a") == ("a", "")
    for text in ("", "=b", " =b", "a\0=b"):
        with pytest.raises(UsageError):
            parse_label(text)
    path = tmp_path / "labels"
    path.write_text("# said\n\na=1\n  b=2 \nc\n")
    assert read_labels(str(path)) == [("a", "1"), ("b", "2"), ("c", "")]
    with pytest.raises(UsageError, match="cannot read --label-file"):
        read_labels(str(tmp_path / "none"))
