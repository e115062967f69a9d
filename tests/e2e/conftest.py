"""The installed command, and a real registry with real images.

``tools/images`` makes the images; UDOCKER_TEST_IMAGES names the directory that it was given.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from image_maker.registry import serving
from udocker.engine import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PATIENCE = 600  # seconds after which a command counts as stuck


class Result:
    """How a command ended: its exit code, and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"


class Udocker(Protocol):
    """Runs the command with a home and a store of the test's own.

    ``check`` (the default) asserts exit code 0. ``env`` is added to the little that the command
    is given: no setting of the tests' own environment reaches it.
    """

    def __call__(
        self,
        *words: str,
        store: Path | None = None,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Result: ...


def command() -> list[str]:
    """The command as it is installed beside this Python, or else the package in the checkout."""
    script = Path(sys.executable).parent / "udocker"
    return [str(script)] if script.exists() else [sys.executable, "-m", "udocker"]


def where_udocker_is() -> dict[str, str]:
    """What the command needs in its environment where it is run from the checkout."""
    if command()[0] == sys.executable:
        return {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return {}


def run(
    words: list[str],
    environment: Mapping[str, str],
    input: str | None = None,
    cwd: Path | None = None,
) -> Result:
    done = subprocess.run(
        [*command(), *words],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "dumb", **environment},
        input=input or "",
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def udocker(tmp_path: Path, store_path: Path) -> Udocker:
    home = tmp_path / "home"
    home.mkdir()

    def call(
        *words: str,
        store: Path | None = None,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Result:
        environment = {"HOME": str(home), "UDOCKER_DIR": str(store or store_path), **(env or {})}
        result = run(list(words), environment, input, cwd)
        assert not check or result.code == 0, result
        return result

    return call


@pytest.fixture(scope="session")
def images() -> Path:
    """The directory that tools/images made."""
    given = os.environ.get("UDOCKER_TEST_IMAGES")
    if not given:
        pytest.skip("UDOCKER_TEST_IMAGES names no images: tools/check makes them")
    current = Path(given) / "current"
    assert current.is_dir(), f"no images in {given}: tools/images makes them"
    return current


@pytest.fixture(scope="session")
def registry(images: Path) -> Iterator[str]:
    """A read-only registry with the images: its ``host:port``."""
    with serving(images / "registry", readonly=True) as address:
        yield address


@pytest.fixture(scope="session")
def modes(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The modes that run any image on this host, as ``udocker doctor`` says."""
    home = tmp_path_factory.mktemp("doctor")
    result = run(["doctor", "--json"], {"HOME": str(home), "UDOCKER_DIR": str(home / "store")})
    assert result.code == 0, result
    working = tuple(
        row["name"]
        for row in json.loads(result.out)["modes"]
        if row["ok"] and not table.find(row["name"]).preloads
    )
    assert working
    return working
