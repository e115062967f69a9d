"""The part of an archive that is below one of its directories, and small files beside that."""

from __future__ import annotations

from udocker.errors import HostileArchiveError
from udocker.model.value import replace
from udocker.unpack.header import DIRECTORY, FILE, HARDLINK, Member
from udocker.unpack.names import components, show
from udocker.unpack.tar import Archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from udocker.unpack.compression import LayerStream

_MOST = 4 << 20  # bytes of a file beside, as registries limit manifests


class Part(Archive):
    """Members below ``top`` with names as if that were the root; others are passed over.

    ``kept`` gets the content of files outside of it whose names are in ``wanted``. Where ``owned``
    says no, when the first member comes, all belong to 0:0.
    """

    def __init__(
        self,
        stream: LayerStream,
        max_header_bytes: int,
        top: bytes,
        wanted: Collection[bytes],
        owned: Callable[[Part], bool],
    ) -> None:
        super().__init__(stream, max_header_bytes)
        self._top = top
        self._wanted = wanted
        self._owned = owned
        self._has_owners: bool | None = None
        self.kept: dict[bytes, bytes] = {}

    def leave_to(self, writer: Callable[[LayerStream], bytes | None]) -> None:
        """Nothing is left to it: it knows no other names than those in the archive."""

    def next(self) -> Member | None:
        """The next member below; None at the end."""
        while (member := super().next()) is not None:
            parts = components(member.name)
            if parts[:1] == [self._top]:
                return self._inside(member, parts[1:])
            name = b"/".join(parts)
            is_plain = member.kind == FILE and member.sparse is None
            if name in self._wanted and is_plain and member.size <= _MOST:
                self.kept[name] = b"".join(self.content(member.size))
        return None

    def _inside(self, member: Member, parts: list[bytes]) -> Member:
        if self._has_owners is None:
            self._has_owners = self._owned(self)
        link = member.link
        if member.kind == HARDLINK:
            target = components(link)
            if target[:1] != [self._top]:
                raise HostileArchiveError(
                    f"the hard link {show(member.name)} leads out of {show(self._top)}"
                )
            link = b"/".join(target[1:])
        name = b"/".join(parts) + (b"/" if member.kind == DIRECTORY else b"")
        moved = replace(member, name=name, link=link)
        return moved if self._has_owners else replace(moved, uid=0, gid=0)
