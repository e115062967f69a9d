"""create, ps, rm, names, inspect and setup as people and scripts see them."""

from __future__ import annotations

import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from builders.commands import Udocker
from builders.trees import grow
from udocker.model.request import DeviceOptions


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    made = Udocker(tmp_path)
    made.add("test", {"file": b"of the image"}, run={"Cmd": ["/x"]})
    return made


def create(udocker: Udocker, *options: str) -> str:
    """Create a container; its id."""
    ended = udocker("create", "--pull=never", *options, "test")
    assert (ended.code, ended.err) == (0, ""), ended
    assert re.fullmatch(r"[0-9a-f]{32}\n", ended.out)
    return ended.out.strip()


def test_create_gives_the_id_and_the_name(udocker: Udocker) -> None:
    identity = create(udocker, "--name=box", "--force")
    assert udocker.store.containers.get("box").id == identity
    ended = udocker("create", "--name=box", "test")
    assert (ended.code, ended.out) == (125, "")
    assert ended.err == (
        f"udocker: the name 'box' is taken by container {identity[:12]}\n"
        "  try: udocker rm box, or choose another name\n"
    )
    ended = udocker("create", "--name=no/slash", "test")
    assert ended.code == 2
    assert len(udocker.store.containers.all()) == 1


def test_a_list_for_people(udocker: Udocker) -> None:
    identity = create(udocker, "--name=box")
    other = create(udocker)
    assert udocker("name", "box", "chest").code == 0
    assert udocker("setup", "--execmode=P2", other[:12]).code == 0
    ended = udocker("ps", "-a")
    assert (ended.code, ended.err) == (0, "")
    head, first, second = (re.split(r" {3,}", line) for line in ended.out.splitlines())
    assert head == ["CONTAINER ID", "MODE", "CREATED", "STATUS", "NAMES", "IMAGE"]
    image = "docker.io/library/test:latest"
    assert first == [other[:12], "P2", "just now", "Created", "-", image]
    assert second == [identity[:12], "auto", "just now", "Created", "box,chest", image]
    assert udocker("ps", "--no-trunc").out.splitlines()[2].startswith(identity)


def test_a_list_for_scripts(udocker: Udocker) -> None:
    identity = create(udocker, "--name=box")
    assert udocker("ps", "-q").out == f"{identity[:12]}\n"
    [container] = json.loads(udocker("ps", "--json").out)
    created = container.pop("created")
    assert created.endswith("+00:00")
    assert container == {
        "id": identity,
        "names": ["box"],
        "image": "docker.io/library/test:latest",
        "manifest": str(udocker.store.containers.get("box").manifest),
        "mode": "auto",
        "form": "union",
        "state": "created",
        "status": "Created",
    }


def test_an_empty_list(udocker: Udocker) -> None:
    assert len(udocker("ps").out.splitlines()) == 1
    assert udocker("ps", "-q").out == ""
    assert json.loads(udocker("ps", "--json").out) == []


def test_removal(udocker: Udocker) -> None:
    create(udocker, "--name=box")
    other = create(udocker)
    ended = udocker("rm", "box", other[:12])
    assert (ended.code, ended.out, ended.err) == (0, f"box\n{other[:12]}\n", "")
    assert udocker("ps", "-q").out == ""
    ended = udocker("rm", "box")
    assert ended.code == 125
    assert ended.err == "udocker: no such container: box\n  try: udocker ps lists them\n"
    assert udocker("rm", "--force", "box").code == 0


def test_removal_goes_on_to_the_first_that_is_not_there(udocker: Udocker) -> None:
    for name in ("one", "two"):
        create(udocker, f"--name={name}")
    ended = udocker("rm", "one", "none", "two")
    assert (ended.code, ended.out) == (125, "one\n")
    assert [c.names for c in udocker.store.containers.all()] == [("two",)]
    ended = udocker("rm", "-f", "none", "two")
    assert (ended.code, ended.out) == (0, "two\n")


def test_a_damaged_container_can_be_removed_as_the_hint_says(udocker: Udocker) -> None:
    identity = create(udocker, "--name=box")
    Path(udocker.store.containers.path(identity), "container.json").write_bytes(b"{")
    ended = udocker("diff", "box")
    assert ended.code == 125
    mend, remove = ended.err.splitlines()[1].removeprefix("  try: ").split("; ")
    assert mend == "udocker fsck --repair may mend it"
    assert remove == f"udocker rm {identity[:12]} removes it"
    assert udocker(*remove.split()[1:3]).code == 0
    assert udocker("ps").err == ""


def test_damaged_containers_do_not_keep_others_from_the_list(udocker: Udocker) -> None:
    sound, bad, empty = (create(udocker, f"--name={name}") for name in ("sound", "bad", "empty"))
    Path(udocker.store.containers.path(bad), "config.json").write_bytes(b"[]")
    Path(udocker.store.containers.path(empty), "container.json").unlink()
    for words in ((), ("-q",), ("--json",)):
        ended = udocker("ps", *words)
        assert ended.code == 0
        assert ended.out.count(sound[:12]) == 1
        assert bad[:12] not in ended.out
        told = sorted(ended.err.splitlines())
        assert len(told) == 2
        for identity, line in zip(sorted((bad, empty)), told):
            assert line.startswith(f"udocker: warning: container {identity[:12]} is damaged: ")
            assert "udocker fsck --repair may mend it" in line
    assert {"sound", "bad", "empty"} <= set(udocker("df", "-v").out.split())


def test_names(udocker: Udocker) -> None:
    identity = create(udocker)
    for words in (
        ("name", identity[:8], "box"),
        ("rename", "box", "chest"),
        ("name", "chest", "crate"),
        ("rmname", "chest"),
    ):
        ended = udocker(*words)
        assert (ended.code, ended.out, ended.err) == (0, "", ""), ended
    assert udocker.store.containers.get(identity).names == ("crate",)
    for words, code, message in (
        (("name", "none", "x"), 125, "no such container: none"),
        (("name", identity, "crate"), 125, "the name 'crate' is taken by container"),
        (("name", identity, "-x"), 2, "name: unknown option -x"),
        (("name", identity, "a/b"), 2, "not a container name: 'a/b'"),
        (("rename", "none", "x"), 125, "no container has the name 'none'"),
        (("rmname", identity), 125, "no container has the name"),
    ):
        ended = udocker(*words)
        assert ended.code == code, ended
        assert ended.err.startswith(f"udocker: {message}"), ended


def test_inspect(udocker: Udocker) -> None:
    identity = create(udocker, "--name=box")
    container, image = json.loads(udocker("inspect", "box", "test").out)
    assert container["id"] == identity
    assert container["config"]["config"]["Cmd"] == ["/x"]
    assert image["reference"] == "docker.io/library/test:latest"
    assert image["config"]["architecture"] == "amd64"
    ended = udocker("inspect", "box", "none")
    assert (ended.code, ended.out) == (125, "")
    assert ended.err.startswith("udocker: no such container or image: none\n")


def test_the_root_of_a_container(udocker: Udocker) -> None:
    create(udocker, "--name=box")
    box = udocker.store.containers.get("box")
    grow(Path(box.upper), {"new": b""})
    ended = udocker("inspect", "-p", "box")
    assert ended.code == 0
    assert ended.out == f"{box.root}\n"
    assert sorted(os.listdir(box.root)) == ["file", "new"]
    assert "making the container's own copy" in ended.err
    assert udocker("inspect", "-p", "test").code == 125


def test_setup(udocker: Udocker) -> None:
    create(udocker, "--name=box")
    assert udocker("setup", "box").out == "execmode: auto\nnvidiamode: False\n"
    ended = udocker("setup", "--execmode=N1", "--force", "box")
    assert (ended.code, ended.out) == (0, "")
    assert udocker("setup", "box").out == "execmode: N1\nnvidiamode: False\n"
    assert udocker("setup", "--execmode=auto", "box").code == 0
    assert udocker("setup", "box").out == "execmode: auto\nnvidiamode: False\n"
    ended = udocker("setup", "--execmode=X1", "box")
    assert ended.code == 2
    assert ended.err.startswith("udocker: unknown execution mode 'X1'\n  try: one of auto, N1, ")
    assert udocker("setup", "none").code == 125


def test_setup_of_gpus_is_a_wish(udocker: Udocker) -> None:
    """Of 1.3, which copied files: now a run sees to it."""
    create(udocker, "--name=box", "--rocm")
    before = sorted(os.listdir(udocker.store.containers.get("box").path))
    ended = udocker("setup", "--nvidia", "--force", "box")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert udocker("setup", "box").out == "execmode: auto\nnvidiamode: True\n"
    assert udocker("setup", "--execmode=N1", "box").code == 0
    box = udocker.store.containers.get("box")
    assert (box.mode, box.devices) == ("N1", DeviceOptions(nv=True, rocm=True))
    assert sorted(os.listdir(box.path)) == before
    assert udocker("clone", "--name=other", "box").code == 0
    assert udocker.store.containers.get("other").devices.nv
    assert udocker("setup", "--nvidia=false", "box").code == 0
    assert udocker("setup", "box").out == "execmode: N1\nnvidiamode: False\n"


def test_create_keeps_what_is_asked_of_devices(udocker: Udocker) -> None:
    (udocker.top / "specs").mkdir()
    create(
        udocker, "--name=box", "--gpus", '"device=0,1"', "--nv", "--device=/dev/fuse",
        "--device", "nvidia.com/gpu=0", "--cdi-dir=specs", "--allow-cdi-hooks=skip",
        "--host-libc",
    )  # fmt: skip
    wanted = DeviceOptions(
        gpus=('"device=0,1"',),
        nv=True,
        devices=("/dev/fuse", "nvidia.com/gpu=0"),
        cdi_dirs=(f"{udocker.top}/specs",),
        skip_hooks=True,
        host_libc=True,
    )
    assert udocker.store.containers.get("box").devices == wanted
    shown = json.loads(udocker("inspect", "box").out)[0]["devices"]
    assert shown["gpus"] == ['"device=0,1"']
    ended = udocker("create", "--allow-cdi-hooks=run", "test")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines()[0] == "udocker: --allow-cdi-hooks 'run' is not known"
    ended = udocker("create", "--gpus=device=0,1", "test")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        'udocker: invalid argument "device=0,1" for "--gpus" flag: cannot set both Count and '
        "DeviceIDs on device request\n"
        "  try: --gpus '\"device=0,1\"', both kinds of quotes as they are here\n"
    )
    assert len(udocker.store.containers.all()) == 1


def test_setup_of_a_mode_that_does_not_work_warns(udocker: Udocker) -> None:
    create(udocker, "--name=box")
    env = {"UDOCKER_FAKECHROOT_SO": "/nowhere/x.so"}
    ended = udocker("setup", "--execmode=F1", "box", env=env)
    assert ended.code == 0
    assert "F1 does not work on this host: libfakechroot.so is not in " in ended.err
    assert udocker("setup", "box").out == "execmode: F1\nnvidiamode: False\n"


# diff, export, clone


def test_diff_export_and_clone(udocker: Udocker) -> None:
    identity = udocker("create", "--name=box", "test").out.strip()
    assert udocker("diff", "box").out == ""
    (udocker.store_path / f"containers/{identity}/upper").mkdir()
    (udocker.store_path / f"containers/{identity}/upper/new\nline").write_bytes(b"1")
    assert udocker("diff", "box").out == "A /new\\nline\n"
    assert json.loads(udocker("diff", "--json", "box").out) == [{"kind": "A", "path": "/new\nline"}]
    assert udocker("export", "-o", "out.tar", "box").out == ""
    with tarfile.open(udocker.top / "out.tar") as archive:
        assert archive.getnames() == ["file", "new\nline"]
    piped = udocker("export", "box").out.encode("utf-8", "surrogateescape")
    assert piped == (udocker.top / "out.tar").read_bytes()
    made = udocker("clone", "--name=second", "box").out.strip()
    assert udocker("diff", "second").out == udocker("diff", "box").out
    assert made in udocker("ps", "--no-trunc").out


def test_create_with_a_copy(udocker: Udocker) -> None:
    identity = udocker("create", "--copy", "test").out.strip()
    assert (udocker.store_path / f"containers/{identity}/ROOT/file").read_bytes() == b"of the image"


def test_commit_and_import(udocker: Udocker) -> None:
    identity = create(udocker, "--name=box")
    grow(Path(udocker.store.containers.get("box").upper), {"new": b"new"})
    ended = udocker(
        "commit", "-m", "why", "--author=me", "-c", "ENV A=1", "-c=CMD y", "box", "made:1"
    )
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", ended.out)
    [image] = json.loads(udocker("inspect", "made:1").out)
    assert image["id"] == ended.out.strip()
    assert image["config"]["config"] == {"Cmd": ["/bin/sh", "-c", "y"], "Env": ["A=1"]}
    assert image["config"]["author"] == "me"
    archive = str(udocker.top / "a.tar")
    assert udocker("export", "--clone", "-o", archive, identity[:12]).code == 0
    again = udocker("import", "-q", "--clone", "--name=again", archive)
    assert (again.code, again.err) == (0, "")
    assert udocker.store.containers.get("again").id == again.out.strip()
    assert udocker("import", "-q", archive, "files:1", "-c", "USER x").out.startswith("sha256:")
    assert udocker("import", "-q", "--tocontainer", archive).code == 0
    assert len(udocker("ps", "-q").out.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("commit", "box"), 2, "commit: an argument is missing"),
        (("commit", "none", "new"), 125, "no such container: none"),
        (("commit", "box", "UPPER"), 2, "image names are lower case"),
        (("commit", "-c", "RUN x", "box", "new"), 2, "not a change: 'RUN x': RUN is none of"),
        (("commit", "--chang=x", "box", "new"), 2, "commit: unknown option --chang"),
        (("import", "x"), 2, "import: an argument is missing"),
        (("import", "x", "new", "more"), 2, "import: unexpected argument 'more'"),
        (("import", "/none", "new"), 125, "cannot read /none: No such file"),
        (("import", "-", "new"), 125, "the archive on stdin: there is nothing in it"),
        (("import", "--name=x", "/none", "new"), 2, "import: --name is for containers"),
        (("import", "--clone", "/none", "new"), 2, "import: an image's name, "),
        (("import", "--clone", "--name=a/b", "/none"), 2, "not a container name: 'a/b'"),
        (("import", "--clone", "--name=box", "/none"), 125, "the name 'box' is taken"),
        (("import", "--tocontainer", "-c", "CMD x", "/none"), 2, "import: an image's name, "),
        (("export", "--clone"), 2, "export: an argument is missing"),
    ],
)
def test_commits_and_imports_that_cannot_be(
    udocker: Udocker, words: tuple[str, ...], code: int, text: str
) -> None:
    create(udocker, "--name=box")
    ended = udocker(*words)
    assert (ended.code, ended.out) == (code, "")
    assert f"udocker: {text}" in ended.err
    assert "\n  try: " in ended.err
    assert "Traceback" not in ended.err
    assert len(udocker("images", "-q").out.splitlines()) == 1
    assert len(udocker("ps", "-q").out.splitlines()) == 1


@pytest.mark.parametrize("command", ["diff", "export", "clone"])
def test_containers_that_are_not_there(udocker: Udocker, command: str) -> None:
    ended = udocker(command, "none")
    assert (ended.code, ended.out) == (125, "")
    assert ended.err.splitlines() == [
        "udocker: no such container: none",
        "  try: udocker ps lists them",
    ]
    for words in ((), ("one", "two"), ("--bad", "one")):
        assert udocker(command, *words).code == 2
