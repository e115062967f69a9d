"""What an archive member asks for, by its name: an entry of the layer, or a whiteout.

OCI image specification, layer.md, "Whiteouts".
"""

from __future__ import annotations

from udocker.errors import HostileArchiveError, UnpackError
from udocker.model.value import value
from udocker.unpack.header import DIRECTORY
from udocker.unpack.names import checked_path, components, join, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.unpack.header import Member

MAKE = "make"
HIDE = "hide"  # whiteout: the layers below have no such path any more
HIDE_CHILDREN = "hide children"  # opaque directory
SKIP = "skip"

_WHITEOUT = b".wh."
_META = b".wh..wh."  # aufs kept files of its own under such names
_OPAQUE = b".wh..wh..opq"


@value
class Operation:
    """One of the actions above, on one path."""

    action: str
    path: bytes


def plan(member: Member, max_depth: int) -> Operation:
    """Raise HostileArchiveError for a name that leaves the tree, UnpackError for a bad one."""
    parts = components(member.name)
    path = checked_path(parts, max_depth)
    if not parts and member.kind != DIRECTORY:
        raise UnpackError(f"a {member.kind} has no name: {show(member.name)}")
    if _WHITEOUT in path:
        return _whiteout(parts, path)
    return Operation(MAKE, path)


def _whiteout(parts: list[bytes], path: bytes) -> Operation:
    *above, last = parts
    if any(part.startswith(_META) for part in above):
        return Operation(SKIP, path)
    if any(part.startswith(_WHITEOUT) for part in above):
        raise UnpackError(f"the entry {show(path)} is inside a whiteout")
    parent = b"/".join(above)
    if last == _OPAQUE:
        return Operation(HIDE_CHILDREN, parent)
    if last.startswith(_META):
        return Operation(SKIP, path)
    if not last.startswith(_WHITEOUT):
        return Operation(MAKE, path)
    hidden = last[len(_WHITEOUT) :]
    if hidden in (b"", b".", b".."):
        raise HostileArchiveError(f"the whiteout {show(path)} names no entry of its directory")
    return Operation(HIDE, join(parent, hidden))
