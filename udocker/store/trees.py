"""Image roots: unpacked once, by chain id, and never changed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from udocker import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from udocker.model.reference import Digest


class Trees:
    """``trees/<algorithm>/<hex>/`` with ``root`` and the index that ``unpack`` leaves beside it.

    A tree that is here is whole: it came by one rename. What is missing is looked for in
    ``others``, which are only read.
    """

    def __init__(self, directory: str, others: Sequence[Trees] = ()) -> None:
        self._directory = directory
        self._others = tuple(others)

    def path(self, chain_id: Digest) -> str:
        return f"{self._directory}/{chain_id.algorithm}/{chain_id.hex}"

    def root(self, chain_id: Digest) -> str:
        """The image's root directory: here, or in the first of the others that has it."""
        own = f"{self.path(chain_id)}/root"
        if not self.is_here(chain_id):
            for other in self._others:
                root = other.root(chain_id)
                if os.access(root, os.R_OK | os.X_OK):
                    return root
        return own

    def is_here(self, chain_id: Digest) -> bool:
        """Whether this store itself has the tree."""
        return os.path.isdir(f"{self.path(chain_id)}/root")

    def has(self, chain_id: Digest) -> bool:
        """Whether it, or one of the others, has the tree."""
        return os.path.isdir(self.root(chain_id))

    def publish(self, directory: str, chain_id: Digest) -> None:
        """Rename the finished ``directory`` into place; a tree already there wins.

        What is left of one that lost its root goes. Raises OSError.
        """
        path = self.path(chain_id)
        above = os.path.dirname(path)
        os.makedirs(above, exist_ok=True)
        # Who may read the store may read the tree, by the umask with which the store was made.
        os.chmod(directory, stat.S_IMODE(os.stat(above).st_mode) & 0o777 | stat.S_IRWXU)
        if not _renamed(directory, path) and not self.is_here(chain_id):
            aside = f"{directory}.aside"
            os.rename(path, aside)
            # Somebody else may have put it back just now.
            _renamed(aside if os.path.isdir(f"{aside}/root") else directory, path)
            if os.path.isdir(aside):
                files.remove_tree(aside)

    def replace(self, directory: str, chain_id: Digest) -> None:
        """Put the finished ``directory`` in place of a tree that is damaged. Raises OSError.

        Nobody may be using that.
        """
        with contextlib.suppress(FileNotFoundError):
            self._take_away(self.path(chain_id), directory)
        self.publish(directory, chain_id)

    def _take_away(self, path: str, beside: str) -> None:
        aside = f"{os.path.dirname(beside)}/{files.temporary_name()}"
        os.rename(path, aside)
        files.remove_tree(aside)

    def all(self) -> Iterator[Digest]:
        """Every tree in the store."""
        from udocker.model.reference import Digest

        if not os.path.isdir(self._directory):
            return
        for algorithm in sorted(os.listdir(self._directory)):
            for name in sorted(os.listdir(f"{self._directory}/{algorithm}")):
                if len(name) in (64, 128):
                    yield Digest(algorithm, name)


def _renamed(directory: str, path: str) -> bool:
    """False when something is at ``path`` already. Raises OSError."""
    try:
        os.rename(directory, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
