"""One blob on its way, and the pieces in which it is asked for (RFC 9110, "Range Requests").

A blob that is large, or of which a part is here, comes in ranges of bytes, several at once; where
a server knows no ranges it comes whole, and what is here already is passed over.
"""

from __future__ import annotations

import functools
import re
from collections import deque

from udocker.errors import BadReplyError, VerificationError
from udocker.model.value import value
from udocker.registry.replies import not_a_registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from udocker.model.image import BlobSink
    from udocker.model.oci import Descriptor
    from udocker.registry.mirrors import Place
    from udocker.registry.replies import Reply
    from udocker.report import Reporter, Task

    SinkFactory = Callable[[Descriptor], BlobSink]

PIECE = 8 << 20  # bytes
_PROGRESS = 1 << 20  # bytes after which trouble counts as new
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@value
class Source:
    """Where a blob is asked for. Without ``login``: a URL of its descriptor, for anyone."""

    url: str
    place: Place  # whose rules hold for it
    login: bool = True


class Piece:
    """Bytes of a blob that one request is for: where it is asked, how often it was."""

    def __init__(self, blob: Blob, start: int, end: int) -> None:
        self.blob = blob
        self.at = start  # the next byte that comes
        self.end = end
        self.url = ""  # where to ask; empty: not decided yet
        self.is_direct = False  # where the source sent us the last time, not to the source itself
        self.redirects = 0
        self.renewed = False  # the token, after a 401
        self.tries = 1
        self.not_before = 0.0  # on the monotonic clock
        self._began = start
        self._asked: tuple[int, int] | None = None

    def aim(self) -> None:
        """Decide where to ask."""
        if not self.url:
            self.url = self.blob.known_url or self.blob.source.url
            self.is_direct = self.url != self.blob.source.url

    @property
    def span(self) -> tuple[int, int] | None:
        """The range to ask for; None: the whole blob."""
        if self.blob.ranged is False or (self.at, self.end) == (0, self.blob.size):
            return None
        return self.at, self.end

    def ask(self) -> tuple[int, int] | None:
        """The range that is asked for now; what is learnt meanwhile does not change the reply."""
        self._asked = self.span
        return self._asked

    @property
    def is_complete(self) -> bool:
        return self.at >= self.end

    @property
    def has_advanced(self) -> bool:
        """Whether the last try brought so much that trouble is no reason to give up."""
        return self.at - self._began >= _PROGRESS

    def again(self) -> None:
        """Ask once more for what has not come, from the source itself."""
        if self.has_advanced:
            self.tries = 0
        self._began = self.at
        self.tries += 1
        self.restart()

    def restart(self) -> None:
        """Begin at the source, which may redirect elsewhere this time."""
        self.blob.known_url = ""
        self.url = self.blob.source.url
        self.is_direct = False
        self.redirects = 0
        self.renewed = False

    def begin(self, reply: Reply) -> None:
        """Look at the head of a 200 or 206. Raises BadReplyError, VerificationError."""
        blob = self.blob
        length = reply.headers.get("content-length", "")
        size = int(length) if length.isascii() and length.isdigit() else None
        if reply.status == 206:
            self._check_range(reply)
            if blob.ranged is None:
                blob.ranged = True
        elif (self.at, self.end) != (0, blob.size):
            self.take_all()
        if reply.is_html and size != self.end - self.at:
            raise not_a_registry(reply.host, f"an HTML page in place of {blob.what}")
        blob.known_url = reply.url
        blob.replies += 1
        if size is not None:
            self._check_length(size)
            if reply.status == 200 and size < blob.size:
                raise cut_short(blob, size)

    def take_all(self) -> None:
        """The server does no ranges: what it sends begins at the start."""
        self.blob.ranged = False
        self.at, self.end = 0, self.blob.size

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises VerificationError as soon as there are too many."""
        self._check_length(len(data))
        self.blob.write(data, self.at)
        self.at += len(data)

    def _check_range(self, reply: Reply) -> None:
        given = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", ""))
        if self._asked is None:
            raise BadReplyError(f"{reply.host} gives a part of {self.blob.what}, and not all of it")
        if given is None or int(given.group(1)) != self.at or int(given.group(2)) >= self.end:
            raise WrongRange(f"{reply.host} gives another part of {self.blob.what} than it should")
        if given.group(3) not in ("*", str(self.blob.size)):
            raise VerificationError(
                f"{self.blob.what} has {given.group(3)} bytes at {reply.host}, "
                f"not the {self.blob.size} it should have"
            )

    def _check_length(self, length: int) -> None:
        if self.at + length > self.end:
            size = self.blob.size
            raise VerificationError(
                f"{self.blob.what} is longer than the {size} bytes it should have"
            )


class WrongRange(BadReplyError):
    """A server that does not do ranges as it should."""


class CutShort(VerificationError):
    """A reply that has less than the blob: its bytes may be of something else."""


def cut_short(blob: Blob, size: int) -> CutShort:
    return CutShort(
        f"{blob.what} was cut short: {size} of {blob.size} bytes",
        hint="try again; the registry or a proxy may have a broken copy",
    )


class Blob:
    """A blob, whose pieces are fetched in any order."""

    def __init__(
        self,
        descriptor: Descriptor,
        source: Source,
        others: Sequence[Place],
        *,
        image: str,
        factory: SinkFactory,
        report: Reporter,
    ) -> None:
        self.descriptor = descriptor
        self.size = descriptor.size
        self.title = f"layer {descriptor.digest.short}"
        self.what = f"{self.title} of {image}"
        self.source = source
        self.others: deque[Place | str] = deque((*others, *descriptor.urls))
        self.known_url = ""  # where the source's redirects led the last time
        self.ranged: bool | None = None  # whether the server does ranges; None: not known
        self.replies = 0  # that brought bytes
        self._factory = factory
        self._report = report
        self._sink: BlobSink | None = None
        self._received = 0
        self._began_again = False

    def pieces(self) -> list[Piece]:
        """What has to be asked for; nothing where all has come."""
        missing = self._open().missing()
        here = self.size - sum(end - start for start, end in missing)
        if here > self._received:
            self.replies = 2  # or more: another process has fetched it
            self._advance(here - self._received)
        if missing and self.ranged is False:
            return [Piece(self, 0, self.size)]
        step = PIECE if self.size >= 2 * PIECE else self.size
        return [
            Piece(self, at, min(at + step, end))
            for start, end in missing
            for at in range(start, end, step)
        ]

    def is_whole(self) -> bool:
        """Whether all bytes have come."""
        return not self._open().missing()

    def write(self, data: bytes, at: int) -> None:
        self._advance(self._open().write(data, at))

    def go_to(self, source: Source) -> None:
        """Ask there for what is missing, as if for the first time."""
        self.source = source
        self.known_url = ""
        self.ranged = None
        self._began_again = False

    def commit(self) -> bool:
        """Publish a blob that is complete. Raises what its sink raises.

        False when its bytes are wrong and came of several replies, of which one may be to blame:
        then all of it is to be asked for once more.
        """
        try:
            self._open().commit()
        except VerificationError:
            if self._began_again or self.replies < 2:
                raise
            self.abort()
            self._began_again = True
            self.ranged = False
            return False
        self._sink = None
        self._task.done()
        return True

    def abort(self) -> None:
        """Forget what has come."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.abort()
        self._advance(-self._received)
        self.replies = 0

    def leave(self, error: BaseException | None) -> None:
        """Let go; what has come may be kept for another time."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.leave(error)

    @functools.cached_property
    def _task(self) -> Task:
        return self._report.task(self.title, self.size)

    def _advance(self, size: int) -> None:
        if size:
            self._received += size
            self._task.advance(size)

    def _open(self) -> BlobSink:
        if self._sink is None:
            self._sink = self._factory(self.descriptor)
        return self._sink
