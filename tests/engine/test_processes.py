"""Processes as /proc shows them: whose children they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from udocker.engine import processes
from udocker.engine.processes import children, children_by_search, target


def test_children_are_found_either_way() -> None:
    started = [subprocess.Popen(["sleep", "1000"]) for _ in range(3)]
    try:
        pids = [process.pid for process in started]
        assert set(pids) <= set(children(os.getpid()))
        assert children_by_search(os.getpid()) == sorted(children(os.getpid()))
        assert children(pids[0]) == []
        assert children_by_search(pids[0]) == []
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_children_of_every_thread_are_found() -> None:
    """Programs in Go start processes from whichever thread they are in."""
    code = (
        "import subprocess, threading, time\n"
        "def start():\n"
        "    child = subprocess.Popen(['sleep', '1000'])\n"
        "    print(child.pid, flush=True); child.wait()\n"
        "threading.Thread(target=start).start()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            assert children(process.pid) == children_by_search(process.pid) == [child]
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_process_that_is_gone_has_no_children() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert children(process.pid) == []


def test_a_child_that_proc_misses_is_looked_for_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is seen while threads of its parent end."""
    monkeypatch.setattr(processes, "children", lambda parent: [])
    with subprocess.Popen(["sleep", "1000"]) as child:
        try:
            assert target(os.getpid(), 1) in children_by_search(os.getpid())
            assert target(child.pid, 1) == child.pid
        finally:
            child.kill()
