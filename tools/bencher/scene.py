"""A deep-learning module in modes beside the same program outside of a container."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bencher.again import Figure
from bencher.cases import Ground, must, remove
from bencher.measure import Contender, Run

MODES = "N1,F3,P1"
IMAGE = "digits:1"
ANSWER = "First answer of a module for DEEPaaS: its start, its model loaded"
TRAINING = "Training of it, 600 epochs"
FIGURES = "Beside the same program outside"
_OUTSIDE = "outside"
_PULLED = "with an empty store"
_PLACE = "/local/bin/"
_LONGER = {"N1": 0.3, "F3": 0.5}  # seconds that the first answer may take longer
_TRAINING = {"F3": 1.05}  # times of the time outside
_PATIENCE = 120.0  # seconds that a server may take
_TICKS = os.sysconf("SC_CLK_TCK")
_SERVE = ("deepaas-run", "--listen-port={}")
_TRAIN = ("digits-train", "--epochs=600")


def contenders(ground: Ground, modes: Sequence[str]) -> tuple[list[Contender], list[Contender]]:
    """Of the first answer, and of training; in both the program outside is the first.

    The last of the first answer begins with an empty store. SystemExit where the program does not
    run outside.
    """
    store = ground.scratch / "scene"
    image = f"{ground.registry}/{IMAGE}"
    ours = ground.environment(UDOCKER_DIR=str(store))
    must([ground.udocker, "pull", "-q", image], ours)
    python = _outside(ground, ours, image)
    runs = {_OUTSIDE: ([python["PYTHONHOME"] + "/bin/python3"], _PLACE, python)}
    for mode in modes:
        command = [ground.udocker, "run", "-q", "--rm", f"--execmode={mode}"]
        must([*command, image, "true"], ours)
        runs[mode] = ([*command, f"--volume={ground.scratch}", image], "", ours)
    answer, training = [], []
    for name, (command, folder, environment) in runs.items():
        place = environment.get("PYTHONHOME", "") + folder
        (serve, *more), (train, *rest) = _SERVE, _TRAIN
        out = f"--out={ground.scratch}/out-{name}"
        answer.append(_of(name, [*command, place + serve, *more], environment))
        training.append(_of(name, [*command, place + train, *rest, out], environment))
    served = [ground.udocker, "run", "-q", "--rm", image, *_SERVE]
    empty = ground.scratch / "empty"
    new = ground.environment(UDOCKER_DIR=str(empty))
    pulled = Contender(
        _PULLED, lambda number: [served], lambda number: new, lambda number: remove(empty)
    )
    return [*answer, pulled], training


def _of(name: str, command: list[str], environment: dict[str, str]) -> Contender:
    return Contender(name, lambda number: [command], lambda number: environment)


def _outside(ground: Ground, ours: dict[str, str], image: str) -> dict[str, str]:
    """What has the Python of the image's files take all from there but the C library."""
    tree = ground.scratch / "tree"
    tree.mkdir()
    must([ground.udocker, "create", "-q", "--name=outside", image], ours)
    must([ground.udocker, "export", "-o", f"{tree}.tar", "outside"], ours)
    must(["tar", "-C", str(tree), "-xf", f"{tree}.tar", "usr"], ours)
    python = ground.environment(
        PYTHONHOME=f"{tree}/usr",
        PYTHONPATH=f"{tree}/usr/local/lib/python3.11/dist-packages",
        PYTHONUNBUFFERED="1",
        PYTHONDONTWRITEBYTECODE="1",
        OPENBLAS_NUM_THREADS="1",
        LANG="C.UTF-8",
    )
    must([f"{tree}/usr/bin/python3", "-c", "import digits.train"], python)
    return python


def answer_in_turn(contenders: list[Contender], rounds: int) -> None:
    """As ``interleave``, but each is a server, timed until it answers, and then killed."""
    for number in range(rounds + 1):
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            [command] = contender.command(number)
            run = _answered(command, contender.before(number))
            if number > 0:
                contender.runs.append(run)
            contender.after(number)
        print(f"  round {number} of {rounds}", file=sys.stderr, flush=True)


def _answered(command: list[str], environment: dict[str, str]) -> Run:
    """``{}`` in ``command`` stands for the port. SystemExit when it does not answer."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    words = [word.replace("{}", str(port)) for word in command]
    with tempfile.TemporaryFile() as output:
        begin = time.monotonic()
        server = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while not _answers(port):
                if server.poll() is not None or time.monotonic() > begin + _PATIENCE:
                    output.seek(0)
                    text = output.read()[-2000:].decode("utf-8", "replace")
                    raise SystemExit(f"bench: {words} does not answer\n{text}")
                time.sleep(0.005)
            return Run(time.monotonic() - begin, *_used(server.pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("GET", "/v2/models/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _used(session: int) -> tuple[float, float]:
    """Of the processes of a session: seconds of processor time, and MiB of the largest."""
    ticks, largest = 0, 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += sum(map(int, fields[11:15]))  # and of its children that have ended
                largest = max(largest, int(fields[21]) * os.sysconf("SC_PAGESIZE"))
    return ticks / _TICKS, largest / (1 << 20)


def figures(answer: list[Contender], training: list[Contender]) -> list[Figure]:
    """Medians of differences, and of ratios, within rounds."""
    found = []
    for row in answer[1:]:
        if row.name in _LONGER:
            seconds = statistics.median(a.wall - b.wall for a, b in zip(row.runs, answer[0].runs))
            name = f"first answer in {row.name}: longer"
            found.append(Figure(name, seconds, _LONGER[row.name], "s"))
    for row in training[1:]:
        if row.name in _TRAINING:
            ratio = statistics.median(a.wall / b.wall for a, b in zip(row.runs, training[0].runs))
            found.append(Figure(f"training in {row.name}", ratio, _TRAINING[row.name], "x"))
    return found
