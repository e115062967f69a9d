"""The F modes: programs that are killed while they change the union, and calls that cannot succeed.

Whatever a call was about is as it was or as it is to be, for all modes that read the container.
UDOCKER_TEST_KILLS says how many programs are killed in each mode, instead of a few.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

from e2e.engines import SCI, Shared, need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_KILLS = os.environ.get("UDOCKER_TEST_KILLS", "30")
# What the programs below share: small directories of the image, what is in their files, and a look
# at some.
_COMMON = r"""
import errno, hashlib, json, os, random, resource, signal, sys, time

TOP = "/usr/share"

def read(path):
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()

def is_file(path):
    return os.path.isfile(path) and not os.path.islink(path)

def small_directories(count):
    found = []
    for folder, folders, names in os.walk(TOP):
        if not folders and 0 < len(names) < 8 and all(is_file(f"{folder}/{n}") for n in names):
            found.append(folder)
    found.sort()
    assert len(found) >= count, len(found)
    return found[:count]

def some_files(least, most):
    found = (f"{f}/{n}" for f, _, names in os.walk("/usr/lib") for n in names)
    return sorted(p for p in found if is_file(p) and least < os.stat(p).st_size < most)

def look(folders):
    seen = {}
    for folder in folders:
        if os.path.lexists(folder):
            names = sorted(os.listdir(folder))
            seen[folder] = [os.stat(folder).st_mode, names]
            for path in filter(is_file, (f"{folder}/{name}" for name in names)):
                seen[path] = [os.stat(path).st_mode & 0o1777, read(path)]
    return seen

def fails(code, call, *words):
    try:
        call(*words)
    except OSError as error:
        assert error.errno == code, error
    else:
        raise AssertionError((call, words))
"""
# Three thirds of the directories: files are changed but for what is in them; renamed to and fro;
# and removed for ever, with the directories, which then are made anew. Before that, every second
# program has files copied that no other has touched.
_KILL = (
    _COMMON
    + r"""
folders = small_directories(30)
random.seed(sys.argv[2])
before = {f: {n: read(f"{f}/{n}") for n in sorted(os.listdir(f))} for f in folders}
touched, moved, removed = folders[0::3], folders[1::3], folders[2::3]
gone = set()
AT_ONCE = 20
files = some_files(20_000, 500_000)
assert len(files) > 2 * AT_ONCE

def fresh(number):
    some = [files[(number * AT_ONCE + index) % len(files)] for index in range(AT_ONCE)]
    return {path: read(path) for path in some}

def touch(folder, name):
    path = f"{folder}/{name}"
    what = random.randrange(4)
    if what == 0:
        os.chmod(path, random.choice([0o644, 0o600, 0o755]))
    elif what == 1:
        os.utime(path, (1, 1))
    elif what == 2:
        os.close(os.open(path, os.O_RDWR))
    else:
        os.setxattr(path, "user.test", b"x")

def move(folder, name):
    here, there = f"{folder}/{name}", f"{folder}/{name}.moved"
    if os.path.lexists(there):
        here, there = there, here
    os.rename(here, there)

def remove(folder):
    if os.path.lexists(f"{folder}/made"):
        os.unlink(f"{folder}/made")
        os.rmdir(folder)
    elif os.path.lexists(folder):
        names = os.listdir(folder)
        for name in names:
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)
    os.mkdir(folder)
    os.close(os.open(f"{folder}/made", os.O_CREAT | os.O_WRONLY))

def work():
    while True:
        what = random.randrange(3)
        folder = random.choice((touched, moved, removed)[what])
        if what == 2:
            remove(folder)
        else:
            (touch, move)[what](folder, random.choice(list(before[folder])))

def check():
    for folder in touched:
        assert sorted(os.listdir(folder)) == list(before[folder]), folder
        for name, digest in before[folder].items():
            assert read(f"{folder}/{name}") == digest, (folder, name)
    for folder in moved:
        there = {name.removesuffix(".moved"): name for name in os.listdir(folder)}
        assert sorted(there) == list(before[folder]), (folder, there)
        assert len(os.listdir(folder)) == len(there), os.listdir(folder)
        for name, shown in there.items():
            assert read(f"{folder}/{shown}") == before[folder][name], (folder, shown)
    for folder in removed:
        names = set(os.listdir(folder)) if os.path.lexists(folder) else set()
        assert names - {"made"} <= set(before[folder]), (folder, names)
        for name in names - {"made"}:
            assert (folder, name) not in gone, (folder, name, "is there again")
            assert read(f"{folder}/{name}") == before[folder][name]
        gone.update((folder, name) for name in before[folder] if name not in names)

begun = os.pipe()
for number in range(int(sys.argv[1])):
    copied = fresh(number)
    child = os.fork()
    if child == 0:
        random.seed(f"{sys.argv[2]} {number}")
        try:
            if number % 2:
                remove(random.choice(removed))
            os.write(begun[1], b".")
            for path in copied if number % 2 == 0 else ():
                os.chmod(path, 0o600)
            work()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    os.read(begun[0], 1)
    time.sleep(random.random() * (0.05 if number % 2 else 0.01))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status
    check()
    for path, digest in copied.items():
        assert read(path) == digest, path
assert gone
print(*folders)
"""
)
_LOOK = _COMMON + "print(json.dumps(look(sys.argv[1:]), sort_keys=True))"
# What would be too large is not copied, without a signal.
_TOO_LARGE = (
    _COMMON
    + r"""
folders = small_directories(30)
signals = []
signal.signal(signal.SIGXFSZ, lambda *_: signals.append(1))
sizes = {f"{f}/{n}": os.stat(f"{f}/{n}").st_size for f in folders for n in os.listdir(f)}
large, small = max(sizes, key=sizes.get), min(sizes, key=sizes.get)
limit = sizes[large] - 1
assert sizes[small] <= limit
before = read(large)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
fails(errno.EFBIG, os.chmod, large, 0o600)
fails(errno.EFBIG, os.open, large, os.O_RDWR)
fails(errno.EFBIG, os.rename, large, large + ".moved")
os.chmod(small, 0o600)
assert (signals, read(large)) == ([], before)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
os.chmod(large, 0o600)
assert read(large) == before
print(*folders)
"""
)
# Who has no descriptor left gets EMFILE for what the engine needs one for, and nothing happens.
_NONE_LEFT = (
    _COMMON
    + r"""
folders = small_directories(30)
first, second = (f"{folders[0]}/{n}" for n in ("made", "made2"))
for path in (first, second):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
image = [f"{f}/{n}" for f in folders[1:4] for n in sorted(os.listdir(f))[:1]]
before = [(os.stat(path).st_mode, read(path)) for path in image]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    assert error.errno == errno.EMFILE, error
fails(errno.EMFILE, os.chmod, image[0], 0o600)
fails(errno.EMFILE, os.unlink, image[1])
fails(errno.EMFILE, os.rename, image[2], image[2] + ".moved")
fails(errno.EMFILE, os.rename, first, first + ".moved")
fails(errno.EMFILE, os.open, image[2], os.O_RDWR)
os.chmod(first, 0o644)
os.unlink(second)
for descriptor in taken:
    os.close(descriptor)
assert [(os.stat(path).st_mode, read(path)) for path in image] == before
assert not os.path.lexists(image[2] + ".moved") and not os.path.lexists(second)
os.chmod(image[0], 0o600)
os.unlink(image[1])
os.rename(image[2], image[2] + ".moved")
print(*folders)
"""
)
# One thread closes all that it can, and opens files, while another has files copied up.
_CLOSED = (
    _COMMON
    + r"""
import threading
files = some_files(5000, 500_000)[:200]
before = {path: read(path) for path in files}
folders = sorted({os.path.dirname(path) for path in files})[:20]
assert len(files) == 200
mine = [f"/mine{number}" for number in range(3)]
for path in mine:
    with open(path, "w") as stream:
        stream.write(path)
is_over = False

def close_all():
    while not is_over:
        os.closerange(3, 5000)
        for path in mine:
            os.open(path, os.O_RDWR)

sys.setswitchinterval(1e-5)
closer = threading.Thread(target=close_all, daemon=True)
closer.start()
failed = 0
for path in before:
    for call in (os.chmod, os.open):
        try:
            call(path, 0o600 if call is os.chmod else os.O_RDWR)
        except OSError:
            failed += 1
is_over = True
closer.join()
os.closerange(3, 5000)
assert failed < 2 * len(before), failed
for path in mine:
    with open(path) as stream:
        assert stream.read() == path, path
for path, digest in before.items():
    assert read(path) == digest, path
print(failed, file=sys.stderr)
print(*folders)
"""
)


class Container:
    """Runs Python in a container of its own."""

    def __init__(self, shared: Shared, name: str) -> None:
        self.shared = shared
        self.name = name
        shared("create", "-q", f"--name={name}", shared.image(SCI))

    def __call__(self, mode: str, program: str, *words: str) -> str:
        run = ("run", "-q", f"--execmode={mode}", self.name, "python3", "-c", program, *words)
        return self.shared(*run).out

    def look(self, mode: str, folders: list[str]) -> dict[str, object]:
        seen: dict[str, object] = json.loads(self(mode, _LOOK, *folders))
        return seen

    def temporary(self) -> list[Path]:
        """What was being made and has not come to its place."""
        return list(self.shared.store.glob("containers/*/work/inprocess/t[0-9]*"))


@pytest.fixture(params=["F2", "F3"])
def mode(request: pytest.FixtureRequest, refusals: dict[str, str]) -> str:
    name: str = request.param
    need(refusals, name, "N1")
    return name


@pytest.fixture
def container(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Container]:
    made = Container(shared, re.sub(r"\W+", "-", request.node.name).strip("-"))
    yield made
    shared("rm", made.name)


def check(mode: str, container: Container, program: str, *words: str) -> None:
    """The program tells which directories it was about."""
    folders = container(mode, program, *words).split()
    assert container.look(mode, folders) == container.look("N1", folders)


def test_killed_at_any_moment(mode: str, container: Container) -> None:
    check(mode, container, _KILL, _KILLS, mode)


@pytest.mark.parametrize(
    "program", [_TOO_LARGE, _NONE_LEFT, _CLOSED], ids=["large", "none-left", "closed"]
)
def test_calls_that_cannot_succeed(mode: str, container: Container, program: str) -> None:
    check(mode, container, program)
    assert container.temporary() == []
