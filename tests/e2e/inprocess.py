"""The F modes in tests: a container with a compiler, in which ``tests/e2e/programs`` are built.

A test module loads it by ``pytest_plugins``, beside ``e2e.engines``.
PYTEST_DONT_REWRITE: what the modules import from here is imported before they load it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.engines import SCI, Shared, need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.conftest import Result

MODES = ("F2", "F3", "P1")
PROGRAMS = Path(__file__).parent / "programs"
COMPILE = "gcc -O1 -w -pthread {options} -o /tmp/{name} /w/{name}.c && "
IN_NEW = "rm -rf /tmp/new && mkdir /tmp/new && cd /tmp/new && "


class Container:
    """A container with a compiler, and what is mounted at /w; run in any mode."""

    def __init__(self, shared: Shared, programs: Path) -> None:
        self.shared = shared
        self.programs = programs

    def __call__(
        self, mode: str, script: str, *options: str, check: bool = True, input: str = ""
    ) -> Result:
        words = self.words(mode, script, *options)
        return self.shared(*words, check=check, input=input)

    def direct(self, mode: str, *words: str) -> Result:
        """Without a shell."""
        return self.shared(*self.words(mode, "")[:-3], *words)

    def words(self, mode: str, script: str, *options: str) -> tuple[str, ...]:
        # A container that engines without unions have copied is one of its own from then on.
        name = f"inprocess-{'union' if mode == 'N1' else 'plain'}"
        if name not in {each for row in self.shared.containers() for each in row["names"]}:
            self.shared("create", "-q", f"--name={name}", self.shared.image(SCI))
        volume = f"{self.programs}:/w"
        # What N1 says is right only where nothing but the kernel answers.
        alone = ("--no-fakeroot",) if mode == "N1" else ()
        run = ("run", "-q", f"--execmode={mode}", "-v", volume, *alone, *options)
        return (*run, name, "sh", "-c", script)


@pytest.fixture(scope="module")
def container(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Container:
    programs = tmp_path_factory.mktemp("programs")
    for source in PROGRAMS.glob("*.*"):
        shutil.copy(source, programs)
    return Container(shared, programs)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, refusals: dict[str, str]) -> str:
    name: str = request.param
    need(refusals, name)
    return name


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that no container has; /dev is one of theirs."""
    if not str(tmp_path).startswith("/dev/"):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as path:
        yield Path(path)


@pytest.fixture
def native(refusals: dict[str, str]) -> str:
    """The mode that is right."""
    need(refusals, "N1")
    return "N1"


@pytest.fixture
def compiled(mode: str, container: Container) -> Callable[..., Result]:
    """Compiles a C program in the container and runs it."""

    def call(source: str, *words: str, options: str = "") -> Result:
        (container.programs / "small.c").write_text(source)
        build = f"gcc -w {options} -o /tmp/small /w/small.c && "
        return container(mode, f"{build} exec /tmp/small {' '.join(words)}", check=False)

    return call
