"""Layer bytes: several blobs at once in one loop, from the registry straight into their sinks."""

from __future__ import annotations

import contextlib
import time
from collections import deque

from udocker.errors import BadReplyError, NotFoundError, VerificationError
from udocker.registry.api import MAX_REDIRECTS, too_many_redirects
from udocker.registry.curl import Exchange, explain
from udocker.registry.http import ConnectionDropped
from udocker.registry.replies import REDIRECTS, failure, not_a_registry, patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from udocker.model.image import BlobSink
    from udocker.model.oci import Descriptor
    from udocker.model.reference import Reference
    from udocker.registry.address import Endpoint
    from udocker.registry.api import Api
    from udocker.registry.replies import Reply
    from udocker.report import Task

    SinkFactory = Callable[[Descriptor], BlobSink]

_LONGEST_SLEEP = 1.0  # seconds: signals are looked at in between
_SHORTEST_SLEEP = 0.02  # when libcurl has nothing to wait on yet


class Blob:
    """One blob on its way: where it is asked for, how often it was, what has come of it."""

    def __init__(self, descriptor: Descriptor, sources: Sequence[str], task: Task) -> None:
        self.descriptor = descriptor
        self.task = task
        self.url = ""
        self.tries = 0
        self.redirects = 0
        self.renewed = False  # a token, once
        self.not_before = 0.0  # on the monotonic clock
        self.received = 0
        self._sources = deque(sources)
        self._sink: BlobSink | None = None
        self.next_source()

    @property
    def title(self) -> str:
        return f"layer {self.descriptor.digest.short}"

    @property
    def from_registry(self) -> bool:
        """Whether the registry is asked, not one of the descriptor's URLs."""
        return len(self._sources) == len(self.descriptor.urls)

    def next_source(self) -> bool:
        """Go on to the next place that may have the blob; False when there is none left."""
        if not self._sources:
            return False
        self.source = self._sources.popleft()
        self.tries = 0
        self.begin()
        return True

    def begin(self) -> None:
        """Ask from the start: the source itself, with a new sink."""
        self.abort()
        self.task.advance(-self.received)
        self.received = 0
        self.url = self.source
        self.redirects = 0
        self.tries += 1
        self.renewed = False

    def open(self, factory: SinkFactory) -> BlobSink:
        if self._sink is None:
            self._sink = factory(self.descriptor)
        return self._sink

    def write(self, sink: BlobSink, data: bytes) -> None:
        """Raise VerificationError as soon as the blob is longer than it should be."""
        self.check_length(self.received + len(data))
        sink.write(data)
        self.received += len(data)
        self.task.advance(len(data))

    def check_length(self, length: int) -> None:
        if length > self.descriptor.size:
            raise VerificationError(
                f"{self.title} is longer than the {self.descriptor.size} bytes that it should be"
            )

    def commit(self) -> None:
        if self._sink is not None:
            self._sink.commit()
            self._sink = None
        self.task.done()

    def abort(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.abort()
