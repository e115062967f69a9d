"""What the tests of faults share: small images, what a store shows, how a failure must read.

A test module loads it by ``pytest_plugins``, for the fixtures.
PYTEST_DONT_REWRITE: what the modules import from here is imported before they load it.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.conftest import Result, command, where_udocker_is
from fakes.registry import Entry, FakeRegistry, directory, hardlink, make_layer, program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from e2e.conftest import Udocker

_APPLETS = ("cat", "echo", "env", "false", "id", "ls", "mkdir", "pwd", "sh", "sleep", "true")
_BUSYBOX = Path("/bin/busybox")
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n"
_GROUP = b"root:x:0:\nuser:x:1000:\nstaff:x:50:user\n"
_PATIENCE = 300  # seconds after which a command counts as stuck


# A user of registries, and what stands for him in an htpasswd file (4 rounds, the least).

USER, PASSWORD = "jane", "s3cret-pässword"
HTPASSWD = f"{USER}:$2b$04$abcdefghijklmnopqrstuu/NFJq..pCGe5klj.DZiWS0OxYveGaQK\n"


# Images


def busybox_layer(**more: Entry | bytes) -> bytes:
    """A layer with a shell and ``more`` entries: about 1 MB, and 2 MB unpacked."""
    entries: dict[str, Entry | bytes] = {
        "bin": directory(),
        "etc": directory(),
        "tmp": directory(0o1777),
        "etc/passwd": _PASSWD,
        "etc/group": _GROUP,
        "bin/busybox": program(_BUSYBOX.read_bytes()),
    }
    entries.update({f"bin/{name}": hardlink("bin/busybox") for name in _APPLETS})
    entries.update(more)
    return make_layer(entries)


def file_layer(name: str, count: int = 1, size: int = 1000) -> bytes:
    """A layer of ``count`` files under ``name`` that do not compress."""
    entries: dict[str, Entry | bytes] = {name: directory()}
    entries.update({f"{name}/{number}": os.urandom(size) for number in range(count)})
    return make_layer(entries)


class Gated:
    """A blob of a FakeRegistry whose last byte comes when ``opened`` is set."""

    def __init__(self, data: bytes, opened: threading.Event) -> None:
        self._data = data
        self._opened = opened

    def __len__(self) -> int:
        return len(self._data)

    def chunks(self) -> Iterator[bytes]:
        yield self._data[:-1]
        self._opened.wait()
        yield self._data[-1:]


# Commands


class Caller:
    """The ``udocker`` fixture once more, with a ``prefix`` before the command."""

    def __init__(self, store: Path, home: Path, prefix: Sequence[str] = ()) -> None:
        self.store = store
        self._home = home
        self._prefix = tuple(prefix)
        home.mkdir(exist_ok=True)

    def __call__(
        self,
        *words: str,
        store: Path | None = None,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Result:
        process = self.start(*words, store=store, env=env, cwd=cwd)
        out, err = process.communicate(input, timeout=_PATIENCE)
        result = Result(process.returncode, out, err)
        assert not check or result.code == 0, result
        return result

    def start(
        self,
        *words: str,
        store: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start the command and do not wait for it."""
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "HOME": str(self._home),
            "UDOCKER_DIR": str(store or self.store),
            **where_udocker_is(),
            **(env or {}),
        }
        return subprocess.Popen(
            [*self._prefix, *command(), *words],
            env=environment,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[Result]:
    """How processes of ``start`` ended."""
    results = []
    for process in processes:
        out, err = process.communicate(timeout=_PATIENCE)
        results.append(Result(process.returncode, out, err))
    return results


def needs_namespaces() -> None:
    """Skip where an ordinary user cannot have a mount namespace of his own."""
    done = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("host: no user namespaces for an ordinary user")


# Failures


def is_told(result: Result, code: int, *parts: str, hint: bool = True) -> None:
    """Assert a failure that a user can act on: one line what failed, one line what to try.

    ``parts`` must stand in these lines; progress may come before them. ``hint`` False: there may
    be nothing to try.
    """
    assert result.code == code, result
    assert "Traceback" not in result.err, result
    assert "internal error" not in result.err, result
    lines = result.err.splitlines()
    errors = [line for line in lines if line.startswith("udocker: ") and ": warning:" not in line]
    assert len(errors) == 1, result
    assert errors[0] in lines[-2:], result
    told = lines[lines.index(errors[0]) :]
    assert all(line.startswith("  try: ") for line in told[1:]), result
    assert len(told) == 2 or not hint, result
    assert max(map(len, told)) < 600, result
    for part in parts:
        assert part in "\n".join(told), f"{part!r} is not in: {told}"


# Stores


def images(udocker: Udocker) -> list[str]:
    """The names of the images that the store shows."""
    return [image["name"] for image in json.loads(udocker("images", "--json").out)]


def containers(udocker: Udocker) -> list[str]:
    """The ids of the containers that the store shows."""
    return [container["id"] for container in json.loads(udocker("ps", "--json").out)]


def is_empty(udocker: Udocker, store: Path) -> None:
    """Assert that the store shows nothing, and that nothing half-made is in it."""
    assert images(udocker) == []
    assert containers(udocker) == []
    assert left(store) == []
    assert trees(store) == []


def left(store: Path) -> list[str]:
    """What lies in ``tmp``, and what else has a temporary name."""
    found = _names(store / "tmp")
    for part in ("blobs", "images", "names", "cache", "locks"):
        for folder, _, names in os.walk(store / part):
            found += [f"{folder}/{name}" for name in names if name.startswith(".")]
    return found


def trees(store: Path) -> list[str]:
    """The trees that are in the store."""
    return _names(store / "trees" / "sha256")


def blobs(store: Path) -> list[str]:
    """The blobs that are in the store."""
    return _names(store / "blobs" / "sha256")


def _names(path: Path) -> list[str]:
    return sorted(os.listdir(path)) if path.is_dir() else []


class Case:
    """A command on a store of its own, before and after a fault is gone."""

    def __init__(self, udocker: Udocker, store: Path, env: dict[str, str]) -> None:
        self._udocker = udocker
        self._store = store
        self.env = env

    def fails(self, words: list[str], *parts: str, hint: bool = True) -> str:
        """The words fail as they should, and leave nothing. What they printed on stderr."""
        result = self._udocker(*words, check=False, env=self.env)
        is_told(result, 125, *parts, hint=hint)
        assert result.out == ""
        is_empty(self._udocker, self._store)
        return result.err

    def succeeds(self, words: list[str]) -> str:
        """The words succeed, and leave one image. What they printed on stderr."""
        result = self._udocker(*words, env=self.env)
        assert len(images(self._udocker)) == 1
        assert left(self._store) == []
        assert len(trees(self._store)) == 1
        return result.err


@pytest.fixture
def case(udocker: Udocker, store_path: Path) -> Case:
    return Case(udocker, store_path, {})


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """A registry that is empty."""
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def caller(tmp_path: Path, store_path: Path) -> Caller:
    return Caller(store_path, tmp_path / "home")
