"""Debian's docker-registry on a loopback port."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_PATIENCE = 30.0  # seconds until it answers


@contextlib.contextmanager
def serving(
    data: Path,
    *,
    readonly: bool,
    auth: Mapping[str, Any] | None = None,
    tls: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Serve the storage at ``data`` while the block runs; gives ``127.0.0.1:PORT``.

    ``auth`` and ``tls`` are those parts of the registry's configuration.
    """
    with tempfile.TemporaryDirectory() as directory:
        port = _free_port()
        config = Path(directory) / "config.yml"
        settings = _config(data, port, readonly)
        if auth is not None:
            settings["auth"] = auth
        if tls is not None:
            settings["http"]["tls"] = tls
        config.write_text(json.dumps(settings))  # JSON is YAML
        log = Path(directory) / "log"
        with log.open("wb") as stream:
            server = subprocess.Popen(
                ["docker-registry", "serve", config],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            if not _answers(server, port):
                raise RuntimeError(f"docker-registry does not start:\n{log.read_text()[-2000:]}")
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def _config(data: Path, port: int, readonly: bool) -> dict[str, Any]:
    return {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {
            "filesystem": {"rootdirectory": str(data)},
            "maintenance": {
                "readonly": {"enabled": readonly},
                "uploadpurging": {"enabled": False},
            },
        },
        "http": {"addr": f"127.0.0.1:{port}"},
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/v2/")
            connection.getresponse()  # of any status: it may want a login, or TLS
            return True
        time.sleep(0.1)
    return False
