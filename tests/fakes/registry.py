"""A registry on loopback: images made from bytes, logins, redirects, faults, a log of requests.

    with FakeRegistry() as registry:
        layer = make_layer({"bin/hello": program(b"...")})
        image = make_image(registry, "test/hello", "latest", [layer], {"Cmd": ["/bin/hello"]})
        registry.host  # "127.0.0.1:34567", to be used in references

It speaks HTTP through real sockets, so that the client under test is run unchanged.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import socket
import ssl
import struct
import tarfile
import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from fakes.serving import Serving
from fakes.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, Union

    Blob = Union[bytes, "Zeros"]

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

_CHUNK = 64 << 10
_TICK = 0.02  # seconds between the parts of a slow body
_PART = 1 << 20
_TLS_HANDSHAKE = b"\x16"


# Images


@dataclass(frozen=True)
class Entry:
    """A member of a layer: a file with ``content``, or what ``kind`` says."""

    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    target: str = ""  # of a link
    mode: int | None = None  # 0755 for directories, else 0644
    uid: int = 0
    gid: int = 0


def directory(mode: int = 0o755) -> Entry:
    return Entry(kind=tarfile.DIRTYPE, mode=mode)


def symlink(target: str) -> Entry:
    return Entry(kind=tarfile.SYMTYPE, target=target, mode=0o777)


def hardlink(target: str) -> Entry:
    return Entry(kind=tarfile.LNKTYPE, target=target)


def program(content: bytes) -> Entry:
    return Entry(content, mode=0o755)


def make_layer(entries: Mapping[str, Entry | bytes]) -> bytes:
    """A gzip-compressed tar archive, the same bytes for the same entries. Bytes are a file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, given in entries.items():
            entry = Entry(given) if isinstance(given, bytes) else given
            member = tarfile.TarInfo(name)
            member.type, member.linkname = entry.kind, entry.target
            member.uid, member.gid = entry.uid, entry.gid
            member.mode = 0o644 if entry.mode is None else entry.mode
            member.size = len(entry.content) if entry.kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(entry.content))
    return gzip.compress(buffer.getvalue(), 6, mtime=0)


@dataclass(frozen=True)
class MadeImage:
    """Where the parts of an image are."""

    digest: str  # of the manifest
    manifest: bytes
    config: dict[str, Any]  # descriptors
    layers: tuple[dict[str, Any], ...]


def make_image(
    registry: FakeRegistry,
    repository: str,
    tag: str | None,
    layers: Sequence[bytes],
    config: Mapping[str, Any] | None = None,
    *,
    platform: str = "linux/amd64",
    docker: bool = False,
    urls: Sequence[str] = (),
) -> MadeImage:
    """Put an image of ``layers`` (gzip, zstd or plain tar) into ``registry``.

    ``config`` is the "config" object of the image configuration (Cmd, Env, User…); ``urls`` go
    into every layer's descriptor. Without a ``tag`` it has its digest only.
    """
    os_name, architecture, *variant = platform.split("/")
    document = {
        "architecture": architecture,
        "os": os_name,
        **({"variant": variant[0]} if variant else {}),
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [_digest(_uncompressed(each)) for each in layers]},
    }
    config_type, layer_type = (DOCKER_CONFIG, DOCKER_LAYER) if docker else (OCI_CONFIG, OCI_LAYER)
    config_descriptor = registry.add_blob(json.dumps(document).encode(), config_type)
    descriptors = [registry.add_blob(each, layer_type + _suffix(each, docker)) for each in layers]
    if urls:
        descriptors = [{**each, "urls": list(urls)} for each in descriptors]
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": config_descriptor,
        "layers": descriptors,
    }
    raw = json.dumps(manifest).encode()
    digest = registry.add_manifest(repository, tag, raw, str(manifest["mediaType"]))
    return MadeImage(digest, raw, config_descriptor, tuple(descriptors))


def make_index(
    registry: FakeRegistry,
    repository: str,
    tag: str | None,
    images: Sequence[tuple[str | None, str]],
    *,
    docker: bool = False,
) -> str:
    """An index of (platform, digest of a manifest or an index in ``registry``); its digest."""
    entries = []
    for platform, digest in images:
        raw, media_type = registry.manifests[repository, digest]
        entry: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(raw)}
        if platform is not None:
            names = ("os", "architecture", "variant")
            entry["platform"] = dict(zip(names, platform.split("/")))
        entries.append(entry)
    media_type = DOCKER_INDEX if docker else OCI_INDEX
    raw = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()
    return registry.add_manifest(repository, tag, raw, media_type)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _uncompressed(layer: bytes) -> bytes:
    if layer.startswith(b"\x1f\x8b"):
        return gzip.decompress(layer)
    if layer.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(layer)
    return layer


def _suffix(layer: bytes, docker: bool) -> str:
    joint = "." if docker else "+"
    if layer.startswith(b"\x1f\x8b"):
        return f"{joint}gzip"
    return f"{joint}zstd" if layer.startswith(b"\x28\xb5\x2f\xfd") else ""


class Zeros:
    """A blob of ``size`` zero bytes that takes no memory."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def chunks(self) -> Iterator[bytes]:
        chunk = bytes(_CHUNK)
        for start in range(0, self.size, _CHUNK):
            yield chunk[: min(_CHUNK, self.size - start)]

    def digest(self) -> str:
        running = hashlib.sha256()
        for chunk in self.chunks():
            running.update(chunk)
        return f"sha256:{running.hexdigest()}"


# The server


@dataclass
class Fault:
    """What goes wrong with replies to some path; ``times`` None: each time."""

    times: int | None = None
    status: int | None = None  # this status and ``body`` in place of the right reply
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)  # besides the usual; "": not that one
    truncate: int | None = None  # close the connection after so many bytes of the body
    stall: int | None = None  # say nothing more after so many bytes of the body
    flip: int | None = None  # change the byte at this place of the body
    append: bytes = b""  # after the right body, as a part of it
    drop: bool = False  # close the connection without a reply
    take: int | None = None  # the same, after so many bytes of the request's body were taken
    reset: bool = False  # the same, with a TCP reset
    skip: int = 0  # so many requests come before it
    together: threading.Barrier | None = None  # 500 unless so many ask at the same time
    pace: int | None = None  # so many bytes of the body a second
    chunked: bool = False  # in chunks, without a length


@dataclass(frozen=True)
class Logged:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str  # with the query
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)


class FakeRegistry(Serving):
    """Serves from entering its ``with`` block to leaving it. Attributes may be changed meanwhile.

    ``auth``: "" (open), "basic", or "bearer" with the token service at ``/token``. ``users`` maps
    names to passwords; repositories in ``private`` are for them, the others for anyone with a
    token. ``tls`` is a server-side SSLContext.
    """

    @property
    def handler(self) -> type[RegistryHandler]:
        """What answers requests."""
        return RegistryHandler

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        auth: str = "",
        users: Mapping[str, str] | None = None,
        private: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.auth = auth
        self.users = dict(users or {})
        self.private = set(private)
        self.identity_tokens: set[str] = set()
        self.challenge = ""  # in place of the usual WWW-Authenticate; {url} and {repository}
        self.token_field = "token"
        self.token_lifetime: object = 300
        self.ranges = True  # whether a blob can be asked for in parts
        self.reading_pause = 0.0  # seconds after each _PART of a request's body
        self.redirect_blobs = ""  # Location of every blob, with {digest}; empty: served here
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.blobs: dict[str, Blob] = {}
        self.log: list[Logged] = []
        self.tokens: dict[str, str] = {}  # token -> repository
        self.token_numbers = itertools.count()
        self.tls = tls
        self._faults: list[tuple[str, Fault]] = []
        self._lock = threading.Lock()
        self.uploads = Uploads(self.blobs)
        self.closing = threading.Event()
        self._server = _Server((host, 0), self, self.handler)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def address(self) -> tuple[str, int]:
        return str(self._server.server_address[0]), self.port

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def stop_taking(self) -> None:
        self.closing.set()

    def end_connections(self) -> None:
        self._server.close_connections()

    def add_blob(self, data: Blob, media_type: str = "application/octet-stream") -> dict[str, Any]:
        """Store ``data``; its descriptor. Blobs are shared by all repositories."""
        digest = _digest(data) if isinstance(data, bytes) else data.digest()
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def add_manifest(self, repository: str, tag: str | None, raw: bytes, media_type: str) -> str:
        """Store a document under its digest and ``tag``; its digest."""
        digest = _digest(raw)
        self.manifests[repository, digest] = (raw, media_type)
        if tag is not None:
            self.manifests[repository, tag] = (raw, media_type)
        return digest

    def fault(self, part: str, fault: Fault) -> None:
        """From now on ``fault`` happens to paths that contain ``part``."""
        self._faults.append((part, fault))

    def clear_faults(self) -> None:
        """From now on all goes well."""
        self._faults.clear()

    def forget_tokens(self) -> None:
        """No token that was given out is good any more."""
        self.tokens.clear()

    def requests(self, part: str) -> list[Logged]:
        """The requests so far whose path contains ``part``."""
        return [logged for logged in list(self.log) if part in logged.path]

    def next_fault(self, path: str) -> Fault:
        with self._lock:
            for part, fault in self._faults:
                if part in path and fault.times != 0:
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return Fault(times=0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], registry: FakeRegistry, handler: type[RegistryHandler]
    ) -> None:
        self.registry = registry
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End the threads that wait for another request on a connection kept open."""
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class RegistryHandler(BaseHTTPRequestHandler):
    """Answers as its server's FakeRegistry says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    # Connections

    def setup(self) -> None:
        self._encrypted = False
        first = self.request.recv(1, socket.MSG_PEEK)
        context = self.server.registry.tls
        if context is not None and first == _TLS_HANDSHAKE:
            self.request = context.wrap_socket(self.request, server_side=True)
            self._encrypted = True
        super().setup()
        self._wrong_protocol = (first == _TLS_HANDSHAKE) != (context is not None)

    def handle(self) -> None:
        if self._wrong_protocol:
            # As Go's server does on a TLS port; on a plain one it complains of the request.
            self.request.recv(_CHUNK)
            text = b"Client sent an HTTP request to an HTTPS server.\n"
            self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n" + text)
            return
        super().handle()

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            if self._encrypted:
                self.request.close()

    def log_message(self, format: str, *args: object) -> None:
        pass

    # Requests

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        left = int(self.headers.get("Content-Length", 0))
        body = bytearray()
        while left > len(body):
            part = self.rfile.read(min(left - len(body), _PART))
            if not part:  # the client is gone
                self.close_connection = True
                return
            body += part
            time.sleep(self.server.registry.reading_pause)
        self._answer(bytes(body))

    do_HEAD = do_GET
    do_PATCH = do_PUT = do_POST

    def _answer(self, body: bytes) -> None:
        registry = self.server.registry
        if "://" in self.path:  # through a proxy
            parts = urlsplit(self.path)
            self.path = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {name.lower(): text for name, text in self.headers.items()}
        logged = Logged(self.command, self.path, headers, body)
        registry.log.append(logged)
        fault = registry.next_fault(self.path)
        if fault.take is not None:
            self._reply(replace(logged, body=body[: fault.take]))
            self._hang_up(False)
        elif fault.together is not None and not _met(fault.together):
            self._send(500, b"nobody else came", {}, fault)
        elif fault.drop or fault.reset:
            self._hang_up(fault.reset)
        elif fault.status is not None:
            self._send(fault.status, fault.body, fault.headers, fault)
        else:
            self._send(*self.reply(logged), fault)

    def reply(self, logged: Logged) -> tuple[int, Blob, Mapping[str, str]]:
        """The right reply: its status, body and headers."""
        return self._ranged(logged, *self._reply(logged))

    def _ranged(
        self, logged: Logged, status: int, body: Blob, headers: Mapping[str, str]
    ) -> tuple[int, Blob, Mapping[str, str]]:
        """What is left of a reply for who asked for a part: RFC 9110, 14."""
        given = re.fullmatch(r"bytes=(\d+)-(\d+)", logged.headers.get("range", ""))
        if status != 200 or given is None or not self.server.registry.ranges:
            return status, body, headers
        start, end = int(given.group(1)), min(int(given.group(2)) + 1, len(body))
        if start >= end:
            return 416, b"", {"Content-Range": f"bytes */{len(body)}"}
        part = body[start:end] if isinstance(body, bytes) else Zeros(end - start)
        return 206, part, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}

    def _reply(self, logged: Logged) -> tuple[int, Blob, Mapping[str, str]]:
        path = urlsplit(logged.path).path
        if path == "/token":
            return self._token(logged)
        if path.startswith("/storage/"):
            if logged.authorization is not None:  # as S3 does for signed URLs
                return 400, b"<Error><Code>InvalidArgument</Code></Error>", {}
            return self._blob(path.rpartition("/")[2])
        upload = re.fullmatch(r"/v2/(.+)/blobs/uploads/(\d*)", path)
        if upload is not None:
            refusal = self._refusal(upload[1], logged.authorization or "")
            return refusal or self.server.registry.uploads.reply(logged, upload[1], upload[2])
        match = re.fullmatch(r"/v2/(?:(.+)/(manifests|blobs|tags)/([^/]+))?", path)
        if match is None:
            return 404, b"404 page not found\n", {"Content-Type": "text/plain"}
        repository, kind, name = match.groups()
        refusal = self._refusal(repository, logged.authorization or "")
        if refusal is not None:
            return refusal
        if kind is None:
            return 200, b"{}", {"Content-Type": "application/json"}
        if kind == "manifests" and logged.method == "PUT":
            media_type = logged.headers["content-type"]
            tag = None if ":" in name else name
            digest = self.server.registry.add_manifest(repository, tag, logged.body, media_type)
            return 201, b"", {"Docker-Content-Digest": digest}
        if kind == "manifests":
            return self._manifest(repository, name)
        if kind == "tags":
            return self._tags(repository)
        if self.server.registry.redirect_blobs:
            location = self.server.registry.redirect_blobs.format(digest=name)
            return 307, b"", {"Location": location}
        return self._blob(name)

    def _manifest(self, repository: str, name: str) -> tuple[int, Blob, Mapping[str, str]]:
        manifests = self.server.registry.manifests
        if (repository, name) not in manifests:
            known = any(each == repository for each, _ in manifests)
            return _error(404, "MANIFEST_UNKNOWN" if known else "NAME_UNKNOWN", "not known here")
        raw, media_type = manifests[repository, name]
        return 200, raw, {"Content-Type": media_type, "Docker-Content-Digest": _digest(raw)}

    def _tags(self, repository: str) -> tuple[int, Blob, Mapping[str, str]]:
        names = [name for each, name in self.server.registry.manifests if each == repository]
        if not names:
            return _error(404, "NAME_UNKNOWN", "not known here")
        tags = [name for name in names if ":" not in name]
        body = json.dumps({"name": repository, "tags": tags}).encode()
        return 200, body, {"Content-Type": "application/json"}

    def _blob(self, digest: str) -> tuple[int, Blob, Mapping[str, str]]:
        blob = self.server.registry.blobs.get(digest)
        if blob is None:
            return _error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return 200, blob, {"Content-Type": "application/octet-stream"}

    # Logins

    def _refusal(
        self, repository: str | None, authorization: str
    ) -> tuple[int, bytes, Mapping[str, str]] | None:
        registry = self.server.registry
        if not registry.auth:
            return None
        scheme, _, secret = authorization.partition(" ")
        if registry.auth == "basic" and scheme == "Basic" and self._user(secret):
            return None
        granted = registry.tokens.get(secret) if scheme == "Bearer" else None
        if registry.auth == "bearer" and granted is not None and repository in (None, granted):
            return None
        challenge = registry.challenge or (
            'Basic realm="fake"'
            if registry.auth == "basic"
            else 'Bearer realm="{url}/token",service="fake",scope="repository:{repository}:pull"'
        )
        status, body, headers = _error(401, "UNAUTHORIZED", "authentication required")
        text = challenge.format(url=registry.url, repository=repository or "")
        return status, body, {**headers, "WWW-Authenticate": text}

    def _user(self, secret: str) -> str | None:
        user, _, password = base64.b64decode(secret).decode().partition(":")
        return user if self.server.registry.users.get(user) == password else None

    def _token(self, logged: Logged) -> tuple[int, bytes, Mapping[str, str]]:
        registry = self.server.registry
        asked = parse_qs(logged.body.decode()) if logged.body else logged.query
        user: str | None = None
        if "refresh_token" in asked:
            if asked["refresh_token"][0] not in registry.identity_tokens:
                return _error(401, "UNAUTHORIZED", "unknown identity token")
            user = "identity"
        elif logged.authorization is not None:
            user = self._user(logged.authorization.partition(" ")[2])
            if user is None:
                return _error(401, "UNAUTHORIZED", "incorrect username or password")
        repository = asked.get("scope", ["::"])[0].split(":")[1]
        if repository in registry.private and user is None:
            return _error(401, "DENIED", "requested access to the resource is denied")
        token = f"token-{next(registry.token_numbers)}-{'x' * 40}"
        registry.tokens[token] = repository
        reply = {registry.token_field: token, "expires_in": registry.token_lifetime}
        return 200, json.dumps(reply).encode(), {"Content-Type": "application/json"}

    # Bytes

    def _send(self, status: int, body: Blob, headers: Mapping[str, str], fault: Fault) -> None:
        chunks = iter((body,)) if isinstance(body, bytes) else body.chunks()
        length = len(body) + len(fault.append)
        sent = {"Content-Length": str(length), **headers}
        if fault.chunked:
            sent.update({"Content-Length": "", "Transfer-Encoding": "chunked"})
        sent.update(fault.headers)
        self.send_response(status)
        for name, text in sent.items():
            if text:
                self.send_header(name, text)
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = length
        if fault.truncate is not None or fault.stall is not None:
            limit = fault.truncate if fault.truncate is not None else fault.stall or 0
        self._write(chunks, fault, limit)
        if fault.stall is not None:
            self.wfile.flush()
            self.server.registry.closing.wait()
        if limit < length or fault.stall is not None:
            self._hang_up(False)

    def _write(self, chunks: Iterable[bytes], fault: Fault, limit: int) -> None:
        position = 0
        for whole in (*chunks, fault.append) if fault.append else chunks:
            chunk = bytearray(whole[: limit - position])
            if fault.flip is not None and position <= fault.flip < position + len(chunk):
                chunk[fault.flip - position] ^= 0xFF
            self._put(bytes(chunk), fault)
            position += len(chunk)
        if fault.chunked and position == limit and fault.truncate is None:
            self.wfile.write(b"0\r\n\r\n")

    def _put(self, data: bytes, fault: Fault) -> None:
        step = _CHUNK if fault.pace is None else max(1, int(fault.pace * _TICK))
        for start in range(0, len(data), step):
            part = data[start : start + step]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if fault.chunked else part)
            if fault.pace is not None:
                self.server.registry.closing.wait(_TICK)

    def _hang_up(self, reset: bool) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())


def _met(barrier: threading.Barrier) -> bool:
    try:
        barrier.wait()
    except threading.BrokenBarrierError:
        return False
    return True


def _error(status: int, code: str, message: str) -> tuple[int, bytes, Mapping[str, str]]:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return status, body, {"Content-Type": "application/json"}
