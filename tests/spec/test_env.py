"""The environment of the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from udocker.errors import UdockerError, UsageError
from udocker.model.run import User
from udocker.spec import env

if TYPE_CHECKING:
    from typing import Any

HOST = {"LANG": "C.UTF-8", "ONLY": "host", "PATH": "/host/bin", "HOME": "/host", "EMPTY": ""}


def built(**parts: Any) -> dict[str, str]:
    arguments: dict[str, Any] = {
        "image": (),
        "files": (),
        "options": (),
        "host": HOST,
        "hostenv": False,
        **parts,
    }
    return dict(env.build(arguments.pop("always", {}), **arguments))


def test_each_source_beats_those_before_it() -> None:
    names = ["A", "B", "C", "D", "E"]
    found = built(
        always=dict.fromkeys(names, "always"),
        host=dict.fromkeys(names[1:], "host"),
        hostenv=True,
        image=[f"{name}=image" for name in names[2:]],
        files=[(name, "file") for name in names[3:]],
        options=[(name, "option") for name in names[4:]],
    )
    assert found == {"A": "always", "B": "host", "C": "image", "D": "file", "E": "option"}


def test_the_last_of_two_counts() -> None:
    assert built(image=["A=1", "A=2"]) == {"A": "2"}
    assert built(files=[("A", "1"), ("A", "2")]) == {"A": "2"}
    assert built(options=[("A", "1"), ("A", "")]) == {"A": ""}


def test_a_name_alone_takes_the_host_value() -> None:
    assert built(options=[("ONLY", None)]) == {"ONLY": "host"}
    assert built(files=[("EMPTY", None)]) == {"EMPTY": ""}
    assert built(options=[("PATH", None)]) == {"PATH": "/host/bin"}


def test_a_name_that_the_host_has_not_changes_nothing() -> None:
    assert built(options=[("UNSET", None)]) == {}
    assert built(image=["UNSET=image"], options=[("UNSET", None)]) == {"UNSET": "image"}


def test_the_host_stays_out_unless_asked_for() -> None:
    assert built() == {}


def test_hostenv_leaves_out_what_describes_the_host() -> None:
    kept = {"LANG": "C", "SLURM_JOB_ID": "7", "LIBRARY": "x", "MY_PATH": "/x", "L\udce9": "\udce9"}
    dropped = {
        "PATH": "/bin",
        "HOME": "/home/ann",
        "PWD": "/",
        "OLDPWD": "/",
        "SHELL": "/bin/tcsh",
        "USER": "ann",
        "LOGNAME": "ann",
        "SHLVL": "3",
        "_": "/usr/bin/udocker",
        "TMPDIR": "/scratch",
        "LD_PRELOAD": "/x.so",
        "LD_LIBRARY_PATH": "/opt",
        "UDOCKER_DIR": "/store",
        "PYTHONPATH": "/opt",
        "PYTHONHOME": "/opt",
    }
    assert built(host={**kept, **dropped}, hostenv=True) == kept


@pytest.mark.parametrize("entry", ["", "NOVALUE", "=value", "="])
def test_entries_of_an_image_that_are_no_variables(entry: str) -> None:
    assert built(image=[entry, "A=b=c"]) == {"A": "b=c"}


def test_variables_are_sorted() -> None:
    made = env.build(
        {"Z": "1", "a": "2"}, image=["M=3"], files=(), options=(), host={}, hostenv=False
    )
    assert made == (("M", "3"), ("Z", "1"), ("a", "2"))


def test_what_is_always_there() -> None:
    user = User(5, 6, "ann", "/home/ann")
    found = env.always(user, "box", "xterm", {"container_uuid": "1"})
    assert found == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/home/ann",
        "USER": "ann",
        "LOGNAME": "ann",
        "HOSTNAME": "box",
        "TERM": "xterm",
        "container_uuid": "1",
    }
    assert "TERM" not in env.always(user, "box", None, {})
    assert "TERM" not in env.always(user, "box", "", {})


# -e


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("A=b", ("A", "b")),
        ("A=", ("A", "")),
        ("A", ("A", None)),
        ("A=b=c", ("A", "b=c")),
        ('A="b c"', ("A", '"b c"')),
        ("A= b ", ("A", " b ")),
        ("A.b-c=d", ("A.b-c", "d")),
        ("A=line\nline", ("A", "line\nline")),
        ("\udcff=\udcfe", ("\udcff", "\udcfe")),
    ],
)
def test_options(text: str, parsed: tuple[str, str | None]) -> None:
    assert env.parse_option(text) == parsed


@pytest.mark.parametrize("text", ["", "=", "=b", "A=\0", "\0"])
def test_bad_options(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        env.parse_option(text)
    assert caught.value.message == f"not an environment variable: {text!r}"
    assert caught.value.hint == "-e NAME=value or -e NAME"


# --env-file


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", []),
        (b"\n \n\t\n", []),
        (b"A=b", [("A", "b")]),
        (b"A=b\nC=d\n", [("A", "b"), ("C", "d")]),
        (b"A=b\r\nC=d\r\n", [("A", "b"), ("C", "d")]),
        (b"\xef\xbb\xbfA=b\n", [("A", "b")]),
        (b"# comment\n  # another\nA=b # no comment\n", [("A", "b # no comment")]),
        (b"A='b c'\nB=\"d\"\n", [("A", "'b c'"), ("B", '"d"')]),
        (b"A=\nB\n", [("A", ""), ("B", None)]),
        (b"  A=b\n\tC=d  \n", [("A", "b"), ("C", "d  ")]),
        (b"A=b=c\n", [("A", "b=c")]),
        (b"A=$HOME ${B}\n", [("A", "$HOME ${B}")]),
        (b"A=\xff\n", [("A", "\udcff")]),
        (b"A=1\x0c2\x0b3\x1c4\n", [("A", "1\x0c2\x0b3\x1c4")]),
        ("A=1\u20282\u00853\n".encode(), [("A", "1\u20282\u00853")]),
        (b"A=1\r2\n", [("A", "1\r2")]),
        (b"export=1\n", [("export", "1")]),
    ],
)
def test_files(content: bytes, found: list[tuple[str, str | None]]) -> None:
    assert env.parse_file(content, "vars") == found


@pytest.mark.parametrize(
    ("content", "line", "name"),
    [
        (b"=b", 1, "''"),
        (b"A=1\n\n# x\nB =2\n", 4, "'B '"),
        (b"export A=1\n", 1, "'export A'"),
        (b"A\tB=1\n", 1, r"'A\\tB'"),
        (b"A B\n", 1, "'A B'"),
    ],
)
def test_bad_names_are_told_with_their_line(content: bytes, line: int, name: str) -> None:
    with pytest.raises(UdockerError, match=rf"^vars, line {line}: not an environment .*: {name}$"):
        env.parse_file(content, "vars")


def test_a_null_character_is_told_with_its_line() -> None:
    with pytest.raises(UdockerError, match=r"^vars, line 2: .*null"):
        env.parse_file(b"A=1\nB=\0\n", "vars")
