"""Which program runs images on which host; and what it costs, beside udocker.

Hosts that forbid something are made of this one, as for the tests (tests/builders/confinement).
Each program is given its images where nothing is forbidden, so what is told is of running alone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bencher.cases import Ground, must
from bencher.engines import WORKLOADS
from bencher.measure import Contender, Row, Stopwatch, interleave, rows
from bencher.peers import DYNAMIC, PEERS, STATIC, Camp, Peer, runs

_TOP = Path(__file__).resolve().parents[2]
_TESTS = _TOP / "tests"
# What a host is called, and what of ``builders.confinement`` makes it.
HOSTS = {
    "nothing forbidden": "",
    "no user namespaces, no setuid": "no-user-namespaces",
    "no setuid programs": "no-new-privileges",
    "no ptrace": "no-tracing",
    "no seccomp filters": "no-filters",
    "in a container of Docker": "docker",
    "home not writable": "",
}
_UNWRITABLE = {"home not writable": "/usr"}
COSTS = {
    "Start of true": "true",
    "find /usr": WORKLOADS["find /"].replace("/ -xdev", "/usr"),
    "200 shell forks": WORKLOADS["200 shell forks"],
}
YES, PARTLY, NO = "yes", "static", "no"


@dataclass(frozen=True)
class Cell:
    """What a program did on a host: ``YES`` for both images, ``PARTLY`` for the static one."""

    peer: str
    host: str
    verdict: str
    how: str = ""  # udocker's mode there


def present(camp: Camp) -> list[Peer]:
    """The programs that are here, with their images; the others are named on stderr."""
    found = []
    for peer in PEERS:
        if camp.find(peer.program):
            peer.prepare(camp)
            found.append(peer)
        else:
            print(f"bench: {peer.name} is left out: no {peer.program}", file=sys.stderr)
    return found


def look(camp: Camp, peers: Sequence[Peer]) -> list[Cell]:
    """Try each program on each host."""
    cells = []
    for host, kinds in HOSTS.items():
        print(f"bench: {host}", file=sys.stderr, flush=True)
        environment = camp.environment(_UNWRITABLE.get(host, ""))
        before = _confined(camp, kinds)
        for peer in peers:
            peer.rest(camp)
            works = {
                image: runs(camp, [*before, *peer.command(camp, image)], environment)
                for image in (DYNAMIC, STATIC)
            }
            verdict = YES if all(works.values()) else PARTLY if works[STATIC] else NO
            how = ""
            if peer is PEERS[0]:
                told = [*before, camp.ground.udocker, "doctor", "--json"]
                how = json.loads(must(told, environment))["chosen"]
            cells.append(Cell(peer.name, host, verdict, how))
    return cells


def _confined(camp: Camp, kinds: str) -> list[str]:
    """What comes before a command on a host of these kinds; nothing of ours stays in it."""
    if not kinds:
        return []
    python = Path(camp.ground.udocker).parent / "python3"
    path = os.pathsep.join((str(_TOP), str(_TESTS)))
    inside = [str(python), "-m", "builders.confinement", kinds, "env", "-u", "PYTHONPATH"]
    return ["env", f"PYTHONPATH={path}", *inside]


def measure(camp: Camp, peers: Sequence[Peer], rounds: int) -> list[tuple[str, list[Row]]]:
    """What work costs in each program that runs it where nothing is forbidden."""
    ground: Ground = camp.ground
    environment = camp.environment()
    panels = []
    for title, work in COSTS.items():
        print(f"bench: {title}", file=sys.stderr, flush=True)
        contenders = [
            Contender(
                peer.name,
                lambda number, p=peer, w=work: [  # type: ignore[misc]
                    [*p.command(camp, _image(p)), "/bin/sh", "-c", w]
                ],
                lambda number: environment,
            )
            for peer in peers
            if DYNAMIC in peer.images or title == next(iter(COSTS))
        ]
        interleave(Stopwatch(ground.scratch), contenders, rounds)
        panels.append((title, rows(contenders, of_first=True)))
    return panels


def _image(peer: Peer) -> str:
    return DYNAMIC if DYNAMIC in peer.images else STATIC


def table(cells: Sequence[Cell]) -> str:
    """The matrix as a table of Markdown."""
    hosts = list(dict.fromkeys(cell.host for cell in cells))
    lines = ["| | " + " | ".join(hosts) + " |", "|---" * (len(hosts) + 1) + "|"]
    for peer in dict.fromkeys(cell.peer for cell in cells):
        row = {cell.host: cell for cell in cells if cell.peer == peer}
        told = [_told(row[host]) for host in hosts]
        lines.append(f"| {peer} | " + " | ".join(told) + " |")
    return "\n".join(lines)


def _told(cell: Cell) -> str:
    return f"{cell.verdict} ({cell.how})" if cell.how and cell.verdict != NO else cell.verdict


_COLOURS = {YES: "#2a6f97", PARTLY: "#9cc5d8", NO: "#f4f4f4"}


def chart(cells: Sequence[Cell]) -> str:
    """The matrix as SVG: a square for each program on each host."""
    hosts = list(dict.fromkeys(cell.host for cell in cells))
    peers = list(dict.fromkeys(cell.peer for cell in cells))
    left, top, width, height = 130, 150, 84, 26
    size = (left + width * len(hosts) + 60, top + height * len(peers) + 34)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" '
        f'viewBox="0 0 {size[0]} {size[1]}" font-family="sans-serif" font-size="13">',
        f'<rect width="{size[0]}" height="{size[1]}" fill="#fff"/>',
    ]
    for number, host in enumerate(hosts):
        x = left + width * number + width // 2
        parts.append(
            f'<text transform="translate({x} {top - 8}) rotate(-38)" font-size="12">'
            f"{escape(host)}</text>"
        )
    for line, peer in enumerate(peers):
        y = top + height * line
        parts.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(peer)}</text>')
        row = {cell.host: cell for cell in cells if cell.peer == peer}
        for number, host in enumerate(hosts):
            cell = row[host]
            x = left + width * number
            ink = "#fff" if cell.verdict == YES else "#333"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{width - 3}" height="{height - 3}" '
                f'fill="{_COLOURS[cell.verdict]}"/>'
                f'<text x="{x + width // 2}" y="{y + 16}" font-size="11" text-anchor="middle" '
                f'fill="{ink}">{escape(_told(cell))}</text>'
            )
    note = f"{YES}: {DYNAMIC} and {STATIC} run; {PARTLY}: the latter alone, which is static"
    parts.append(f'<text x="{left}" y="{size[1] - 12}" font-size="11">{note}</text></svg>')
    return "\n".join(parts)
