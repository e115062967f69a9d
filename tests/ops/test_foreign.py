"""Who starts programs for other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.sessions import session as make_session
from test_elf import ARM
from test_elf import program as elf
from udocker import host as host_module
from udocker.errors import NotExecutable
from udocker.model.features import BY_EMULATOR, BY_KERNEL, OTHER_MACHINES
from udocker.ops.foreign import Emulation, emulation

if TYPE_CHECKING:
    from pathlib import Path

AARCH64 = 183
PROGRAM = elf(AARCH64)


class Here:
    """A host of x86_64 with some programs in PATH, and what its kernel knows."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = path / "bin"
        self.formats = path / "binfmt_misc"
        self.bin.mkdir()
        self._session = make_session(path / "store", host(), {"PATH": str(self.bin)})
        monkeypatch.setattr(host_module, "_FORMATS", str(self.formats))
        monkeypatch.setattr(host_module, "_MORE_PATH", "")

    def install(self, name: str, content: bytes) -> str:
        (self.bin / name).write_bytes(content)
        (self.bin / name).chmod(0o755)
        return str(self.bin / name)

    def know(self, text: str, status: str = "enabled") -> None:
        self.formats.mkdir()
        (self.formats / "status").write_text(f"{status}\n")
        (self.formats / "qemu-aarch64").write_text(text)

    def __call__(self, program: bytes = PROGRAM) -> Emulation:
        return emulation(self._session, "/p", program)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(tmp_path, monkeypatch)


def entry(
    state: str = "enabled", flags: str = "F", offset: int = 0, magic: str = "", mask: str = ""
) -> str:
    """As the kernel shows an entry; by default one for 64-bit programs of AArch64."""
    magic = magic or "7f454c460201010000000000000000000200b700"
    mask = mask or "ffffffffffffff00fffffffffffffffffeffffff"
    lines = (state, "interpreter /usr/bin/qemu", f"flags: {flags}", f"offset {offset}")
    return "\n".join((*lines, f"magic {magic}", f"mask {mask}", ""))


def test_a_static_emulator(here: Here) -> None:
    path = here.install("qemu-aarch64-static", elf(interpreter=None))
    assert here() == Emulation("aarch64", False, ((AARCH64, path),))
    assert here().features == {BY_EMULATOR}


def test_a_dynamic_one_is_passed_over(here: Here) -> None:
    here.install("qemu-aarch64-static", elf())
    path = here.install("qemu-aarch64", elf(interpreter=None))
    assert here().emulators == ((AARCH64, path),)


def test_the_name_is_qemu_s(here: Here) -> None:
    path = here.install("qemu-arm-static", elf(interpreter=None))
    assert here(elf(ARM)) == Emulation("armv7l", False, ((ARM, path),))


@pytest.mark.parametrize("content", [elf(), b"#!/bin/sh\n", b"", b"\x7fELF"])
def test_what_is_no_static_program_does_not_do(here: Here, content: bytes) -> None:
    path = here.install("qemu-aarch64", content)
    with pytest.raises(NotExecutable) as caught:
        here()
    assert caught.value.message == (
        "cannot execute /p: it is made for aarch64, this host is x86_64, and there is no static "
        f"qemu-aarch64 in PATH ({path} is here, and not static)"
    )
    assert caught.value.hint == (
        "install the package qemu-user-static, or pull the image for this host: "
        "--platform=linux/amd64"
    )


def test_nothing_at_all(here: Here) -> None:
    with pytest.raises(NotExecutable, match=r"no static qemu-aarch64 in PATH$"):
        here()


@pytest.mark.parametrize("flags", ["F", "POCF"])
def test_the_kernel_starts_them(here: Here, flags: str) -> None:
    here.know(entry(flags=flags))
    assert here() == Emulation("aarch64", True, ())
    assert here().features == {BY_KERNEL}


def test_either_way(here: Here) -> None:
    here.know(entry())
    here.install("qemu-aarch64-static", elf(interpreter=None))
    assert here().features == {OTHER_MACHINES}


@pytest.mark.parametrize(
    "text",
    [
        entry(state="disabled"),
        entry(flags="POC"),  # its interpreter is looked for in the container
        entry(offset=1),
        entry(magic="7f454c460201010000000000000000000200f300"),
        entry(mask="zz"),
        entry(magic="ff" * 400, mask="00" * 400),  # there are not so many bytes
        "enabled\ninterpreter /usr/bin/x\nflags: F\nextension .exe\n",
        "",
        "odd\n\n \noffset x\n",
    ],
)
def test_entries_that_do_not_do(here: Here, text: str) -> None:
    here.know(text)
    with pytest.raises(NotExecutable):
        here()


def test_a_kernel_that_is_told_not_to(here: Here) -> None:
    here.know(entry(), status="disabled")
    with pytest.raises(NotExecutable):
        here()
