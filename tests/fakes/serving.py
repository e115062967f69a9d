"""Servers of tests, that serve in a thread while a block runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from http.server import HTTPServer
    from types import TracebackType

AnyServing = TypeVar("AnyServing", bound="Serving")


class Serving:
    """Has a ``_server``."""

    _server: HTTPServer
    _thread: threading.Thread

    @property
    def host(self) -> str:
        """host:port, as references name it."""
        address, port = self._server.server_address[:2]
        return f"{address!s}:{port}"

    def __enter__(self: AnyServing) -> AnyServing:
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop_taking()
        self._server.shutdown()
        self.end_connections()
        self._server.server_close()
        self._thread.join()

    def stop_taking(self) -> None:
        """What waits on purpose is to wait no more."""

    def end_connections(self) -> None:
        """Nothing new comes; what is kept open is to be closed."""
