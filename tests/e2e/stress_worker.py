"""Some of those who work on a store at the same time; a program of test_stress.py.

Each does what comes into its mind, mostly in forked children, where the interpreter has started
already and udocker is imported. Some are killed. What it alone owns is in its journal: after every
command it looks whether all of that is still there. The result is a line of JSON for each.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

_OVER = os.path.join(tempfile.gettempdir(), "over")
# Seconds after which a command does not end any more. For the lease of a host that says nothing a
# command waits 150 (leases.py), and it may need more than one.
_STUCK = 400.0
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
_FULL = 7  # the status of scripts that could not write
_REFUSED = 125
_NEVER = ("internal error", "Traceback", "gone from the store", "damaged")
# Who was killed while it removed a container, or made one, may have left the name.
_LEFT = re.compile("(name .*: its container is gone\n  cure: remove it\n)*Checked .*\n")
_NAMES = re.compile(r"\S*\d\S*|\s+try: .*")
_FULL_TEXT = "No space left on device"
# What a container's program does: it looks for long whether its files stay what they are.
_LOOK = """
echo $1 >/mine || exit 7
i=0; while [ $i -lt $2 ]; do
    cat /mine /what >/dev/null && busybox md5sum -c /sums >/dev/null || exit 9
    sleep 0.02; i=$((i+1))
done
cat /mine /what
"""
_APPEND = "echo x >>/log || exit 7; cat /log /what; busybox md5sum -c /sums >/dev/null || exit 9"
_HOLD = """
echo here >/mine || exit 7
echo begun; read line
cat /mine /what; busybox md5sum -c /sums >/dev/null || exit 9
"""


@dataclass
class Plan:
    """What a worker is told, as JSON in an argument."""

    number: int
    workers: int
    seed: str
    seconds: float
    store: str
    command: list[str]  # the real one
    shared: list[str]  # images that anybody removes
    own: list[str]  # images that nobody else removes; others have the same trees
    what: dict[str, str]  # an image -> what its file /what says
    trees: dict[str, str]  # an image -> its chain id
    bare: list[str]  # images in which nothing can be run
    modes: list[str]
    kills: bool


@dataclass
class Owned:
    """A container of this worker's: between ``least`` and ``most`` lines are in its log."""

    image: str
    least: int = 0
    most: int = 0
    names: set[str] = field(default_factory=set)


@dataclass
class Ended:
    words: list[str]
    code: int
    out: str
    err: str


class Store:
    """Looks at a store without udocker's help."""

    def __init__(self, path: str) -> None:
        self._path = path

    def container_of(self, name: str) -> str | None:
        try:
            identity = os.readlink(f"{self._path}/names/{name}")
        except OSError:
            return None
        return identity if self.has_container(identity) else None

    def has_container(self, identity: str) -> bool:
        return os.path.exists(f"{self._path}/containers/{identity}/container.json")

    def tree_of(self, identity: str) -> str | None:
        """The tree that a container needs; None when it needs none."""
        with open(f"{self._path}/containers/{identity}/container.json", encoding="ascii") as file:
            record = json.load(file)
        return None if record["form"] == "plain" else str(record["tree"])

    def image(self, name: str) -> dict[str, str] | None:
        place, tag = name.rsplit(":", 1)
        try:
            with open(f"{self._path}/images/{place}/_tags/{tag}", encoding="ascii") as file:
                return dict(json.load(file))
        except FileNotFoundError:
            return None

    def has_blob(self, digest: str) -> bool:
        return os.path.exists(f"{self._path}/blobs/{digest.replace(':', '/')}")

    def root(self, chain_id: str) -> str:
        return f"{self._path}/trees/{chain_id.replace(':', '/')}/root"


def is_whole(root: str, what: str) -> bool:
    """Whether a tree is there with all that its last layer has."""
    try:
        with open(f"{root}/what", encoding="ascii") as file:
            is_right = file.read() == f"{what}\n"
        return is_right and os.path.exists(f"{root}/sums") and len(os.listdir(f"{root}/data")) == 6
    except OSError:
        return False


class Worker:
    def __init__(self, plan: Plan, main: Callable[[list[str]], int]) -> None:
        self.plan = plan
        self.dice = random.Random(f"{plan.seed} {plan.number}")
        self.store = Store(plan.store)
        self.containers: dict[str, Owned] = {}
        self.images: set[str] = set()
        self.done: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        self.reasons: dict[str, int] = {}  # of failures, without names and numbers
        self.faults: list[str] = []
        self.killed = self.full = self.in_use = 0
        self._begun = time.monotonic()
        self._names = 0
        self._held: Held | None = None
        self._main = main

    def work(self) -> None:
        while time.monotonic() < self._begun + self.plan.seconds and not os.path.exists(_OVER):
            self._step()
            self._look()
        if self._held is not None:
            self._let_go()

    def result(self) -> dict[str, object]:
        return {
            "containers": {
                identity: {**vars(owned), "names": sorted(owned.names)}
                for identity, owned in self.containers.items()
            },
            "images": sorted(self.images),
            "done": self.done,
            "failed": self.failed,
            "killed": self.killed,
            "full": self.full,
            "in use": self.in_use,
            "reasons": self.reasons,
            "faults": self.faults,
        }

    # What is done

    def _step(self) -> None:
        some = sorted(self.containers)
        choices = [self._pull] * 6 + [self._create] * 6 + [self._run] * 2 + [self._rmi] * 9
        choices += [self._prune] * 3 + [self._list, self._hold, self._hold]
        if some:
            choices += [self._run_again] * 2 + [self._name, self._clone, self._rm]
        if len(some) > 6:
            choices += [self._rm] * 12
        self.dice.choice(choices)()

    def _pull(self) -> None:
        image = self.dice.choice([*self.plan.own, *self.plan.shared])
        self._image_changes("pull", image, True)

    def _rmi(self) -> None:
        image = self.dice.choice([*self.plan.own, *self.plan.shared * 2])
        self._image_changes("rmi", image, False)

    def _image_changes(self, word: str, image: str, is_there: bool) -> None:
        self.images.discard(image)
        ended = self._do([word, image])
        if image not in self.plan.own:
            return
        found = self.store.image(image) is not None
        if ended.code == 0 and found is not is_there:
            self._fault(f"{word} said 0 and had no effect", ended)
        if found:
            self.images.add(image)

    def _create(self) -> None:
        image = self.dice.choice([*self.plan.own, *self.plan.shared])
        name = self._new_name()
        ended = self._do(["create", "-q", f"--name={name}", image])
        identity = self._take(name, image, ended)
        if ended.code == 0 and ended.out.strip() != identity:
            self._fault("create said 0 and has made nothing", ended)
        if ended.code == _REFUSED and identity:
            self._fault("create failed and has made something", ended)

    def _run(self) -> None:
        """In a new container: of the run alone, or one that stays."""
        image = self._runnable()
        token = str(self.dice.randrange(10**9))
        script = ["sh", "-c", _LOOK, "sh", token, str(self.dice.choice([0, 0, 2, 10]))]
        if self.dice.random() < 0.6:
            ended = self._do(["run", "-q", "--rm", self._mode(), image, *script])
        else:
            name = self._new_name()
            ended = self._do(["run", "-q", f"--name={name}", self._mode(), image, *script])
            if self._take(name, image, ended) is None and ended.code == 0:
                self._fault("a container is lost", ended)
        if ended.code == 0 and ended.out != f"{token}\n{self.plan.what[image]}\n":
            self._fault("a run had other files than those of its image", ended)

    def _run_again(self) -> None:
        identity = self._any()
        owned = self.containers[identity]
        if owned.image in self.plan.bare:
            return
        ended = self._do(["run", "-q", self._mode(), identity, "sh", "-c", _APPEND])
        owned.most += 1
        if ended.code == 0:
            *log, what = ended.out.splitlines()
            if what != self.plan.what[owned.image]:
                self._fault("a run had other files than those of its image", ended)
            if not owned.least + 1 <= len(log) <= owned.most or {*log} - {"x", ""}:
                self._fault(f"not {owned.least + 1} to {owned.most} lines", ended)
            owned.least = owned.most = len(log)

    def _clone(self) -> None:
        identity = self._any()
        name = self._new_name()
        ended = self._do(["clone", "-q", f"--name={name}", identity])
        copy = self._take(name, self.containers[identity].image, ended)
        if copy is not None:
            source = self.containers[identity]
            self.containers[copy].least, self.containers[copy].most = source.least, source.most
        if ended.code == 0 and ended.out.strip() != copy:
            self._fault("clone said 0 and has made nothing", ended)

    def _name(self) -> None:
        identity = self._any()
        owned = self.containers[identity]
        new = self._new_name()
        old = self.dice.choice(sorted(owned.names) or [""])
        if old and self.dice.random() < 0.5:
            ended = self._do(["rename", old, new])
            gone = {old}
        elif len(owned.names) > 1:
            ended = self._do(["rmname", old])
            gone, new = {old}, ""
        else:
            ended = self._do(["name", identity, new])
            gone = set()
        there = {name for name in (*owned.names, new) if self.store.container_of(name) == identity}
        wanted = {name for name in {*owned.names, new} - gone if name}
        if ended.code == 0 and there != wanted:
            self._fault(f"{words(ended)} said 0: {sorted(there)} are there", ended)
        if there not in (owned.names, wanted):
            self._fault(f"names: {sorted(there)}, before {sorted(owned.names)}", ended)
        owned.names = there

    def _rm(self) -> None:
        identity = self._any()
        owned = self.containers.pop(identity)
        ended = self._do(["rm", identity])
        if self.store.has_container(identity):
            if ended.code == 0:
                self._fault("rm said 0 and the container is there", ended)
            self.containers[identity] = owned
            owned.names = {n for n in owned.names if self.store.container_of(n) == identity}

    def _prune(self) -> None:
        self._do(["prune"])

    def _list(self) -> None:
        self._do(self.dice.choice([["images"], ["ps"], ["df"], ["fsck", "--quick"], ["fsck"]]))

    def _hold(self) -> None:
        """Something runs for a while, and anybody tries to remove its container."""
        if self._held is None:
            self._held = self._begin()
        elif self.dice.random() < 0.5:
            self._let_go()
        else:
            ended = self._do(["rm", self._held.name])
            if ended.code == 0:
                self._fault("rm said 0 of a container that is in use", ended)
        other = self.dice.randrange(self.plan.workers)
        if other != self.plan.number:
            self._do(["rm", f"hold-{other}"])

    def _begin(self) -> Held | None:
        name, image = f"hold-{self.plan.number}", self._runnable()
        if self.store.container_of(name):
            self._do(["rm", name])  # anybody may have done it
        words = ["run", "-q", f"--name={name}", self._mode(), image, "sh", "-c", _HOLD]
        command = self._start(words, stdin=True)
        if command.first_line() == "begun\n":
            return Held(command, name, self.store.container_of(name) or "", image)
        self._judge(command.end(_STUCK))
        return None

    def _let_go(self) -> None:
        held, self._held = self._held, None
        assert held is not None
        ended = held.command.end(_STUCK)
        self._judge(ended)
        if ended.code != 0 or ended.out != f"begun\nhere\n{self.plan.what[held.image]}\n":
            self._fault("a run was disturbed", ended)

    # How it is done

    def _mode(self) -> str:
        return f"--execmode={self.dice.choice(self.plan.modes)}"

    def _runnable(self) -> str:
        every = [*self.plan.own, *self.plan.shared]
        return self.dice.choice([image for image in every if image not in self.plan.bare])

    def _any(self) -> str:
        return self.dice.choice(sorted(self.containers))

    def _new_name(self) -> str:
        self._names += 1
        return f"w{self.plan.number}-{self._names}"

    def _take(self, name: str, image: str, ended: Ended) -> str | None:
        """Own the new container, if there is one."""
        identity = self.store.container_of(name)
        if identity is not None:
            if identity in self.containers:
                self._fault("an id was given twice", ended)
            self.containers[identity] = Owned(image, 0, 0, {name})
        return identity

    def _do(self, words: list[str]) -> Ended:
        command = self._start(words)
        if self.plan.kills and self.dice.random() < 0.08:
            command.kill_after(self.dice.uniform(0, 0.3))
        ended = command.end(_STUCK)
        self._judge(ended)
        return ended

    def _start(self, words: list[str], stdin: bool = False) -> Command:
        if self.dice.random() < 0.03:
            words = [*self.plan.command, *words]
            return Command(words, lambda: os.execv(words[0], words), stdin)
        return Command(words, lambda: os._exit(self._main(words)), stdin)

    def _judge(self, ended: Ended) -> None:
        word = words(ended)
        is_full = ended.code == _FULL or _FULL_TEXT in ended.err
        self.full += is_full
        self.in_use += "is in use" in ended.err
        if ended.code in _KILLED:
            self.killed += 1
            return
        counts = self.failed if ended.code else self.done
        counts[word] = counts.get(word, 0) + 1
        if ended.code:
            reason = f"{word} {ended.code} {_NAMES.sub('…', ended.err.strip()[-300:])}"
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        lines = ended.err.splitlines()
        is_told = ended.code == _REFUSED and any(
            each.startswith("udocker: ") for each in lines[-2:]
        )
        if any(text in ended.err for text in _NEVER):
            self._fault("never to be told", ended)
        elif word == "fsck" and _LEFT.fullmatch(ended.out):
            pass
        elif ended.code not in (0, _FULL) and not is_told and not (is_full and word == "run"):
            self._fault("it failed, and not as it should", ended)

    # What must be there

    def _look(self) -> None:
        for identity, owned in list(self.containers.items()):
            if not self.store.has_container(identity):
                self._fault(f"container {identity} of {owned.image} is lost")
                del self.containers[identity]
                continue
            tree = self.store.tree_of(identity)
            if tree is not None and not is_whole(tree, self.plan.what[owned.image]):
                self._fault(f"{tree} of container {identity} of {owned.image} is gone, or a part")
                del self.containers[identity]
                continue
            for name in owned.names:
                if self.store.container_of(name) != identity:
                    self._fault(f"the name {name} is lost")
        for name in list(self.images):
            wrong = self._wrong_with(name)
            if wrong:
                self._fault(f"image {name}: {wrong}")
                self.images.discard(name)
        if self._held and not self.store.has_container(self._held.identity):
            self._fault(f"container {self._held.name} is removed, and in use")

    def _wrong_with(self, name: str) -> str:
        record = self.store.image(name)
        if record is None:
            return "it is lost"
        if record["chainId"] != self.plan.trees[name]:
            return "it is another one"
        gone = [each for each in ("manifest", "config") if not self.store.has_blob(record[each])]
        if gone:
            return f"{gone} gone"
        root = self.store.root(record["chainId"])
        return "" if is_whole(root, self.plan.what[name]) else f"{root} is gone, or a part of it"

    def _fault(self, text: str, ended: Ended | None = None) -> None:
        more = f" {ended.words} {ended.code} {ended.out!r} {ended.err!r}" if ended else ""
        seconds = time.monotonic() - self._begun
        self.faults.append(f"worker {self.plan.number} after {seconds:.1f} s: {text}{more}")
        with open(_OVER, "w", encoding="ascii"):
            pass  # the first fault ends it for all


@dataclass
class Held:
    command: Command
    name: str
    identity: str
    image: str


class Command:
    """A forked child that does ``act``, with faults; its output goes to files."""

    def __init__(self, words: list[str], act: Callable[[], object], stdin: bool) -> None:
        self._words = words
        self._out, self._err = (os.fdopen(_unnamed(), "rb") for _ in range(2))
        self._input = -1
        receiver = os.open(os.devnull, os.O_RDONLY)
        if stdin:
            os.close(receiver)
            receiver, self._input = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            if self._input >= 0:
                os.close(self._input)  # or its end would never come
            _become(act, receiver, self._out.fileno(), self._err.fileno())
        os.close(receiver)
        self._kill_at = float("inf")

    def kill_after(self, seconds: float) -> None:
        self._kill_at = time.monotonic() + seconds

    def first_line(self) -> str:
        """The first line of the output; what there is when the command ends, or is stuck."""
        end = time.monotonic() + _STUCK
        while time.monotonic() < end:
            is_over = self._has_ended()
            text = self._text(self._out)
            if is_over or text.endswith("\n"):
                return text
            time.sleep(0.002)
        return ""

    def end(self, seconds: float) -> Ended:
        """Let it read the end of its input, and wait for it."""
        if self._input >= 0:
            os.close(self._input)
            self._input = -1
        end = time.monotonic() + seconds
        is_stuck = False
        while not self._has_ended():
            now = time.monotonic()
            if now >= min(end, self._kill_at):
                is_stuck = now >= end
                os.kill(self._pid, signal.SIGKILL)
            time.sleep(0.001)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        out, err = self._text(self._out), self._text(self._err)
        self._out.close()
        self._err.close()
        return Ended(self._words, 255 if is_stuck else code, out, err)

    def _has_ended(self) -> bool:
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._pid, options) is not None

    def _text(self, file: BinaryIO) -> str:
        size = os.fstat(file.fileno()).st_size
        return os.pread(file.fileno(), size, 0).decode("utf-8", "replace")


def _become(act: Callable[[], object], *streams: int) -> None:
    """In the child. Never returns."""
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        with contextlib.suppress(KeyError):
            os.environ["FAULT_DELAY"] = os.environ.pop("CHILD_DELAY")
            os.environ["FAULT_KILL"] = os.environ.pop("CHILD_KILL")
        act()
    finally:
        os._exit(99)


def _unnamed() -> int:
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    return descriptor


def words(ended: Ended) -> str:
    """The command's name."""
    given = ended.words
    return next(word for word in given if word in _COMMANDS)


_COMMANDS = frozenset({
    "pull", "rmi", "create", "run", "clone", "rename", "rmname", "name", "rm", "prune", "images",
    "ps", "df", "fsck",
})  # fmt: skip


def _warm() -> Callable[[list[str]], int]:
    """Import all that a command may need."""
    import pycurl  # noqa: F401 - once for all children
    import requests  # noqa: F401 - the same

    import udocker

    for found in pkgutil.walk_packages(udocker.__path__, "udocker."):
        if not found.name.endswith("__main__"):
            import_module(found.name)
    return import_module("udocker.cli.main").main


def _fork(plan: Plan, main: Callable[[list[str]], int]) -> tuple[int, BinaryIO]:
    """A child that works as planned, and where its result will be."""
    result = os.fdopen(_unnamed(), "rb")
    pid = os.fork()
    if pid:
        return pid, result
    try:
        worker = Worker(plan, main)
        worker.work()
        os.write(result.fileno(), json.dumps(worker.result()).encode())
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nothing of the parent may run in the child
        traceback.print_exc()
    os._exit(1)


def work(plans: list[Plan]) -> bool:
    """Carry out all plans at once, and print the results; whether there are all."""
    main = _warm()
    workers = [_fork(plan, main) for plan in plans]
    codes = [os.waitpid(pid, 0)[1] for pid, _ in workers]
    for _, result in workers:
        print(os.pread(result.fileno(), os.fstat(result.fileno()).st_size, 0).decode())
    return not any(codes)


if __name__ == "__main__":
    sys.exit(not work([Plan(**json.loads(text)) for text in sys.argv[1:]]))
