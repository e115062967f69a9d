from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from udocker import makers


def of_a_child(alive):
    """The mark of another process, and that process, which goes on if ``alive``."""
    code = "from udocker import makers; print(makers.mark(), flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    text = child.stdout.readline().strip()
    if not alive:
        child.kill()
        child.communicate()
    return text, child


def test_of_this_process():
    text = makers.mark()
    assert re.fullmatch(r"[0-9a-f]{12}-\d+-\d+-\d+", text)
    assert makers.pid(text) == os.getpid()
    assert makers.state(text) == makers.ALIVE
    assert makers.found_in(f"{'ab' * 16}.{text}.tmp") == text


def test_of_another_process():
    text, child = of_a_child(alive=True)
    assert makers.state(text) == makers.ALIVE
    child.communicate("\n")
    assert makers.state(text) == makers.ENDED


def test_of_a_killed_process():
    assert makers.state(of_a_child(alive=False)[0]) == makers.ENDED


def test_a_number_that_another_process_has_now():
    boot, namespace, pid, start = makers.mark().split("-")
    assert makers.state(f"{boot}-{namespace}-{pid}-{int(start) - 1}") == makers.ENDED


def test_a_process_of_another_user():
    boot, namespace, _, _ = makers.mark().split("-")
    start = makers._start(1)
    assert makers.state(f"{boot}-{namespace}-1-{start}") == makers.ALIVE


def test_where_proc_hides_others(monkeypatch):
    text, child = of_a_child(alive=True)
    monkeypatch.setattr(makers, "_start", lambda number: 0)
    assert makers.state(text) == makers.ALIVE
    child.communicate("\n")
    assert makers.state(text) == makers.ENDED


@pytest.mark.parametrize("number", [0, 1])
def test_of_another_boot_or_pid_namespace(number):
    parts = makers.mark().split("-")
    parts[number] = "123456789012"
    assert makers.state("-".join(parts)) == makers.UNKNOWN


def test_where_there_is_no_boot_id(monkeypatch):
    monkeypatch.setattr(makers, "_boot", lambda: makers._NOWHERE)
    assert makers.state(makers.mark()) == makers.UNKNOWN


@pytest.mark.parametrize("text", ["", "x", "-", "123456789012-1-2", f"{'1' * 12}-1-1-1-1"])
def test_what_is_no_mark(text):
    assert makers.state(text) == makers.UNKNOWN
    assert makers.pid(text) == 0


def test_a_number_beyond_all():
    boot, namespace, _, start = makers.mark().split("-")
    assert makers.state(f"{boot}-{namespace}-{'9' * 30}-{start}") == makers.ENDED
