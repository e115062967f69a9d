"""Pages of docs/ whose commands are typed by tests.

PYTEST_DONT_REWRITE: what the modules import from here is imported before they load it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.conftest import Result, command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from e2e.engines import Shared

DOCS = Path(__file__).parents[2] / "docs"
_PATIENCE = 300  # seconds


class Page:
    """A page, and a shell for its lines that begin with ``$``.

    ``given``: words of the page and what stands for them here; ``more``: the environment beside
    that of ``shared``. Commands are run in ``cwd``, which also gets a program ``udocker``;
    ``programs`` is a directory with more of them.
    """

    def __init__(
        self,
        name: str,
        shared: Shared,
        cwd: Path,
        given: Mapping[str, str],
        more: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> None:
        self._cwd = cwd
        self._given = given
        text = (DOCS / name).read_text(encoding="utf-8")
        parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
        lines = {
            title: re.findall(r"^\$ (.*)$", part, re.MULTILINE) for title, part in _pairs(parts)
        }
        self.left = {title: found for title, found in lines.items() if found}
        program = cwd / "bin" / "udocker"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command())} "$@"\n')
        program.chmod(0o755)
        path = f"{program.parent}:{programs or program.parent}:{os.environ['PATH']}"
        self._environment = {**shared.environment(), "PATH": path, **(more or {})}

    def type(self, section: str) -> list[Result]:
        """All commands of a section, which is then no longer ``left``; each must succeed."""
        return [self.run(line) for line in self.left.pop(section)]

    @contextlib.contextmanager
    def start(self, section: str) -> Iterator[subprocess.Popen[str]]:
        """The only command of a section, which runs meanwhile; killed if it has not ended."""
        [line] = self.left.pop(section)
        with subprocess.Popen(
            ["sh", "-c", f"exec {self._here(line)}"],
            cwd=self._cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child:
            try:
                yield child
            finally:
                child.kill()

    def _here(self, line: str) -> str:
        for word, here in self._given.items():
            line = line.replace(word, here)
        return line

    def run(self, line: str, *, check: bool = True) -> Result:
        """One command; ``check`` asserts that it succeeds."""
        done = subprocess.run(
            ["sh", "-c", self._here(line)],
            cwd=self._cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        assert not check or result.code == 0, (line, result)
        assert not check or "Traceback" not in result.err, (line, result)
        return result


def _pairs(parts: list[str]) -> list[tuple[str, str]]:
    return list(zip(["", *parts[1::2]], parts[::2]))
