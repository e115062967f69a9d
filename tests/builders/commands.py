"""The command line in processes of its own, with a home and a store that are the test's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.processes import PATIENCE, SOURCE
from builders.sessions import trust
from builders.stores import add_image
from builders.trees import Directory, File, Same
from udocker.config import load
from udocker.model.features import UNION_ROOT
from udocker.ops.session import Session
from udocker.report import QuietReporter
from udocker.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from builders.trees import Node
    from udocker.store.images import ImageRecord

BUSYBOX = shutil.which("busybox")
needs_busybox = pytest.mark.skipif(
    BUSYBOX is None, reason="busybox is missing: apt install busybox-static"
)
APPLETS = ("sh", "cat", "echo", "env", "sleep", "true", "false", "id", "ls", "chmod", "test", "yes")


class Ended:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"


class Udocker:
    """``python -m udocker`` with nothing of the tests' own environment."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.home = top / "home"
        self.store_path = top / "store"
        self.home.mkdir()
        self.environ = {
            "HOME": str(self.home),
            "UDOCKER_DIR": str(self.store_path),
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
        }

    @property
    def store(self) -> Store:
        return Store(str(self.store_path))

    def start(self, *words: str, env: Mapping[str, str] | None = None, **options: Any) -> Any:
        """A process that goes on; ``options`` are those of Popen."""
        environ = {**self.environ, "PYTHONPATH": str(SOURCE), **(env or {})}
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            environ["PYTHONDONTWRITEBYTECODE"] = "1"
        given = {
            "cwd": self.top,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **options,
        }
        return subprocess.Popen([sys.executable, "-m", "udocker", *words], env=environ, **given)

    def __call__(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        **options: Any,
    ) -> Ended:
        """Run to the end."""
        if input is not None:
            options["stdin"] = subprocess.PIPE
        process = self.start(*words, env=env, **options)
        data = None if input is None else input.encode()
        out, err = (_text(part) for part in process.communicate(data, timeout=PATIENCE))
        return Ended(process.returncode, out, err)

    def add(
        self, name: str = "test", table: Mapping[str, Node] | None = None, **more: Any
    ) -> ImageRecord:
        return add_image(self.store, name, table, **more)

    def add_busybox(self, **run: Any) -> ImageRecord:
        """An image ``box`` whose programs are real."""
        assert BUSYBOX is not None
        table: dict[str, Node] = {"bin/busybox": File(Path(BUSYBOX).read_bytes(), 0o755)}
        table.update((f"bin/{name}", Same("bin/busybox")) for name in APPLETS)
        table.update((name, Directory()) for name in ("dev", "proc", "sys", "etc", "root"))
        return self.add("box", table, run={"Env": ["PATH=/bin"], "Cmd": ["sh"], **run})

    def trust(self, *modes: str, reason: str = "") -> None:
        """Have it remembered that ``modes`` work here, so that no run begins with a try."""
        from udocker.engine import table

        session = Session(self.store, load(self.environ, {}), QuietReporter(), self.environ)
        for name in modes:
            union = UNION_ROOT in table.find(name).engine.FEATURES
            trust(session, name, union=union, reason=reason)


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "surrogateescape")
