"""Sessions whose host, terminal and reporter are the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udocker.model.config import Config
from udocker.model.host import Support
from udocker.ops import modes as modes_module
from udocker.ops.modes import Verdict
from udocker.ops.session import Session
from udocker.report import QuietReporter
from udocker.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from udocker.model.host import Host


class Notes(QuietReporter):
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.infos: list[str] = []
        self.warnings: list[str] = []

    def info(self, text: str) -> None:
        self.infos.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class TestSession(Session):
    """A session without a terminal, on ``host`` (None: this one)."""

    __test__ = False
    report: Notes

    def __init__(
        self, topdir: Path, host: Host | None, environ: Mapping[str, str], **settings: Any
    ) -> None:
        config = Config(topdir=str(topdir), **settings)
        super().__init__(Store(str(topdir), config.repos), config, Notes(), environ)
        self._host = host

    @property
    def terminal(self) -> bool:
        return False


def session(
    topdir: Path,
    host: Host | None = None,
    environ: Mapping[str, str] | None = None,
    **settings: Any,
) -> TestSession:
    """A session on the store at ``topdir``; ``settings`` are fields of Config."""
    return TestSession(topdir, host, environ or {}, **settings)


def trust(given: Session, *modes: str, reason: str = "", union: bool = True) -> None:
    """Have it remembered, as by a first run, that ``modes`` work here, or why not."""
    for name in modes:
        verdict = Verdict(name, Support(reason, "hint of a first run" if reason else ""), union)
        place = f"{given.store.topdir}/cache/modes/{name}.json"
        modes_module._remember(place, modes_module._key(given), verdict)
