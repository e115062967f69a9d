"""throttle.py TARGET-PORT RATE [LATENCY]: a proxy on a loopback port, which is printed.

RATE bytes a second are for all connections together; with LATENCY (seconds that a request takes to
get there) they are for each. Each line on stdin is answered by one: how many requests have gone
there so far, and how many bytes have come back.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable

_CHUNK = 1 << 15


class Count:
    """What has passed so far."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0

    def there(self, data: bytes) -> None:
        """A client sends its request at once, and nothing before the reply."""
        self.requests += data.startswith((b"GET ", b"HEAD ", b"POST ", b"PUT "))

    def back(self, data: bytes) -> None:
        self.bytes += len(data)

    def tell(self) -> None:
        if sys.stdin.readline():
            print(self.requests, self.bytes, flush=True)
        else:
            asyncio.get_running_loop().remove_reader(sys.stdin)


class Line:
    """What all connections have together; a byte takes its time."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = 0.0

    async def take(self, size: int) -> None:
        self._free = max(self._free, time.monotonic()) + size / self._rate
        await asyncio.sleep(self._free - time.monotonic())


async def relay(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    line: Line,
    count: Callable[[bytes], None],
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(_CHUNK):
            await line.take(len(data))
            count(data)
            target.write(data)
            await target.drain()
    target.close()


class Far(Line):
    """Takes a while, however little it is."""

    def __init__(self, latency: float) -> None:
        super().__init__(1e12)
        self._latency = latency

    async def take(self, size: int) -> None:
        await asyncio.sleep(self._latency)


async def main(port: int, rate: float, latency: float = 0.0) -> None:
    there, shared, count = Far(latency), Line(rate), Count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        back = Line(rate) if latency else shared
        await asyncio.gather(
            relay(reader, far_writer, there, count.there),
            relay(far_reader, writer, back, count.back),
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    asyncio.get_running_loop().add_reader(sys.stdin, count.tell)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), *map(float, sys.argv[2:])))
