"""Hosts that forbid something: every mode works there or is refused, and ``auto`` finds one.

``builders.confinement`` makes them so, of this host, for one process and what it starts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.processes import PATIENCE, SOURCE, TESTS, needs_namespaces
from e2e.checks import is_told
from e2e.conftest import Result, command
from e2e.engines import BUSYBOX
from udocker.engine import (
    fakechroot,
    inprocess,
    namespace,
    nested,
    ptrace,
    runc,
    singularity,
    table,
)
from udocker.model.features import UNION_ROOT

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from e2e.engines import Shared

pytestmark = [pytest.mark.e2e, needs_namespaces]
pytest_plugins = ["e2e.engines"]

DEBIAN = "debian:12"
IMAGES = (BUSYBOX, DEBIAN)
_NAMESPACES: tuple[ModuleType | str, ...] = (namespace, runc, nested, singularity)
_TRACERS: tuple[ModuleType | str, ...] = (ptrace, nested)
_FILTERS: tuple[ModuleType | str, ...] = (inprocess, "P1", "R2")
# What each host takes away: engines, or modes.
HOSTS: dict[str, tuple[ModuleType | str, ...]] = {
    "no-user-namespaces": _NAMESPACES,
    "no-mounts": _NAMESPACES,
    "kernel-without-filters": _FILTERS,
    "no-filters": _FILTERS,
    "no-tracing": _TRACERS,
    "old-kernel": (),
    "docker": (*_NAMESPACES, ptrace),
    "no-new-privileges": (),
    "few-files": (),
    "few-processes": (),
    "none-left": _NAMESPACES,
    "noexec": (runc, nested, singularity, inprocess, ptrace, fakechroot),
    "docker,no-new-privileges,few-files": (*_NAMESPACES, ptrace),
    "none-left,no-tracing": (*_NAMESPACES, ptrace),
}
_WORK = (
    "cd /tmp; rm -rf w; mkdir w; echo some >w/f; ln -s f w/l; cat w/l; rm -r w; ls /etc | head -1"
)


class Confined:
    """The command on a host that forbids."""

    def __init__(self, shared: Shared, kinds: str) -> None:
        self.shared = shared
        self.kinds = kinds.replace("noexec", f"noexec={shared.store}")

    def __call__(self, *words: str) -> Result:
        environment = self.shared.environment()
        environment["PYTHONPATH"] = f"{SOURCE}:{TESTS}"
        done = subprocess.run(
            [sys.executable, "-m", "builders.confinement", self.kinds, *command(), *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """What ``doctor`` says of each mode; it forgets what other hosts have left."""
        return {row["name"]: row for row in json.loads(self("doctor", "--json").out)["modes"]}


def takes_away(host: str, mode: str) -> bool:
    return mode in HOSTS[host] or table.find(mode).engine in HOSTS[host]


def container(shared: Shared, image: str, purpose: str = "") -> str:
    """A container that the tests of one purpose share."""
    name = f"restricted{purpose}-{image.partition(':')[0]}"
    if name not in {each for row in shared.containers() for each in row["names"]}:
        shared("create", "-q", f"--name={name}", shared.image(image))
    return name


@pytest.mark.parametrize("host", HOSTS)
def test_every_mode_works_or_is_refused(
    shared: Shared, refusals: dict[str, str], host: str
) -> None:
    confined = Confined(shared, host)
    verdicts = confined.verdicts()
    chosen = ""
    for mode in table.MODES:
        if refusals[mode.name]:
            continue
        is_refused = takes_away(host, mode.name)
        assert mode.preloads or verdicts[mode.name]["ok"] is not is_refused, verdicts[mode.name]
        reason = "" if mode.preloads else verdicts[mode.name]["reason"]
        for image in IMAGES[mode.preloads :]:
            # N1 runs a plain directory as it lies, and a noexec one not at all.
            name = container(shared, image, "-noexec" if host == "noexec" else "")
            words = ("run", "-q", f"--execmode={mode.name}", name, "sh", "-c", _WORK)
            _works_or_is_refused(mode.name, confined(*words), is_refused, reason)
        chosen = chosen or (mode.name if mode.is_automatic and not is_refused else "")
    for image in IMAGES:
        name = container(shared, image, "-noexec" if host == "noexec" else "")
        plans = [
            confined("run", "--dry-run", f"--execmode={mode}", name, "true").out
            for mode in ("auto", chosen)
        ]
        assert plans[0] == plans[1] != "", chosen
        _works_or_is_refused("auto", confined("run", "-q", name, "sh", "-c", _WORK), False)


def _works_or_is_refused(mode: str, result: Result, is_refused: bool, reason: str = "") -> None:
    if is_refused:
        assert "Traceback" not in result.err, (mode, result)
        is_told(result, 125, f"mode {mode} ", reason[:60])
    else:
        found = (result.code, result.out.partition("\n")[0], result.err)
        assert found == (0, "some", ""), (mode, result)


def test_what_may_not_be_executed_is_told(shared: Shared, works: tuple[str, ...]) -> None:
    """N1 runs a plain directory as it lies: nothing can be done about its filesystem."""
    copying = [name for name in works if UNION_ROOT not in table.find(name).engine.FEATURES]
    if not copying:
        pytest.skip("host: no mode makes a copy here")
    name = container(shared, BUSYBOX, "-plain")
    shared("run", "-q", f"--execmode={copying[0]}", name, "true")
    result = Confined(shared, "noexec")("run", "-q", "--execmode=N1", name, "true")
    is_told(result, 126, "cannot execute true: Permission denied", "mounted noexec")


# What was remembered has not come true.


def remember(shared: Shared, mode: str) -> Path:
    """Have it remembered of ``mode`` that it works, where ``doctor`` has just seen that not."""
    memory = shared.store / f"cache/modes/{mode}.json"
    data = json.loads(memory.read_text())
    assert data["reason"], data
    memory.write_text(json.dumps({**data, "reason": "", "hint": "", "union": True}))
    return memory


@pytest.mark.parametrize("host", ["no-mounts", "no-user-namespaces"])
@pytest.mark.parametrize("options", [[], ["--rm"], ["--rm", "--user=7:8"]])
def test_the_next_mode_takes_over(
    shared: Shared, tmp_path: Path, host: str, options: list[str]
) -> None:
    """The command is run once, its status is its own, and one line tells."""
    confined = Confined(shared, host)
    confined.verdicts()
    memory = remember(shared, "N1")
    before = len(shared.containers())
    script = "echo begun >>/v/log; id -u; cat /proc/self/attr/none 2>&1 | wc -l; exit 7"
    words = ("-v", f"{tmp_path}:/v", shared.image(BUSYBOX), "sh", "-c", script)
    result = confined("run", "-q", *options, *words)
    assert (result.code, result.out) == (7, f"{7 if '--user=7:8' in options else 0}\n1\n"), result
    [line] = result.err.splitlines()
    assert line.startswith("udocker: warning: mode N1 failed at its start (cannot make new names")
    assert line.endswith("): trying the next")
    assert (tmp_path / "log").read_text() == "begun\n"
    assert not memory.exists()
    assert len(shared.containers()) == before + ("--rm" not in options)
    assert confined("run", "-q", "--rm", *words).err == ""
    assert json.loads(memory.read_text())["reason"]


def test_what_another_host_has_left_is_forgotten_by_a_failure(shared: Shared) -> None:
    """One filter looks like another from inside: what was found behind one does not hold here."""
    left = Confined(shared, "no-filters").verdicts()
    assert (left["N1"]["ok"], left["F3"]["ok"]) == (True, False)
    confined = Confined(shared, "docker")
    words = ("run", "-q", "--rm", shared.image(BUSYBOX), "echo", "runs")
    assert "mode N1 failed at its start" in confined(*words).err
    for _ in range(2):
        result = confined(*words)
        assert (result.code, result.out, result.err) == (0, "runs\n", "")


@pytest.mark.parametrize("options", [[], ["--rm"]])
def test_a_mode_that_was_asked_for_is_not_exchanged(shared: Shared, options: list[str]) -> None:
    confined = Confined(shared, "no-mounts")
    confined.verdicts()
    memory = remember(shared, "N1")
    before = len(shared.containers())
    words = (shared.image(BUSYBOX), "true")
    result = confined("run", "-q", "--execmode=N1", *options, *words)
    is_told(result, 125, "mode N1 failed at its start: cannot make new namespaces")
    assert not memory.exists()
    assert len(shared.containers()) == before + ("--rm" not in options)


@pytest.mark.parametrize("options", [[], ["--rm"]])
def test_when_no_mode_is_left_every_reason_is_told(shared: Shared, options: list[str]) -> None:
    confined = Confined(shared, "docker,no-filters")
    confined.verdicts()
    remember(shared, "N1")
    before = shared.containers()
    result = confined("run", "-q", *options, shared.image(BUSYBOX), "true")
    warning, *told = result.err.splitlines()
    assert "mode N1 failed at its start" in warning
    is_told(
        Result(result.code, result.out, "\n".join(told)),
        125,
        "no execution mode works on this host (N1: cannot make new namespaces",
        "F3: seccomp filters are forbidden here",
    )
    assert shared.containers() == before


def test_a_program_of_an_engine_that_cannot_be_started(shared: Shared, tmp_path: Path) -> None:
    """It is the engine's failure, and no status of a command."""
    runc_program = tmp_path / "runc"
    runc_program.write_text("#!/not/there\n")
    runc_program.chmod(0o755)
    env = {"UDOCKER_USE_RUNC_EXECUTABLE": str(runc_program)}
    shared("doctor", check=False, env=env)
    memory = remember(shared, "R1")
    words = ("run", "-q", "--rm", "--execmode=R1", shared.image(BUSYBOX), "true")
    result = shared(*words, check=False, env=env)
    is_told(result, 125, f"mode R1 failed at its start: cannot execute {runc_program}")
    assert not memory.exists()
