"""What the modes cost: the same work in each of them, beside the first one named."""

from __future__ import annotations

import json
import shutil
import statistics
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bencher.cases import Ground, must
from bencher.image import NAME
from bencher.measure import Contender, Stopwatch, interleave


def _times(count: int, command: str) -> str:
    return f"for i in {' '.join('x' * count)}; do {command}; done"


# Each is done so often in one run that the start of it counts for little.
START = "start of true"
WORKLOADS = {
    START: "true",
    "python numpy scipy.stats": "python3 -c 'import numpy, scipy.stats'",
    "200 shell forks": _times(200, "x=$(echo $i | sed s/1/2/); /bin/true"),
    "make -j2, 60 C files": "make -B -s -j2 -C /bench/make",
    "tar of /usr": _times(4, "tar cf /dev/null /usr"),
    "find /": _times(6, "find / -xdev >/dev/null"),
    "du of /usr": _times(6, "du -s /usr"),
    "git status, 10k files": "cd /bench/many; " + _times(10, "git status -s"),
    "git clone, 1k files": "cd /bench; "
    + _times(3, "git clone -q --no-hardlinks source clone; rm -rf clone"),
    "threaded I/O": "/bench/threads-io",
    "static busybox find": _times(6, "busybox find / -xdev >/dev/null"),
    "static busybox tar": _times(3, "busybox tar cf - /usr/include /usr/lib/python3 >/dev/null"),
    "static Go walk": _times(6, "/bench/walk /usr"),
}
MODES = "N1,F3,F2,P1,proot"
# A mode with this behind its name runs with these volumes as well.
_WITH_VOLUMES = "+v"
# P1 by a PRoot of the host in place of udocker's own tracer: in PATH, or of this place.
_PROOT = "proot"
_CLIP = 4.0  # where bars of the chart end


@dataclass(frozen=True)
class Cost:
    """A workload in a mode: medians of seconds, and of the ratios to the first mode."""

    workload: str
    mode: str
    wall: float
    cpu: float
    wall_ratio: float
    cpu_ratio: float
    cpu_spread: float  # of the ratios: the distance of the quartiles


def measure(ground: Ground, modes: list[str], workloads: list[str], rounds: int) -> list[Cost]:
    """Run every workload in every mode, in turn. The start of `true` is taken off the others."""
    if "bwrap" in modes and shutil.which("bwrap") is None:
        raise SystemExit("bench: bwrap is missing: leave it out of --modes, or install bubblewrap")
    environment = ground.environment(UDOCKER_DIR=str(ground.scratch / "engines"))
    must([ground.udocker, "pull", "-q", f"{ground.registry}/{NAME}"], environment)
    programs = ground.scratch / "programs"
    shutil.copytree(Path(__file__).parent / "programs", programs)
    (programs / "built").mkdir()
    runs = {mode: _prepare(ground, environment, programs, mode) for mode in modes}
    stopwatch = Stopwatch(ground.scratch)
    found: list[Cost] = []
    starts = dict.fromkeys(modes, (0.0, 0.0))
    for workload in [START, *(name for name in workloads if name != START)]:
        print(f"bench: {workload}", flush=True)
        contenders = [
            Contender(
                mode,
                lambda number, m=mode, w=workload: [[*runs[m], "sh", "-c", WORKLOADS[w]]],  # type: ignore[misc]
                lambda number: environment,
            )
            for mode in modes
        ]
        interleave(stopwatch, contenders, 3 * rounds if workload == START else rounds)
        costs = costs_of(workload, contenders, starts)
        if workload == START:
            starts = {cost.mode: (cost.wall, cost.cpu) for cost in costs}
        found += costs
        print(", ".join(f"{c.mode} {c.cpu:.3f} s {c.cpu_ratio:.2f}" for c in costs), flush=True)
    return found


def _prepare(ground: Ground, environment: dict[str, str], programs: Path, mode: str) -> list[str]:
    """Make a container for ``mode``; the beginning of a command line that runs in it."""
    base = mode[: -len(_WITH_VOLUMES)] if mode.endswith(_WITH_VOLUMES) else mode
    container = f"bench-{mode.replace('+', '-').replace('/', '-').replace('=', '-')}"
    name, _, place = base.partition("=")
    run = [ground.udocker, "run", "-q", f"--execmode={base}"]
    if name in ("bwrap", _PROOT):
        proot = place or shutil.which("proot") or "/usr/bin/proot"
        run = ["env", f"UDOCKER_USE_PROOT_EXECUTABLE={proot}", *run[:-1], "--execmode=P1"]
    must(
        [ground.udocker, "create", "-q", f"--name={container}", f"{ground.registry}/{NAME}"],
        environment,
    )
    first = ["-v", f"{programs}:/programs", container, "sh", "/programs/prepare.sh"]
    must([*run, *first], environment)
    if base == "bwrap":
        return _bwrap(ground, environment, container)
    volumes = []
    if mode != base:
        for path in ("/home", "/opt", "/var/tmp", "/srv"):
            volumes += ["-v", f"{path}:{path}"]
    return [*run, *volumes, container]


def _bwrap(ground: Ground, environment: dict[str, str], container: str) -> list[str]:
    """bubblewrap in the plain directory that PRoot needed."""
    text = must([ground.udocker, "inspect", container], environment)
    identity = json.loads(text)[0]["id"]
    root = ground.scratch / "engines" / "containers" / identity / "ROOT"
    system = [word for path in ("/dev", "/proc", "/sys") for word in ("--dev-bind", path, path)]
    return [
        *("bwrap", "--unshare-user", "--uid", "0", "--gid", "0", "--bind", str(root), "/"),
        *(*system, "--setenv", "HOME", "/root", "--"),
    ]


def costs_of(
    workload: str, contenders: list[Contender], starts: dict[str, tuple[float, float]]
) -> list[Cost]:
    """What the runs of the contenders, one for each mode, cost without the ``starts``."""
    found = []
    first = contenders[0]
    walls = {c.name: [run.wall - starts[c.name][0] for run in c.runs] for c in contenders}
    cpus = {c.name: [run.cpu - starts[c.name][1] for run in c.runs] for c in contenders}
    for contender in contenders:
        name = contender.name
        wall_ratios = [a / b for a, b in zip(walls[name], walls[first.name])]
        cpu_ratios = [a / b for a, b in zip(cpus[name], cpus[first.name])]
        quartiles = statistics.quantiles(cpu_ratios, n=4) if len(cpu_ratios) > 1 else [0.0] * 3
        found.append(
            Cost(
                workload,
                name,
                statistics.median(walls[name]),
                statistics.median(cpus[name]),
                statistics.median(wall_ratios),
                statistics.median(cpu_ratios),
                quartiles[2] - quartiles[0],
            )
        )
    return found


def table(costs: list[Cost]) -> str:
    """A line for each workload: seconds of the first mode, ratios of the others."""
    modes = list(dict.fromkeys(cost.mode for cost in costs))
    first, others = modes[0], modes[1:]
    lines = [
        f"Processor time of work in a container, divided by that of {first} (wall time behind it)",
        f"  {'':26} {first + ' s':>8}" + "".join(f"{mode:>15}" for mode in others),
    ]
    for workload in dict.fromkeys(cost.workload for cost in costs):
        row = {cost.mode: cost for cost in costs if cost.workload == workload}
        line = f"  {workload:26} {row[first].cpu:8.3f}"
        for mode in others:
            line += f"{row[mode].cpu_ratio:7.2f} ({row[mode].wall_ratio:5.2f})"
        lines.append(line)
    line = f"  {'geometric mean':26} {'':8}"
    for mode in others:
        ratios = [c.cpu_ratio for c in costs if c.mode == mode and c.workload != START]
        mean = statistics.geometric_mean(ratios) if ratios else 0.0
        line += f"{mean:7.2f}" + " " * 8
    lines.append(line.rstrip())
    return "\n".join(lines)


def chart(costs: list[Cost]) -> str:
    """Bars of the ratios as SVG, those of PRoot cut off; a line where the first mode is."""
    modes = list(dict.fromkeys(cost.mode for cost in costs))[1:]
    workloads = list(dict.fromkeys(cost.workload for cost in costs))
    colours = ("#2a6f97", "#61a5c2", "#b8c4cc", "#d8dee3")
    label, scale, bar = 190, 120, 14
    height = 40 + len(workloads) * (bar * len(modes) + 10)
    width = label + int(_CLIP * scale) + 70
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    top = 34
    for workload in workloads:
        middle = top + bar * len(modes) // 2 + 4
        parts.append(
            f'<text x="{label - 8}" y="{middle}" text-anchor="end">{escape(workload)}</text>'
        )
        for number, mode in enumerate(modes):
            ratio = next(c.cpu_ratio for c in costs if c.mode == mode and c.workload == workload)
            length = max(1, int(min(ratio, _CLIP) * scale))
            parts.append(
                f'<rect x="{label}" y="{top}" width="{length}" height="{bar - 2}" '
                f'fill="{colours[number % len(colours)]}"/>'
                f'<text x="{label + length + 5}" y="{top + 10}" font-size="10">'
                f"{mode} {ratio:.2f}</text>"
            )
            top += bar
        top += 10
    line = label + scale
    first = next(iter(costs)).mode
    parts.append(
        f'<path d="M{line} 24V{height}" stroke="#c1121f" stroke-dasharray="3 3"/>'
        f'<text x="{line}" y="18" text-anchor="middle">{escape(first)} = 1</text></svg>'
    )
    return "\n".join(parts)
