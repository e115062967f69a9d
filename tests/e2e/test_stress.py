"""Everything at once on one store, and some of it killed: in the end nothing is lost or damaged.

stress_worker.py says what is done, and what must hold after every command. Here is around it: the
images, a disk that fills and frees, locks that are missing, another node, and the end.

UDOCKER_STRESS_SECONDS makes it longer (of each test), UDOCKER_STRESS_WORKERS makes it wider, and
UDOCKER_STRESS_SEED has the workers choose the same once more.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e import checks, stress_worker
from e2e.conftest import command
from e2e.stress_worker import Plan, is_whole
from fakes.registry import FakeRegistry, directory, hardlink, make_image, make_layer
from udocker.model.oci import ImageConfig
from udocker.ops import embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.faults"]

_SECONDS = float(os.environ.get("UDOCKER_STRESS_SECONDS", "5"))
_WORKERS = int(os.environ.get("UDOCKER_STRESS_WORKERS", "8"))
_NAME = "test/stress"
_PATIENCE = 600  # seconds after the end of the work
_SIZE = "40m"  # of the disk that fills: of that, the images take a half
_DELAYS = "150"  # of a thousand changes
_KILLS = "60"  # of ten thousand
_WANTED = ("N1", "F3", "P1")  # of the modes that work: the others do the same with the store
_TREES = ("sh1", "sh2", "bare1", "bare2", "bare3")


# Images


class Images:
    """Few trees under many names: some are everybody's, and some one worker's."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry
        self.trees: dict[str, str] = {}
        self.what: dict[str, str] = {}
        self.bare: list[str] = []
        base = checks.busybox_layer(**{"bin/md5sum": hardlink("bin/busybox")})
        self._small = checks.file_layer("common", 8, 10_000)
        bases = {tag: self._small if tag.startswith("bare") else base for tag in _TREES}
        self.shared = [self._make(tag, bases[tag]) for tag in _TREES]

    def own(self, number: int) -> list[str]:
        """Names of one worker: of trees that others have as well, and of one of its own."""
        found = [self._once_more(tag, f"w{number}-{tag}") for tag in _TREES[:3]]
        return [*found, self._make(f"bare-w{number}", self._small)]

    def _make(self, tag: str, below: bytes) -> str:
        made = make_image(self._registry, _NAME, tag, [below, _marked(tag)], {})
        raw = self._registry.blobs[made.config["digest"]]
        assert isinstance(raw, bytes)
        name = f"{self._registry.host}/{_NAME}:{tag}"
        self.trees[name] = str(ImageConfig.parse(raw, name).chain_id)
        self.what[name] = f"this is {tag}"
        self.bare += [name] if below is self._small else []
        return name

    def _once_more(self, tag: str, other: str) -> str:
        raw, media_type = self._registry.manifests[_NAME, tag]
        self._registry.add_manifest(_NAME, other, raw, media_type)
        old, new = (f"{self._registry.host}/{_NAME}:{each}" for each in (tag, other))
        self.trees[new], self.what[new] = self.trees[old], self.what[old]
        self.bare += [new] if old in self.bare else []
        return new


def _marked(tag: str) -> bytes:
    """A layer of files, and what they must be."""
    data = {f"data/{number}": os.urandom(3000) for number in range(6)}
    data["what"] = f"this is {tag}\n".encode()
    sums = "".join(f"{hashlib.md5(each).hexdigest()}  /{path}\n" for path, each in data.items())
    return make_layer({"data": directory(), **data, "sums": sums.encode()})


@pytest.fixture
def images() -> Iterator[Images]:
    with FakeRegistry() as registry:
        yield Images(registry)


# Places


@dataclass(frozen=True)
class Place:
    """Where workers are: ``prefixes``, a node each, before every command.

    ``store`` is as they see it, ``seen`` as it is seen from here.
    """

    store: Path
    seen: Path
    home: Path
    prefixes: tuple[tuple[str, ...], ...] = ((),)
    filled: bool = False

    def caller(self, node: int = 0) -> checks.Caller:
        return checks.Caller(self.store, self.home, self.prefixes[node])


@pytest.fixture(params=["locks", "lockless", "filling", "nodes"])
def place(request: pytest.FixtureRequest, tmp_path: Path, faults: Path) -> Iterator[Place]:
    # By env(1), or the preload would be that of the container's programs too.
    preload = ("env", f"LD_PRELOAD={faults}")
    home = tmp_path / "home"
    if request.param in ("locks", "lockless"):
        locks = ("FAULT_LOCKS=none",) if request.param == "lockless" else ()
        yield Place(tmp_path / "store", tmp_path / "store", home, ((*preload, *locks),))
        return
    checks.needs_namespaces()
    mount = tmp_path / "disk"
    mount.mkdir()
    is_one = request.param != "nodes"
    size = _SIZE if is_one else "500m"
    script = f'mount -t tmpfs -o size={size} small "{mount}"'
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context(_held(("unshare", "-Urm"), script))
        seen = Path(f"/proc/{enter.pid}/root{mount}/store")
        if is_one:
            yield Place(mount / "store", seen, home, ((*enter.words, *preload),), filled=True)
            return
        new = (*enter.words, "unshare", "-pfum", "--mount-proc")
        other = stack.enter_context(_held(new, "hostname elsewhere", is_child=True))
        nodes = []
        for number, node in enumerate((enter, other)):
            mounts = tmp_path / f"mounts{number}"
            table = subprocess.check_output([*node.words, "cat", "/proc/self/mountinfo"], text=True)
            mounts.write_text(table.replace(" - tmpfs ", " - nfs4 "))
            shared = ("FAULT_LOCKS=mine", f"FAULT_MOUNTS={mounts}")
            nodes.append((*node.words, *preload, *shared))
        yield Place(mount / "store", seen, home, tuple(nodes))


@dataclass(frozen=True)
class Entered:
    """Namespaces that are there as long as a process, and the words that enter them."""

    pid: int
    words: tuple[str, ...]


@contextlib.contextmanager
def _held(new: tuple[str, ...], script: str, is_child: bool = False) -> Iterator[Entered]:
    """``is_child``: it is the first process of a pid namespace, and its parent waits for it."""
    process = subprocess.Popen(
        [*new, "sh", "-c", f"{script} && echo ready && read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        pid, more = process.pid, ()
        if is_child:
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
            more = ("--pid", "--uts")
        words = ("nsenter", f"--target={pid}", "--user", "--mount", "--preserve-credentials")
        yield Entered(pid, (*words, *more))
    finally:
        process.communicate()


class Meanwhile:
    """Something that goes on while a block runs."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        raise NotImplementedError


class Observer(Meanwhile):
    """A reader that holds no lock: what it sees is whole, at any instant."""

    def __init__(self, store: Path, what: Mapping[str, str], over: Path) -> None:
        super().__init__()
        self._store = store
        self._what = what  # of a chain id
        self._end = over  # of the workers
        self._known: set[tuple[str, int, int, int]] = set()
        self._begun = time.monotonic()
        self.looks = 0
        self.faults: list[str] = []

    def _work(self) -> None:
        while not self._over.wait(0.01) and not self.faults:
            for path in self._found("trees/sha256/*/root"):
                self._tree(path)
            for path in self._found("blobs/sha256/*"):
                self._file(path, lambda data, path: hashlib.sha256(data).hexdigest() == path.name)
            for pattern in ("images/**/_tags/*", "containers/*/con*.json"):
                for path in self._found(pattern):
                    self._file(path, _is_json)
            self.looks += 1

    def _found(self, pattern: str) -> Iterator[Path]:
        # Not by Path.glob: that fails where a directory goes meanwhile.
        return map(Path, glob.iglob(f"{self._store}/{pattern}", recursive=True))

    def _tree(self, path: Path) -> None:
        what = self._what.get(f"sha256:{path.parent.name}")
        with contextlib.suppress(FileNotFoundError):
            before = path.stat().st_ino
            # What is removed is renamed first: as long as it is here, all of it is.
            if what and not is_whole(str(path), what) and path.stat().st_ino == before:
                self._fault(f"a part of a tree is seen: {path}")

    def _file(self, path: Path, is_right: Callable[[bytes, Path], bool]) -> None:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            key = (path.name, status.st_ino, status.st_size, status.st_mtime_ns)
            if key not in self._known and not is_right(path.read_bytes(), path):
                self._fault(f"a part of a file is seen: {path}")
            self._known.add(key)

    def _fault(self, text: str) -> None:
        self.faults.append(f"after {time.monotonic() - self._begun:.1f} s: {text}")
        self._end.touch()


def _is_json(data: bytes, _: Path) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


class Filler(Meanwhile):
    """Fills a disk, and frees it, again and again."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        super().__init__()
        self._file = folder / "filler"
        self._dice = dice
        self.times = 0

    def _work(self) -> None:
        while not self._over.wait(self._dice.uniform(0.1, 1)):
            disk = os.statvfs(self._file.parent)
            free = disk.f_bavail * disk.f_frsize
            left = self._dice.choice([0, 1 << 12, 1 << 16, 1 << 19, 1 << 21])
            with contextlib.suppress(OSError), self._file.open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, max(free - left, 1))
                self.times += 1
            self._over.wait(self._dice.uniform(0.1, 0.7))
            self._file.unlink()


# The test


def _start(place: Place, node: int, plans: Sequence[Plan], scratch: Path) -> subprocess.Popen[str]:
    checkout = str(Path(__file__).resolve().parents[2])
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(place.home),
        "UDOCKER_DIR": str(place.store),
        "TMPDIR": str(scratch),
        "CHILD_DELAY": _DELAYS,
        "CHILD_KILL": _KILLS if plans[0].kills else "0",
        **({"PYTHONPATH": checkout} if len(command()) > 1 else {}),
    }
    program = [sys.executable, stress_worker.__file__]
    return subprocess.Popen(
        [*place.prefixes[node], *program, *(json.dumps(asdict(plan)) for plan in plans)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _results(place: Place, processes: Sequence[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    found = []
    for process in processes:
        out, err = _end_of(place, process)
        assert process.returncode == 0, err
        found += [json.loads(line) for line in out.splitlines()]
    return found


def _end_of(place: Place, process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed. One of another node may wait for what was killed on the first one: that
    goes when somebody there wants it, or much later."""
    end = time.monotonic() + _SECONDS + _PATIENCE
    patience = _SECONDS + 5
    while True:
        try:
            return process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            assert time.monotonic() < end, "the workers do not end"
            place.caller()("prune", check=False)
            patience = 2


def _told(results: list[dict[str, Any]], fills: int) -> str:
    done, failed, reasons = Counter[str](), Counter[str](), Counter[str]()
    for result in results:
        done.update(result["done"])
        failed.update(result["failed"])
        reasons.update(result["reasons"])
    killed, full, in_use = (sum(r[key] for r in results) for key in ("killed", "full", "in use"))
    return (
        f"{sum(done.values())} done, {sum(failed.values())} failed, {killed} killed, {full} met a "
        f"full disk ({fills} times filled), {in_use} were refused\n"
        f"done {dict(done)}\nfailed {dict(failed)}\n"
        + "\n".join(f"{count:4} {reason}" for reason, count in reasons.most_common(30))
    )


def test_nothing_is_lost_or_damaged(place: Place, images: Images, tmp_path: Path) -> None:
    caller = place.caller()
    working = {
        row["name"] for row in json.loads(caller("doctor", "--json").out)["modes"] if row["ok"]
    }
    seed = os.environ.get("UDOCKER_STRESS_SEED") or str(random.randrange(1 << 30))
    print(f"seed {seed}")  # shown where it fails
    plans = [
        Plan(
            number=number,
            workers=_WORKERS,
            seed=seed,
            seconds=_SECONDS,
            store=str(place.store),
            command=command(),
            shared=images.shared,
            own=images.own(number),
            what=images.what,
            trees=images.trees,
            bare=images.bare,
            modes=[mode for mode in _WANTED if mode in working],
            # That a process on another node has ended is not known: what it holds stops the others.
            kills=number % len(place.prefixes) == 0,
        )
        for number in range(_WORKERS)
    ]
    with contextlib.ExitStack() as stack:
        nodes = range(len(place.prefixes))
        processes = [_start(place, n, plans[n :: len(nodes)], tmp_path) for n in nodes]
        fills = Filler(place.seen.parent, random.Random(seed))
        chains = {chain: images.what[name] for name, chain in images.trees.items()}
        observer = Observer(place.seen, chains, tmp_path / "over")
        stack.enter_context(observer)
        if place.filled:
            stack.enter_context(fills)
        results = _results(place, processes)
    print(_told(results, fills.times))
    faults = observer.faults + [fault for result in results for fault in result["faults"]]
    assert observer.looks
    assert not faults, "\n".join(faults)
    assert sum(result["killed"] for result in results)
    assert not place.filled or sum(result["full"] for result in results)
    _check_the_rest(place, results)
    _remove_all(place)


def _check_the_rest(place: Place, results: list[dict[str, Any]]) -> None:
    """Nothing is damaged, and nothing is there that nobody has made."""
    caller = place.caller()
    damage = json.loads(caller("fsck", "--json", check=False).out)["problems"]
    # Who was killed while it removed a container, or made one, may have left the name.
    assert [each for each in damage if each["kind"] != "name"] == []
    _prune(place)
    assert caller("fsck").out.endswith(": nothing is wrong\n")
    assert caller("prune", "--dry-run").out == "Would free: 0.0 MB (0 bytes)\n"
    assert checks.left(place.seen) == []
    made = {i: owned for result in results for i, owned in result["containers"].items()}
    left = {each["id"]: each["names"] for each in json.loads(caller("ps", "--json").out)}
    own = {i: names for i, names in left.items() if not any(n.startswith("hold-") for n in names)}
    assert {i: sorted(owned["names"]) for i, owned in made.items()} == own
    assert {name for result in results for name in result["images"]} <= set(checks.images(caller))


def _remove_all(place: Place) -> None:
    caller = place.caller()
    caller("rm", "-f", "none", *checks.containers(caller))
    caller("rmi", "-f", "none", *checks.images(caller))
    _prune(place)
    own = embedded.chain_id()  # of the image with which modes are tried
    assert checks.trees(place.seen) == ([own.hex] if own else [])
    assert checks.blobs(place.seen) == []


def _prune(place: Place) -> None:
    time.sleep(2.1)  # what is younger than a command that looks is not garbage
    for node in range(len(place.prefixes)):
        place.caller(node)("prune")
