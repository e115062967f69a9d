"""From what was asked to a run with every question answered."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from builders import specs
from builders.hosts import host
from udocker.errors import UdockerError, UsageError
from udocker.model.features import FILE_MOUNTS, HOSTNAME, MOVED_MOUNTS, READ_ONLY_MOUNTS, USER
from udocker.model.request import KEEP_ID, RunRequest, Volume
from udocker.model.run import GuestFile, Mount, User
from udocker.model.value import replace
from udocker.spec.build import Inputs, build

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from udocker.model.container import Container
    from udocker.model.host import Host
    from udocker.model.run import RunSpec

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n"
GROUP = b"root:x:0:\nann:x:1001:\n"
INPUTS = Inputs(
    passwd=PASSWD,
    group=GROUP,
    resolv_conf=b"nameserver 192.0.2.1\n",
    hosts=b"127.0.0.1\tlocalhost\n",
    env_files=(),
    environ={"TERM": "xterm", "SECRET": "of the host"},
    token="7070",
    terminal=False,
)
NO_FILES = replace(INPUTS, passwd=None, group=None, resolv_conf=None, hosts=None)


def built(
    container: Container | None = None,
    inputs: Inputs = INPUTS,
    on: Host | None = None,
    **asked: Any,
) -> RunSpec:
    request = RunRequest(target="box", **asked)
    return build(request, container or specs.container(), on or host(), "P1", inputs)


def image(**run: Any) -> Container:
    return specs.container(image=specs.config({"Cmd": ["/bin/prog"], **run}))


def test_a_run_with_nothing_asked() -> None:
    spec = built()
    assert spec.container == specs.ID
    assert spec.token == "7070"
    assert spec.directory == specs.PLACE
    assert spec.root == specs.UNION_ROOT
    assert spec.argv == ("/bin/prog",)
    assert spec.cwd == "/"
    assert spec.user == User(0, 0, "root", "/root")
    assert spec.mounts == ()
    assert spec.hostname is None
    assert spec.tty is False
    assert spec.features == frozenset()
    assert spec.files == (
        GuestFile("/etc/resolv.conf", b"nameserver 192.0.2.1\n"),
        GuestFile("/etc/hosts", b"127.0.0.1\tlocalhost\n"),
    )


def test_a_plain_container_has_a_plain_root() -> None:
    assert built(specs.container(plain=True)).root == specs.PLAIN_ROOT


def test_the_environment() -> None:
    container = image(Env=["PATH=/image", "A=image", "B=image", "C=image"])
    inputs = replace(INPUTS, env_files=(("B", "file"), ("C", "file"), ("HOSTED", None)))
    spec = built(
        replace(container, names=("box", "chest")),
        inputs,
        env=(("C", "option"), ("SECRET", None)),
        hostname="inside",
    )
    assert dict(spec.env) == {
        "A": "image",
        "B": "file",
        "C": "option",
        "HOME": "/root",
        "HOSTNAME": "inside",
        "LOGNAME": "root",
        "PATH": "/image",
        "SECRET": "of the host",
        "TERM": "xterm",
        "USER": "root",
        "container_execmode": "P1",
        "container_names": "box,chest",
        "container_ruser": "ann",
        "container_uuid": specs.ID,
    }
    assert dict(built().env)["HOSTNAME"] == "login1"
    assert "SECRET" not in dict(built().env)
    assert dict(built(hostenv=True).env)["SECRET"] == "of the host"


def test_entrypoint_and_command_are_joined() -> None:
    container = image(Entrypoint=["/entry"])
    assert built(container, command=("a", "")).argv == ("/entry", "a", "")
    assert built(container, entrypoint="", command=("a",)).argv == ("a",)


@pytest.mark.parametrize(
    ("asked", "of_image", "cwd"),
    [
        (None, "", "/"),
        (None, "/srv", "/srv"),
        ("/opt", "/srv", "/opt"),
        ("", "/srv", "/srv"),
        ("/a/../b/./c//d/", "", "/b/c/d"),
        ("//a", "", "/a"),
        ("/..", "", "/"),
        ("/with space", "", "/with space"),
    ],
)
def test_the_working_directory(asked: str | None, of_image: str, cwd: str) -> None:
    assert built(image(WorkingDir=of_image), workdir=asked).cwd == cwd


@pytest.mark.parametrize("path", ["srv", "./srv", "~", " /srv"])
def test_a_working_directory_that_is_not_absolute(path: str) -> None:
    with pytest.raises(UsageError, match=f"working directory {path!r} is not an absolute path"):
        built(workdir=path)


# Users


def test_the_user_of_the_image_and_the_one_asked_for() -> None:
    assert built(image(User="ann")).user == User(1000, 1001, "ann", "/home/ann")
    assert built(image(User="ann"), user="0").user.uid == 0
    assert built(image(User="ann"), user="").user.uid == 0
    assert built(user="ann").features == frozenset((USER,))
    with pytest.raises(UdockerError, match="no user 'bob'"):
        built(user="bob")


def test_a_user_without_an_account_gets_one() -> None:
    spec = built(user="77:88")
    files = {file.target: file for file in spec.files}
    assert files["/etc/passwd"].content == PASSWD + b"user77:x:77:88:user77:/:/bin/sh\n"
    assert files["/etc/group"].content == GROUP + b"group88:x:88:\n"
    assert files["/etc/passwd"].mode == 0o644
    assert spec.user.home == dict(spec.env)["HOME"] == "/"


def test_known_users_leave_the_files_of_the_image() -> None:
    assert not {"/etc/passwd", "/etc/group"} & {file.target for file in built(user="ann").files}


def test_an_image_without_accounts_gets_them_for_root_too() -> None:
    files = {file.target: file.content for file in built(inputs=NO_FILES).files}
    assert files == {
        "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "/etc/group": b"root:x:0:\n",
    }


def test_hostauth_shows_the_files_of_the_host() -> None:
    files = {file.target: file.content for file in built(hostauth=True, user="ann").files}
    assert files["/etc/passwd"] == PASSWD
    assert files["/etc/group"] == GROUP
    files = {file.target: file.content for file in built(hostauth=True, user="5").files}
    assert files["/etc/passwd"].startswith(PASSWD)
    assert b"user5:" in files["/etc/passwd"]


# Host names


@pytest.mark.parametrize("name", ["box", "box-1.example.org", "A_b", "9", "x" * 64])
def test_host_names(name: str) -> None:
    spec = built(hostname=name)
    assert spec.hostname == name
    assert spec.features == frozenset((HOSTNAME,))
    files = {file.target: file.content for file in spec.files}
    assert files["/etc/hostname"] == f"{name}\n".encode()
    assert files["/etc/hosts"] == f"127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n".encode()


@pytest.mark.parametrize("name", ["", "-", ".", "a b", "a/b", "ä", "a\n", "x" * 65, "\0", "a:b"])
def test_bad_host_names(name: str) -> None:
    with pytest.raises(UsageError, match="not a host name"):
        built(hostname=name)


def test_a_host_name_on_a_host_without_a_hosts_file() -> None:
    files = {file.target: file.content for file in built(inputs=NO_FILES, hostname="box").files}
    assert files["/etc/hosts"] == b"127.0.1.1\tbox\n"


# Mounts


def test_volumes_become_mounts(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    source = os.path.realpath(tmp_path)
    volumes = (
        Volume(f"{source}/file", "/data/file"),
        Volume(source, "/data", True),
    )
    spec = built(volumes=volumes)
    assert spec.mounts == (
        Mount(source, "/data", True, True),
        Mount(f"{source}/file", "/data/file", False, False),
    )
    assert spec.features == frozenset((READ_ONLY_MOUNTS, FILE_MOUNTS, MOVED_MOUNTS))
    assert built(volumes=volumes[:1]).features == frozenset((FILE_MOUNTS, MOVED_MOUNTS))
    assert built(volumes=volumes[1:]).features == frozenset((READ_ONLY_MOUNTS, MOVED_MOUNTS))
    same = (Volume(source, source),)
    assert built(volumes=same).features == frozenset()
    assert built(volumes=(Volume(source, "/d"),)).features == frozenset((MOVED_MOUNTS,))


def test_home(tmp_path: Path) -> None:
    home = os.path.realpath(tmp_path)
    assert built(bindhome=True, on=host(home=home)).mounts == (Mount(home, home),)
    assert built(bindhome=True, on=host(home="/not/there")).mounts == ()
    assert built(on=host(home=home)).mounts == ()


def test_a_home_behind_a_link_is_where_its_name_says(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    [mount] = built(bindhome=True, on=host(home=f"{tmp_path}/link/")).mounts
    assert mount.source == os.path.realpath(tmp_path / "real")
    assert mount.target == f"{tmp_path}/link"


def test_a_volume_takes_the_place_of_home(tmp_path: Path) -> None:
    home = os.path.realpath(tmp_path)
    spec = built(bindhome=True, on=host(home=home), volumes=(Volume("/", home, True),))
    assert spec.mounts == (Mount("/", home, True),)


def test_what_the_user_mounts_goes_before_our_own_files(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_bytes(b"")
    spec = built(volumes=(Volume(f"{tmp_path}/hosts", "/etc/hosts"),), user="77:88")
    assert [file.target for file in spec.files] == [
        "/etc/resolv.conf",
        "/etc/passwd",
        "/etc/group",
    ]
    assert built(volumes=(Volume(str(tmp_path), "/etc"),), user="77", hostname="x").files == ()


def test_a_missing_volume_is_an_error() -> None:
    with pytest.raises(UdockerError, match="volume source /not/there does not exist"):
        built(volumes=(Volume("/not/there", "/x"),))


def test_the_terminal_is_passed_on() -> None:
    assert built(inputs=replace(INPUTS, terminal=True)).tty is True


def test_only_root_is_told_that_more_succeeds() -> None:
    inputs = replace(INPUTS, feigns=True, has_apt=True)
    assert built().feigns is built().has_apt is False
    assert built(inputs=inputs).feigns is built(inputs=inputs).has_apt is True
    assert built(user="0:5", inputs=inputs).feigns is True
    assert built(user="7", inputs=inputs).feigns is False


def test_who_keeps_the_ids() -> None:
    """Named as on the host, or as the container has it; the image's own user has no say."""
    on = host(uid=77, gid=78, username="eve")
    for container in (None, image(User="5:6")):
        who = built(container, on=on, userns=KEEP_ID).user
        assert who == User(77, 78, "eve", "/", (1001, 2000))  # the caller's other groups
    taken = replace(INPUTS, passwd=b"eve:x:5:5::/home/eve:/bin/sh\n")
    assert built(inputs=taken, on=on, userns=KEEP_ID).user.name == "user77"
    known = replace(INPUTS, passwd=b"own:x:77:5::/home/own:/bin/sh\n")
    assert built(inputs=known, on=on, userns=KEEP_ID).user == User(
        77, 78, "own", "/home/own", (1001, 2000)
    )
    assert built(on=replace(on, username="a:b\n"), userns=KEEP_ID).user.name == "user77"


def test_who_keeps_the_ids_is_nobody_else() -> None:
    on = host(uid=77, gid=78)
    assert built(on=on, userns=KEEP_ID, user="77:5").user.gid == 5
    with pytest.raises(UsageError, match="makes you user 77 inside, and --user=0 is 0"):
        built(on=on, userns=KEEP_ID, user="0")
