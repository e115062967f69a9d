"""Layer bytes: several blobs at once in one loop, from the registry straight into their sinks."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import deque

from udocker.errors import RegistryError, VerificationError
from udocker.model.value import value
from udocker.registry.address import host_of
from udocker.registry.api import MAX_REDIRECTS, too_many_redirects
from udocker.registry.curl import Exchange, explain
from udocker.registry.http import ConnectionDropped, stalled
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
    from udocker.registry.auth import Gate
    from udocker.registry.mirrors import Place
    from udocker.registry.replies import Reply
    from udocker.report import Reporter, Task

    SinkFactory = Callable[[Descriptor], BlobSink]

_LONGEST_SLEEP = 1.0  # seconds: signals are looked at in between
_NOTHING_TO_WAIT_ON = 0.02  # seconds; libcurl is looking up a name


@value
class Source:
    """Where a blob is asked for. Without ``login``: a URL of its descriptor, for anyone."""

    url: str
    place: Place  # whose rules hold for it
    login: bool = True


class Blob:
    """One blob on its way: where it is asked for, how often it was, what has come of it."""

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
        self.title = f"layer {descriptor.digest.short}"
        self.what = f"{self.title} of {image}"
        self.source = source
        self.others: deque[Place | str] = deque((*others, *descriptor.urls))
        self.not_before = 0.0  # on the monotonic clock
        self.tries = 0
        self._factory = factory
        self._report = report
        self._sink: BlobSink | None = None
        self._received = 0
        self.begin()

    def begin(self) -> None:
        """Ask from the start: the source itself, with a new sink."""
        self.abort()
        if self._received:
            self._task.advance(-self._received)
        self._received = 0
        self.tries += 1
        self.url = self.source.url
        self.redirects = 0
        self.renewed = False  # the token, after a 401

    def go_to(self, source: Source) -> None:
        """Ask there, as if for the first time."""
        self.source = source
        self.tries = 0
        self.not_before = 0.0
        self.begin()

    def write(self, reply: Reply, data: bytes) -> None:
        """Take bytes of ``reply``. Raises VerificationError as soon as there are too many."""
        if self._received == 0:
            self._check_start(reply)
        self._check_length(self._received + len(data))
        self._open().write(data)
        self._received += len(data)
        self._task.advance(len(data))

    def missing(self) -> int:
        """Bytes that have not come."""
        return self.descriptor.size - self._received

    def commit(self) -> None:
        """Publish a blob that is complete. Raises what its sink raises."""
        self._open().commit()
        self._sink = None
        self._task.done()

    def abort(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.abort()

    @functools.cached_property
    def _task(self) -> Task:
        return self._report.task(self.title, self.descriptor.size)

    def _open(self) -> BlobSink:
        if self._sink is None:
            self._sink = self._factory(self.descriptor)
        return self._sink

    def _check_start(self, reply: Reply) -> None:
        length = reply.headers.get("content-length", "")
        size = int(length) if length.isascii() and length.isdigit() else None
        if reply.is_html and size != self.descriptor.size:
            raise not_a_registry(reply.host, f"an HTML page in place of {self.what}")
        if size is not None:
            self._check_length(size)

    def _check_length(self, length: int) -> None:
        if length > self.descriptor.size:
            raise VerificationError(
                f"{self.what} is longer than the {self.descriptor.size} bytes it should have"
            )


class Transfer:
    """Fetches blobs of one repository."""

    def __init__(
        self,
        api: Api,
        reference: Reference,
        places: Sequence[Place],
        sink_factory: SinkFactory,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._api = api
        self._check = check
        self._settings = api.settings
        self._reference = reference
        self._places = places
        self._sink_factory = sink_factory
        self._waiting: deque[Blob] = deque()
        self._active: dict[Any, tuple[Blob, Exchange]] = {}  # by libcurl handle

    def run(self, descriptors: Sequence[Descriptor]) -> None:
        """Fetch ``descriptors``, each once. See ``Registry.download``."""
        import pycurl

        first = self._places[0]
        self._api.endpoint(first)
        blobs = [
            Blob(
                descriptor,
                self._at(first, descriptor),
                self._places[1:],
                image=str(self._reference),
                factory=self._sink_factory,
                report=self._api.report,
            )
            for descriptor in {each.digest: each for each in descriptors}.values()
        ]
        self._waiting.extend(blobs)
        self._multi: Any = pycurl.CurlMulti()
        try:
            while self._waiting or self._active:
                self._start()
                self._multi.perform()
                self._collect()
                self._give_up_silent()
                self._check()
                self._wait()
        finally:
            self._stop(blobs)

    def _stop(self, blobs: Sequence[Blob]) -> None:
        """Leave nothing open; an error on the way is less than the one that brought us here."""
        for blob in blobs:
            with contextlib.suppress(Exception):
                blob.abort()
        for handle, (_, exchange) in self._active.items():
            self._multi.remove_handle(handle)
            exchange.close()
        self._active.clear()
        self._multi.close()

    def _start(self) -> None:
        """Put blobs that are due to work, as far as there is room."""
        now = time.monotonic()
        for blob in tuple(self._waiting):
            if len(self._active) >= self._settings.jobs:
                return
            if blob.not_before > now:
                continue
            self._waiting.remove(blob)
            try:
                exchange = self._exchange(blob)
            except RegistryError as error:
                self._elsewhere(blob, error)
                continue
            self._multi.add_handle(exchange.handle)
            self._active[exchange.handle] = (blob, exchange)

    def _endpoint(self, blob: Blob) -> Endpoint:
        return self._api.endpoint(blob.source.place)

    def _gate(self, blob: Blob) -> Gate:
        return self._api.gate(blob.source.place, self._endpoint(blob), blob.url)

    def _at(self, place: Place, descriptor: Descriptor) -> Source:
        """Asks the place how it is reached, unless that is known. Raises RegistryError."""
        url = self._api.endpoint(place).blob(place.repository, descriptor.digest)
        return Source(url, place)

    def _exchange(self, blob: Blob) -> Exchange:
        authorization = ""
        if blob.source.login:
            authorization = self._gate(blob).header()
        exchange = Exchange(blob.url, authorization, blob.write)
        trust = self._api.certificates.trust(host_of(blob.url))
        exchange.configure(self._settings, trust, verify=not self._endpoint(blob).insecure)
        return exchange

    def _collect(self) -> None:
        """Deal with the exchanges that have ended."""
        queued = 1
        while queued:
            queued, good, bad = self._multi.info_read()
            for handle in good:
                self._finish(handle, 0, "")
            for handle, code, text in bad:
                self._finish(handle, code, text)

    def _finish(self, handle: Any, code: int, text: str) -> None:
        blob, exchange = self._active.pop(handle)
        self._multi.remove_handle(handle)
        with contextlib.closing(exchange):
            try:
                self._ended(blob, exchange, code, text)
            except (RegistryError, VerificationError) as error:
                self._elsewhere(blob, error)

    def _ended(self, blob: Blob, exchange: Exchange, code: int, text: str) -> None:
        if exchange.failure is not None:
            raise exchange.failure
        if code and not exchange.cut:
            self._broken(blob, explain(code, text, exchange, self._settings))
        else:
            self._answered(blob, self._api.told(exchange.reply), exchange.authorization)

    def _give_up_silent(self) -> None:
        """End the exchanges that have not seen a byte for too long.

        libcurl's own limit is on the mean of some seconds, and so comes several too late.
        """
        limit = self._settings.stall_timeout
        for handle, (blob, exchange) in tuple(self._active.items()):
            if exchange.silence() < limit:
                continue
            del self._active[handle]
            self._multi.remove_handle(handle)
            exchange.close()
            self._again(blob, stalled(host_of(exchange.url), limit))

    def _broken(self, blob: Blob, error: Exception) -> None:
        if not isinstance(error, ConnectionDropped):
            raise error
        self._again(blob, error)

    def _answered(self, blob: Blob, reply: Reply, authorization: str) -> None:
        if reply.status == 200:
            self._complete(blob)
        elif reply.status in REDIRECTS:
            if blob.redirects == MAX_REDIRECTS:
                raise too_many_redirects(self._endpoint(blob))
            blob.redirects += 1
            blob.url = self._api.next_url(self._endpoint(blob), reply)
            self._waiting.appendleft(blob)
        elif reply.status == 401 and blob.source.login and not blob.renewed:
            self._gate(blob).challenged(reply, authorization)
            blob.renewed = True
            self._waiting.appendleft(blob)
        else:
            self._refused(blob, reply)

    def _complete(self, blob: Blob) -> None:
        missing = blob.missing()
        if missing:
            size = blob.descriptor.size
            error = VerificationError(
                f"{blob.what} was cut short: {size - missing} of {size} bytes",
                hint="try again; the registry or a proxy may have a broken copy",
            )
            self._again(blob, error)
        else:
            blob.commit()

    def _refused(self, blob: Blob, reply: Reply) -> None:
        settings = self._settings
        error = self._error(blob, reply)
        wait = patience(reply, blob.tries, settings.tries, settings.delay(blob.tries))
        if wait is None:
            self._elsewhere(blob, error)
        else:
            self._api.wait(reply.host, wait)
            self._again(blob, error, wait)

    def _error(self, blob: Blob, reply: Reply) -> RegistryError:
        if reply.status in (401, 403) and blob.source.login:
            return self._gate(blob).refused(reply)
        return failure(reply, blob.what, blob.source.place.registry)

    def _again(self, blob: Blob, error: Exception, wait: float | None = None) -> None:
        """Another try after ``wait`` seconds, or ``error`` when there were enough."""
        if wait is None:
            wait = self._settings.delay(blob.tries)
        if blob.tries >= self._settings.tries:
            self._elsewhere(blob, error)
            return
        self._api.report.debug(f"{error}: trying again")
        blob.begin()
        blob.not_before = time.monotonic() + wait
        self._waiting.append(blob)

    def _elsewhere(self, blob: Blob, error: Exception) -> None:
        """Another place, or ``error`` when there is none."""
        while blob.others:
            other = blob.others.popleft()
            try:
                source = self._source(other, blob)
            except RegistryError as unreachable:
                self._api.report.debug(f"{unreachable.message}: passed over")
                continue
            self._api.report.debug(f"{error}: trying {host_of(source.url)}")
            blob.go_to(source)
            self._waiting.append(blob)
            return
        raise error

    def _source(self, other: Place | str, blob: Blob) -> Source:
        if isinstance(other, str):
            return Source(other, self._places[-1], login=False)
        return self._at(other, blob.descriptor)

    def _wait(self) -> None:
        """Until something can be done; at most a second."""
        timer = self._multi.timeout()  # milliseconds, -1: none
        seconds = [_LONGEST_SLEEP] if timer < 0 else [_LONGEST_SLEEP, timer / 1000]
        if len(self._active) < self._settings.jobs:
            now = time.monotonic()
            seconds += [blob.not_before - now for blob in self._waiting]
        limit = self._settings.stall_timeout
        seconds += [limit - exchange.silence() for _, exchange in self._active.values()]
        longest = max(0.0, min(seconds))
        if self._active:
            if self._multi.select(longest) == -1:
                time.sleep(min(longest, _NOTHING_TO_WAIT_ON))
        elif self._waiting:
            time.sleep(longest)
