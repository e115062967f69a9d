"""A token service for Debian's docker-registry, with a key that openssl makes.

Protocol: https://distribution.github.io/distribution/spec/auth/token/, .../jwt/ and .../oauth/.

    with TokenServer(tmp_path, users={"jane": "secret"}) as tokens:
        with serving(storage, readonly=True, auth=tokens.registry_auth) as registry:
            ...
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from fakes.registry import Logged
from fakes.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Any

_ISSUER, _SERVICE = "test-issuer", "test-registry"
_LEEWAY = 60  # seconds for which the registry takes a token that is past its life
_CERTIFICATE = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tokens"


class TokenServer(Serving):
    """Serves from entering its ``with`` block to leaving it. Attributes may be changed meanwhile.

    ``users`` maps names to passwords, ``refused`` are repositories for which nobody gets a token
    that is good, ``public`` those for which anybody does.
    """

    def __init__(
        self,
        folder: Path,
        host: str = "127.0.0.1",
        *,
        users: Mapping[str, str],
        public: Iterable[str] = (),
    ) -> None:
        self.users = dict(users)
        self.public = set(public)
        self.refused: set[str] = set()
        self.identity_tokens: set[str] = set()
        self.said: object = 300  # expires_in
        self.life: float = 300  # seconds in which the registry takes a token
        self.log: list[Logged] = []
        self.granted: list[str] = []
        self._key, self._certificate = folder / "key.pem", folder / "cert.pem"
        words = [*_CERTIFICATE.split(), "-keyout", str(self._key), "-out", str(self._certificate)]
        subprocess.run(words, check=True, capture_output=True)
        self._server = _Server((host, 0), self)

    @property
    def registry_auth(self) -> dict[str, Any]:
        """``auth`` of the registry's configuration."""
        realm = f"http://{self.host}/token"
        known = {"realm": realm, "service": _SERVICE, "issuer": _ISSUER}
        return {"token": {**known, "rootcertbundle": str(self._certificate)}}

    def answer(self, logged: Logged) -> tuple[int, dict[str, Any]]:
        """The reply to a request for a token."""
        asked = parse_qs(logged.body.decode()) if logged.body else logged.query
        if asked.get("service") != [_SERVICE]:
            return 400, _error("no such service")
        user, refusal = self._user(logged, asked)
        if refusal:
            return 401, _error(refusal)
        token = self._token(user, asked.get("scope", []))
        self.granted.append(token)
        name = "access_token" if logged.method == "POST" else "token"
        return 200, {name: token, "expires_in": self.said}

    def _user(self, logged: Logged, asked: Mapping[str, list[str]]) -> tuple[str, str]:
        """Who asks (empty: anybody), and why he is refused, if so."""
        if logged.method == "POST":
            known = asked.get("refresh_token", [""])[0] in self.identity_tokens
            wanted = asked.get("grant_type") == ["refresh_token"] and "client_id" in asked
            return ("identity", "") if known and wanted else ("", "invalid refresh token")
        if logged.authorization is None:
            return "", ""
        user, _, password = (
            base64.b64decode(logged.authorization.partition(" ")[2]).decode().partition(":")
        )
        return (user, "") if self.users.get(user) == password else ("", "incorrect password")

    def _token(self, user: str, scopes: Iterable[str]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            if name not in self.refused and (user or name in self.public):
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {
            **{"iss": _ISSUER, "sub": user, "aud": _SERVICE, "jti": uuid.uuid4().hex},
            **{"iat": now, "nbf": now - _LEEWAY, "exp": now + int(self.life) - _LEEWAY},
            "access": access,
        }
        return self._signed(claims)

    def _signed(self, claims: Mapping[str, Any]) -> str:
        """A JSON web token (RFC 7519) with the certificate in it (RFC 7515, 4.1.6)."""
        lines = self._certificate.read_text().splitlines()
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(lines[1:-1])]}
        text = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        words = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        done = subprocess.run(words, input=text.encode(), capture_output=True, check=True)
        return f"{text}.{_encoded(done.stdout)}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], tokens: TokenServer) -> None:
        self.tokens = tokens
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        headers = {name.lower(): text for name, text in self.headers.items()}
        logged = Logged(self.command, self.path, headers, body)
        self.server.tokens.log.append(logged)
        known = urlsplit(self.path).path == "/token"
        status, document = self.server.tokens.answer(logged) if known else (404, {})
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)


def _error(message: str) -> dict[str, Any]:
    return {"errors": [{"code": "UNAUTHORIZED", "message": message}]}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
