"""The entry point as a process: exit codes, messages, and what becomes of odd surroundings."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.commands import Udocker
from builders.processes import SOURCE, needs_namespaces, wait_for
from builders.trees import File
from fakes.registry import FakeRegistry, Fault, make_image, make_layer
from udocker import __version__
from udocker.cli import commands
from udocker.config import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    return Udocker(tmp_path)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as served:
        make_image(served, "a/b", "latest", [make_layer({"file": b"x" * 100_000})])
        yield served


# Help


@pytest.mark.parametrize("words", [(), ("help",), ("--help",), ("-h",), ("-D", "--help")])
def test_help_lists_every_command(udocker: Udocker, words: tuple[str, ...]) -> None:
    ended = udocker(*words)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("usage: udocker [OPTIONS] COMMAND …\n")
    listed = ended.out.partition("\nCommands:\n")[2]
    for name in commands.names():
        assert f"\n  {name} " in f"\n{listed}"
    assert "--allow-root" not in ended.out


@pytest.mark.parametrize("name", commands.names())
def test_help_of_every_command(udocker: Udocker, name: str) -> None:
    ended = udocker(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"usage: udocker {name}")
    assert udocker("help", name).out == ended.out
    assert udocker("--help", name).out == ended.out
    assert udocker(name, "-h").out == ended.out
    assert all(len(line) <= 100 for line in ended.out.splitlines())
    assert not udocker.store_path.exists()


def test_help_among_the_words_of_a_command_to_run_is_its_own(udocker: Udocker) -> None:
    for words in (("run", "img", "--help"), ("run", "--", "img", "-h")):
        ended = udocker(*words, "--pull=never")
        assert "usage:" not in ended.out
        assert ended.code == 125
    assert udocker("run", "--pull=never", "--help", "img").out.startswith("usage: udocker run")
    assert udocker("run", "-e", "A=b", "--help").out.startswith("usage: udocker run")


@pytest.mark.parametrize("word", ["version", "--version", "-V"])
def test_version(udocker: Udocker, word: str) -> None:
    ended = udocker(word)
    assert (ended.code, ended.out, ended.err) == (0, f"version: {__version__}\n", "")


def test_showconf_tells_every_setting(udocker: Udocker) -> None:
    ended = udocker("showconf", env={"UDOCKER_JOBS": "9", "UDOCKER_INSECURE_REGISTRIES": "a b"})
    shown = dict(line.split(" = ", 1) for line in ended.out.splitlines())
    assert set(shown) == {setting.keys[0] for setting in SETTINGS}
    assert shown["topdir"] == str(udocker.store_path)
    assert (shown["jobs"], shown["insecure_registries"]) == ("9", "a b")
    assert ended.code == 0


def test_general_options_are_settings_of_this_once(udocker: Udocker) -> None:
    shown = udocker("--insecure", "--debug", "showconf").out
    assert "http_insecure = True\n" in shown
    assert "verbose_level = 5\n" in shown
    assert "verbose_level = 1\n" in udocker("--quiet", "showconf").out


# Command lines that are wrong


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("rnu",), "unknown command 'rnu'", "did you mean run?"),
        (("xyzzy",), "unknown command 'xyzzy'", "udocker help lists the commands"),
        (("",), "unknown command ''", "udocker help lists the commands"),
        (("help", "imges"), "unknown command 'imges'", "did you mean images?"),
        (("--repoo=x", "ps"), "unknown option --repoo", "did you mean --repo?"),
        (("-x", "ps"), "unknown option -x", "udocker --help lists the options"),
        (("images", "--jsn"), "images: unknown option --jsn", "did you mean --json?"),
        (("ps", "-x"), "ps: unknown option -x", "udocker ps --help lists the options"),
        (("--repo",), "--repo needs a value", "--repo DIR"),
        (("run", "-e"), "run: -e needs a value", "-e NAME=V"),
        (("run", "--volume"), "run: --volume needs a value", "--volume SRC:DST[:ro]"),
        (
            ("run", "--pull=sometimes", "x"),
            "run: --pull cannot be 'sometimes'",
            "one of always, missing, never, reuse",
        ),
        (("run", "--rm=perhaps", "x"), "run: --rm is true or false, not 'perhaps'", ""),
        (
            ("run",),
            "run: an argument is missing",
            "usage: udocker run [OPTIONS] IMAGE|CONTAINER [COMMAND [ARG…]]",
        ),
        (("pull",), "pull: an argument is missing", "usage: udocker pull [OPTIONS] IMAGE"),
        (("name", "x"), "name: an argument is missing", "usage: udocker name CONTAINER NAME"),
        (
            ("pull", "a", "b"),
            "pull: unexpected argument 'b'",
            "usage: udocker pull [OPTIONS] IMAGE",
        ),
        (("version", "x"), "version: unexpected argument 'x'", "usage: udocker version"),
        (("pull", "UPPER"), "image names are lower case: 'UPPER'", "upper"),
        (("run", "-e", "=x", "i"), "not an environment variable: '=x'", "-e NAME=value or -e NAME"),
        (
            ("run", "-v", "da/ta:/x", "i"),
            "volume 'da/ta:/x': 'da/ta' is neither a path nor the name of a volume",
            "volumes look like /host/path:/container/path[:ro], or NAME:/container/path",
        ),
        (
            ("pull", "--platform=x", "i"),
            "not a platform: 'x'",
            "platforms look like linux/arm64 or linux/arm/v7",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line_and_a_hint(
    udocker: Udocker, words: tuple[str, ...], message: str, hint: str
) -> None:
    ended = udocker(*words)
    assert (ended.code, ended.out) == (2, "")
    expected = f"udocker: {message}\n" + (f"  try: {hint}\n" if hint else "")
    assert ended.err.replace("udocker version \n", "udocker version\n") == expected
    assert not udocker.store_path.exists()


def test_general_options_stand_before_the_command(udocker: Udocker) -> None:
    assert udocker("ps", "--debug").code == 2
    assert udocker("--allow-root", "--insecure", "-q", "ps").code == 0


# Settings


def test_the_store_of_the_command_line_comes_first(udocker: Udocker) -> None:
    other = udocker.top / "other"
    other.mkdir()
    for repo in (str(other), "other", "./other"):
        ended = udocker("--repo", repo, "showconf")
        assert f"topdir = {other}\n" in ended.out
    (udocker.home / "mine").mkdir()
    assert f"topdir = {udocker.home}/mine\n" in udocker("--repo=~/mine", "showconf").out


def test_without_any_setting_the_store_is_in_the_home(udocker: Udocker) -> None:
    del udocker.environ["UDOCKER_DIR"]
    assert f"topdir = {udocker.home}/.udocker\n" in udocker("showconf").out
    del udocker.environ["HOME"]
    assert udocker("showconf").code == 0


@pytest.mark.parametrize(
    ("words", "env", "message"),
    [
        (("--config", "/not/there", "ps"), {}, "cannot read /not/there: No such file or directory"),
        (("ps",), {"UDOCKER_JOBS": "many"}, "environment variable UDOCKER_JOBS: 'many': a whole"),
        (("ps",), {"UDOCKER_DIR": "~/x"}, "environment variable UDOCKER_DIR: '~/x': ~ is not"),
    ],
)
def test_bad_settings(
    udocker: Udocker, words: tuple[str, ...], env: dict[str, str], message: str
) -> None:
    ended = udocker(*words, env=env)
    assert ended.code == 2
    assert ended.err.startswith(f"udocker: {message}")
    assert "Traceback" not in ended.err


def test_a_bad_setting_does_not_stop_help_and_says_where_it_is(udocker: Udocker) -> None:
    (udocker.home / "own.conf").write_text("jobs = 4\nunheard_of = 1\n")
    ended = udocker("--config", f"{udocker.home}/own.conf", "ps")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"udocker: {udocker.home}/own.conf: unknown setting 'unheard_of'\n")
    assert udocker("--config", "/not/there", "ps", "--help").code == 0


# Errors


def test_an_error_has_no_traceback_unless_asked_for(udocker: Udocker) -> None:
    words = ("create", "--pull=never", "none")
    ended = udocker(*words)
    assert ended.code == 125
    assert ended.err == ("udocker: image none is not in the store\n  try: udocker pull none\n")
    ended = udocker("--debug", *words)
    assert ended.code == 125
    assert ended.err.startswith("Traceback (most recent call last):\n")
    assert "udocker.errors.ImageNotFound: image none is not in the store\n" in ended.err
    assert ended.err.endswith("  try: udocker pull none\n")


def test_results_come_before_the_error_about_the_rest(udocker: Udocker) -> None:
    with (udocker.top / "both").open("wb") as both:
        code = udocker.start("rmi", "--force", "a", stdout=both, stderr=both).wait()
        assert code == 0
        udocker.add("one")
        assert udocker.start("rmi", "one", "two", stdout=both, stderr=both).wait() == 125
    lines = (udocker.top / "both").read_text().splitlines()
    assert lines[0] == "Untagged: docker.io/library/one:latest"
    assert lines[-2:] == ["udocker: no such image: two", "  try: udocker images lists them"]


def test_a_store_that_may_not_be_written(udocker: Udocker) -> None:
    record = udocker.add("one")
    udocker.store_path.chmod(0o500)
    ended = udocker("create", "one")
    udocker.store_path.chmod(0o700)
    assert ended.code == 125
    assert ended.err.startswith("udocker: using the store: Permission denied: ")
    assert ended.err.endswith("  try: choose a store you may write: UDOCKER_DIR or --repo\n")
    assert record.config.short in udocker("images").out


def test_a_file_where_the_store_should_be(udocker: Udocker) -> None:
    udocker.store_path.write_bytes(b"")
    for words in (("create", "x"), ("pull", "127.0.0.1:1/x")):
        ended = udocker(*words)
        assert ended.code == 125
        assert "Not a directory" in ended.err
        assert "Traceback" not in ended.err
    assert udocker("images").code in (0, 125)
    assert udocker.store_path.read_bytes() == b""


def test_an_interrupt_leaves_nothing(udocker: Udocker, registry: FakeRegistry) -> None:
    registry.fault("/blobs/", Fault(stall=100))
    process = udocker.start("pull", f"{registry.host}/a/b")
    wait_for(lambda: registry.requests("/blobs/"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert list(udocker.store.images.all()) == []
    assert not list(udocker.store_path.glob("tmp/*"))


# Output


def test_quiet_says_nothing(udocker: Udocker, registry: FakeRegistry) -> None:
    name = f"{registry.host}/a/b"
    for words in (("-q", "pull"), ("pull", "-q"), ("pull", "--quiet")):
        ended = udocker(*words, name)
        assert (ended.code, ended.out, ended.err) == (0, "", ""), ended
    assert "is up to date" in udocker("pull", name).err
    ended = udocker("-q", "pull", f"{registry.host}/a/none")
    assert (ended.code, ended.out) == (125, "")
    assert ended.err.startswith("udocker: ")


def test_results_go_to_stdout_and_notes_to_stderr(udocker: Udocker, registry: FakeRegistry) -> None:
    ended = udocker("create", f"{registry.host}/a/b")
    assert len(ended.out.strip()) == 32
    assert "pulled" in ended.err


def test_a_reader_that_has_gone(udocker: Udocker) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = udocker.start("help", stdout=writing)
    os.close(writing)
    _, err = process.communicate()
    assert (process.returncode, err) == (141, b"")


@pytest.mark.parametrize("words", [("version",), ("help",), ("ps", "--help"), ("ps", "--json")])
def test_a_full_disk_for_the_output(udocker: Udocker, words: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        process = udocker.start(*words, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 125
    assert err.startswith(b"udocker: "), err
    assert b"No space left on device" in err
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


def in_shell(udocker: Udocker, script: str, **options: Any) -> Any:
    """Run ``script``, where "$@" is the command and its first words."""
    process = udocker.start()
    process.communicate()
    environ = {**udocker.environ, "PYTHONPATH": str(SOURCE), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        ["sh", "-c", script, "sh", *process.args],
        env=environ,
        capture_output=True,
        check=False,
        **options,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_descriptors_that_are_closed(udocker: Udocker, closed: str) -> None:
    udocker.add("one", {"file": b""})
    for words in ("version", "images", "ps --json", "create one"):
        done = in_shell(udocker, f'"$@" {words} {closed}')
        assert done.returncode == 0, done
        assert b"Traceback" not in done.stderr
    done = in_shell(udocker, f'"$@" rmi none {closed}')
    assert done.returncode == 125
    assert b"Traceback" not in done.stderr
    [container] = udocker.store.containers.all()
    assert container.config.raw == Path(container.path, "config.json").read_bytes()


@needs_namespaces
def test_a_working_directory_that_is_gone(udocker: Udocker) -> None:
    gone = udocker.top / "gone"
    udocker.add("one", {"p": File(b"", 0o755)})
    udocker.trust("N1")
    for words in ("version", "images", "run --dry-run --execmode=N1 -v /etc one /p"):
        gone.mkdir()
        done = in_shell(udocker, f'rmdir "$PWD"; "$@" {words}', cwd=gone)
        assert done.returncode == 0, done
        assert b"Traceback" not in done.stderr


@needs_namespaces
def test_names_of_any_bytes_are_printed(udocker: Udocker) -> None:
    """What was typed is printed as it was typed, whatever the locale."""
    odd = udocker.top / os.fsdecode(b"od\xffd")
    odd.mkdir()
    udocker.trust("N1")
    udocker.add("one", {"p": File(b"", 0o755)})
    for locale in ({}, {"LANG": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        ended = udocker(
            "run", "--dry-run", "--execmode=N1", "-v", f"{odd}:/x", "one", "/p", "\udcfe", "ü",
            env=locale,
        )  # fmt: skip
        assert ended.code == 0, ended
        assert f"bind {odd} on /x" in ended.out
        assert ended.out.rstrip().endswith("/p '\udcfe' 'ü'")
    ended = udocker("inspect", "\udcfe")
    assert ended.code == 125
    assert "no such container or image" in ended.err
