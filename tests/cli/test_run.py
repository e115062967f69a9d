"""run as people and scripts see it: what arrives at the command, what comes back, what stays."""

from __future__ import annotations

import itertools
import os
import pwd
import shlex
import signal
from pathlib import Path

import pytest

from builders.commands import Udocker, needs_busybox
from builders.processes import needs_namespaces, wait_for
from builders.trees import File

# All in the mode that needs nothing of the host but the kernel.
pytestmark = needs_namespaces


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    made = Udocker(tmp_path)
    made.trust("N1")
    made.add("test", {"p": File(b"", 0o755)}, run={"Cmd": ["/p"], "Env": ["A=image"]})
    return made


@pytest.fixture
def box(tmp_path: Path) -> Udocker:
    """With an image of real programs."""
    made = Udocker(tmp_path)
    made.trust("N1")
    made.add_busybox()
    return made


def planned(udocker: Udocker, *words: str, **env: str) -> tuple[list[str], list[str], list[str]]:
    """The set-up steps, the variables and the command of a dry run."""
    ended = udocker("run", "--dry-run", "--execmode=N1", *words, env=env)
    assert ended.code == 0, ended
    *steps, line = ended.out.rstrip("\n").split("\n")
    words_of_it = shlex.split(line)
    assert words_of_it[:2] == ["env", "-i"]
    variables = list(itertools.takewhile(lambda word: "=" in word, words_of_it[2:]))
    return steps, variables, words_of_it[2 + len(variables) :]


# Words


@pytest.mark.parametrize(
    "command",
    [
        ["ls", "-l", "--rm", "--name=x"],
        ["--", "x"],
        ["x", "--"],
        ["-v", "--help"],
        ["", " ", "  a  b "],
        ["'", '"', "\\", "$HOME", "`id`", "*", "~", "!", "#"],
        ["ü", "\u2028"],
    ],
)
def test_the_command_is_taken_as_typed(udocker: Udocker, command: list[str]) -> None:
    _, _, found = planned(udocker, "test", "/p", *command)
    assert found == ["/p", *command]


def test_everything_after_the_image_is_the_command(udocker: Udocker) -> None:
    ended = udocker("run", "--dry-run", "test", "--", "/p")
    assert ended.code == 127
    assert ended.err.startswith("udocker: command not found in the container's PATH (")
    assert "): --\n  try: options of udocker stand before" in ended.err
    assert planned(udocker, "--", "test", "/p", "x")[2] == ["/p", "x"]


def test_options_in_every_spelling(udocker: Udocker, tmp_path: Path) -> None:
    (tmp_path / "vars").write_text("FROM_FILE=1\nB=file\n")
    steps, variables, _ = planned(
        udocker,
        "-e", "A=1", "-eB=2", "--env=C=3 3", "--env", "D", "-e=E=5",
        "--env-file", str(tmp_path / "vars"),
        "-v", f"{tmp_path}:/one:ro", f"--volume={tmp_path}:/two", "-v/etc",
        "-w", "/work", "-u0:0", "--hostname", "inside", "-it", "--nobanner", "-q",
        "test",
        D="of the host",
    )  # fmt: skip
    assert {"A=1", "B=2", "C=3 3", "D=of the host", "E=5", "FROM_FILE=1"} <= set(variables)
    assert "HOSTNAME=inside" in variables
    place = os.path.realpath(tmp_path)
    assert f"# bind {place} on /one read-only" in steps
    assert f"# bind {place} on /two" in steps
    assert "# bind /etc on /etc" in steps
    assert "# set the host name inside" in steps
    assert steps[-1] == "cd /work"


def test_volumes_relative_to_the_working_directory(udocker: Udocker) -> None:
    (udocker.top / "data").mkdir()
    steps, _, _ = planned(udocker, "-v", "./data:/data", "test")
    assert f"# bind {os.path.realpath(udocker.top)}/data on /data" in steps


def test_home_and_environment_of_the_host(udocker: Udocker) -> None:
    steps, variables, _ = planned(udocker, "--bindhome", "--hostenv", "test", EXTRA="1")
    assert f"# bind {udocker.home} on {udocker.home}" in steps
    assert "EXTRA=1" in variables
    assert not [text for text in variables if text.startswith(("UDOCKER_", "PYTHON"))]
    assert "A=image" in variables


def test_accounts_of_the_host(udocker: Udocker) -> None:
    account = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)
    assert udocker("run", "--dry-run", "--user", account.pw_name, "test").code == 125
    _, variables, _ = planned(udocker, "--hostauth", "--user", account.pw_name, "test")
    assert {f"USER={account.pw_name}", f"HOME={account.pw_dir}"} <= set(variables)


def test_the_registry_and_the_platform_that_are_said(udocker: Udocker) -> None:
    udocker.add("quay.io/tool", {"p": File(b"", 0o755)}, run={"Cmd": ["/p"]})
    assert udocker("run", "--dry-run", "tool").code == 125
    for host in ("quay.io", "https://quay.io"):
        assert planned(udocker, f"--registry={host}", "tool")[2] == ["/p"]
    ended = udocker("run", "--dry-run", "--platform=linux/s390x", "test")
    assert ended.err.startswith("udocker: image test is not in the store\n")
    assert planned(udocker, "--platform=linux/x86_64", "test")[2] == ["/p"]


def test_the_entrypoint_can_be_replaced(udocker: Udocker) -> None:
    assert planned(udocker, "--entrypoint=/p -x", "test", "y")[2] == ["/p", "-x", "y"]
    ended = udocker("run", "--entrypoint=", "test")
    assert ended.code == 2
    assert "the image says no command to run" in ended.err


def test_a_dry_run_leaves_nothing(udocker: Udocker) -> None:
    planned(udocker, "--name=box", "--rm", "test")
    assert udocker.store.containers.all() == []
    udocker.store.containers.check_name("box")


def test_a_terminal_that_is_not_there(udocker: Udocker) -> None:
    ended = udocker("run", "--dry-run", "-t", "test")
    assert ended.code == 0
    assert "standard input is not a terminal: -t has no effect" in ended.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("none",), 125, "image none is not in the store"),
        (("UPPER",), 125, "no such container, and not an image name: UPPER"),
        (("test", "/none"), 127, "command not found in the container: /none"),
        (("test", "/"), 126, "cannot execute /: it is a directory"),
        (("-u", "bob", "test"), 125, "no user 'bob' in the container's /etc/passwd"),
        (("-v", "/not/there:/x", "test"), 125, "volume source /not/there does not exist"),
        (("-w", "x", "test"), 2, "the working directory 'x' is not an absolute path"),
        (("-w", "/p", "test"), 125, "the working directory /p is not a directory"),
        (("--env-file=/none", "test"), 2, "cannot read --env-file /none: No such file"),
        (("--execmode=X1", "test"), 2, "unknown execution mode 'X1'"),
        (("--hostname=a b", "test"), 2, "not a host name: 'a b'"),
        (("--name=a/b", "test"), 2, "not a container name: 'a/b'"),
        (("--gpus=foo=1", "test"), 2, 'invalid argument "foo=1" for "--gpus" flag: unexpected'),
        (("--gpus", "", "test"), 2, 'invalid argument "" for "--gpus" flag: EOF'),
        (("--device=fuse", "test"), 2, "--device: fuse is not an absolute path"),
        (("--device=a=b", "test"), 2, "--device 'a=b': not a name of CDI"),
        (("--cdi-dir=/none", "test"), 2, "--cdi-dir '/none' is not a directory"),
        (("--cdi-dir=", "test"), 2, "--cdi-dir '' is not a directory"),
    ],
)
def test_a_run_that_cannot_be(
    udocker: Udocker, words: tuple[str, ...], code: int, message: str
) -> None:
    ended = udocker("run", "--pull=never", *words)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(f"udocker: {message}"), ended
    assert "Traceback" not in ended.err
    assert udocker.store.containers.all() == []


def test_no_mode_that_works(udocker: Udocker) -> None:
    udocker.trust("N1", reason="a first run failed")
    ended = udocker("run", "--execmode=N1", "test")
    assert ended.code == 125
    assert ended.err == (
        "udocker: mode N1 does not work here: a first run failed\n  try: hint of a first run\n"
    )


# For real


@pytest.mark.parametrize("code", [0, 1, 7, 126, 255])
@pytest.mark.parametrize("options", [(), ("--rm",), ("--name=kept",)])
@needs_busybox
class TestStatus:
    def test_is_the_commands_own(self, box: Udocker, code: int, options: tuple[str, ...]) -> None:
        ended = box("run", *options, "box", "sh", "-c", f"echo out; echo err >&2; exit {code}")
        assert (ended.code, ended.out, ended.err) == (code, "out\n", "err\n")
        assert len(box.store.containers.all()) == (0 if options == ("--rm",) else 1)


@needs_busybox
class TestRuns:
    def test_words_arrive_as_typed(self, box: Udocker) -> None:
        words = ["", " a  b ", "'", '"', "$HOME", "--", "-c", "\n", "ü", "\udcff"]
        ended = box("run", "box", "sh", "-c", 'for w; do printf "<%s>" "$w"; done', "sh", *words)
        assert ended.out == "".join(f"<{word}>" for word in words)

    def test_input_and_output_pass_through(self, box: Udocker) -> None:
        ended = box("run", "-i", "box", "cat", input="line\n" * 1000)
        assert (ended.code, ended.out, ended.err) == (0, "line\n" * 1000, "")

    def test_a_signal_that_ends_the_command(self, box: Udocker) -> None:
        assert box("run", "box", "sh", "-c", "kill -TERM $$").code == -signal.SIGTERM
        assert box("run", "--rm", "box", "sh", "-c", "kill -TERM $$").code == 143

    @pytest.mark.parametrize("options", [(), ("--rm",)])
    def test_signals_reach_the_command(self, box: Udocker, options: tuple[str, ...]) -> None:
        script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.02; done"
        process = box.start("run", *options, "box", "sh", "-c", script)
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate()
        assert (process.returncode, out) == (9, b"caught\n")
        assert len(box.store.containers.all()) == (0 if options else 1)

    def test_what_it_writes_stays_in_its_container(self, box: Udocker) -> None:
        assert box("run", "--name=one", "box", "sh", "-c", "echo mine >/file").code == 0
        assert box("run", "one", "cat", "/file").out == "mine\n"
        assert box("run", "--rm", "box", "cat", "/file").code == 1
        assert len(box.store.containers.all()) == 1

    def test_rm_of_a_container_that_is_there(self, box: Udocker) -> None:
        assert box("create", "--name=one", "box").code == 0
        assert box("run", "--rm", "one", "true").code == 0
        assert box.store.containers.all() == []

    def test_rm_takes_what_nobody_may_read(self, box: Udocker) -> None:
        script = "mkdir -p /a/b; echo x >/a/b/c; chmod 0 /a/b/c /a/b /a"
        assert box("run", "--rm", "box", "sh", "-c", script).code == 0
        assert not list(box.store_path.glob("containers/*"))
        assert not list(box.store_path.glob("tmp/*"))

    def test_a_removal_that_fails_does_not_hide_the_status(self, box: Udocker) -> None:
        script = f"chmod 555 {box.store_path}/containers; exit 3"
        words = ("-v", str(box.store_path), "box", "sh", "-c", script)
        ended = box("run", "--rm", *words)
        (box.store_path / "containers").chmod(0o755)
        assert ended.code == 3
        assert "removing the container: Permission denied" in ended.err
        assert "Traceback" not in ended.err

    def test_no_sweep_takes_a_container_of_rm_that_runs(self, box: Udocker) -> None:
        script = "echo ready; read word; cat /etc/word; exit 4"
        process = box.start("run", "--rm", "box", "sh", "-c", script, stdin=-1)
        assert process.stdout.readline() == b"ready\n"
        [container] = box.store.containers.all()
        os.utime(container.path, (0, 0))
        assert box("create", "box").code == 0  # whatever makes something sweeps
        assert len(box.store.containers.all()) == 2
        process.communicate(b"go\n")
        assert process.returncode == 4
        assert len(box.store.containers.all()) == 1

    def test_two_runs_of_one_container_with_rm(self, box: Udocker) -> None:
        """The first that ends removes it; neither loses its status."""
        assert box("create", "--name=one", "box").code == 0
        script = "echo ready; read word; exit 4"
        processes = []
        for _ in range(2):
            process = box.start("run", "--rm", "one", "sh", "-c", script, stdin=-1)
            assert process.stdout.readline() == b"ready\n"
            processes.append(process)
        for process in processes:
            process.communicate(b"go\n")
            assert process.returncode == 4
        assert box.store.containers.all() == []

    def test_read_only_volumes(self, box: Udocker) -> None:
        data = box.top / "data"
        data.mkdir()
        words = ("-v", f"{data}:/ro:ro", "-v", f"{data}:/rw", "box", "sh", "-c")
        assert box("run", *words, "echo x >/ro/file").code != 0
        assert os.listdir(data) == []
        assert box("run", *words, "echo x >/rw/file; cat /ro/file").out == "x\n"

    def test_volumes_through_links_of_the_image(self, box: Udocker) -> None:
        data = box.top / "data"
        data.mkdir()
        (data / "file").write_text("of the host\n")
        make = "mkdir -p /run /var; ln -s ../run /var/run; ln -s /deep/new /dangling"
        assert box("run", "--name=one", "box", "sh", "-c", make).code == 0
        for target in ("/var/run/data", "/dangling"):
            ended = box("run", "-v", f"{data}:{target}", "one", "cat", f"{target}/file")
            assert ended.out == "of the host\n", ended

    def test_the_image_of_a_container_may_be_removed_while_it_runs(self, box: Udocker) -> None:
        process = box.start("run", "box", "sh", "-c", "echo ready; read w; cat /etc/x; ls /bin/sh",
                            stdin=-1)  # fmt: skip
        assert process.stdout.readline() == b"ready\n"
        ended = box("rmi", "box")
        assert (ended.code, ended.out) == (0, "Untagged: docker.io/library/box:latest\n")
        out, _ = process.communicate(b"go\n")
        assert (process.returncode, out) == (0, b"/bin/sh\n")

    def test_a_run_that_is_killed_leaves_its_container_to_a_sweep(self, box: Udocker) -> None:
        process = box.start("run", "--rm", "box", "sh", "-c", "echo $$; exec sleep 1000")
        pid = int(process.stdout.readline())
        process.kill()
        process.communicate()
        wait_for(lambda: not os.path.exists(f"/proc/{pid}/root"))
        wait_for(lambda: box.store.containers.all() == [])
