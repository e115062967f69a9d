"""Which files of a container have patched copies, and where the engine finds them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from builders.hosts import PLAIN
from builders.sessions import session
from udocker.engine.patch import ENTRY
from udocker.model.value import replace
from udocker.ops import patched
from udocker.ops.patched import copies
from udocker.store.view import View

LIBC = Path("/lib/x86_64-linux-gnu/libc.so.6")
BUSYBOX = Path("/bin/busybox")
NUMBERS = "2\n4\n257\n262\n"  # open stat openat newfstatat

pytestmark = pytest.mark.skipif(
    not (LIBC.exists() and BUSYBOX.exists()), reason="host: no x86_64 library or busybox here"
)


def test_another_place_of_the_engine_is_another_format() -> None:
    """Copies in a user's store lead to where the engine was when they were made."""
    assert (patched._FORMAT, ENTRY) == (6, 0x550000000000)


class Ground:
    """A container's root, and a store for the copies."""

    def __init__(self, top: Path) -> None:
        self.root = top / "container" / "ROOT"
        self.libc = self.root / "lib" / "libc.so.6"
        self.busybox = self.root / "opt" / "tools" / "busybox"
        self.script = self.root / "opt" / "tools" / "script"
        for path, source in ((self.libc, LIBC), (self.busybox, BUSYBOX)):
            path.parent.mkdir(parents=True)
            shutil.copy(source.resolve(), path)
            path.chmod(0o755)
        self.script.write_text("#!/bin/sh\n")
        self.script.chmod(0o755)
        engine = top / "engine"
        (top / "engine.numbers").write_text(NUMBERS)
        self._session = session(top / "store", replace(PLAIN, inprocess=str(engine)))

    def copies(self, program: str = "/opt/tools/script") -> Path:
        return Path(copies(self._session, View([str(self.root)]), str(self.root), program))

    def copy_of(self, path: Path) -> bytes | None:
        """What the engine maps in place of the code of ``path``."""
        status = path.stat()
        name = f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
        copy = self.copies() / name
        return copy.read_bytes() if copy.exists() else None


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_the_library_and_static_programs_have_copies(ground: Ground) -> None:
    ground.copies()
    for path in (ground.libc, ground.busybox):
        copy = ground.copy_of(path)
        assert copy is not None
        assert len(copy) >= path.stat().st_size
        assert copy != path.read_bytes()
    assert ground.copy_of(ground.script) is None


def test_only_code_takes_room(ground: Ground) -> None:
    ground.copies()
    for copy in ground.copies().iterdir():
        if copy.exists():
            assert copy.stat().st_blocks * 512 < copy.stat().st_size


def test_the_same_content_has_one_copy(ground: Ground) -> None:
    shutil.copy(ground.busybox, ground.root / "opt" / "other")
    known = ground.copies()
    assert len({os.readlink(link) for link in known.iterdir()}) == 3  # one of them: nothing
    assert len([path for path in known.parent.iterdir() if path.is_file()]) == 2


def test_a_library_that_was_replaced_has_a_copy_the_next_time(ground: Ground) -> None:
    ground.copies()
    new = ground.libc.with_name("new")
    shutil.copy(ground.libc, new)
    new.rename(ground.libc)
    ground.copies()
    assert ground.copy_of(ground.libc) is not None


def test_the_program_that_is_run_has_a_copy(ground: Ground) -> None:
    ground.copies()
    late = ground.root / "late"
    shutil.copy(ground.busybox, late)
    late.chmod(0o700)
    assert ground.copy_of(late) is None
    ground.copies("/late")
    assert ground.copy_of(late) is not None


def test_what_is_not_there_is_no_error(ground: Ground) -> None:
    ground.copies("/nowhere")
    ground.libc.unlink()
    ground.copies()
