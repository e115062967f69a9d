"""Layer bytes: several blobs at once in one loop, from the registry straight into their sinks."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque

from udocker.errors import RegistryError, VerificationError
from udocker.registry.address import host_of
from udocker.registry.api import MAX_REDIRECTS, too_many_redirects
from udocker.registry.curl import Exchange, explain
from udocker.registry.http import ConnectionDropped, stalled
from udocker.registry.pieces import Blob, CutShort, Piece, Source, WrongRange, cut_short
from udocker.registry.replies import REDIRECTS, failure, patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from udocker.model.oci import Descriptor
    from udocker.model.reference import Reference
    from udocker.registry.address import Endpoint
    from udocker.registry.api import Api
    from udocker.registry.auth import Gate
    from udocker.registry.mirrors import Place
    from udocker.registry.pieces import SinkFactory
    from udocker.registry.replies import Reply

_LONGEST_SLEEP = 1.0  # seconds: signals are looked at in between
_NOTHING_TO_WAIT_ON = 0.02  # seconds; libcurl is looking up a name


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
        self._pending: deque[Blob] = deque()  # of which nothing is open yet
        self._waiting: deque[Piece] = deque()
        self._active: dict[Any, tuple[Piece, Exchange]] = {}  # by libcurl handle
        self._ranged = False  # whether a server has done ranges

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
        self._multi: Any = pycurl.CurlMulti()
        try:
            self._pending.extend(blobs)
            while self._pending or self._waiting or self._active:
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
        error = sys.exc_info()[1]
        for blob in blobs:
            with contextlib.suppress(Exception):
                blob.leave(error)
        for handle, (_, exchange) in self._active.items():
            self._multi.remove_handle(handle)
            exchange.close()
        self._active.clear()
        self._multi.close()

    def _ask(self, blob: Blob) -> None:
        """Put in line what is to be asked for of ``blob``; publish it where that is nothing."""
        pieces = blob.pieces()
        if not pieces and not blob.commit():
            pieces = blob.pieces()
        self._waiting.extend(pieces)

    def _start(self) -> None:
        """Put to work what there is room for. Few blobs are open at once: each has files."""
        self._start_due()
        jobs = self._settings.jobs
        while self._pending and len(self._active) < jobs and len(self._begun()) < 2 * jobs:
            self._ask(self._pending.popleft())
            self._start_due()

    def _begun(self) -> set[Blob]:
        on_their_way = (piece for piece, _ in self._active.values())
        return {piece.blob for piece in (*self._waiting, *on_their_way)}

    def _start_due(self) -> None:
        now = time.monotonic()
        for piece in tuple(self._waiting):
            if len(self._active) >= self._settings.jobs:
                return
            if piece.not_before > now or not self._is_free(piece):
                continue
            self._waiting.remove(piece)
            try:
                exchange = self._exchange(piece)
            except RegistryError as error:
                self._elsewhere(piece.blob, error)
                return
            self._multi.add_handle(exchange.handle)
            self._active[exchange.handle] = (piece, exchange)

    def _is_free(self, piece: Piece) -> bool:
        """Whether it may be asked for beside others of its blob: not before it is known that the
        server does ranges."""
        blob = piece.blob
        if blob.ranged or (self._ranged and blob.ranged is None):
            return True
        return all(other.blob is not blob for other, _ in self._active.values())

    def _endpoint(self, blob: Blob) -> Endpoint:
        return self._api.endpoint(blob.source.place)

    def _gate(self, piece: Piece) -> Gate:
        return self._api.gate(piece.blob.source.place, self._endpoint(piece.blob), piece.url)

    def _at(self, place: Place, descriptor: Descriptor) -> Source:
        """Asks the place how it is reached, unless that is known. Raises RegistryError."""
        url = self._api.endpoint(place).blob(place.repository, descriptor.digest)
        return Source(url, place)

    def _exchange(self, piece: Piece) -> Exchange:
        piece.aim()
        authorization = self._gate(piece).header() if piece.blob.source.login else ""
        exchange = Exchange(piece.url, authorization, _Taker(piece), piece.ask())
        trust = self._api.certificates.trust(host_of(piece.url))
        verify = not self._endpoint(piece.blob).insecure
        exchange.configure(self._settings, trust, verify=verify)
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
        if handle not in self._active:
            return  # it was dropped just now
        piece, exchange = self._active.pop(handle)
        self._multi.remove_handle(handle)
        with contextlib.closing(exchange):
            exchange.finish()
            try:
                self._ended(piece, exchange, code, text)
            except (WrongRange, CutShort) as error:
                self._again(piece, error)
            except (RegistryError, VerificationError) as error:
                self._elsewhere(piece.blob, error)

    def _ended(self, piece: Piece, exchange: Exchange, code: int, text: str) -> None:
        if exchange.failure is not None:
            if isinstance(exchange.failure, WrongRange):
                piece.take_all()
            raise exchange.failure
        if code and not exchange.cut:
            self._broken(piece, explain(code, text, exchange, self._settings))
        else:
            self._answered(piece, self._api.told(exchange.reply), exchange.authorization)

    def _give_up_silent(self) -> None:
        """End the exchanges that have not seen a byte for too long.

        libcurl's own limit is on the mean of some seconds, and so comes several too late.
        """
        limit = self._settings.stall_timeout
        for handle, (piece, exchange) in tuple(self._active.items()):
            if exchange.silence() < limit:
                continue
            exchange.finish()
            if exchange.failure is not None:
                self._finish(handle, 0, "")
                continue
            self._end(handle)
            self._again(piece, stalled(host_of(exchange.url), limit))

    def _end(self, handle: Any) -> None:
        _, exchange = self._active.pop(handle)
        self._multi.remove_handle(handle)
        exchange.close()

    def _broken(self, piece: Piece, error: Exception) -> None:
        if not isinstance(error, ConnectionDropped):
            raise error
        self._again(piece, error)

    def _answered(self, piece: Piece, reply: Reply, authorization: str) -> None:
        if reply.status in (200, 206):
            self._ranged |= reply.status == 206
            self._complete(piece)
        elif piece.is_direct and reply.status >= 400:
            piece.restart()  # what the source's last redirect was good for may be over
            self._waiting.appendleft(piece)
        elif reply.status in REDIRECTS:
            if piece.redirects == MAX_REDIRECTS:
                raise too_many_redirects(self._endpoint(piece.blob))
            piece.redirects += 1
            piece.url = self._api.next_url(self._endpoint(piece.blob), reply)
            self._waiting.appendleft(piece)
        elif reply.status == 401 and piece.blob.source.login and not piece.renewed:
            self._gate(piece).challenged(reply, authorization)
            piece.renewed = True
            self._waiting.appendleft(piece)
        else:
            self._refused(piece, reply)

    def _complete(self, piece: Piece) -> None:
        blob = piece.blob
        if blob.is_whole():
            self._drop(blob)
            if not blob.commit():
                self._api.report.debug(f"{blob.what} is not what it should be: fetching it again")
                self._ask(blob)
        elif not piece.is_complete:
            self._again(piece, cut_short(blob, piece.at))
        elif not self._is_asked(blob):
            self._ask(blob)

    def _is_asked(self, blob: Blob) -> bool:
        """Whether something of ``blob`` is on its way, or in line."""
        return blob in self._begun()

    def _drop(self, blob: Blob) -> None:
        """Nothing more is wanted of ``blob``."""
        self._waiting = deque(piece for piece in self._waiting if piece.blob is not blob)
        for handle, (piece, _) in tuple(self._active.items()):
            if piece.blob is blob:
                self._end(handle)

    def _refused(self, piece: Piece, reply: Reply) -> None:
        settings = self._settings
        error = self._error(piece, reply)
        wait = patience(reply, piece.tries, settings.tries, settings.delay(piece.tries))
        if reply.status == 416 and piece.span is not None:
            piece.take_all()
            wait = 0.0
        if wait is None:
            self._elsewhere(piece.blob, error)
        else:
            self._api.wait(reply.host, wait)
            self._again(piece, error, wait)

    def _error(self, piece: Piece, reply: Reply) -> RegistryError:
        if reply.status in (401, 403) and piece.blob.source.login:
            return self._gate(piece).refused(reply)
        return failure(reply, piece.blob.what, piece.blob.source.place.registry)

    def _again(self, piece: Piece, error: Exception, wait: float | None = None) -> None:
        """Another try after ``wait`` seconds, or ``error`` when there were enough."""
        if piece.tries >= self._settings.tries and not piece.has_advanced:
            self._elsewhere(piece.blob, error)
            return
        piece.again()
        if wait is None:
            wait = self._settings.delay(piece.tries - 1)
        self._api.report.debug(f"{error}: trying again")
        piece.not_before = time.monotonic() + wait
        self._waiting.appendleft(piece)

    def _elsewhere(self, blob: Blob, error: Exception) -> None:
        """Another place, or ``error`` when there is none."""
        self._drop(blob)
        if isinstance(error, VerificationError):
            blob.abort()  # what came from there is not to be trusted
        while blob.others:
            other = blob.others.popleft()
            try:
                source = self._source(other, blob)
            except RegistryError as unreachable:
                self._api.report.debug(f"{unreachable.message}: passed over")
                continue
            self._api.report.debug(f"{error}: trying {host_of(source.url)}")
            blob.go_to(source)
            self._ask(blob)
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
            seconds += [piece.not_before - now for piece in self._waiting if self._is_free(piece)]
        limit = self._settings.stall_timeout
        seconds += [limit - exchange.silence() for _, exchange in self._active.values()]
        longest = max(0.0, min(seconds))
        if self._active:
            if self._multi.select(longest) == -1:
                time.sleep(min(longest, _NOTHING_TO_WAIT_ON))
        elif self._waiting:
            time.sleep(longest)


class _Taker:
    """Gives a piece what comes for it, after a look at the head."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece
        self._has_begun = False

    def __call__(self, reply: Reply, data: bytes) -> None:
        if not self._has_begun:
            self._piece.begin(reply)
            self._has_begun = True
        self._piece.write(data)
