"""Requests per second of a web server in Java, in modes beside each other, asked by wrk."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bencher.cases import Ground, must

MODES = "N1,F3,P1"
LEAST = 0.9  # of the first mode's requests per second that F3 must have
_EXAMPLES = "/examples"
REQUESTS = {
    "a servlet": f"{_EXAMPLES}/servlets/servlet/HelloWorldExample",
    "a page of JSP": f"{_EXAMPLES}/jsp/dates/date.jsp",
    "a file": f"{_EXAMPLES}/index.html",
}
_CLIENTS = ("-t1", "-c16")
_SECONDS = 1  # that one measurement takes: many short ones, for the host may have other work
_WARM = 8  # seconds of each kind before: the JVM compiles meanwhile
_PATIENCE = 120.0  # seconds that a server may take to answer at first
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """Tomcat in a mode, which runs; what it did in each round, by kind of request."""

    mode: str
    port: int
    pid: int
    rates: dict[str, list[float]] = field(default_factory=dict)  # requests per second
    costs: dict[str, list[float]] = field(default_factory=dict)  # its processor's µs per request


@dataclass(frozen=True)
class Rate:
    """Of one kind of request: medians; the ratios are medians of those within a round."""

    request: str
    mode: str
    rate: float  # requests per second
    cost: float  # microseconds of the server's processor time for one
    rate_ratio: float
    cost_ratio: float


def measure(ground: Ground, layout: Path, modes: Sequence[str], rounds: int) -> list[Rate]:
    """Ask the servers in turn, ``rounds`` times after one to warm up; the order turns each round.

    ``layout`` has the image. SystemExit when something fails, or any answer is no good one.
    """
    if shutil.which("wrk") is None:
        raise SystemExit("bench: wrk is missing: apt install wrk")
    if not layout.is_dir():
        raise SystemExit(f"bench: {layout} is missing: tools/images --console makes it")
    environment = ground.environment(UDOCKER_DIR=str(ground.scratch / "console"))
    must([ground.udocker, "pull", "-q", f"oci:{layout}:tomcat:10"], environment)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(_serving(ground, environment, mode)) for mode in modes]
        for number in range(rounds + 1):
            turn = number % len(servers)
            for request, path in REQUESTS.items():
                for server in servers[turn:] + servers[:turn]:
                    _ask(server, request, path, counts=number > 0)
            print(f"  round {number} of {rounds}", file=sys.stderr, flush=True)
    return rates_of(servers)


@contextlib.contextmanager
def _serving(ground: Ground, environment: dict[str, str], mode: str) -> Iterator[Server]:
    name = f"console-{mode}"
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    made = [ground.udocker, "run", "-q", f"--execmode={mode}", name]
    change = f"cp -r webapps.dist/examples webapps && sed -i s/8080/{port}/ conf/server.xml"
    must([ground.udocker, "create", "-q", f"--name={name}", "tomcat:10"], environment)
    must([*made, "sh", "-c", change], environment)
    must([*made[:-1], "-d", "-e", "CATALINA_OPTS=-Xmx256m", name], environment)
    try:
        told = [ground.udocker, "inspect", "--format={{.State.Pid}}", name]
        for path in REQUESTS.values():  # JSP is compiled by the first request
            _wait(f"http://127.0.0.1:{port}{path}")
        yield Server(mode, port, int(must(told, environment)))
    finally:
        must([ground.udocker, "rm", "-f", name], environment)


def _wait(url: str) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=_PATIENCE):
                return
        except OSError as error:
            if time.monotonic() > end:
                raise SystemExit(f"bench: {url} does not answer: {error}") from error
            time.sleep(0.2)


def _ask(server: Server, request: str, path: str, *, counts: bool) -> None:
    url = f"http://127.0.0.1:{server.port}{path}"
    seconds = _SECONDS if counts else _WARM
    before = _processor(server.pid)
    done = subprocess.run(
        ["wrk", *_CLIENTS, f"-d{seconds}s", url], capture_output=True, text=True, check=False
    )
    used = _processor(server.pid) - before
    number, rate = answered(done.stdout)
    if done.returncode != 0 or not number:
        raise SystemExit(f"bench: {server.mode}: wrk {url}:\n{done.stdout}{done.stderr}")
    if counts:
        server.rates.setdefault(request, []).append(rate)
        server.costs.setdefault(request, []).append(used / number * 1e6)


def answered(text: str) -> tuple[int, float]:
    """Requests, and those per second, of what wrk printed; zeros where any had no good answer."""
    number = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec: *([\d.]+)", text)
    bad = "Non-2xx" in text or "Socket errors" in text
    return (0, 0.0) if bad or not (number and rate) else (int(number[1]), float(rate[1]))


def _processor(pid: int) -> float:
    """Seconds of processor time that a process has used, and those below it: P1 has a tracer."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / _TICKS + sum(_processor(int(p)) for p in below)


def rates_of(servers: Sequence[Server]) -> list[Rate]:
    """What the servers did, beside the first."""
    first = servers[0]
    return [
        Rate(
            request,
            server.mode,
            statistics.median(server.rates[request]),
            statistics.median(server.costs[request]),
            _ratio(server.rates[request], first.rates[request]),
            _ratio(server.costs[request], first.costs[request]),
        )
        for request in first.rates
        for server in servers
    ]


def _ratio(these: list[float], those: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(these, those))


def table(rates: Sequence[Rate]) -> str:
    """A line for each request and mode, then the means; F3's has the bar where N1 is first.

    One JVM compiles its programs otherwise than the next, so one kind of request tells little.
    """
    lines = [
        "A web server in Java (Tomcat), 16 clients",
        f"  {'':24} {'requests/s':>11} {'x':>6} {'CPU µs each':>12} {'x':>6}",
    ]
    for row in rates:
        lines.append(
            f"  {row.request + ', ' + row.mode:24} {row.rate:11.0f} {row.rate_ratio:6.2f}"
            f" {row.cost:12.1f} {row.cost_ratio:6.2f}"
        )
    modes = list(dict.fromkeys(row.mode for row in rates))
    for mode in modes[1:]:
        rate = statistics.geometric_mean(r.rate_ratio for r in rates if r.mode == mode)
        cost = statistics.geometric_mean(r.cost_ratio for r in rates if r.mode == mode)
        verdict = ""
        if (modes[0], mode) == ("N1", "F3"):
            verdict = f"  (at least {LEAST:g})" + ("" if rate >= LEAST else "  MISSED")
        name = f"geometric mean, {mode}"
        lines.append(f"  {name:24} {'':11} {rate:6.2f} {'':12} {cost:6.2f}{verdict}")
    return "\n".join(lines)
