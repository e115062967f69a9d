"""The command line, and whether what it names can be executed."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import pytest

from builders.specs import config
from builders.trees import Directory, File, Link, grow, program
from udocker.errors import CommandNotFound, NotExecutable, UsageError
from udocker.spec.command import build, check, foreign, machine
from udocker.store.view import View

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from builders.trees import Node

ENTRYPOINT = ["/entry", "-e"]
CMD = ["cmd", "-c"]


@pytest.mark.parametrize(
    ("image", "entrypoint", "command", "argv"),
    [
        ({"Cmd": CMD}, None, (), "cmd -c"),
        ({"Cmd": CMD}, None, ("ls", "-l"), "ls -l"),
        ({"Entrypoint": ENTRYPOINT}, None, (), "/entry -e"),
        ({"Entrypoint": ENTRYPOINT, "Cmd": CMD}, None, (), "/entry -e cmd -c"),
        ({"Entrypoint": ENTRYPOINT, "Cmd": CMD}, None, ("x",), "/entry -e x"),
        ({"Entrypoint": ENTRYPOINT, "Cmd": CMD}, "/own", (), "/own"),
        ({"Entrypoint": ENTRYPOINT, "Cmd": CMD}, "/own", ("x",), "/own x"),
        ({"Entrypoint": ENTRYPOINT, "Cmd": CMD}, "", ("x", "y"), "x y"),
        ({}, "sh -c 'a b'", ("x",), "sh -c a\xa0b x"),
        ({}, "'/my programs/p'", (), "/my\xa0programs/p"),
    ],
)
def test_entrypoint_and_command(
    image: dict[str, Any], entrypoint: str | None, command: tuple[str, ...], argv: str
) -> None:
    expected = tuple(word.replace("\xa0", " ") for word in argv.split(" "))
    assert build(config(image), entrypoint, command) == expected


def test_arguments_are_never_changed() -> None:
    words = ("a b", "", "'", '"', "$HOME", "--", "\n", "\udcff")
    assert build(config({"Entrypoint": ["/e"]}), None, words) == ("/e", *words)


@pytest.mark.parametrize(
    ("image", "entrypoint"),
    [({}, None), ({}, ""), ({"Cmd": CMD}, ""), ({"Entrypoint": ENTRYPOINT}, " ")],
)
def test_nothing_to_run(image: dict[str, Any], entrypoint: str | None) -> None:
    with pytest.raises(UsageError, match="the image says no command to run") as caught:
        build(config(image), entrypoint, ())
    assert caught.value.hint == "give one: udocker run IMAGE COMMAND"


def test_an_entrypoint_with_half_a_quote() -> None:
    with pytest.raises(UsageError, match='--entrypoint "sh -c \'x": No closing quotation'):
        build(config(), "sh -c 'x", ())


# Whether it can be executed


def elf(machine: int, *, big: bool = False) -> File:
    """The beginning of an ELF file (elf(5))."""
    ident = b"\x7fELF" + bytes([2, 2 if big else 1, 1]) + bytes(9)
    return File(ident + struct.pack(">HH" if big else "<HH", 2, machine) + bytes(40), 0o755)


class Image:
    """A view of a table of files."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def check(
        self,
        table: Mapping[str, Node],
        argv0: str,
        *,
        path: str = "/usr/bin:/bin",
        cwd: str = "/",
        architecture: str = "x86_64",
    ) -> str:
        tree = grow(self.top / "tree", table)
        return check(argv0, path, cwd, View([str(tree)]), architecture)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


@pytest.mark.parametrize(
    ("argv0", "path", "cwd", "found"),
    [
        ("/opt/tool", "", "/", "/opt/tool"),
        ("tool", "/usr/bin:/opt:/bin", "/", "/opt/tool"),
        ("sh", "/usr/bin:/bin", "/", "/bin/sh"),
        ("./tool", "/bin", "/opt", "/opt/./tool"),
        ("../bin/sh", "", "/opt", "/opt/../bin/sh"),
        ("opt/tool", "/bin", "/", "//opt/tool"),
        ("tool", "/bin:", "/opt", "/opt/tool"),
        ("tool", ":/bin", "/opt", "/opt/tool"),
        ("tool", "", "/opt", "/opt/tool"),
        ("link", "/bin", "/", "/bin/link"),
        ("both", "/locked:/bin", "/", "/bin/both"),
    ],
)
def test_where_the_program_is(image: Image, argv0: str, path: str, cwd: str, found: str) -> None:
    table: dict[str, Node] = {
        "bin/sh": elf(62),
        "opt/tool": elf(62),
        "bin/link": Link("/opt/tool"),
        "locked/both": File(b"", 0o644),
        "bin/both": elf(62),
    }
    assert image.check(table, argv0, path=path, cwd=cwd) == found


@pytest.mark.parametrize(
    ("argv0", "message"),
    [
        ("", "the command is an empty string"),
        ("nope", "command not found in the container's PATH (/usr/bin:/bin): nope"),
        ("/nope", "command not found in the container: /nope"),
        ("./nope", "command not found in the container: ./nope"),
        ("dangling", "command not found in the container's PATH (/usr/bin:/bin): dangling"),
        ("loop", "command not found in the container's PATH (/usr/bin:/bin): loop"),
        ("/bin/file/in", "command not found in the container: /bin/file/in"),
    ],
)
def test_not_found(image: Image, argv0: str, message: str) -> None:
    table: dict[str, Node] = {
        "bin/file": File(b"", 0o755),
        "bin/dangling": Link("nothing"),
        "bin/loop": Link("loop"),
    }
    with pytest.raises(CommandNotFound) as caught:
        image.check(table, argv0)
    assert caught.value.message == message
    assert caught.value.exit_code == 127


@pytest.mark.parametrize(
    ("argv0", "files", "hint"),
    [
        ("--rm", {"bin/sh": elf(62)}, "options of udocker stand before"),
        ("ls -l /", {"bin/sh": elf(62)}, "give each word by itself, .*: ls -l /$"),
        ("nope", {"bin/sh": elf(62)}, "with the command sh$"),
        ("/bin/bash", {"bin/sh": elf(62)}, "another shell is there: sh$"),
        ("bash", {}, "there is no shell either: udocker inspect"),
        ("nope", {"bin/sh": File(b"", 0o644)}, "there is no shell either"),
    ],
)
def test_what_to_try_then(image: Image, argv0: str, files: dict[str, Node], hint: str) -> None:
    with pytest.raises(CommandNotFound) as caught:
        image.check(files, argv0)
    assert re.search(hint, caught.value.hint or "")


@pytest.mark.parametrize(
    ("argv0", "message"),
    [
        ("/bin/file", "cannot execute /bin/file: permission denied"),
        ("file", "cannot execute /bin/file: permission denied"),
        ("/bin", "cannot execute /bin: it is a directory"),
        ("folder", "cannot execute /bin/folder: it is a directory"),
        ("/", "cannot execute /: it is a directory"),
    ],
)
def test_not_executable(image: Image, argv0: str, message: str) -> None:
    table: dict[str, Node] = {"bin/file": File(b"", 0o644), "bin/folder": Directory()}
    with pytest.raises(NotExecutable) as caught:
        image.check(table, argv0)
    assert caught.value.message == message
    assert caught.value.exit_code == 126


@pytest.mark.parametrize("mode", [0o100, 0o010, 0o001, 0o755])
def test_any_x_bit_will_do(image: Image, mode: int) -> None:
    assert image.check({"p": File(elf(62).content, mode)}, "/p") == "/p"


@pytest.mark.parametrize(
    ("machine", "big", "host", "name", "platform"),
    [
        (183, False, "x86_64", "aarch64", "linux/amd64"),
        (62, False, "aarch64", "x86_64", "linux/arm64"),
        (22, True, "x86_64", "s390x", "linux/amd64"),
        (9999, False, "ppc64le", "machine 9999", "linux/ppc64le"),
    ],
)
def test_a_program_of_another_machine(
    image: Image, machine: int, big: bool, host: str, name: str, platform: str
) -> None:
    with pytest.raises(NotExecutable) as caught:
        image.check({"p": elf(machine, big=big)}, "/p", architecture=host)
    assert caught.value.message == f"cannot execute /p: it is made for {name}, this host is {host}"
    assert caught.value.hint == f"pull the image for this host: --platform={platform}"


@pytest.mark.parametrize(
    ("machine", "host"),
    [(62, "x86_64"), (3, "x86_64"), (183, "aarch64"), (40, "aarch64"), (21, "ppc64le")],
)
def test_programs_that_a_machine_runs(image: Image, machine: int, host: str) -> None:
    assert image.check({"p": elf(machine)}, "/p", architecture=host) == "/p"


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF\x02\x01", b"MZ", b"echo no line"])
def test_the_kernel_judges_what_is_no_elf_file(image: Image, content: bytes) -> None:
    assert image.check({"p": File(content, 0o755)}, "/p") == "/p"


@pytest.mark.parametrize(
    "first", ["#!/bin/sh", "#! /bin/sh", "#!\t/bin/sh -e", "#!/bin/sh\necho", "#!", "#! \n", "#!\n"]
)
def test_scripts_whose_interpreter_is_there(image: Image, first: str) -> None:
    assert image.check({"p": program(first), "bin/sh": elf(62)}, "/p") == "/p"


@pytest.mark.parametrize(
    ("first", "interpreter"),
    [
        ("#!/bin/bash\n", "/bin/bash"),
        ("#!/usr/bin/env python3\n", "/usr/bin/env"),
        ("#!/bin/sh\r\necho\r\n", "/bin/sh\r"),
    ],
)
def test_scripts_whose_interpreter_is_not_there(image: Image, first: str, interpreter: str) -> None:
    with pytest.raises(CommandNotFound) as caught:
        image.check({"p": program(first), "bin/sh": elf(62)}, "/p")
    assert caught.value.message == (
        f"cannot execute /p: its interpreter {interpreter!r} is not in the container"
    )
    assert bool(caught.value.hint) == ("\r" in interpreter)


def test_an_interpreter_relative_to_the_working_directory(image: Image) -> None:
    table: dict[str, Node] = {"p": program("#!bin/own\n"), "srv/bin/own": elf(62)}
    assert image.check(table, "/p", cwd="/srv") == "/p"
    with pytest.raises(CommandNotFound, match="its interpreter 'bin/own' is not in the container"):
        image.check(table, "/p", cwd="/")


def test_interpreters_may_be_scripts(image: Image) -> None:
    table: dict[str, Node] = {
        "p1": program("#!/p2\n"),
        "p2": program("#!/p3\n"),
        "p3": program("#!/bin/sh\n"),
        "bin/sh": elf(62),
        "q": program("#!/missing-too\n"),
        "q1": program("#!/q\n"),
    }
    assert image.check(table, "/p1") == "/p1"
    with pytest.raises(CommandNotFound, match="/q: its interpreter '/missing-too' is not"):
        image.check(table, "/q1")
    with pytest.raises(NotExecutable, match="/bin/sh: it is made for x86_64"):
        image.check(table, "/p1", architecture="aarch64")


def test_five_scripts_are_followed_and_no_more(image: Image) -> None:
    chain: dict[str, Node] = {f"p{n}": program(f"#!/p{n - 1}\n") for n in range(1, 7)}
    table = {"p0": elf(62), **chain}
    assert image.check(table, "/p5") == "/p5"
    with pytest.raises(NotExecutable, match="cannot execute /p6: too many interpreters"):
        image.check(table, "/p6")
    with pytest.raises(NotExecutable, match="cannot execute /p: too many interpreters"):
        image.check({"p": program("#!/p\n")}, "/p")


def test_an_interpreter_of_another_machine(image: Image) -> None:
    table: dict[str, Node] = {"p": program("#!/bin/sh\n"), "bin/sh": elf(183)}
    with pytest.raises(NotExecutable, match="/bin/sh: it is made for aarch64"):
        image.check(table, "/p")


def test_an_emulated_machine_will_do(image: Image) -> None:
    table: dict[str, Node] = {"p": program("#!/bin/sh\n"), "bin/sh": elf(183), "q": elf(22)}
    tree = View([str(grow(image.top / "tree", table))])
    assert check("/p", "", "/", tree, "x86_64", emulated="aarch64") == "/p"
    with pytest.raises(NotExecutable, match="it is made for s390x"):
        check("/q", "", "/", tree, "x86_64", emulated="aarch64")


def test_which_program_is_foreign(image: Image) -> None:
    table: dict[str, Node] = {
        "p": program("#!/bin/sh\n"),
        "bin/sh": elf(183),
        "own": elf(62),
        "text": File(b"echo", 0o755),
    }
    tree = View([str(grow(image.top / "tree", table))])
    place, head = foreign("/p", "", "/", tree, "x86_64")
    assert (place, machine(head)) == ("/bin/sh", (183, "aarch64"))
    for name in ("/own", "/text"):
        assert foreign(name, "", "/", tree, "x86_64") == (name, b"")
    with pytest.raises(CommandNotFound):
        foreign("/none", "", "/", tree, "x86_64")


def test_a_program_that_may_not_be_read_is_left_to_the_kernel(image: Image) -> None:
    assert image.check({"p": File(b"#!/not/there", 0o111)}, "/p") == "/p"
