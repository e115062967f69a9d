"""Disks that are full, stores that may not be written, and stores that are none."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from fakes.registry import FakeRegistry, make_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fakes.registry import MadeImage

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.checks"]

_NAME = "test/large"
_FULL = "No space left on device"


@pytest.fixture
def image(fake: FakeRegistry) -> MadeImage:
    """About 2 MB of layers, and 3 MB unpacked."""
    layers = [checks.busybox_layer(), checks.file_layer("data", 20, 50_000)]
    return make_image(fake, _NAME, "latest", layers, {"Cmd": ["cat", "/etc/group"]})


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    return f"{fake.host}/{_NAME}"


# Disks


class SmallDisk:
    """A tmpfs of a size that can be changed, in a mount namespace, and udocker in there."""

    def __init__(self, holder: int, place: Path, home: Path) -> None:
        # The namespace's own root directory, as it is seen from outside.
        self._seen = f"/proc/{holder}/root"
        self._enter = [
            "nsenter",
            f"--target={holder}",
            "--user",
            "--mount",
            "--preserve-credentials",
        ]
        self._place = place
        self.call = checks.Caller(place / "store", home, self._enter)

    @property
    def store(self) -> Path:
        """The store, for looking at it from outside."""
        return type(self._place)(f"{self._seen}{self._place}/store")

    def used_inodes(self) -> int:
        space = os.statvfs(self.store)
        return space.f_files - space.f_ffree

    def resize(self, options: str) -> None:
        # All is said: mount(8) would add options of mountinfo that a namespace may not give.
        words = ["mount", "-n", "-i", "-t", "tmpfs", "-o", f"remount,{options}", "small"]
        subprocess.run([*self._enter, *words, str(self._place)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    checks.needs_namespaces()
    place = tmp_path / "disk"
    place.mkdir()
    script = 'mount -t tmpfs -o size=64m small "$1" && echo ready && read line'
    holder = subprocess.Popen(
        ["unshare", "-Urm", "sh", "-c", script, "sh", str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        yield SmallDisk(holder.pid, place, tmp_path / "home")
    finally:
        holder.communicate()


def is_full(disk: SmallDisk, words: list[str], *parts: str) -> str:
    """The words fail for want of space, with a way out, and leave nothing half-made.

    What was told.
    """
    result = disk.call(*words, check=False)
    checks.is_told(result, 125, _FULL, str(disk.call.store), "free some space", *parts)
    assert checks.left(disk.store) == []
    return result.err


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("size=1m", "it needs more than 4"),  # neither layer, or one of them
        # The layers and a part of the tree: which of them is too much is a matter of speed.
        ("size=4500k", "storing a layer|/layer-[01]/"),
        ("nr_inodes=8", "it needs more than 10 inodes, "),
        ("nr_inodes=36", "storing a layer|/layer-[01]/"),
    ],
)
def test_pull(disk: SmallDisk, image: MadeImage, name: str, options: str, what: str) -> None:
    disk.resize(options)
    assert re.search(what, is_full(disk, ["pull", name]))
    checks.is_empty(disk.call, disk.store)
    disk.resize("size=64m,nr_inodes=10000")
    disk.call("pull", name)
    assert "root:x:0:" in disk.call("run", "--rm", name).out


def test_no_space_for_anything(disk: SmallDisk, image: MadeImage, name: str) -> None:
    disk.resize("nr_inodes=1")
    is_full(disk, ["pull", name])
    assert checks.images(disk.call) == []
    assert checks.containers(disk.call) == []


def test_an_image_that_is_there_survives_the_pull_of_a_larger_one(
    disk: SmallDisk, fake: FakeRegistry, image: MadeImage, name: str
) -> None:
    """Of the same tag: it means what it meant, until the new image is whole."""
    disk.call("pull", name)
    old = disk.call("inspect", name).out
    make_image(fake, _NAME, "latest", [checks.file_layer("more", 5, 400_000)])
    disk.resize("size=7m")
    is_full(disk, ["pull", name])
    assert disk.call("inspect", name).out == old
    assert "root:x:0:" in disk.call("run", "--rm", "--pull=never", name).out
    disk.resize("size=64m")
    disk.call("pull", name)
    assert disk.call("inspect", name).out != old


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_private_copy(disk: SmallDisk, image: MadeImage, name: str, what: str) -> None:
    """A container that cannot have its copy stays as it was."""
    disk.call("create", "--name=x", name)
    disk.call("run", "x")
    disk.resize("size=6m" if what == "bytes" else f"nr_inodes={disk.used_inodes() + 12}")
    is_full(disk, ["inspect", "-p", "x"])
    assert '"form": "union"' in disk.call("ps", "--json").out
    assert "root:x:0:" in disk.call("run", "x").out
    disk.resize("size=64m,nr_inodes=10000")
    root = disk.call("inspect", "-p", "x").out.strip()
    assert root.endswith("/ROOT")
    assert (disk.store / root.partition("/disk/store/")[2] / "bin" / "busybox").exists()
    assert checks.left(disk.store) == []


def test_private_copy_for_a_mode(
    disk: SmallDisk, image: MadeImage, name: str, modes: tuple[str, ...]
) -> None:
    mode = next((mode for mode in modes if mode != "N1"), None)
    if mode is None:
        pytest.skip("host: no mode that needs a copy of the image works here")
    disk.call("create", "--name=x", name)
    disk.call("run", f"--execmode={mode}", "--rm", name)
    disk.resize("size=6m")
    is_full(disk, ["run", f"--execmode={mode}", "x"])
    is_full(disk, ["run", f"--execmode={mode}", name])
    assert len(checks.containers(disk.call)) == 1  # a new one whose run failed is gone
    disk.resize("size=64m")
    assert "root:x:0:" in disk.call("run", f"--execmode={mode}", "x").out


def test_a_mode_is_not_given_up_for_a_full_disk(
    disk: SmallDisk, image: MadeImage, name: str, modes: tuple[str, ...]
) -> None:
    """What could not be tried is tried again, and not remembered as what does not work here."""
    disk.call("create", "--name=x", name)
    disk.resize(f"nr_inodes={disk.used_inodes() + 8}")
    for mode in modes:
        is_full(disk, ["run", f"--execmode={mode}", "x"], f"mode {mode} does not work here")
    disk.resize("nr_inodes=10000")
    for mode in modes:
        assert "root:x:0:" in disk.call("run", f"--execmode={mode}", "x").out


def test_create(disk: SmallDisk, image: MadeImage, name: str) -> None:
    disk.call("pull", name)
    disk.resize(f"nr_inodes={disk.used_inodes() + 4}")
    is_full(disk, ["create", "--name=x", name])
    assert checks.containers(disk.call) == []
    disk.resize("nr_inodes=10000")
    disk.call("create", "--name=x", name)


def test_a_program_that_fills_the_disk(disk: SmallDisk, image: MadeImage, name: str) -> None:
    """The program is told as everywhere; udocker goes on, and the way out is open."""
    disk.call("create", "--name=x", name)
    disk.call("run", "x")
    disk.resize("size=7m")
    script = "busybox dd if=/dev/zero of=/zeros bs=64k"
    result = disk.call("run", "x", "sh", "-c", script, check=False)
    assert result.code == 1
    assert _FULL in result.err
    assert len(checks.containers(disk.call)) == 1
    assert "root:x:0:" in disk.call("run", "x").out
    disk.call("rm", "x")
    disk.call("rmi", name)
    assert checks.left(disk.store) == []


@pytest.mark.parametrize("words", [["images"], ["ps"], ["version"], ["showconf"], ["help"]])
def test_output_that_cannot_be_written(tmp_path: Path, words: list[str]) -> None:
    caller = checks.Caller(tmp_path / "store", tmp_path / "home")
    shell = checks.Caller(
        tmp_path / "store", tmp_path / "home", ["sh", "-c", 'exec "$@" >/dev/full', "sh"]
    )
    caller(*words)
    result = shell(*words, check=False)
    checks.is_told(result, 125, _FULL, hint=False)


# Permissions


@pytest.fixture
def ordinary() -> None:
    if os.getuid() == 0:
        pytest.skip("host: root may write everything")


@contextlib.contextmanager
def without_writing(path: Path) -> Iterator[None]:
    """Take away the write bits of ``path`` and all below, as a site's read-only store has it."""
    modes = {}
    for folder, folders, names in os.walk(path):
        for each in [folder, *(f"{folder}/{other}" for other in folders + names)]:
            if not os.path.islink(each):
                modes[each] = os.stat(each).st_mode
    for each, mode in modes.items():
        os.chmod(each, mode & ~0o222)
    try:
        yield
    finally:
        for each, mode in modes.items():
            with contextlib.suppress(FileNotFoundError):
                os.chmod(each, mode)


def state(path: Path) -> list[tuple[str, int, int]]:
    return sorted(
        (str(each), each.lstat().st_size, each.lstat().st_mtime_ns) for each in path.rglob("*")
    )


@pytest.mark.usefixtures("ordinary")
def test_a_place_where_no_store_can_be_made(
    caller: checks.Caller, image: MadeImage, name: str, tmp_path: Path
) -> None:
    place = tmp_path / "locked"
    place.mkdir(0o555)
    store = place / "store"
    assert checks.images(caller) == []
    result = caller("pull", name, store=store, check=False)
    checks.is_told(result, 125, "Permission denied", str(place), "UDOCKER_DIR or --repo")
    result = caller("run", name, store=store, check=False)
    checks.is_told(result, 125, "Permission denied", str(place), "UDOCKER_DIR or --repo")
    assert caller("images", "--json", store=store).out == "[]\n"
    assert caller("ps", "--json", store=store).out == "[]\n"
    place.chmod(0o755)
    caller("pull", name, store=store)


@pytest.mark.usefixtures("ordinary")
def test_a_store_that_may_not_be_read(caller: checks.Caller, image: MadeImage, name: str) -> None:
    caller("pull", name)
    caller.store.chmod(0)
    try:
        for words in (["images"], ["ps"], ["run", name], ["pull", name], ["inspect", name]):
            result = caller(*words, check=False)
            checks.is_told(result, 125, "Permission denied", str(caller.store), "UDOCKER_DIR")
    finally:
        caller.store.chmod(0o755)


@pytest.mark.parametrize("below", ["", "below"])
@pytest.mark.parametrize("command", ["pull x", "images", "ps", "run x", "create x"])
def test_a_store_that_is_a_file(
    caller: checks.Caller, tmp_path: Path, command: str, below: str
) -> None:
    file = tmp_path / "file"
    file.write_text("not a store")
    result = caller(*command.split(), store=file / below, check=False)
    checks.is_told(result, 125, str(file), hint=False)
    assert file.read_text() == "not a store"


@pytest.fixture
def ready(caller: checks.Caller, image: MadeImage, name: str, ordinary: None) -> Iterator[str]:
    """A whole store without write permission; the id of its container ``x``."""
    identity = caller("create", "--name=x", name).out.strip()
    caller("run", "x")
    with without_writing(caller.store):
        before = state(caller.store)
        yield identity
        assert state(caller.store) == before


def test_lists_of_a_read_only_store(caller: checks.Caller, name: str, ready: str) -> None:
    assert checks.images(caller) == [f"{name}:latest"]
    assert checks.containers(caller) == [ready]
    caller("inspect", "x")
    caller("inspect", name)
    assert caller("setup", "x").out == "execmode: auto\nnvidiamode: False\n"


@pytest.mark.parametrize(
    "command",
    [
        "pull NAME",
        "pull NAME:other",
        "create NAME",
        "create --name=y NAME",
        "run NAME",
        "run x",
        "run --execmode=P1 x",
        "rm x",
        "rmi NAME",
        "name x y",
        "rename x y",
        "rmname x",
        "setup --execmode=N1 x",
        "inspect -p x",
    ],
)
def test_changes_of_a_read_only_store(
    caller: checks.Caller, name: str, ready: str, command: str
) -> None:
    words = command.replace("NAME", name).split()
    result = caller(*words, check=False)
    checks.is_told(result, 125, "Permission denied", str(caller.store), "UDOCKER_DIR or --repo")
    assert checks.containers(caller) == [ready]


def test_a_file_of_the_image_that_cannot_be_copied(
    disk: SmallDisk, image: MadeImage, name: str, modes: tuple[str, ...]
) -> None:
    """The call fails, the file is the image's still, and nothing is left of the copy."""
    mode = next((mode for mode in modes if mode in {"F2", "F3"}), None)
    if mode is None:
        pytest.skip("host: no F mode works here")
    disk.call("pull", name)
    disk.call("create", "--name=x", name)
    run = ("run", f"--execmode={mode}", "x", "sh", "-c")
    script = """
    cd /data
    dd if=/dev/zero of=/fill bs=4k 2>/dev/null
    for name in *; do chmod 600 $name && echo changed $name; echo x >>$name; done
    busybox md5sum *
    rm * && echo removed
    """
    before = disk.call(*run, "cd /data; busybox md5sum *").out
    assert len(before.splitlines()) == 20
    result = disk.call(*run, script)
    assert result.out == before + "removed\n"
    assert result.err.count(_FULL) == 40, result.err
    assert list(disk.store.glob("containers/*/work/inprocess/t[0-9]*")) == []
    assert disk.call(*run, "rm /fill; ls /data").out == ""
