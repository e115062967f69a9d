"""throttle.py TARGET-PORT RATE [LATENCY]: a proxy on a loopback port, which is printed.

RATE bytes a second are for all connections together; with LATENCY (seconds that a request takes to
get there) they are for each.
"""

import asyncio
import contextlib
import sys
import time

_CHUNK = 1 << 15


class Line:
    """What all connections have together; a byte takes its time."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = 0.0

    async def take(self, size: int) -> None:
        self._free = max(self._free, time.monotonic()) + size / self._rate
        await asyncio.sleep(self._free - time.monotonic())


async def relay(source: asyncio.StreamReader, target: asyncio.StreamWriter, line: Line) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(_CHUNK):
            await line.take(len(data))
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
    there, shared = Far(latency), Line(rate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        back = Line(rate) if latency else shared
        await asyncio.gather(relay(reader, far_writer, there), relay(far_reader, writer, back))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), *map(float, sys.argv[2:])))
