"""The part of a FakeRegistry that takes blobs: https://github.com/opencontainers/distribution-spec."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from fakes.registry import Logged

    Reply = tuple[int, bytes, Mapping[str, str]]


class Uploads:
    """Uploads that are under way; what is complete comes into ``blobs``."""

    def __init__(self, blobs: dict[str, Any]) -> None:
        self._blobs = blobs
        self._open: dict[str, bytearray] = {}
        self._numbers = itertools.count()
        self.location = "{number}?state=x"  # relative to the URL that uploads begin at
        self.least_chunk = 0
        self.at_most = 0  # bytes that are taken of a request; 0: all
        self.counts = True  # whether the replies to PATCH say what is there
        self.elsewhere: dict[str, tuple[str, bytes]] = {}  # digest -> repository, blob

    def forget(self) -> None:
        """No upload that has begun is known any more."""
        self._open.clear()

    def reply(self, logged: Logged, repository: str, number: str) -> Reply:
        if logged.method == "POST" and not number:
            return self._begin(logged, repository)
        if number not in self._open:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        if logged.method == "PATCH":
            return self._append(logged, number)
        if logged.method == "PUT":
            return self._finish(logged, number)
        return 204, b"", self._state(number)

    def _begin(self, logged: Logged, repository: str) -> Reply:
        digest = logged.query.get("mount", [""])[0]
        source, blob = self.elsewhere.get(digest, ("", b""))
        if source and logged.query["from"] == [source]:
            self._blobs[digest] = blob
            return 201, b"", {}
        number = str(next(self._numbers))
        self._open[number] = bytearray()
        headers = {"Location": self.location.format(number=number, repository=repository)}
        if self.least_chunk:
            headers["OCI-Chunk-Min-Length"] = str(self.least_chunk)
        return 202, b"", headers

    def _append(self, logged: Logged, number: str) -> Reply:
        match = re.fullmatch(r"(\d+)-\d+", logged.headers.get("content-range", "0-0"))
        assert match is not None
        if int(match[1]) != len(self._open[number]):
            return 416, b"", self._state(number)
        self._open[number] += logged.body[: self.at_most or None]
        return 202, b"", self._state(number) if self.counts else {"Range": "0-0"}

    def _finish(self, logged: Logged, number: str) -> Reply:
        data = bytes(self._open[number] + logged.body)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if logged.query["digest"] != [digest]:
            return _error(400, "DIGEST_INVALID")
        del self._open[number]
        self._blobs[digest] = data
        return 201, b"", {"Docker-Content-Digest": digest}

    def _state(self, number: str) -> Mapping[str, str]:
        return {"Range": f"0-{max(0, len(self._open[number]) - 1)}"}


def _error(status: int, code: str) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": "no"}]}).encode()
    return status, body, {"Content-Type": "application/json"}
