from __future__ import annotations

import datetime
import io
import os
import subprocess
import sys

import pytest

from udocker import __version__
from udocker.cli import commands
from udocker.cli.commands import Command
from udocker.cli.context import Context
from udocker.cli.table import age, columns, megabytes
from udocker.errors import UsageError
from udocker.model.config import Config

NAMES = commands.names()
# What only a pull may load: run of a ready image starts without.
HEAVY = ("requests", "urllib3", "pycurl", "zstandard", "isal", "rich", "ssl", "http.client")
HEAVY += ("argparse", "typing", "dataclasses", "inspect", "logging", "asyncio", "subprocess")


def udocker(*arguments, home, **environ):
    return subprocess.run(
        [sys.executable, "-m", "udocker", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(home)}
        | environ,
        capture_output=True,
        check=False,
    )


class TestTable:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_command(self, name):
        command = commands.find(name)
        assert isinstance(command, Command)
        assert command.name == name
        assert command.syntax.summary.endswith(".")
        most = command.syntax.at_most
        assert most is None or command.syntax.at_least <= most

    @pytest.mark.parametrize("name", NAMES)
    def test_every_option(self, name):
        options = commands.find(name).syntax.options
        spelled = [text for option in options for text in option.names]
        assert len(spelled) == len(set(spelled))
        keys = [option.key for option in options]
        assert len(keys) == len(set(keys))
        for option in options:
            assert option.help
            assert bool(option.metavar) == (option.kind != "flag")

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("pul", "did you mean pull?"),
            ("imagse", "did you mean images?"),
            ("xyzzy", "udocker help lists the commands"),
            ("", "udocker help lists the commands"),
            ("RUN", "udocker help lists the commands"),
            ("../run", None),
        ],
    )
    def test_unknown(self, name, hint):
        with pytest.raises(UsageError, match="unknown command") as caught:
            commands.find(name)
        assert hint is None or caught.value.hint == hint


class TestHelp:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("option", ["--help", "-h"])
    def test_of_a_command(self, tmp_path, name, option):
        result = udocker(name, option, home=tmp_path)
        assert result.returncode == 0
        assert result.stdout.decode().startswith(f"usage: udocker {name}")
        assert result.stderr == b""
        assert os.listdir(tmp_path) == []

    def test_does_not_need_good_settings(self, tmp_path):
        result = udocker("pull", "--help", home=tmp_path, UDOCKER_JOBS="many")
        assert result.returncode == 0

    @pytest.mark.parametrize("arguments", [[], ["help"], ["--help"], ["-h"]])
    def test_of_all(self, tmp_path, arguments):
        result = udocker(*arguments, home=tmp_path)
        assert result.returncode == 0
        for name in NAMES:
            assert f"\n  {name} " in result.stdout.decode()
        assert result.stderr == b""

    def test_of_one_by_name(self, tmp_path):
        for arguments in (["help", "pull"], ["--help", "pull"]):
            result = udocker(*arguments, home=tmp_path)
            assert result.stdout.startswith(b"usage: udocker pull ")


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message", "hint"),
        [
            (["pul"], "unknown command 'pul'", "did you mean pull?"),
            (["--zzz"], "unknown option --zzz", "udocker --help lists the options"),
            (["--repo"], "--repo needs a value", "--repo DIR"),
            (["pull"], "pull: an argument is missing", "usage: udocker pull [OPTIONS] IMAGE"),
            (["pull", "a", "b"], "pull: unexpected argument 'b'", "usage: "),
            (["pull", "--platfrom=x", "a"], "pull: unknown option --platfrom", "--platform?"),
            (["run"], "run: an argument is missing", "usage: udocker run"),
            (["run", "--pull=soon", "a"], "run: --pull cannot be 'soon'", "always, missing, never"),
            (["name", "a"], "name: an argument is missing", "usage: udocker name"),
            (["version", "now"], "version: unexpected argument 'now'", "usage: udocker version"),
        ],
    )
    def test_usage(self, tmp_path, arguments, message, hint):
        result = udocker(*arguments, home=tmp_path)
        first, second = result.stderr.decode().splitlines()
        assert first == f"udocker: {message}"
        assert second.startswith("  try: ")
        assert hint in second
        assert (result.returncode, result.stdout) == (2, b"")
        assert os.listdir(tmp_path) == []

    def test_settings(self, tmp_path):
        result = udocker("showconf", home=tmp_path, UDOCKER_JOBS="many")
        assert result.returncode == 2
        assert b"environment variable UDOCKER_JOBS: 'many'" in result.stderr
        assert b"Traceback" not in result.stderr

    def test_debug_shows_the_traceback(self, tmp_path):
        result = udocker("--debug", "rum", home=tmp_path)
        assert b"Traceback" in result.stderr
        assert result.stderr.splitlines()[-2] == b"udocker: unknown command 'rum'"

    def test_bytes_that_are_not_text(self, tmp_path):
        result = udocker(b"\xff", home=tmp_path)
        assert result.returncode == 2
        assert b"unknown command" in result.stderr


class TestResults:
    @pytest.mark.parametrize("arguments", [["version"], ["--version"], ["-V"]])
    def test_version(self, tmp_path, arguments):
        result = udocker(*arguments, home=tmp_path)
        assert result.returncode == 0
        assert result.stdout.decode() == f"version: {__version__}\n"

    def test_showconf_says_what_is_in_force(self, tmp_path):
        (tmp_path / "given").write_text("jobs = 2\nctimeout = 9\n")
        result = udocker(
            f"--config={tmp_path}/given",
            "--repo",
            f"{tmp_path}/store",
            "-q",
            "showconf",
            home=tmp_path,
            UDOCKER_JOBS="3",
            UDOCKER_INSECURE_REGISTRIES="a,b",
        )
        shown = dict(line.split(" = ") for line in result.stdout.decode().splitlines())
        assert shown["topdir"] == f"{tmp_path}/store"
        assert (shown["jobs"], shown["ctimeout"], shown["verbose_level"]) == ("3", "9", "1")
        assert shown["insecure_registries"] == "a b"

    def test_what_showconf_prints_is_a_configuration_file(self, tmp_path):
        first = udocker("showconf", home=tmp_path, UDOCKER_JOBS="3", UDOCKER_REPOS="/a:/b c")
        (tmp_path / "given").write_bytes(first.stdout)
        second = udocker(f"--config={tmp_path}/given", "showconf", home=tmp_path)
        assert second.stdout == first.stdout != b""


def test_the_command_line_loads_nothing_heavy(tmp_path):
    code = (
        "import sys; bare = set(sys.modules)\n"
        "from udocker.cli import commands, main\n"
        "from udocker import config, report\n"
        "for name in commands.names(): commands.find(name)\n"
        "config.load({'HOME': '/nowhere'}, {})\n"
        "reporter = report.choose(sys.stderr, 3, {}); reporter.info('x'); reporter.close()\n"
        "print(*sorted(set(sys.modules) - bare))"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
        text=True,
    )
    loaded = result.stdout.split()
    assert "udocker.cli.main" in loaded
    assert [name for name in loaded if name.startswith(HEAVY)] == []


class TestColumns:
    def test_aligned(self):
        rows = [("NAME", "SIZE", "IMAGE"), ("a", "12.3 MB", "b"), ("long name", "", "")]
        assert columns(rows).splitlines() == [
            "NAME        SIZE      IMAGE",
            "a           12.3 MB   b",
            "long name",
        ]

    @pytest.mark.parametrize(
        ("size", "text"), [(0, "0.0 MB"), (12_345_678, "12.3 MB"), (10**12, "1000000.0 MB")]
    )
    def test_megabytes(self, size, text):
        assert megabytes(size) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (-5, "just now"),
            (5, "just now"),
            (90, "1 minute ago"),
            (7150, "1 hour ago"),
            (7250, "2 hours ago"),
            (86400 * 3 + 60, "3 days ago"),
            (86400 * 22, "3 weeks ago"),
        ],
    )
    def test_age(self, seconds, text):
        now = datetime.datetime.now(datetime.timezone.utc)
        moment = now - datetime.timedelta(seconds=seconds)
        assert age(moment.isoformat(timespec="seconds")) == text

    @pytest.mark.parametrize("text", ["", "yesterday", "2024-01-01T00:00:00", "2024-13-01"])
    def test_age_unknown(self, text):
        assert age(text) == "unknown"


class TestContext:
    def test_results(self):
        output = io.StringIO()
        context = Context(None, output)
        context.print("one")
        context.print()
        context.print_json({"b": [1], "a": "\u00e9"})
        text = 'one\n\n{\n  "a": "\\u00e9",\n  "b": [\n    1\n  ]\n}\n'
        assert output.getvalue() == text


class TestJobs:
    @pytest.mark.parametrize("text", ["0", "33", "-1", "many", "2.5", "", "9" * 5000])
    def test_what_is_no_number_of_connections(self, tmp_path, text):
        result = udocker("pull", f"--jobs={text}", "name.invalid/x", home=tmp_path)
        assert result.returncode == 2
        error, hint = result.stderr.decode().splitlines()
        assert error.startswith(f"udocker: --jobs {text[:80]!r}: a whole number from 1 to 32")
        assert hint == "  try: --jobs 6"

    def test_a_value_is_needed(self, tmp_path):
        result = udocker("pull", "name.invalid/x", "--jobs", home=tmp_path)
        assert (result.returncode, b"--jobs needs a value" in result.stderr) == (2, True)

    @pytest.mark.parametrize("words", [["--jobs", "1"], ["--jobs=32"]])
    def test_the_least_and_the_most(self, tmp_path, words):
        result = udocker("pull", *words, "name.invalid/x", home=tmp_path)
        assert result.returncode == 125
        assert b"no such host name" in result.stderr

    def test_its_help_tells_the_default(self, tmp_path):
        shown = udocker("pull", "--help", home=tmp_path).stdout.decode()
        assert f"(default: {Config(topdir='/').jobs})" in shown


class TestProxy:
    @pytest.mark.parametrize(
        ("words", "environ", "told"),
        [
            (["pull"], {"https_proxy": "http://127.0.0.1:1"}, "127.0.0.1:1"),
            (["pull"], {"HTTPS_PROXY": "http://u:geheim@127.0.0.1:2"}, "127.0.0.1:2"),
            (["pull"], {"ALL_PROXY": "http://127.0.0.1:3"}, "127.0.0.1:3"),
            (["pull"], {"https_proxy": "127.0.0.1:4", "all_proxy": "127.0.0.1:5"}, "127.0.0.1:4"),
            (["pull", "--httpproxy=127.0.0.1:6"], {"https_proxy": "127.0.0.1:7"}, "127.0.0.1:6"),
            (["search", "--httpproxy=127.0.0.1:8"], {}, "127.0.0.1:8"),
        ],
    )
    def test_which_is_taken(self, tmp_path, words, environ, told):
        result = udocker(*words, "name.invalid/x", home=tmp_path, **environ)
        assert result.returncode == 125
        assert f"name.invalid through the proxy {told}: " in result.stderr.decode()
        assert b"geheim" not in result.stderr

    def test_the_key_of_1_3(self, tmp_path):
        (tmp_path / ".udocker").mkdir()
        text = "http_proxy = http://u:geheim@127.0.0.1:9\n"
        (tmp_path / ".udocker" / "udocker.conf").write_text(text)
        result = udocker("pull", "name.invalid/x", home=tmp_path)
        assert b"through the proxy 127.0.0.1:9: " in result.stderr
        shown = udocker("showconf", home=tmp_path).stdout.decode()
        assert "http_proxy = http://127.0.0.1:9\n" in shown
        assert "geheim" not in shown

    def test_no_proxy(self, tmp_path):
        environ = {"https_proxy": "127.0.0.1:1", "NO_PROXY": ".invalid"}
        result = udocker("pull", "name.invalid/x", home=tmp_path, **environ)
        assert b"no such host name" in result.stderr
