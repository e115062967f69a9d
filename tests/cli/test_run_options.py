"""Docker's options of run beyond the usual, and those of 1.3: planned, warned of, refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from builders.commands import Ended, Udocker, needs_busybox
from builders.processes import needs_namespaces
from builders.sessions import session
from builders.trees import File
from udocker.cli import commands, run, run_request
from udocker.cli.context import Context
from udocker.cli.parser import parse
from udocker.cli.run_more import extended
from udocker.cli.run_rows import notices
from udocker.errors import UsageError
from udocker.model.request import Volume
from udocker.store import said

pytestmark = needs_namespaces


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    made = Udocker(tmp_path)
    made.trust("N1")
    made.add(
        "test",
        {"p": File(b"", 0o755), "data/of-image": File(b"x")},
        run={"Cmd": ["/p"], "Env": ["A=image"], "WorkingDir": "/data", "Labels": {"of": "image"}},
    )
    return made


def planned(udocker: Udocker, *words: str) -> Ended:
    ended = udocker("run", "--dry-run", "--execmode=N1", *words, "test", "/p")
    assert ended.code == 0, ended
    return ended


def test_one_plan_with_all_of_them(udocker: Udocker) -> None:
    """Both spellings of values, and flags together."""
    ended = planned(
        udocker,
        *("-itP", "--read-only", "--tmpfs", "/scratch:size=1m,noexec", "--network=none"),
        *("--mount", "type=bind,src=/usr,dst=/host,readonly", "--mount=type=tmpfs,dst=/t"),
        *("--ulimit", "nofile=10:20", "--oom-score-adj=1000", "--cpuset-cpus", _cpu()),
        *("--security-opt=no-new-privileges", "--novol=/etc/hosts", "--novol", "/sys"),
        *("--dns", "9.9.9.9", "--add-host=a:1.2.3.4", "--shm-size", "1k", "--label", "a=b"),
    )
    steps = "\n".join(line for line in ended.out.splitlines() if line.startswith("# "))
    for part in (
        "user, mount, network;",
        "bind /usr on /host read-only",
        "mount a tmpfs on /scratch (size=1048576)",
        "mount a tmpfs on /t (no options)",
        "make the root read-only",
        f"limit the command: resource 7 10:20, CPUs {_cpu()}, oom_score_adj 1000, no new priv",
        "on /etc/resolv.conf",
        "bind /proc on /proc",
    ):
        assert part in steps, part
    assert "on /sys" not in steps
    assert "on /etc/hosts" not in steps
    assert ended.err.count("has no effect") == 1  # of -t, without a terminal


def _cpu() -> str:
    return str(min(os.sched_getaffinity(0)))


def test_without_options_there_is_no_step_of_theirs(udocker: Udocker) -> None:
    ended = planned(udocker)
    for part in ("network", "tmpfs", "limit", "make the root read-only"):
        assert part not in ended.out


def test_what_is_left_out(udocker: Udocker) -> None:
    before = planned(udocker, "--user=77").out
    after = planned(
        udocker, "--nometa", "--workdir=/", "--nosysdirs", "--containerauth", "--user=77"
    ).out
    for part in ("A=image", "on /proc", "/etc/resolv.conf", "/etc/passwd"):
        assert part in before
        assert part not in after


def test_names_of_hosts(udocker: Udocker) -> None:
    planned(udocker, "-h", "box", "--domainname=x.org", "--dns-search=y.org", "--dns-opt=ndots:2")
    ended = udocker("run", "-h")
    assert ended.out.startswith("usage: udocker run")


@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (["--privileged"], "--privileged has no effect: a container has your rights on the host"),
        (["--privileged=false"], ""),
        (["--cap-add=SYS_PTRACE"], "--cap-add has no effect"),
        (["--restart=always"], "--restart has no effect: nothing starts it again"),
        (["--restart", "no"], ""),
        (["--pid=host", "--ipc=host", "--uts=host", "--cgroupns=private"], ""),
        (["--pid=container:x"], "--pid has no effect"),
        (["--log-driver=json-file", "--log-opt=max-size=1m", "--expose=80", "-a", "stdout"], ""),
        (["--log-driver=syslog"], "--log-driver has no effect"),
        (["-a"], ""),
        (["--dri", "--index=https://x"], ""),
        (["--kernel=4.4"], "--kernel has no effect: uname tells"),
        (["--network=bridge"], "--network bridge: the container is on the host's network"),
        (["--net=mine"], "--network mine: the container is on the host's network"),
        (["-p", "127.0.0.1:8080:8080"], ""),
        (["-p", "127.0.0.1:9000:9000/sctp"], "the program chooses the address"),
        (["-p", "8080:8080", "-P"], ""),
        (["--security-opt=seccomp=unconfined", "--security-opt", "label:disable"], ""),
        (["--health-cmd=x", "--health-interval=1s"], "--health-cmd has no effect"),
    ],
)
def test_one_warning_or_none(tmp_path: Path, words: list[str], warning: str) -> None:
    lines = told(tmp_path, words)
    assert len(lines) == (1 if warning else 0), lines
    assert not warning or warning in lines[0]


def told(top: Path, words: list[str]) -> list[str]:
    """The warnings of a command line that is only read."""
    made = session(top)
    parsed = parse(commands.find("run").syntax, [*words, "test", "/p"], "run")
    warnings = notices(parsed, run._OPTIONS)
    asked = run_request.asked(Context(lambda: made, sys.stdout), parsed)
    assert extended(made, parsed, asked).target == "test"
    return [*warnings, *made.report.warnings]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sysctl=a=b"], "--sysctl cannot be had: settings of the kernel are the host's"),
        (["--link=db"], "--link cannot be had"),
        (["--ip=1.2.3.4"], "--ip cannot be had"),
        (["--security-opt=seccomp=/p.json"], "no profile can be applied"),
        (["-p", "8080:80", "-p", "8081:80"], "port 80/tcp of the container is published twice"),
        (["--tmpfs=/a", "-v", "/usr:/a"], "two things are to be mounted at /a"),
        (["--cpus=1", "--cpu-quota=1000"], "--cpus and --cpu-quota at once"),
        (["--location=/nowhere"], "--location '/nowhere' is not a directory"),
        (["--dns=x"], "--dns 'x': not an address"),
        (["--ulimit=files=1"], "NAME=SOFT[:HARD] is expected"),
        (["--oom-score-adj=2000"], "from -1000 to 1000"),
    ],
)
def test_what_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        told(tmp_path, words)
    assert message in f"{caught.value.message}; {caught.value.hint}"


def test_cpus_that_are_not_here(udocker: Udocker) -> None:
    ended = udocker("run", "--cpuset-cpus=9999", "test", "/p")
    assert ended.code == 125
    assert "not all of these CPUs may be used here" in ended.err
    assert udocker.store.containers.ids() == []


def test_modes_that_cannot_are_told(udocker: Udocker) -> None:
    ended = udocker("run", "--execmode=F1", "--read-only", "test", "/p")
    assert ended.code == 125
    assert "a read-only root" in ended.err or "libfakechroot" in ended.err


@needs_busybox
def test_volumes_labels_and_reuse(tmp_path: Path) -> None:
    """What is written on a container, what another run has of it, and a volume's life."""
    box = Udocker(tmp_path)
    box.trust("N1")
    box.add_busybox(Labels={"of": "image"})
    (tmp_path / "labels").write_text("from=file\n")
    begin = ("run", "--execmode=N1")
    script = "echo kept > /data/f"
    words = ("-l", "a=b", "--label-file=labels", "-v", "v1:/data", "--mount=src=v2,dst=/bin2")
    ended = box(*begin, "--name=one", *words, "-v", "v3:/bin:nocopy", "box", "sh", "-c", "true")
    assert ended.code == 127  # v3 is empty, and hides all programs
    ended = box(*begin, "--name=one", *words, "box", "sh", "-c", script)
    assert (ended.code, ended.out) == (0, ""), ended
    container = box.store.containers.get("one")
    noted = said.read(container.path)
    assert dict(noted.labels) == {"a": "b", "from": "file"}
    assert noted.volumes == (Volume("v1", "/data"), Volume("v2", "/bin2"))
    ended = box(
        *begin, "--rm", "--volumes-from=one:ro", "box", "sh", "-c", "cat /data/f; > /data/g"
    )
    assert ended.out == "kept\n"
    assert "Read-only" in ended.err
    ended = box(*begin, "--rm", "-v", "v4:/bin", "box", "sh", "-c", "ls -d /bin/sh")
    assert ended.out == "/bin/sh\n"  # it began with what the image has
    ended = box(*begin, "--pull=reuse", "--name=one", "box", "cat", "/data/f")
    assert ended.code == 1  # the same container, without its volumes
    assert len(box.store.containers.ids()) == 1
    assert box("inspect", "--format", "{{json .Mounts}}", "one").out.count('"volume"') == 2
    ended = box("volume", "rm", "v1")
    assert ended.code == 125
    assert "volume v1 belongs to one" in ended.err
    assert box("volume", "ls", "-q").out.split() == ["v1", "v2", "v3", "v4"]
    assert box("volume", "ls", "-qf", "dangling=true").out.split() == ["v3", "v4"]
    assert box("volume", "prune").out == ""
    assert box("volume", "prune", "-af").out.split()[2::3] == ["v3", "v4"]
    assert box("rm", "one").code == 0
    assert box("volume", "rm", "v1", "v2").out == "v1\nv2\n"
    assert box("volume", "rm", "v1").code == 125
    assert box("volume", "rm", "-f", "v1").code == 0
    for name in ("no/slash", ".x"):
        assert box("volume", "create", name).code == 2
    assert box("volume", "create", "--label=a=1", "v5").out == "v5\n"
    assert box("volume", "inspect", "-f", '{{index .Labels "a"}}', "v5").out == "1\n"
    assert box("volume", "inspect", "none").code == 125
    assert box("volume", "ls", "--filter", "colour=red").code == 2


@needs_busybox
def test_a_directory_as_the_root(tmp_path: Path) -> None:
    box = Udocker(tmp_path)
    box.trust("N1")
    box.add_busybox()
    root = tmp_path / "root"
    made = box("create", "--copy", "--pull=never", "box").out.strip()
    os.rename(f"{box.store.containers.path(made)}/ROOT", root)
    ended = box("run", "--execmode=N1", f"--location={root}", "x", "/bin/sh", "-c", "echo hi > /f")
    assert (ended.code, ended.err) == (0, "")
    assert (root / "f").read_text() == "hi\n"
    assert (root / "bin" / "busybox").exists()
    assert box.store.containers.ids() == [made]


def test_limits_of_a_command(tmp_path: Path) -> None:
    box = Udocker(tmp_path)
    box.trust("N1")
    box.add_busybox()
    script = (
        "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status"
    )
    words = ("--ulimit=nofile=100:200", "--oom-score-adj=999", "--security-opt=no-new-privileges")
    ended = box("run", "--rm", "--execmode=N1", *words, "box", "sh", "-c", script)
    assert ended.out.split() == ["100", "200", "999", "NoNewPrivs:", "1"]
