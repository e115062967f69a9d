"""top, stats and port: what containers do just now."""

from __future__ import annotations

import os

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, Option, Syntax
from udocker.cli.table import columns, line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed
    from udocker.ops.port import Port
    from udocker.ops.top import Usage

_MIB = 1 << 20


def _top(context: Context, parsed: Parsed) -> int:
    from udocker.ops.top import processes

    rows = [("PID", "PPID", "STAT", "TIME", "COMMAND")]
    for process in processes(context.session, parsed.words[0]):
        seconds = process.ticks // os.sysconf("SC_CLK_TCK")
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        row = (str(process.pid), str(process.parent), process.state, clock, line(process.command))
        rows.append(row)
    context.print(columns(rows))
    return 0


def _stats(context: Context, parsed: Parsed) -> int:
    from udocker.ops.control import life
    from udocker.ops.top import usage

    session = context.session
    while True:
        texts = parsed.words or tuple(
            container.id
            for container in session.store.containers.sound(session.warn_of)
            if (found := life(container)).is_running and not found.node
        )
        used = usage(session, texts)
        if parsed.flag("json"):
            context.print_json([_as_json(each) for each in used])
        else:
            context.print(_table(used))
        if parsed.flag("no-stream"):
            return 0


def _table(found: list[Usage]) -> str:
    rows = [("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "PIDS")]
    for each in found:
        name = each.container.names[0] if each.container.names else "-"
        memory = f"{each.memory / _MIB:.1f}MiB / {each.limit / _MIB:.0f}MiB"
        share = f"{100 * each.memory / each.limit:.2f}%"
        cpu = f"{each.cpu:.2f}%"
        row = (each.container.short_id, name, cpu, memory, share, str(each.processes))
        rows.append(row)
    return columns(rows)


def _as_json(usage: Usage) -> dict[str, object]:
    return {
        "id": usage.container.id,
        "names": list(usage.container.names),
        "cpuPercent": round(usage.cpu, 2),
        "memoryBytes": usage.memory,
        "memoryLimit": usage.limit,
        "pids": usage.processes,
    }


def _port(context: Context, parsed: Parsed) -> int:
    from udocker.errors import UdockerError
    from udocker.ops.port import ports

    found = ports(context.session, parsed.words[0])
    if len(parsed.words) == 1:
        for port in found:
            context.print(f"{port.number}/{port.protocol} -> {_place(port)}")
        return 0
    wanted = parsed.words[1] if "/" in parsed.words[1] else f"{parsed.words[1]}/tcp"
    chosen = [port for port in found if f"{port.number}/{port.protocol}" == wanted]
    if not chosen:
        raise UdockerError(
            f"nothing in container {parsed.words[0]} listens on {wanted}",
            hint=f"udocker port {parsed.words[0]} lists what does",
        )
    for port in chosen:
        context.print(_place(port))
    return 0


def _place(port: Port) -> str:
    address = f"[{port.address}]" if ":" in port.address else port.address
    return f"{address}:{port.host}"


_PORT = Syntax(
    usage="CONTAINER [PORT[/PROTOCOL]]",
    summary="Show what a container that runs listens on, and what was published of it.",
    at_least=1,
    at_most=2,
    details="Its ports are those of the host, published or not, but for those that -p redirects.",
)
_TOP = Syntax(
    usage="CONTAINER",
    summary="Show the processes of a container that runs.",
    at_least=1,
    at_most=1,
    details="The process ids are those of the host: there are no others inside.",
)
_STATS = Syntax(
    usage="[OPTIONS] [CONTAINER…]",
    summary="Show what containers use; without names, all that run here.",
    options=(
        Option(("--no-stream",), FLAG, "once; else every half second until Ctrl-C"),
        Option(("--all", "-a"), FLAG, "accepted: what does not run uses nothing", hidden=True),
        Option(("--json",), FLAG, "as JSON"),
    ),
    at_most=None,
    details="Counted from its processes; memory that they share is counted for each.",
)
COMMANDS = (
    Command("top", _TOP, _top),
    Command("stats", _STATS, _stats),
    Command("port", _PORT, _port),
)
