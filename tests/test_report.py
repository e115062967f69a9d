"""How progress and messages are shown, line by line."""

from __future__ import annotations

import contextlib
import io
import threading

import pytest

from udocker import report

TERMINAL = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Tty(io.StringIO):
    def isatty(self):
        return True


class TestChoose:
    @pytest.mark.parametrize("stream", [io.StringIO, Tty])
    @pytest.mark.parametrize("verbosity", [-1, 0, 1, 2])
    def test_quiet(self, stream, verbosity):
        output = stream()
        reporter = report.choose(output, verbosity, TERMINAL)
        assert isinstance(reporter, report.QuietReporter)
        reporter.info("info")
        reporter.debug("debug")
        task = reporter.task("task", 5)
        task.advance(5)
        task.done("done")
        assert output.getvalue() == ""
        reporter.warn("careful")
        reporter.close()
        reporter.close()
        told = "udocker: warning: careful\n" if verbosity > 0 else ""
        assert output.getvalue() == told

    @pytest.mark.parametrize("verbosity", [3, 4, 5, 9])
    @pytest.mark.parametrize("environ", [None, {}, TERMINAL])
    def test_lines_where_no_terminal_is(self, verbosity, environ):
        output = io.StringIO()
        reporter = report.choose(output, verbosity, environ)
        assert type(reporter) is report.LineReporter
        reporter.info("one")
        reporter.warn("two")
        reporter.debug("three")
        lines = ["one", "udocker: warning: two", "udocker: debug: three"]
        assert output.getvalue().splitlines() == (lines if verbosity >= 5 else lines[:2])

    @pytest.mark.parametrize(
        ("environ", "kind"),
        [
            (None, report.BarReporter),
            (TERMINAL, report.BarReporter),
            ({"TERM": "vt100"}, report.BarReporter),
            ({"TERM": "dumb"}, report.LineReporter),
            ({"TERM": "unknown"}, report.LineReporter),
            ({"TERM": ""}, report.LineReporter),
            ({}, report.LineReporter),
        ],
    )
    def test_terminals(self, environ, kind):
        assert type(report.choose(Tty(), 3, environ)) is kind

    @pytest.mark.parametrize("verbosity", range(6))
    def test_no_stream(self, verbosity, capfd):
        reporter = report.choose(None, verbosity)
        assert isinstance(reporter, report.QuietReporter)
        reporter.task("t", None).done()
        reporter.info("x")
        assert capfd.readouterr().out == ""

    def test_closed_stream(self):
        output = io.StringIO()
        output.close()
        reporter = report.choose(output, 5)
        reporter.warn("lost")
        reporter.task("t", 1).done()


class TestLines:
    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def output(self):
        return io.StringIO()

    @pytest.fixture
    def reporter(self, output, clock):
        return report.LineReporter(output, clock=clock)

    def test_a_task_says_one_line_at_its_end(self, reporter, output, clock):
        task = reporter.task("layer abc", 12_345_678)
        task.advance(12_000_000)
        clock.now += 2.25
        task.advance(345_678)
        assert output.getvalue() == ""
        task.done("downloaded")
        task.done("again")
        task.advance(5)
        assert output.getvalue() == "layer abc: downloaded (12.3 MB in 2.2 s)\n"

    def test_nothing_counted(self, reporter, output):
        reporter.task("layer abc", 100).done("is here")
        reporter.task("layer def", None).done()
        assert output.getvalue() == "layer abc: is here\nlayer def: done\n"

    def test_a_long_task_says_a_line_every_ten_seconds(self, reporter, output, clock):
        task = reporter.task("layer", 1_000_000_000)
        for _ in range(50):
            clock.now += 0.5
            task.advance(5_000_000)
        assert output.getvalue().splitlines() == [
            "layer: 100.0 MB of 1.0 GB (10%)",
            "layer: 200.0 MB of 1.0 GB (20%)",
        ]

    def test_each_task_has_its_own_ten_seconds(self, reporter, output, clock):
        first = reporter.task("first", None)
        clock.now += 6
        second = reporter.task("second", None)
        clock.now += 6
        first.advance(1000)
        second.advance(1000)
        assert output.getvalue() == "first: 1.0 kB\n"

    def test_after_a_pause(self, reporter, output, clock):
        task = reporter.task("t", None)
        clock.now += 1000
        task.advance(1)
        task.advance(1)
        assert output.getvalue() == "t: 1 B\n"

    @pytest.mark.parametrize(
        ("total", "counted", "line"),
        [
            (None, 5, "t: 5 B"),
            (0, 5, "t: 5 B"),
            (4, 5, "t: 5 B"),
            (5, 5, "t: 5 B of 5 B (100%)"),
            (5, -5, "t: 0 B of 5 B (0%)"),
            ((1 << 63) - 1, 1 << 62, "t: 4.6 EB of 9.2 EB (50%)"),
        ],
    )
    def test_odd_totals(self, reporter, output, clock, total, counted, line):
        task = reporter.task("t", total)
        clock.now += 10
        task.advance(counted)
        assert output.getvalue() == f"{line}\n"

    def test_a_retry_counts_back(self, reporter, output, clock):
        task = reporter.task("t", 100)
        task.advance(60)
        task.advance(-60)
        task.advance(100)
        clock.now += 1
        task.done()
        assert output.getvalue() == "t: done (100 B in 1.0 s)\n"

    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_951, "1.0 MB"),
            (12_345_678, "12.3 MB"),
            (1e12, "1.0 TB"),
            (1e22, "10000.0 EB"),
        ],
    )
    def test_sizes(self, reporter, output, clock, count, text):
        task = reporter.task("t", None)
        clock.now += 10
        task.advance(count)
        assert output.getvalue() == f"t: {text}\n"

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("plain", "plain"),
            ("[bold]x[/bold] :smile: {0} %s", "[bold]x[/bold] :smile: {0} %s"),
            ("two\nlines\r\n", "two lines  "),
            ("tab\there", "tab here"),
            ("\x1b[31mred\x1b[0m\x07", "?[31mred?[0m?"),
            ("\x9b31m\x7f", "?31m?"),
            ("\u202eright to left\u2028", "?right to left "),
            ("\ud800", "?"),
            ("caf\u00e9 \u65e5", "caf\u00e9 \u65e5"),
            ("", ""),
        ],
    )
    def test_text_is_one_line_of_text(self, reporter, output, text, line):
        reporter.info(text)
        reporter.warn(text)
        reporter.task(text, None).done(text)
        assert output.getvalue().split("\n") == [
            line,
            f"udocker: warning: {line}",
            f"{line}: {line or 'done'}",
            "",
        ]

    def test_long_text_is_cut(self, reporter, output):
        reporter.info("x" * 100_000)
        assert output.getvalue() == "x" * 1997 + "...\n"
        reporter.task("y" * 41, None).done("z" * 41)
        assert output.getvalue().splitlines()[1] == "y" * 37 + "...: " + "z" * 37 + "..."
        reporter.task("y" * 40, None).done()
        assert output.getvalue().splitlines()[2] == "y" * 40 + ": done"

    @pytest.mark.parametrize(
        ("encoding", "shown"),
        [("ascii", b"caf\\xe9"), ("latin-1", b"caf\xe9"), ("utf-8", b"caf\xc3\xa9")],
    )
    def test_encodings(self, encoding, shown):
        output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        report.choose(output, 3).info("caf\u00e9")
        assert output.buffer.getvalue() == shown + b"\n"

    def test_a_full_disk_stops_nothing(self):
        with open("/dev/full", "w") as output:
            reporter = report.choose(output, 5)
            reporter.info("x")
            reporter.warn("x")
            reporter.debug("x")
            reporter.task("t", 5).done()
            reporter.close()
            with contextlib.suppress(OSError):
                output.close()

    def test_threads_do_not_mix_lines(self, tmp_path):
        with (tmp_path / "log").open("w") as output:
            reporter = report.choose(output, 3)

            def work(name):
                for _ in range(200):
                    task = reporter.task(name * 30, None)
                    task.done(name * 30)

            threads = [threading.Thread(target=work, args=(name,)) for name in "abcdef"]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        lines = (tmp_path / "log").read_text().splitlines()
        assert len(lines) == 1200
        assert set(lines) == {f"{name * 30}: {name * 30}" for name in "abcdef"}

    def test_counts_of_threads_add_up(self, reporter, output):
        task = reporter.task("t", None)

        def work():
            for _ in range(20_000):
                task.advance(1)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        task.done()
        assert output.getvalue().startswith("t: done (80.0 kB ")
