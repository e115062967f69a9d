"""Docker's options about files, where the engine matters: a root that is read-only, tmpfs, volumes
by name, directories left out, no network, limits."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from udocker.engine import table
from udocker.model.features import BARE, NO_NETWORK, TMPFS

if TYPE_CHECKING:
    from e2e.engines import Inside

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

modes = pytest.mark.parametrize("inside", ["N1", "F3", "P1", "R1"], indirect=True)


def has(inside: Inside, feature: str) -> bool:
    return feature in table.find(inside.mode).engine.FEATURES


@modes
def test_a_read_only_root(inside: Inside) -> None:
    """Whatever the program does; tmpfs and volumes can be written, and modes and sizes hold."""
    attempts = (
        "echo x > /new",
        "echo x >> /etc/passwd",
        "mkdir /dir",
        "rm /bin/ls",
        "mv /etc /etc2",
        "ln -s a /link",
        "ln /bin/ls /hard",
        "chmod 700 /bin",
        "touch /etc/passwd",
        "echo x > /tmp/x",
        "echo x > /scratch/../new",
        "mknod /fifo p",
    )
    script = "".join(f"({text}) 2>/dev/null && echo 'done: {text}';" for text in attempts)
    script += """
        ls -ld /scratch /empty | cut -c1-10
        echo kept > /scratch/f && cat /scratch/f
        mkdir /deep/er/x && echo in volume
        cat /bin/busybox > /dev/null && echo reads
        ls /scratch/f /empty
    """
    options = [
        *("--read-only", "--tmpfs", "/scratch:size=1m,mode=700"),
        *("--mount=type=tmpfs,dst=/empty", f"--volume=v-{inside.mode}:/deep/er"),
    ]
    ended = inside("sh", "-c", script, options=options)
    assert ended.out.splitlines() == [
        "drwxrwxrwt",
        "drwx------",
        "kept",
        "in volume",
        "reads",
        "/scratch/f",
        "",
        "/empty:",
    ]


@modes
def test_tmpfs_goes_with_the_run(inside: Inside) -> None:
    options = ["--tmpfs=/scratch:size=1m", "--tmpfs", "/scratch/below:ro"]
    script = "echo x > /scratch/f; ls /scratch; (echo x > /scratch/below/f) 2>/dev/null || echo ro"
    ended = inside("sh", "-c", script, options=options)
    assert ended.out.split() == ["below", "f", "ro"]
    assert ("it has no limit" in ended.err) != has(inside, TMPFS)
    if has(inside, TMPFS):
        words = ("dd", "if=/dev/zero", "of=/scratch/f", "bs=1M", "count=3")
        assert "No space" in inside(*words, options=options, check=False).err


@modes
def test_a_named_volume_is_kept_and_begins_with_the_images_files(inside: Inside) -> None:
    name = f"named-{inside.mode}"
    options = [f"--mount=source={name},target=/etc"]
    first = inside("sh", "-c", "ls /etc; echo kept > /etc/mine", options=options).out.split()
    plain = inside("ls", "/etc").out.split()
    assert set(plain) <= {*first, "resolv.conf", "hosts"}
    options = [f"--volume={name}:/etc:ro"]
    ended = inside("sh", "-c", "cat /etc/mine; > /etc/mine", options=options, check=False)
    assert ended.out == "kept\n"
    assert ended.code == 1


@modes
def test_what_is_left_out(inside: Inside) -> None:
    if not has(inside, BARE):
        ended = inside("true", options=["--nosysdirs"], check=False)
        assert ended.code == 125
        assert "a root without the host's /dev, /proc or /sys" in ended.err
        return
    script = "test -e /proc/self || echo none; ls /sys | wc -l; test -e /etc/resolv.conf || echo no"
    assert inside("sh", "-c", script, options=["--nosysdirs"]).out.split() == ["none", "0", "no"]
    script = "test -e /proc/self && echo proc; ls /sys | wc -l"
    assert inside("sh", "-c", script, options=["--novol=/sys"]).out.split() == ["proc", "0"]


@modes
def test_no_network(inside: Inside) -> None:
    if not has(inside, NO_NETWORK):
        ended = inside("true", options=["--network=none"], check=False)
        assert ended.code == 125
        assert "a network of its own" in ended.err
        return
    ended = inside("sh", "-c", "ip link | grep -c mtu; ip addr", options=["--network=none"])
    assert ended.out.startswith("1\n")
    assert "127.0.0.1/8" in ended.out


@modes
def test_limits_and_names(inside: Inside) -> None:
    script = """
        ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj
        grep -c 1.2.3.4 /etc/hosts; cat /etc/resolv.conf
    """
    options = [
        *("--ulimit=nofile=100:200", "--oom-score-adj=999", "--add-host=a:1.2.3.4"),
        *("--dns=9.9.9.9", "--dns-search=.", "--dns-option=ndots:3"),
    ]
    lines = inside("sh", "-c", script, options=options).out.splitlines()
    soft = "200" if inside.mode == "R1" else "100"  # Go's runtime raises it
    assert lines[:4] == [soft, "200", "999", "1"]
    assert "nameserver 9.9.9.9" in lines
    assert "options ndots:3" in lines
    assert not any(line.startswith("search") for line in itertools.islice(lines, 4, None))
