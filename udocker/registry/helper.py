"""Credential helpers: programs that keep logins for Docker and podman.

Protocol: https://github.com/docker/docker-credential-helpers. ``docker-credential-NAME get`` reads
the server from its standard input and writes a JSON object. Secrets pass through pipes only.
"""

from __future__ import annotations

import json
import os
import re

from udocker.errors import HelperError
from udocker.registry.credential import Credential

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_HUB_SERVER = "https://index.docker.io/v1/"
_NOT_FOUND = "credentials not found"  # in all helpers: "… in native keychain"
_TOKEN_USER = "<token>"
_LIMIT = 1 << 20  # bytes of a program's output
_QUOTE_LENGTH = 200


class Helper:
    """The program ``docker-credential-NAME``; ``seconds`` is how long it may take."""

    def __init__(self, name: str, environ: Mapping[str, str], seconds: float = 30.0) -> None:
        self.program = f"docker-credential-{name}"
        self._name = name
        self._environ = environ
        self._seconds = seconds

    def get(self, registry: str) -> Credential | None:
        """The login that is kept for ``registry``, None without one. Raises HelperError."""
        code, output, said = self._run("get", _server(registry))
        if code != 0:
            if _NOT_FOUND in output.lower():
                return None
            raise self._failed(code, output, said)
        try:
            data = json.loads(output)
            user, secret = data.get("Username") or "", data.get("Secret") or ""
            if not isinstance(user, str) or not isinstance(secret, str):
                raise ValueError
        except (ValueError, RecursionError, AttributeError):
            raise HelperError(
                f"{self.program} does not answer with a user name and a secret", hint=self._hint
            ) from None
        if user == _TOKEN_USER:
            return Credential(identity_token=secret) if secret else None
        return Credential(user, secret) if user and secret else None

    def store(self, registry: str, credential: Credential) -> None:
        """Keep ``credential`` for ``registry``. Raises HelperError."""
        entry = {
            "ServerURL": _server(registry),
            "Username": credential.user,
            "Secret": credential.password,
        }
        code, output, said = self._run("store", json.dumps(entry))
        if code != 0:
            for secret in (credential.password, credential.pair):
                output, said = output.replace(secret, "…"), said.replace(secret, "…")
            raise self._failed(code, output, said)

    def erase(self, registry: str) -> None:
        """Forget the login for ``registry``. Raises HelperError."""
        code, output, said = self._run("erase", _server(registry))
        if code != 0 and _NOT_FOUND not in output.lower():
            raise self._failed(code, output, said)

    @property
    def _hint(self) -> str:
        return f"run {self.program} list, or take it out of the file of logins"

    def _run(self, action: str, given: str) -> tuple[int, str, str]:
        """The exit code of the program, and what it wrote. Raises HelperError."""
        import contextlib
        import signal
        import subprocess

        path = self._found()
        try:
            process = subprocess.Popen(
                [path, action],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(self._environ),
                start_new_session=True,  # so that its children can be ended with it
            )
        except OSError as error:
            raise HelperError(
                f"cannot run {self.program}: {error.strerror}", hint=self._hint
            ) from error
        try:
            output, said = process.communicate(
                given.encode("utf-8", "surrogateescape"), timeout=self._seconds
            )
        except subprocess.TimeoutExpired:
            raise HelperError(
                f"{self.program} does not answer within {self._seconds:.0f} s", hint=self._hint
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()
        texts = [raw[:_LIMIT].decode("utf-8", "replace") for raw in (output, said)]
        return process.returncode, texts[0], texts[1]

    def _found(self) -> str:
        """The path of the program: from absolute directories of PATH, never from here."""
        if not _NAME.fullmatch(self._name):
            raise HelperError(
                f"not the name of a credential helper: {self._name[:80]!r}",
                hint="names look like secretservice, for docker-credential-secretservice",
            )
        for folder in self._environ.get("PATH", "").split(":"):
            path = f"{folder}/{self.program}"
            if folder.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        raise HelperError(
            f"the credential helper {self.program} is not in PATH",
            hint="install it, or take it out of the file of logins",
        )

    def _failed(self, code: int, output: str, said: str) -> HelperError:
        """The error for a bad end; an output in JSON may hold a secret and is not quoted."""
        first = next((text for text in (output.strip(), said.strip()) if text), "")
        line = "" if first.startswith("{") else first.splitlines()[0] if first else ""
        line = "".join(c for c in line if c.isprintable())[:_QUOTE_LENGTH]
        return HelperError(
            f"{self.program} failed{f' with status {code}' if not line else f': {line}'}",
            hint=self._hint,
        )


def _server(registry: str) -> str:
    """How helpers name ``registry``."""
    return _HUB_SERVER if registry == "docker.io" else registry
