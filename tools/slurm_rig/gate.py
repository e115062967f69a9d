"""The first process of a virtual host: it starts what others ask for, as those who ask.

A request comes over a unix socket: words, environment and directory, with the three standard
streams; the answer is the exit status. Whoever goes away takes the command along. Who asks is what
the kernel says (SO_PEERCRED), so nobody becomes anybody else.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import selectors
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

_LIMIT = 1 << 20  # bytes of a request
_UCRED = struct.Struct("3i")
# With a tree the host has the programs of that; files of this machine, and where it keeps others,
# are there as well.
_SET_UP = """
hostname "$2"
if [ -e "$1/tree" ]; then
    tree=$(readlink -f "$1/tree")
    mount --bind "$tree" "$tree"
    for each in dev sys var/tmp opt home; do
        mkdir -p "$tree/$each"
        mount --rbind "/$each" "$tree/$each"
    done
    for each in passwd group; do mount --bind "/etc/$each" "$tree/etc/$each"; done
    mkdir -p "$tree/old"
    cd "$tree"
    pivot_root . old
    cd /
    PATH=/usr/sbin:/usr/bin
fi
ip link set lo up
mount -t proc proc /proc
[ ! -e /old ] || umount -l /old
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 shm /dev/shm
mkdir -p /etc/slurm
mount --bind "$1/etc" /etc/slurm
[ ! -e "/etc/slurm/slurm.conf.$2" ] || mount --bind "/etc/slurm/slurm.conf.$2" /etc/slurm/slurm.conf
mount --bind "$1/etc/hosts" /etc/hosts
"""


def path(directory: Path, host: str) -> str:
    return str(directory / "run" / f"{host}.gate")


def ask(directory: Path, host: str, command: list[str]) -> int:
    """Run ``command`` there, with the streams of this process; its exit status."""
    request = {"argv": command, "env": dict(os.environ), "cwd": os.getcwd()}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.connect(path(directory, host))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LIMIT)
        socket.send_fds(link, [json.dumps(request).encode()], [0, 1, 2])
        answer = link.recv(16)
    return int(answer) if answer else 255


class _Gate:
    def __init__(self, place: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, socket.socket] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(place)
        os.chmod(place, 0o666)
        self._listener.listen(64)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        # A signal writes to the one end, and the loop wakes up by the other.
        wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)[::-1]
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._selector.register(self._woken, selectors.EVENT_READ, self._reap)

    def serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                key.data(key.fileobj)

    def _accept(self, _: object) -> None:
        link, _address = self._listener.accept()
        self._selector.register(link, selectors.EVENT_READ, self._read)

    def _read(self, link: socket.socket) -> None:
        """A request, or the end of one who had asked."""
        data, streams, _, _ = socket.recv_fds(link, _LIMIT, 3)
        if data and link not in self._children.values():
            child = os.fork()
            if child == 0:
                _become(link, data, streams)
            self._children[child] = link
        else:
            for child, other in self._children.items():
                if other is link:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child, signal.SIGKILL)
            self._selector.unregister(link)
            link.close()
        for stream in streams:
            os.close(stream)

    def _reap(self, _: object) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 1 << 16)
        with contextlib.suppress(ChildProcessError):
            while True:
                child, status = os.waitpid(-1, os.WNOHANG)
                if child == 0:
                    return
                link = self._children.pop(child, None)
                if link is not None and link.fileno() >= 0:
                    code = os.waitstatus_to_exitcode(status)
                    with contextlib.suppress(OSError):
                        link.send(str(code if code >= 0 else 128 - code).encode())
                    self._selector.unregister(link)
                    link.close()


def _become(link: socket.socket, data: bytes, streams: list[int]) -> None:
    try:
        _, uid, gid = _UCRED.unpack(
            link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        request = json.loads(data)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        with contextlib.suppress(KeyError):
            os.initgroups(pwd.getpwuid(uid).pw_name, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        os.chdir(request["cwd"])
        os.execvpe(request["argv"][0], request["argv"], request["env"])
    except (OSError, ValueError, KeyError) as error:
        os.write(2, f"slurm: {error}\n".encode())
    finally:
        os._exit(127)


def main(directory: Path, host: str) -> None:
    """In namespaces of its own; says "up" on standard output when it takes requests."""
    subprocess.run(["sh", "-ec", _SET_UP, "sh", str(directory), host], check=True)
    os.chdir("/")
    gate = _Gate(path(directory, host))
    os.write(1, b"up\n")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    gate.serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
