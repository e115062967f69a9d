"""answered.py COMMAND...: start a server on a free port, which {} in COMMAND stands for.

Ends when it answers a request, and then the server is killed.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time

_PATIENCE = 120.0  # seconds


def main(command: list[str]) -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    words = [word.replace("{}", str(port)) for word in command]
    server = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + _PATIENCE
    try:
        while time.monotonic() < end and server.poll() is None:
            if _answers(port):
                return 0
            time.sleep(0.005)
        return 1
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/v2/models/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
