"""Which programs libfakechroot can be loaded into, and how they are started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.specs import spec
from test_elf import ARM, X86_64
from test_elf import program as elf
from udocker.errors import NotExecutable, UnsupportedFeature
from udocker.model.run import Preload
from udocker.ops.preload import preload
from udocker.store.view import View

if TYPE_CHECKING:
    from pathlib import Path

LOADER = "/lib64/ld-linux.so.2"


class Image:
    """A root with a program, a loader and a C library."""

    def __init__(self, path: Path) -> None:
        self.root = path / "ROOT"
        self.library = path / "libfakechroot.so"
        self.library.write_bytes(elf(interpreter=None) + b"\0GLIBC_2.34\0")
        self.write("bin/prog", elf(interpreter=LOADER.encode() + b"\0"))
        self.write("usr/lib64/ld-2.36.so", b"")
        (self.root / "lib64").symlink_to("usr/lib64")
        (self.root / "usr/lib64/ld-linux.so.2").symlink_to("/lib64/ld-2.36.so")
        self.write("usr/lib/x86_64-linux-gnu/libc.so.6", b"\0GLIBC_2.36\0")

    def write(self, path: str, content: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)

    def __call__(self, program: str = "/bin/prog") -> Preload:
        run = spec(argv=("prog", "x"), program=program)
        return preload(run, View([str(self.root)]), str(self.library), "x86_64")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


def test_a_program(image: Image) -> None:
    assert image() == Preload(
        loader="/usr/lib64/ld-2.36.so",
        program="/bin/prog",
        name="prog",
        directories=("/usr/lib/x86_64-linux-gnu", "/usr/lib", "/usr/lib64"),
    )


def test_directories_are_those_of_ld_so_conf_first(image: Image) -> None:
    for name in ("one", "two", "three", "four"):
        (image.root / name).mkdir()
    image.write("etc/ld.so.conf", b"/one # text\ninclude\t/etc/more/*.conf\nrelative\n/nowhere\n")
    image.write("etc/more/b.conf", b"/three\n/one\n")
    image.write("etc/more/a.conf", b"/two\n")
    image.write("etc/more/a.conf.old", b"/four\n")
    assert image().directories[:4] == ("/one", "/two", "/three", "/usr/lib/x86_64-linux-gnu")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (b"#!/bin/prog\n", b"", ("/first",)),
        (b"#! /bin/prog  -e  x \n", b"", ("-e  x", "/first")),
        (b"#!/second a", b"#!/bin/prog b\n", ("b", "/second", "a", "/first")),
    ],
)
def test_a_script_has_the_words_that_the_kernel_gives_it(
    image: Image, first: bytes, second: bytes, words: tuple[str, ...]
) -> None:
    image.write("first", first)
    image.write("second", second)
    found = image("/first")
    assert (found.program, found.name, found.words) == ("/bin/prog", "/bin/prog", words)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (elf(interpreter=None), "mode F1 cannot run static programs: /bin/prog"),
        (elf(interpreter=b"/lib/ld-musl-x86_64.so.1\0"), "takes programs of glibc, and /bin/prog"),
        (elf(ARM), "libfakechroot.so is not made for the machine of /bin/prog"),
    ],
)
def test_programs_that_do_not_fit(image: Image, head: bytes, message: str) -> None:
    image.write("bin/prog", head)
    with pytest.raises(UnsupportedFeature, match=message) as caught:
        image()
    assert caught.value.hint


def test_a_file_that_is_no_program(image: Image) -> None:
    image.write("bin/prog", b"echo x\n")
    with pytest.raises(NotExecutable, match="no #! line"):
        image()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0GLIBC_2.33\0", r"libfakechroot.so needs glibc 2\.34, and the container has 2\.33"),
        (b"\0other\0", "libc.so.6 is not in the container's directories"),
    ],
)
def test_c_libraries_that_do_not_fit(image: Image, content: bytes, message: str) -> None:
    image.write("usr/lib/x86_64-linux-gnu/libc.so.6", content)
    with pytest.raises(UnsupportedFeature, match=message):
        image()


def test_a_library_that_is_none(image: Image) -> None:
    image.library.write_bytes(b"text")
    with pytest.raises(UnsupportedFeature, match="is not made for the machine"):
        image()
    image.library.unlink()
    with pytest.raises(UnsupportedFeature, match=r"has to read .*No such file"):
        image()


def test_a_loader_without_argv0(image: Image) -> None:
    image.library.write_bytes(elf(X86_64, interpreter=None) + b"\0GLIBC_2.4\0")
    image.write("usr/lib/x86_64-linux-gnu/libc.so.6", b"\0GLIBC_2.32\0")
    assert not image().has_argv0
    image.write("usr/lib/x86_64-linux-gnu/libc.so.6", b"\0GLIBC_2.33\0")
    assert image().has_argv0
