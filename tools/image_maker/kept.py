"""What takes long to make is kept for the next time, until the program that makes it changes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


class Kept:
    """A directory ``KIND-KEY`` in a directory of such, and a link that leads to the newest.

    ``programs`` are what must be in PATH to make it. ``make`` is given an empty directory, and
    the place that this is renamed to when it is complete. ``source`` is a directory whose files
    it is made of as well.
    """

    def __init__(
        self,
        kind: str,
        link: str,
        programs: tuple[str, ...],
        make: Callable[[Path, Path], None],
        source: Path | None = None,
    ) -> None:
        self.programs = programs
        self._kind = kind
        self._link = link
        self._make = make
        self._source = source

    def keep(self, parent: Path, *, again: bool) -> Path:
        """See to it in ``parent``, anew if ``again``; gives the link. Raises OSError, SystemExit.

        Also raises what ``make`` does.
        """
        parent.mkdir(parents=True, exist_ok=True)
        if parent.stat().st_uid not in (0, os.getuid()):
            raise SystemExit(f"images: {parent} belongs to another user")
        final = parent / f"{self._kind}-{_key(self._source)}"
        link = parent / self._link
        if again or not (link.is_dir() and link.resolve().name == final.name):
            with _alone(parent, self._kind):
                if again or not final.is_dir():
                    self._replace(parent, final)
                _lead(link, final.name)
        return link

    def _replace(self, parent: Path, final: Path) -> None:
        """Made aside, then renamed."""
        for old in parent.iterdir():
            if old.name.startswith((f"{self._kind}-", f".making-{self._kind}-")):
                shutil.rmtree(old)
        making = Path(tempfile.mkdtemp(prefix=f".making-{self._kind}-", dir=parent))
        try:
            making.chmod(0o755)
            self._make(making, final)
            making.rename(final)
        except BaseException:
            shutil.rmtree(making)
            raise


@contextlib.contextmanager
def _alone(directory: Path, kind: str) -> Iterator[None]:
    """Nobody else makes this kind meanwhile; others may be made."""
    with (directory / f".lock-{kind}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lead(link: Path, target: str) -> None:
    aside = link.with_name(f".{link.name}")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.rename(link)


def _key(source: Path | None) -> str:
    digest = hashlib.sha256(platform.machine().encode())
    paths = sorted(Path(__file__).parent.glob("*.[pc]*"))
    paths += sorted(source.rglob("*.*")) if source else []
    for path in paths:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
