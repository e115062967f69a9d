"""What a measurement is told on the command line, and the directory that it works in."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOP = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Options:
    """As ``tools/bench --help`` says."""

    udocker: str = str(_TOP / ".venv/bin/udocker")
    images: Path = Path("/var/tmp/udocker-images/current")
    scratch: str = "/dev/shm"
    out: Path = _TOP / "build/bench"
    rounds: int = 0  # 0: as many as the part likes
    modes: str = ""
    only: str = ""
    slurm: Path = Path()

    def chosen(self, modes: str) -> list[str]:
        """The modes that are asked for, or else these."""
        return (self.modes or modes).split(",")

    def wants(self, name: str) -> bool:
        """Whether ``--only`` has a word of the name, or is not given."""
        return any(word in name for word in self.only.split(","))

    @contextlib.contextmanager
    def workplace(self) -> Iterator[Path]:
        """A new directory, which goes with all that is in it."""
        scratch = Path(tempfile.mkdtemp(prefix="udocker-bench-", dir=self.scratch))
        try:
            yield scratch
        finally:
            # podman's files belong to subordinate ids.
            os.system(f"podman unshare rm -rf {scratch} 2>/dev/null")  # noqa: S605
            os.system(f"chmod -R u+rwX {scratch} 2>/dev/null")  # noqa: S605
            shutil.rmtree(scratch, ignore_errors=True)
