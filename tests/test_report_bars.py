"""Bars: what a terminal shows while several things go on at once."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading

import pytest

TERMINAL = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}


class Screen:
    """A terminal, as far as rich uses one."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.lines = [""]
        self.row = self.column = 0
        self.cursor = True
        self.wrapped = False

    def feed(self, text):
        for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|.", text, re.DOTALL):
            if token.startswith("\x1b["):
                self.control(token[2:-1], token[-1])
            elif token == "\r":
                self.column = 0
            elif token == "\n":
                self.row += 1
                while len(self.lines) <= self.row:
                    self.lines.append("")
            else:
                self.put(token)
        return self

    def control(self, arguments, letter):
        if letter == "A":
            top = max(0, len(self.lines) - self.rows)
            self.row = max(top, self.row - int(arguments or 1))
        elif letter == "K":
            assert arguments == "2"
            self.lines[self.row] = ""
        elif arguments == "?25":
            self.cursor = letter == "h"
        else:
            assert letter == "m"

    def put(self, character):
        assert character.isprintable(), repr(character)
        if self.column == self.columns:
            self.wrapped = True
            self.feed("\r\n")
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1

    def text(self):
        return [line.rstrip() for line in self.lines]


PROLOGUE = """
import os, sys, threading, time
from udocker import report
reporter = report.choose(sys.stderr, 5, os.environ)
def threads():
    return len(os.listdir("/proc/self/task"))
def finish(workers):
    # The kernel keeps a thread for a moment after join.
    for worker in workers:
        worker.join()
        while os.path.exists(f"/proc/self/task/{worker.native_id}"): time.sleep(0.001)
def until_drawn(text):
    # The parent says so on our stdin.
    print("waiting for " + text, flush=True)
    assert sys.stdin.readline()
"""


class Pump:
    """Takes what is written to a terminal, so that the writer never waits."""

    def __init__(self, master):
        self._master = master
        self._news = threading.Condition()
        self._over = False
        self.raw = b""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal any more
            while data := os.read(self._master, 65536):
                with self._news:
                    self.raw += data
                    self._news.notify()
        with self._news:
            self._over = True
            self._news.notify()

    def wait_for(self, text):
        with self._news:
            self._news.wait_for(lambda: text.encode() in self.raw or self._over, 60)
            assert text.encode() in self.raw, self.raw

    def finish(self):
        self._thread.join()
        os.close(self._master)
        return self.raw.decode()


# Ctrl-C at the line number ``moment`` of those that report.py runs in the main thread. Python
# lets no signal through at the edges of with and try, but a trace function does.
INTERRUPTED = """
import linecache, signal
lines = moment = 0
def trace(frame, event, argument):
    global lines
    path = frame.f_code.co_filename
    if not path.endswith("report.py"):
        return None
    line = linecache.getline(path, frame.f_lineno).lstrip()
    if event == "line" and not line.startswith(("with ", "try:")):
        lines += 1
        if lines == moment:
            os.kill(os.getpid(), signal.SIGINT)
    return trace
"""


class Outcome:
    """What a program left on its terminal and wrote to stdout."""

    def __init__(self, raw, stdout, status, size):
        self.raw = raw
        self.screen = Screen(*size).feed(raw)
        self.stdout = stdout
        self.status = status

    def lines(self):
        """All that stands above the cursor; at and below it there is nothing."""
        lines = self.screen.text()
        assert self.screen.cursor
        assert self.screen.column == 0
        assert not any(lines[self.screen.row :])
        return lines[: self.screen.row]


def on_terminal(code, *, environ=(), size=(80, 24), path=()):
    """Run ``code`` with a terminal as stderr and pipes as stdin and stdout.

    Each line "waiting for TEXT" on stdout is answered when TEXT was written to the terminal.
    """
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    given = {"COLUMNS": str(size[0]), "LINES": str(size[1]), **dict(environ)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=slave,
        env={**TERMINAL, **given, "PYTHONPATH": os.pathsep.join([*path, *sys.path])},
        text=True,
    )
    pump = Pump(master)
    lines = []
    try:
        with process:
            for line in process.stdout:
                if line.startswith("waiting for "):
                    pump.wait_for(line.rstrip("\n")[len("waiting for ") :])
                    process.stdin.write("\n")
                    process.stdin.flush()
                else:
                    lines.append(line)
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(slave)
    return Outcome(pump.finish(), "".join(lines), process.returncode, size)


class TestBars:
    def test_bytes_speed_and_time_left(self):
        outcome = on_terminal(
            """
task = reporter.task("layer abc", 9_000_000_000)
for megabytes in range(1, 4):
    task.advance(1_000_000)
    until_drawn(f"{megabytes}.0 MB of 9.0 GB")
until_drawn("/s ")
task.done("downloaded")
reporter.close()
"""
        )
        drawn = [line for line in re.split(r"[\r\n]", outcome.raw) if "3.0 MB of 9.0 GB" in line]
        assert re.search(r"layer abc .*\u2501.* 3\.0 MB of 9\.0 GB +[0-9.]+ [kM]?B/s", drawn[-1])
        assert re.search(r"B/s +[0-9]+:[0-9]{2}", outcome.raw)
        (line,) = outcome.lines()
        assert re.fullmatch(r"layer abc: downloaded \(3\.0 MB in [0-9.]+ s\)", line)
        assert (outcome.status, outcome.stdout) == (0, "")

    def test_rich_comes_with_the_first_task(self):
        outcome = on_terminal(
            """
reporter.info("one")
reporter.warn("two")
reporter.debug("three")
print("rich" in sys.modules, threads())
reporter.task("t", 5)
print("rich" in sys.modules, threads())
reporter.close()
"""
        )
        assert outcome.stdout == "False 1\nTrue 2\n"
        assert outcome.lines() == ["one", "udocker: warning: two", "udocker: debug: three"]

    def test_close_leaves_no_thread(self):
        outcome = on_terminal(
            """
counts = set()
for number in range(60):
    reporter = report.choose(sys.stderr, 3, os.environ)
    reporter.task("t", 5).advance(1)
    reporter.close()
    counts.add(threads())
print(counts, threading.active_count())
"""
        )
        assert outcome.stdout == "{1} 1\n"
        assert outcome.lines() == []

    def test_closing_twice_and_telling_afterwards(self):
        outcome = on_terminal(
            """
reporter.close()
reporter = report.choose(sys.stderr, 5, os.environ)
old = reporter.task("old", 5)
until_drawn("old")
reporter.close()
reporter.close()
reporter.info("info")
old.advance(5)
old.done("late")
task = reporter.task("new", 5)
task.advance(1)
task.done("told")
print(threads())
reporter.close()
"""
        )
        assert outcome.stdout == "1\n"
        info, old, new = outcome.lines()
        assert info == "info"
        assert old.startswith("old: late (5 B in ")
        assert new.startswith("new: told (1 B in ")

    def test_many_tasks_from_many_threads(self):
        outcome = on_terminal(
            """
def work(number):
    task = reporter.task(f"layer {number}", 2000)
    for _ in range(2000):
        task.advance(1)
    reporter.info(f"note {number}")
    task.done("downloaded")
workers = [threading.Thread(target=work, args=(number,)) for number in range(40)]
waiting = reporter.task("unpacking", None)
until_drawn("unpacking")
for worker in workers: worker.start()
finish(workers)
reporter.close()
print(threads())
""",
            size=(80, 10),
        )
        assert outcome.stdout == "1\n"
        told = {re.sub(r" in [0-9.]+ s", "", line) for line in outcome.lines()}
        notes = {f"note {number}" for number in range(40)}
        assert told == notes | {f"layer {number}: downloaded (2.0 kB)" for number in range(40)}

    @pytest.mark.parametrize("columns", [1, 10, 20, 40, 79, 80, 200])
    def test_bars_are_never_wider_than_the_terminal(self, columns):
        outcome = on_terminal(
            """
tasks = [reporter.task("[bold]" + "x" * 500, 10**15), reporter.task("\\u65e5" * 50, None)]
for task in tasks: task.advance(123)
time.sleep(0.3)
reporter.close()
""",
            size=(columns, 24),
        )
        assert not outcome.screen.wrapped
        assert outcome.lines() == []

    def test_markup_and_control_characters_are_text(self):
        outcome = on_terminal(
            """
task = reporter.task("[red]a[/red] :smile:\\x1b[2J{x}\\n", 10)
until_drawn("[red]a[/red] :smile:?[2J{x}")
reporter.info("[b]note[/b] :smile:")
until_drawn("[b]note[/b] :smile:")
reporter.info("[/nothing] [link=http://x]y[/link]\\x1b]0;title\\x07")
task.done("[b]done[/b]")
reporter.close()
"""
        )
        assert "\x1b[2J" not in outcome.raw
        assert outcome.lines() == [
            "[b]note[/b] :smile:",
            "[/nothing] [link=http://x]y[/link]?]0;title?",
            "[red]a[/red] :smile:?[2J{x} : [b]done[/b]",
        ]

    def test_long_messages_wrap_and_stay(self):
        outcome = on_terminal(
            """
task = reporter.task("t", 10)
until_drawn("0 B of 10 B")
reporter.info("x" * 200)
task.done("over")
reporter.close()
"""
        )
        assert outcome.lines() == ["x" * 80, "x" * 80, "x" * 40, "t: over"]

    def test_no_color(self):
        code = """
task = reporter.task("t", 10)
task.advance(5)
until_drawn("5 B of 10 B")
reporter.close()
"""
        assert "\x1b[38" in on_terminal(code).raw
        assert "\x1b[38" not in on_terminal(code, environ={"NO_COLOR": "1"}).raw

    def test_a_dumb_terminal_gets_lines(self):
        outcome = on_terminal(
            'task = reporter.task("t", 10); task.advance(1); task.done(); print(threads())',
            environ={"TERM": "dumb"},
        )
        assert outcome.stdout == "1\n"
        assert "\x1b" not in outcome.raw
        assert len(outcome.lines()) == 1

    def test_without_rich_there_are_lines(self, tmp_path):
        (tmp_path / "rich").mkdir()
        (tmp_path / "rich" / "__init__.py").write_text("raise ImportError('broken')")
        outcome = on_terminal(
            """
for _ in range(2):
    reporter.task("t", 10).done("over")
reporter.close()
""",
            path=[str(tmp_path)],
        )
        assert outcome.raw == "t: over\r\n" * 2

    @pytest.mark.parametrize(
        ("failure", "status"), [("raise ValueError('x')", 1), ("raise SystemExit(7)", 7)]
    )
    def test_an_exception(self, failure, status):
        outcome = on_terminal(
            f"""
try:
    task = reporter.task("t", 10)
    until_drawn("0 B of 10 B")
    {failure}
except ValueError:
    sys.exit(1)
finally:
    reporter.close()
    print(threads())
"""
        )
        assert (outcome.status, outcome.stdout) == (status, "1\n")
        assert outcome.lines() == []

    @pytest.mark.parametrize("times", [1, 3])
    def test_ctrl_c(self, times):
        outcome = on_terminal(
            f"""
import signal
for _ in range({times}):
    reporter = report.choose(sys.stderr, 3, os.environ)
    def work(task):
        while not over: task.advance(1)
    over = False
    workers = []
    try:
        for number in range(3):
            task = reporter.task(f"t{{number}}", 10**9)
            workers.append(threading.Thread(target=work, args=(task,)))
            workers[-1].start()
        until_drawn("t2 ")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except KeyboardInterrupt:
        over = True
        finish(workers)
    finally:
        reporter.close()
        print(threads())
"""
        )
        assert outcome.stdout == "1\n" * times
        assert outcome.lines() == []

    def test_ctrl_c_at_any_line(self):
        outcome = on_terminal(
            INTERRUPTED
            + """
reporter.task("t", 5).done()  # rich is there from now on
reporter.close()
hits = 0
while hits == moment:
    moment += 1
    lines = 0
    reporter = report.choose(sys.stderr, 3, os.environ)
    try:
        sys.settrace(trace)
        reporter.task("t", 5).done()
    except KeyboardInterrupt:
        hits += 1
    finally:
        sys.settrace(None)
        reporter.close()
        assert threads() == 1, moment
print(hits > 30)
"""
        )
        assert (outcome.status, outcome.stdout) == (0, "True\n")
        assert outcome.screen.cursor

    def test_ctrl_c_while_it_closes(self):
        outcome = on_terminal(
            INTERRUPTED
            + """
for moment in range(1, 15):
    lines = 0
    reporter = report.choose(sys.stderr, 3, os.environ)
    reporter.task("t", 5)
    try:
        sys.settrace(trace)
        reporter.close()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
        reporter.close()
        assert threads() == 1, moment
"""
        )
        assert outcome.status == 0
        assert outcome.lines() == []

    def test_no_thread_to_be_had(self):
        outcome = on_terminal(
            """
import resource
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
reporter.task("t", 5).done("over")
reporter.task("u", 5).done("over")
reporter.close()
"""
        )
        if os.geteuid() == 0:
            pytest.skip("host: root has no limit of processes")
        assert outcome.lines() == ["t: over", "u: over"]

    def test_the_cursor_is_never_gone_for_good(self):
        outcome = on_terminal(
            """
import signal
reporter.task("t", 10)
until_drawn("0 B of 10 B")
os.kill(os.getpid(), signal.SIGKILL)
"""
        )
        assert outcome.status == -signal.SIGKILL
        assert outcome.screen.cursor

    def test_a_terminal_that_goes_away(self):
        outcome = on_terminal(
            """
import signal
task = reporter.task("t", 10)
until_drawn("0 B of 10 B")
os.close(2)
for _ in range(5):
    task.advance(1)
    time.sleep(0.1)
reporter.warn("lost")
task.done()
reporter.close()
print(threads())
"""
        )
        assert outcome.stdout == "1\n"
