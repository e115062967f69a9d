"""--userns: which ids there are in a container, and what becomes of files that belong to others."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.processes import Reader, wait_for
from e2e.checks import is_told
from e2e.engines import Inside, Shared, need
from udocker import makers
from udocker.host import probe
from udocker.model.features import USER
from udocker.ops import ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.conftest import Result

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_IMAGE = "debian:12"
_OWNERS = "cd /srv && stat -c '%n %u:%g %a' *"
_WORK = """
cd /srv; touch f own; mkdir -m 700 d; echo x >d/x; cp /bin/true s; ln -s f l; mkfifo p
chown 5:6 f; chown -hR daemon:mail d l p; chown 8:8 s; chmod 4755 s; chmod 0400 f
"""
_WORKED = ["d 1:8 700", "f 5:6 400", "l 1:8 777", "own 0:0 644", "p 1:8 644", "s 8:8 4755"]
# What has no place for an attribute has no owner but the user where that is kept.
_KEPT = ["d 1:8 700", "f 5:6 400", "l 0:0 777", "own 0:0 644", "p 0:0 644", "s 8:8 4755"]
_WAITING = "echo ready; cat >/dev/null"


class Box:
    """A container of Debian."""

    def __init__(self, shared: Shared, name: str) -> None:
        self.shared = shared
        self.name = name

    def words(self, script: str, *options: str) -> tuple[str, ...]:
        return ("run", "-q", *options, self.name, "sh", "-c", script)

    def __call__(self, script: str, *options: str, check: bool = True) -> Result:
        return self.shared(*self.words(script, *options), check=check)

    def many(self, script: str, *options: str, check: bool = True) -> Result:
        """With the ids of /etc/subuid."""
        return self(script, "--execmode=N1", "--userns=auto", *options, check=check)

    @property
    def path(self) -> str:
        (row,) = (row for row in self.shared.containers() if self.name in row["names"])
        return f"{self.shared.store}/containers/{row['id']}"

    def is_home(self) -> bool:
        """Whether all that the container wrote is this user's."""
        for folder, directories, names in os.walk(f"{self.path}/upper"):
            for name in (*directories, *names):
                if os.lstat(f"{folder}/{name}").st_uid != os.getuid():
                    return False
        return not os.path.exists(f"{self.path}/ranges")


@pytest.fixture
def box(shared: Shared, refusals: dict[str, str]) -> Iterator[Box]:
    need(refusals, "N1")
    shared("create", "-q", "--name=userns", shared.image(_IMAGE))
    yield Box(shared, "userns")
    shared("rm", "-f", "userns", check=False)
    assert "userns" not in {name for row in shared.containers() for name in row["names"]}


@pytest.fixture
def many(box: Box) -> Box:
    """A container, where the host has ids to give."""
    found = ranges.find(probe(os.environ), f"{os.environ['PATH']}:/usr/bin")
    if isinstance(found, str):
        pytest.skip(f"host: {found}")
    return box


# What is asked for


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "one of single, keep-id, auto"),
        ("x", "one of single, keep-id, auto"),
        ("Auto", "one of single, keep-id, auto"),
        ("private", "one of single, keep-id, auto"),
        ("nomap", "one of single, keep-id, auto"),
        ("container:x", "one of single, keep-id, auto"),
        ("keep-id:uid=5", "--user=UID:GID"),
        ("auto:size=9", "takes what /etc/subuid and /etc/subgid give you"),
        ("keep-id:", "one of single, keep-id, auto"),
    ],
)
def test_words_that_mean_nothing_here(shared: Shared, text: str, hint: str) -> None:
    result = shared("run", f"--userns={text}", "no/such/image", "true", check=False)
    is_told(result, 2, f"--userns={text}", hint)


def test_without_a_word(shared: Shared) -> None:
    is_told(shared("run", "--userns", check=False), 2, "--userns")


@pytest.mark.parametrize("text", ["single", "host"])
def test_one_id_is_what_there_is_anyway(box: Box, text: str) -> None:
    script = "id -u; cat /proc/self/uid_map; touch /srv/f; chown 5 /srv/f; stat -c %u /srv/f"
    found = box(script, "--execmode=N1", f"--userns={text}")
    assert found.err == ""
    assert found.out.split() == ["0", "0", str(os.getuid()), "1", "0"]


# Your own


@pytest.mark.skipif(os.getuid() == 0, reason="host: this user is root there, too")
def test_you_are_yourself(over_debian: Inside, tmp_path: Path) -> None:
    script = "id -u; id -g; id -un; touch /v/made; stat -c %u:%g /v/made; cd; pwd"
    options = ("--userns=keep-id", "-v", f"{tmp_path}:/v")
    found = over_debian("sh", "-c", script, image=_IMAGE, options=options, check=False)
    if not over_debian.has(USER):
        is_told(found, 125, over_debian.mode, "another user than root")
        return
    uid, gid = os.getuid(), os.getgid()
    name = probe(os.environ).username
    assert (found.code, found.err) == (0, "")
    assert found.out.split() == [str(uid), str(gid), name, f"{uid}:{gid}", "/"]
    assert (tmp_path / "made").stat().st_uid == uid


@pytest.mark.skipif(os.getuid() == 0, reason="host: this user is root there, too")
def test_you_are_nobody_else(box: Box) -> None:
    for other in ("0", "root", "daemon", f"{os.getuid() + 1}"):
        result = box("true", "--userns=keep-id", f"--user={other}", check=False)
        is_told(result, 2, f"makes you user {os.getuid()}", f"--user={other}", "leave one")
    own = f"{os.getuid()}:8"
    assert box("id -u; id -g", "--userns=keep-id", f"--user={own}").out.split() == own.split(":")


@pytest.mark.skipif(os.getuid() == 0, reason="host: this user is root there, too")
def test_who_is_not_root_is_told_the_truth(box: Box) -> None:
    found = box("grep Seccomp: /proc/self/status", "--execmode=N1", "--userns=keep-id")
    assert found.out == "Seccomp:\t0\n"


# Many


def test_owners_are_real(many: Box) -> None:
    found = many.many(_WORK + _OWNERS + "; grep Seccomp: /proc/self/status")
    assert found.err == ""
    assert found.out.splitlines() == [*_WORKED, "Seccomp:\t0"]
    # A later run finds them; the setuid program and others have their effect.
    script = """
    su daemon -s /bin/sh -c 'id -un; cat /srv/d/x; cat /srv/f; touch /etc/no'
    install -o 8 -g 8 -m 4755 /usr/bin/id /srv/id; setpriv --reuid=7 --clear-groups /srv/id -u
    """
    found = many.many(script, check=False)
    assert found.out.split() == ["daemon", "x", "8"]
    assert found.err.count("Permission denied") == 2


def test_what_is_entered_has_them_too(many: Box) -> None:
    words = many.words("chown 5:7 /srv; echo ready; sleep 1000", "-d", "--userns=auto")
    many.shared(*words)
    try:
        wait_for(lambda: many.shared("logs", many.name).out == "ready\n")
        script = "stat -c %u:%g /srv; chown 8 /srv; stat -c %u /srv; su daemon -s /bin/sh -c id"
        owner, other, who = many.shared("exec", many.name, "sh", "-c", script).out.splitlines()
        assert (owner, other) == ("5:7", "8")
        assert who.startswith("uid=1(daemon) gid=1(daemon)")
    finally:
        many.shared("stop", "-t", "0", many.name)


def test_the_command_is_whoever_it_is_to_be(many: Box) -> None:
    script = "id -u; id -G; grep CapEff /proc/self/status; touch /tmp/f; touch /f 2>&1; exec ls /f"
    found = many.many(script, "--user=daemon:mail", check=False)
    assert found.out.splitlines()[:3] == ["1", "8", f"CapEff:\t{0:016x}"]
    assert found.code == 2
    shown = many.many("stat -c %U:%G /tmp/f; cat /proc/self/setgroups")
    assert shown.out.split() == ["daemon:mail", "allow"]


def test_a_user_that_is_not_given(many: Box) -> None:
    for user in ("4000000000", "0:4000000000"):
        result = many.many("true", f"--user={user}", check=False)
        is_told(result, 2, "4000000000 is not among the", "--userns=single")


def test_the_command_takes_our_place(many: Box) -> None:
    words = many.words("echo ready; exec sleep 60", "--execmode=N1", "--userns=auto")
    process = many.shared.start(words)
    assert process.stdout is not None
    Reader(process.stdout.fileno()).until(b"ready")
    wait_for(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
    process.terminate()
    process.communicate()
    assert process.returncode == -15


def test_all_else_has_the_owners_as_they_are_kept(many: Box, works: tuple[str, ...]) -> None:
    many.many(_WORK)
    assert not many.is_home()
    changed = {line.split(" ")[1] for line in many.shared("diff", many.name).out.splitlines()}
    assert {f"/srv/{name}" for name in ("d", "d/x", "f", "own", "s", "p", "l")} <= changed
    assert many.is_home()
    for mode in ("F3", "F2"):
        if mode in works:
            assert many(_OWNERS, f"--execmode={mode}").out.splitlines() == _KEPT
    one = [" 0:0 ".join(line.split(" ")[::2]) for line in _KEPT]
    assert many(_OWNERS, "--execmode=N1").out.splitlines() == one
    # And back: what an F mode changed besides is real then.
    if "F3" in works:
        many("chown 7:7 /srv/own", "--execmode=F3")
        _KEPT_NOW = [line.replace("own 0:0", "own 7:7") for line in _KEPT]
        assert many.many(_OWNERS).out.splitlines() == _KEPT_NOW
    many.many("chown 0:0 /srv/own /srv/f")
    shown = many.many(_OWNERS).out.splitlines()
    assert "own 0:0 644" in shown
    many.shared("diff", many.name)
    assert many.many(_OWNERS).out.splitlines() == shown


def test_it_goes_into_images_and_archives(many: Box, tmp_path: Path) -> None:
    many.many(_WORK)
    many.shared("export", "-o", str(tmp_path / "a.tar"), many.name)
    with tarfile.open(tmp_path / "a.tar") as archive:
        members = {name: archive.getmember(f"srv/{name}") for name in ("f", "d", "d/x", "s", "own")}
    found = {name: (member.uid, member.gid, oct(member.mode)) for name, member in members.items()}
    assert found == {
        "f": (5, 6, "0o400"),
        "d": (1, 8, "0o700"),
        "d/x": (1, 8, "0o644"),
        "s": (8, 8, "0o4755"),
        "own": (0, 0, "0o644"),
    }
    many.many("chown 9:9 /srv/f")
    many.shared("commit", "-q", many.name, "localhost/owned:1")
    many.many("chown 10:10 /srv/f")
    many.shared("clone", "--name=userns-two", many.name)
    two = Box(many.shared, "userns-two")
    assert "f 10:10 400" in two.many(_OWNERS).out.splitlines()
    many.shared("rm", "userns-two", many.name)
    many.shared("save", "-o", str(tmp_path / "i.tar"), "localhost/owned:1")
    many.shared("rmi", "localhost/owned:1")
    many.shared("fsck")


def test_modes_that_copy_get_all(many: Box, works: tuple[str, ...]) -> None:
    many.many(_WORK)
    for mode in ("R1", "P1"):
        if mode in works:
            assert many("cat /srv/d/x; ls /srv", f"--execmode={mode}").out.split()[0] == "x"
    if {"R1", "P1"} & set(works):
        warned = many.shared(*[w for w in many.words("id -u", "--userns=auto") if w != "-q"])
        assert "a directory of its own" in warned.err
        assert warned.out == "0\n"


@pytest.mark.parametrize("mode", ["F3", "P1", "R1", "S1"])
def test_modes_that_have_none_say_so(
    mode: str, shared: Shared, refusals: dict[str, str], tmp_path: Path
) -> None:
    need(refusals, mode)
    image = shared.image("busybox:latest")
    result = shared("run", "--rm", f"--execmode={mode}", "--userns=auto", image, "id", "-u")
    assert f"mode {mode} has no ids of /etc/subuid: going on as with --userns=single" in result.err
    assert result.out == "0\n"


# At the same time


def test_runs_with_the_same_ids_share_the_files(many: Box) -> None:
    process = many.shared.start(many.words(_WAITING, "--execmode=N1", "--userns=auto"))
    assert process.stdout is not None
    Reader(process.stdout.fileno()).until(b"ready")
    found = many.many("touch /srv/f; chown 5:6 /srv/f; ls -n /srv")
    assert (found.err, found.out.split()[4:6]) == ("", ["5", "6"])
    held = ("runs with ids of /etc/subuid", "wait until")
    for mode in ("N1", "F3"):
        is_told(many("true", f"--execmode={mode}", check=False), 125, *held)
    for words in (("diff",), ("export", "-o", os.devnull), ("clone",), ("commit",)):
        more = ("localhost/x:1",) if words == ("commit",) else ()
        is_told(many.shared(*words, many.name, *more, check=False), 125, *held)
    is_told(many.shared("rm", many.name, check=False), 125, "in use")
    many.shared("rm", "-f", many.name)
    process.communicate()


def test_runs_with_other_ids_wait(many: Box) -> None:
    process = many.shared.start(many.words(_WAITING, "--execmode=N1"))
    assert process.stdout is not None
    Reader(process.stdout.fileno()).until(b"ready")
    result = many.many("true", check=False)
    is_told(result, 125, "is running with other ids", "give the same --userns")
    # It has left nothing behind that would stop the others.
    assert many("echo fine", "--execmode=N1").out == "fine\n"
    process.communicate()
    assert many.many("echo fine").out == "fine\n"


# What is left


def test_a_killed_run_is_removed(many: Box) -> None:
    words = many.words(f"{_WORK}{_WAITING}", "--execmode=N1", "--userns=auto")
    process = many.shared.start(words)
    assert process.stdout is not None
    Reader(process.stdout.fileno()).until(b"ready")
    process.kill()
    process.communicate()
    many.shared("rm", many.name)
    assert os.listdir(many.shared.store / "tmp") == []


def test_what_a_killed_rm_left_is_removed(many: Box) -> None:
    many.many(_WORK)
    # As it lies there when rm was killed before it had taken the files home.
    boot, namespace, _, start = makers.mark().split("-")
    aside = many.shared.store / "tmp" / f"{'0' * 32}.{boot}-{namespace}-999999999-{start}"
    os.rename(many.path, aside)
    many.shared("prune")
    assert not aside.exists()
    assert many.name not in {name for row in many.shared.containers() for name in row["names"]}


def test_containers_of_one_run_go(many: Box, shared: Shared) -> None:
    before = len(shared.containers())
    words = ("run", "-q", "--rm", "--execmode=N1", "--userns=auto", shared.image(_IMAGE))
    result = shared(*words, "sh", "-c", f"{_WORK}exit 3", check=False)
    assert (result.code, result.err) == (3, "")
    assert len(shared.containers()) == before
    assert os.listdir(shared.store / "tmp") == []


def test_nothing_goes_where_the_ids_are_gone(many: Box) -> None:
    many.many(_WORK)
    mark = f"{many.path}/ranges"
    with open(mark, encoding="ascii") as stream:
        right = stream.read()
    wrong = json.loads(right)
    wrong["uids"][1][1] = 4_000_000_000
    for text, part in ((json.dumps(wrong), "newuidmap"), ("{", "ranges"), ("[]", "ranges")):
        with open(mark, "w", encoding="ascii") as stream:
            stream.write(text)
        for command in ("rm", "diff"):
            is_told(many.shared(command, many.name, check=False), 125, part, hint=False)
        is_told(many("true", "--execmode=N1", check=False), 125, part, hint=False)
    with open(mark, "w", encoding="ascii") as stream:
        stream.write(right)
    assert many.many(_OWNERS).out.splitlines() == _WORKED
