"""What the user is told while something goes on. Results go to stdout elsewhere; this is stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from _thread import allocate_lock, get_native_id, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol, TextIO

    from rich.progress import Progress, TaskID

    class Task(Protocol):
        """One thing in progress."""

        def advance(self, amount: int) -> None:
            """``amount`` more of the total is done (bytes); less than 0 takes back."""
            ...

        def done(self, note: str = "") -> None:
            """It is finished; ``note`` says how, in a word."""
            ...

    class Reporter(Protocol):
        """Where progress, notes and warnings go. Any thread may call it."""

        def info(self, text: str) -> None: ...

        def warn(self, text: str) -> None: ...

        def debug(self, text: str) -> None: ...

        def task(self, title: str, total: int | None) -> Task:
            """Begin ``title``; ``total`` in the unit of ``advance``, None when unknown."""
            ...

        def close(self) -> None:
            """Leave the terminal as it was found, and no thread."""
            ...


_TITLE = 40  # characters
_TEXT = 2000
_PERIOD = 10.0  # seconds between two lines about one task
_REDRAW = 0.1  # seconds
_FOREVER = float("inf")
_MOMENT = 0.001  # seconds


def choose(
    stream: TextIO | None, verbosity: int, environ: Mapping[str, str] | None = None
) -> Reporter:
    """The reporter for ``stream``: bars on a terminal, else lines; nothing below verbosity 3.

    ``environ`` tells what the terminal can do (TERM, NO_COLOR, COLUMNS); None: all of it.
    ``stream`` is None where the process was started without one.
    """
    if stream is None or verbosity <= 2:
        return QuietReporter(stream, warnings=verbosity > 0)
    debug = verbosity >= 5
    if _draws(stream, environ):
        return BarReporter(stream, debug, environ or {})
    return LineReporter(stream, debug)


def _draws(stream: TextIO, environ: Mapping[str, str] | None) -> bool:
    try:
        terminal = stream.isatty()
    except ValueError:  # it is closed
        return False
    return terminal and (environ is None or environ.get("TERM", "") not in ("", "dumb", "unknown"))


class _QuietTask:
    def advance(self, amount: int) -> None:
        pass

    def done(self, note: str = "") -> None:
        pass


class QuietReporter:
    """Nothing at all, but warnings when ``warnings`` is set."""

    def __init__(self, stream: TextIO | None = None, warnings: bool = False) -> None:
        self._output = _Output(stream or sys.stderr)
        self._warnings = warnings

    def info(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        if self._warnings:
            self._output.write(_warning(text) + "\n")

    def debug(self, text: str) -> None:
        pass

    def task(self, title: str, total: int | None) -> Task:
        return _QuietTask()

    def close(self) -> None:
        pass


class LineReporter:
    """Whole lines, for logs: one when a task ends, and one now and then while it lasts."""

    def __init__(
        self, stream: TextIO, debug: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._output = _Output(stream)
        self._debug = debug
        self._clock = clock

    def info(self, text: str) -> None:
        self._line(_clean(text, _TEXT))

    def warn(self, text: str) -> None:
        self._line(_warning(text))

    def debug(self, text: str) -> None:
        if self._debug:
            self._line("udocker: debug: " + _clean(text, _TEXT))

    def task(self, title: str, total: int | None) -> Task:
        return _CountedTask(title, total, line=self._line, clock=self._clock)

    def close(self) -> None:
        pass

    def _line(self, line: str) -> None:
        self._output.write(line + "\n")


class BarReporter(LineReporter):
    """A bar for each task at the bottom of a terminal, lines above; after ``close`` lines only."""

    def __init__(self, stream: TextIO, debug: bool, environ: Mapping[str, str]) -> None:
        super().__init__(stream, debug)
        self._environ = environ
        self._bars: _Bars | None = None
        self._closed = False
        self._lock = allocate_lock()

    def task(self, title: str, total: int | None) -> Task:
        bars = self._drawn()
        if bars is None:
            return super().task(title, total)
        task = _CountedTask(
            title,
            total,
            line=self._line,
            clock=self._clock,
            period=_FOREVER,
            ended=bars.remove,
        )
        bars.add(task)
        return task

    def _drawn(self) -> _Bars | None:
        with self._lock:
            if self._bars is None and not self._closed:
                try:
                    self._bars = _Bars(self._output, self._environ)
                    self._bars.start()
                except Exception:  # noqa: BLE001 - no rich, or no thread: lines will do
                    self._bars = None
                    self._closed = True
            return self._bars

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._bars is not None:
                self._bars.stop()
                self._bars = None

    def _line(self, line: str) -> None:
        bars = self._bars
        if bars is None:
            super()._line(line)
        else:
            bars.print(line)


class _CountedTask:
    """Counts, and writes a line at most every ``period`` seconds and one at the end."""

    def __init__(
        self,
        title: str,
        total: int | None,
        *,
        line: Callable[[str], None],
        clock: Callable[[], float],
        period: float = _PERIOD,
        ended: Callable[[_CountedTask], None] = lambda task: None,
    ) -> None:
        self.title = _clean(title, _TITLE)
        self.total = total
        self.completed = 0
        self._line = line
        self._clock = clock
        self._period = period
        self._ended = ended
        self._over = False
        self._begun = self._told = clock()
        self._lock = allocate_lock()

    def advance(self, amount: int) -> None:
        with self._lock:
            self.completed = max(0, self.completed + amount)
            now = self._clock()
            if self._over or now - self._told < self._period:
                return
            self._told = now
        self._line(f"{self.title}: {_progress(self.completed, self.total)}")

    def done(self, note: str = "") -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
        spent = ""
        if self.completed:
            spent = f" ({_size(self.completed)} in {self._clock() - self._begun:.1f} s)"
        self._ended(self)
        self._line(f"{self.title}: {_clean(note, _TITLE) or 'done'}{spent}")


class _Bars:
    """rich, drawing a bar for each task until ``stop``.

    One thread does all the drawing and others leave word for it: rich is then used by one
    thread only, and by one that Ctrl-C, which is told to the main thread, does not interrupt.
    """

    def __init__(self, output: _Output, environ: Mapping[str, str]) -> None:
        self._output = output
        self._progress = _rich_progress(output, environ)
        self._tasks: list[_CountedTask] = []
        self._lines: list[str] = []
        self._over = False
        self._lock = allocate_lock()
        self._wake = allocate_lock()
        self._stopped = False
        self._thread = 0  # the kernel's number for it

    def start(self) -> None:
        """Begin to draw. Raises RuntimeError where no thread can be had."""
        self._wake.acquire()
        # Not threading.Thread: Ctrl-C while that starts leaves a thread that nobody can join.
        start_new_thread(self._run, ())
        while not self._thread:
            time.sleep(_MOMENT)

    def add(self, task: _CountedTask) -> None:
        with self._lock:
            self._tasks.append(task)

    def remove(self, task: _CountedTask) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._tasks.remove(task)

    def print(self, line: str) -> None:
        """A line above the bars."""
        with self._lock:
            if self._over:
                self._output.write(line + "\n")
            else:
                self._lines.append(line)

    def stop(self) -> None:
        """Take the bars away, and the thread."""
        import os

        self._stopped = True
        with contextlib.suppress(RuntimeError):
            self._wake.release()
        for _ in range(1000):
            if self._thread:
                break
            time.sleep(_MOMENT)  # Ctrl-C came while it started
        while self._thread and not self._over:
            time.sleep(_MOMENT)
        # Until the kernel has let go of it the process gets no user namespace: unshare(2).
        while os.path.exists(f"/proc/self/task/{self._thread}"):
            time.sleep(_MOMENT)

    def _run(self) -> None:
        self._thread = get_native_id()
        # Without bars, whatever the reason, there are still lines.
        with contextlib.suppress(Exception):
            self._draw()
        with self._lock:
            for line in self._lines:
                self._output.write(line + "\n")
            self._over = True

    def _draw(self) -> None:
        bars: dict[_CountedTask, TaskID] = {}
        self._progress.start()
        try:
            # rich hides it; after kill -9 nobody would show it again.
            self._progress.console.show_cursor(True)
            while not self._stopped:
                self._wake.acquire(timeout=_REDRAW)
                self._update(bars)
        finally:
            self._progress.stop()

    def _update(self, bars: dict[_CountedTask, TaskID]) -> None:
        with self._lock:
            tasks = self._tasks.copy()
            lines = self._lines.copy()
        progress = self._progress
        for task in bars.keys() - tasks:
            progress.remove_task(bars.pop(task))
        speeds = {bar.id: bar.speed for bar in progress.tasks}
        for task in tasks:
            if task not in bars:
                bars[task] = progress.add_task(task.title, total=task.total, figures="")
            figures = _figures(task.completed, task.total, speeds.get(bars[task]))
            progress.update(bars[task], completed=task.completed, figures=figures)
        progress.refresh()
        if lines:
            text = "\n".join(lines)
            progress.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
            with self._lock:
                del self._lines[: len(lines)]


def _rich_progress(output: _Output, environ: Mapping[str, str]) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    title = Column(ratio=3, no_wrap=True, overflow="ellipsis", max_width=_TITLE)
    figures = Column(no_wrap=True, overflow="crop")
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=title),
        BarColumn(None, table_column=Column(ratio=2)),
        TextColumn("{task.fields[figures]}", markup=False, table_column=figures),
        console=Console(
            file=output,  # type: ignore[arg-type]
            force_terminal=True,
            force_interactive=True,
            force_jupyter=False,
            _environ=dict(environ),
        ),
        auto_refresh=False,  # its thread is not joined
        redirect_stdout=False,
        redirect_stderr=False,
        transient=True,
        expand=True,
    )


class _Output:
    """A text stream that never fails: telling must not stop what it tells of."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._lock = allocate_lock()
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        if self._stream is None:
            return len(text)
        fitting = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(fitting)
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Each write has done it."""


def _clean(text: str, limit: int) -> str:
    """``text`` as one line without control characters: it may come from a registry."""
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def _warning(text: str) -> str:
    return "udocker: warning: " + _clean(text, _TEXT)


def _size(count: float) -> str:
    """Bytes in the unit that leaves at most three digits before the point."""
    if count < 1000:
        return f"{count:.0f} B"
    units = iter("kMGTPE")
    unit = ""
    while count >= 999.95 and unit != "E":
        count, unit = count / 1000, next(units)
    return f"{count:.1f} {unit}B"


def _progress(completed: int, total: int | None) -> str:
    if not total or completed > total:
        return _size(completed)
    return f"{_size(completed)} of {_size(total)} ({completed * 100 // total}%)"


def _figures(completed: int, total: int | None, speed: float | None) -> str:
    """Bytes, speed and time left, aligned from bar to bar."""
    done = _size(completed) if not total else f"{_size(completed)} of {_size(total)}"
    if not speed or speed < 1:
        return f"{done:>20}"
    left = ""
    if total and total >= completed:
        minutes, seconds = divmod(int((total - completed) / speed), 60)
        left = f"{minutes}:{seconds:02}" if minutes < 6000 else ""
    return f"{done:>20} {_size(speed) + '/s':>10} {left:>7}"
