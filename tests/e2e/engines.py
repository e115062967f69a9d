"""What the tests of running share: one store with the images in it, and the modes of the table.

A test module loads it by ``pytest_plugins``, so that the store is made once for all of them.
PYTEST_DONT_REWRITE: what the modules import from here is imported before they load it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.conftest import Result, command, run, where_udocker_is
from udocker.engine import nested, ptrace, runc, singularity, table
from udocker.model.features import UNION_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATIENCE = 60.0  # seconds after which a program counts as stuck
BUSYBOX = "busybox:latest"
SCI = "sci:latest"
# The answer of Apptainer to whatever signal ends the command.
_SAYS_SIGNALED = 255


class Shared:
    """A store that many tests use; each takes away the containers that it makes."""

    def __init__(self, registry: str, directory: Path) -> None:
        self.registry = registry
        self.store = directory / "store"
        self.home = directory / "home"
        self.home.mkdir()
        self._here: set[str] = set()

    def __call__(
        self,
        *words: str,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Result:
        """Run the command; ``check`` asserts that it ends with 0."""
        result = run(list(words), {**self.settings(), **(env or {})}, input, cwd)
        if check and result.code != 0:
            pytest.fail(f"udocker {' '.join(words)}: {result}")
        return result

    def settings(self) -> dict[str, str]:
        return {"HOME": str(self.home), "UDOCKER_DIR": str(self.store), **where_udocker_is()}

    def image(self, name: str) -> str:
        """The reference of an image of the registry, which is in the store now."""
        reference = f"{self.registry}/{name}"
        if name not in self._here:
            self("pull", "-q", reference)
            self._here.add(name)
        return reference

    def start(self, words: Sequence[str | bytes], **options: Any) -> subprocess.Popen[bytes]:
        """Start the command; its input and output are pipes where ``options`` say nothing."""
        more = options.pop("env", {})
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(
            [*command(), *words], env={**self.environment(), **more}, **{**streams, **options}
        )

    def environment(self) -> dict[str, str]:
        """All that the command is given."""
        few = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "dumb"}
        return {**few, **self.settings()}

    def containers(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self("ps", "--json").out)
        return listed


class Inside:
    """Runs programs in one mode, each in a new container that goes with it."""

    def __init__(self, shared: Shared, mode: str) -> None:
        self.shared = shared
        self.mode = mode
        self.engine = table.find(mode).engine

    def __call__(
        self,
        *program: str,
        image: str = BUSYBOX,
        options: Sequence[str] = (),
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Result:
        words = self.words(*program, image=image, options=options)
        return self.shared(*words, check=check, input=input, env=env, cwd=cwd)

    def words(
        self, *program: str, image: str = BUSYBOX, options: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """The command line. ``image`` is of the registry, or a whole reference."""
        target = image if image.startswith("127.") else self.shared.image(image)
        return ("run", "-q", "--rm", f"--execmode={self.mode}", *options, target, *program)

    def has(self, feature: str) -> bool:
        """Whether the engine has a feature of ``udocker.model.features``."""
        return feature in self.engine.FEATURES

    def large(self, name: str, *program: str, check: bool = True, input: str = "") -> Result:
        """Run in a container that stays: to copy a large image for each test takes long."""
        form = "union" if self.has(UNION_ROOT) else "plain"
        container = f"{name.replace(':', '-')}-{form}"
        if container not in {each for row in self.shared.containers() for each in row["names"]}:
            self.shared("create", "-q", f"--name={container}", self.shared.image(name))
        words = ("run", "-q", f"--execmode={self.mode}", container, *program)
        return self.shared(*words, check=check, input=input)

    def signaled(self, number: int) -> int:
        """The exit code when a signal ended the command that udocker had not passed on."""
        return _SAYS_SIGNALED if self.engine is singularity else 128 + number

    @property
    def is_replaced(self) -> bool:
        """Whether the command takes udocker's place."""
        return self.engine not in (ptrace, runc, nested, singularity)

    @property
    def is_utf8_only(self) -> bool:
        """Whether bytes that are no UTF-8 are refused: they would be changed."""
        return self.engine in (runc, nested, singularity)


@pytest.fixture(scope="session")
def shared(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return Shared(registry, tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="session")
def refusals(shared: Shared) -> dict[str, str]:
    """Mode -> why it does not work on this host, as ``udocker doctor`` says; "": it does."""
    rows = json.loads(shared("doctor", "--json").out)["modes"]
    return {row["name"]: row["reason"] for row in rows}


def need(refusals: dict[str, str], *modes: str) -> None:
    """Skip the test where the host cannot run one of ``modes``."""
    for mode in modes:
        if refusals[mode]:
            pytest.skip(f"host: mode {mode}: {refusals[mode]}")


# F4 is another name of F3: tests/engine/test_golden.py.
_ALIASES = ("F4",)


@pytest.fixture(params=[m.name for m in table.MODES if not m.preloads and m.name not in _ALIASES])
def inside(request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str]) -> Inside:
    """Once for every mode that runs static programs too, skipped where the host cannot."""
    need(refusals, request.param)
    return Inside(shared, request.param)


@pytest.fixture(params=[name for name in table.names() if name not in _ALIASES])
def over_debian(request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str]) -> Inside:
    """Once for every mode of the table: for images of dynamic programs."""
    need(refusals, request.param)
    return Inside(shared, request.param)


@pytest.fixture
def works(refusals: dict[str, str]) -> tuple[str, ...]:
    """The modes that run any image on this host, the best first."""
    return tuple(m.name for m in table.MODES if not m.preloads and not refusals[m.name])
