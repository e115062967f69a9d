"""How a container that runs here is reached as its programs see it: for cp."""

from __future__ import annotations

import os

from udocker.engine import table
from udocker.model.run import SYSTEM
from udocker.model.value import value
from udocker.ops.control import life, roots
from udocker.ops.specify import layers
from udocker.store import users
from udocker.store.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

    from udocker.engine.porter import Description
    from udocker.model.container import Container

    Pairs = tuple[tuple[str, str], ...]


@value
class Seen:
    """By what its engine was told, in F and P modes; or by a process in namespaces of its own."""

    description: Optional[Description] = None
    process: int = 0

    def mounts(self) -> Pairs:
        """Guest target and host source, an outer target before those inside it. Raises OSError."""
        if self.description is not None:
            return self.description.mounts
        with open(f"/proc/{self.process}/mountinfo", "rb") as stream:
            # proc(5): the fifth field; blanks and the like are in octal.
            places = {_unescaped(line.split()[4]) for line in stream}
        found = sorted(places - {"/"}, key=len)
        return tuple((place, f"/proc/{self.process}/root{place}") for place in found)


def seen(container: Container) -> Seen | None:
    """None: it does not run here, or its mode has neither."""
    found = life(container)
    if not found.is_running or found.node:
        return None
    run = users.run(container.path)
    if run is not None and run.description:
        from udocker.engine.porter import read

        return Seen(read(f"{container.path}/files/{run.description}"))
    if run is not None and run.mode and not table.find(run.mode).has_namespace:
        return None
    from udocker.engine.joining import is_apart
    from udocker.engine.processes import tree

    process = next((pid for pid in tree(roots(container, found)) if is_apart(pid)), 0)
    return Seen(process=process) if process else None


def view(container: Container) -> View:
    """Its files, with what is mounted if it runs here; of the host's own directories nothing."""
    how = seen(container)
    return View(layers(container), tuple(_own(how)) if how is not None else ())


def _own(how: Seen) -> Iterator[tuple[str, str]]:
    for target, source in how.mounts():
        if not f"{target}/".startswith(tuple(f"{path}/" for path in SYSTEM)):
            yield target, source


def _unescaped(word: bytes) -> str:
    first, *rest = word.split(b"\\")
    return os.fsdecode(first + b"".join(bytes([int(each[:3], 8)]) + each[3:] for each in rest))
