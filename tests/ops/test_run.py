"""What a run becomes before it begins: container, mode, checks, plan. Nothing is executed here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import ALL_PROGRAMS, host
from builders.sessions import session as make_session
from builders.sessions import trust
from builders.stores import add_image
from builders.trees import Directory, File, Link, grow, program
from fakes.registry import FakeRegistry, make_image, make_layer
from fakes.registry import program as executable
from udocker.engine import table
from udocker.errors import (
    CommandNotFound,
    ContainerNotFound,
    EngineUnavailable,
    ImageNotFound,
    NameInUse,
    NotExecutable,
    StoreError,
    UdockerError,
    UnsupportedFeature,
    UsageError,
)
from udocker.model.launch import Bind, EnterRoot, MountUnion, WriteFile
from udocker.model.reference import Reference
from udocker.model.request import RunRequest, Volume
from udocker.ops.create import create
from udocker.ops.preparing import plan, prepare
from udocker.ops.run import run
from udocker.ops.specify import make_spec
from udocker.ops.target import find_or_make

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from builders.trees import Node
    from udocker.model.container import Container
    from udocker.model.launch import Launch

IMAGE: dict[str, Node] = {
    "bin/prog": program("#!/bin/sh\n"),
    "bin/sh": File(b"\x7fELF", 0o755),
    "bin/plain": File(b"", 0o644),
    "etc/passwd": b"root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n",
    "etc/group": b"root:x:0:\n",
    "data": Directory(),
    "var/run": Link("/run"),
    "run/x": b"",
}
RUN: dict[str, Any] = {"Cmd": ["prog"], "Env": ["PATH=/bin"]}


class Runs:
    """Runs of an image, planned on a host where every mode works; P1 and P2 by PRoot."""

    def __init__(self, store_path: Path) -> None:
        on = host(programs=ALL_PROGRAMS, chosen=("proot",))
        self.session = make_session(store_path, on)
        trust(self.session, "N1")
        trust(self.session, "R1", "P1", "P2", union=False)
        add_image(self.session.store, "test", IMAGE, RUN)

    def request(self, target: str = "test", **asked: Any) -> RunRequest:
        return RunRequest(**{"target": target, "pull": "never", **asked})

    def launch(self, target: str = "test", **asked: Any) -> Launch:
        """The launch of a run. A new container stays."""
        request = self.request(target, **asked)
        container, is_new = find_or_make(self.session, request)
        return prepare(self.session, request, container, is_new).launch

    def plan(self, target: str = "test", **asked: Any) -> list[str]:
        return plan(self.session, self.request(target, **asked))

    def containers(self) -> list[Container]:
        return self.session.store.containers.all()


@pytest.fixture
def runs(store_path: Path) -> Runs:
    return Runs(store_path)


def bound(launch: Launch) -> dict[str, str]:
    """Target -> source of what N1 binds."""
    return {step.target: step.source for step in launch.steps if isinstance(step, Bind)}


# The container


def test_an_image_gets_a_new_container_each_time(runs: Runs) -> None:
    runs.launch()
    runs.launch(name="box")
    assert [container.names for container in runs.containers()] == [("box",), ()]


def test_a_container_is_run_again(runs: Runs) -> None:
    runs.launch(name="box")
    [container] = runs.containers()
    for target in ("box", container.id, container.id[:8]):
        runs.launch(target)
    assert len(runs.containers()) == 1
    with pytest.raises(UsageError, match="box is a container and has its name") as caught:
        runs.launch("box", name="chest")
    assert caught.value.hint == "udocker rename box chest"


def test_an_image_name_is_not_taken_for_the_beginning_of_an_id(runs: Runs) -> None:
    runs.launch()
    [container] = runs.containers()
    name = container.id[:7]
    add_image(runs.session.store, name, IMAGE, RUN)
    runs.launch(name)
    assert len(runs.containers()) == 2


def test_a_container_goes_before_an_image_of_its_name(runs: Runs) -> None:
    runs.launch(name="test")
    runs.launch("test")
    assert len(runs.containers()) == 1


@pytest.mark.parametrize("target", ["UPPER", "a b", "", "-", "x" * 300, "f" * 64])
def test_what_is_neither_container_nor_image(runs: Runs, target: str) -> None:
    with pytest.raises(ContainerNotFound, match="no such container, and not an image name: "):
        runs.launch(target)


def test_an_image_that_is_not_here(runs: Runs) -> None:
    with pytest.raises(ImageNotFound, match="image other is not in the store"):
        runs.launch("other")
    with pytest.raises(ImageNotFound):
        runs.launch(platform="linux/s390x")
    with pytest.raises(UsageError, match="not a platform"):
        runs.launch(platform="s390x")


def test_the_registry_that_is_asked_for(runs: Runs) -> None:
    add_image(runs.session.store, "quay.io/tool", IMAGE, RUN)
    runs.launch("tool", registry="quay.io")
    assert runs.containers()[0].image == "quay.io/tool:latest"


def test_a_name_that_is_taken(runs: Runs) -> None:
    runs.launch(name="box")
    with pytest.raises(NameInUse):
        runs.launch("test", name="box")
    assert len(runs.containers()) == 1


def test_an_image_is_pulled_first(runs: Runs) -> None:
    layer = make_layer({"p": executable(b"#!/p\n"), "q": b""})
    with FakeRegistry() as registry:
        name = f"{registry.host}/a/b"
        make_image(registry, "a/b", "latest", [layer], {"Cmd": ["/q"]})
        with pytest.raises(ImageNotFound):
            runs.launch(name, pull="never")
        with pytest.raises(ImageNotFound):
            plan(runs.session, RunRequest(target=name))
        assert registry.log == []
        with pytest.raises(NotExecutable, match="cannot execute /q"):
            runs.launch(name, pull="missing")
        assert registry.log
    assert runs.session.store.images.get(Reference.parse(name)) is not None
    assert runs.containers() == []


@pytest.mark.parametrize(
    ("asked", "kind", "code"),
    [
        ({"command": ("none",)}, CommandNotFound, 127),
        ({"command": ("/bin/plain",)}, NotExecutable, 126),
        ({"command": ("",)}, CommandNotFound, 127),
        ({"entrypoint": ""}, UsageError, 2),
        ({"user": "bob"}, UdockerError, 125),
        ({"volumes": (Volume("/not/there", "/x"),)}, UdockerError, 125),
        ({"env_files": ("/not/there",)}, UsageError, 2),
        ({"workdir": "relative"}, UsageError, 2),
        ({"workdir": "/bin/prog"}, UdockerError, 125),
        ({"hostname": "a b"}, UsageError, 2),
        ({"mode": "X9"}, UsageError, 2),
        ({"mode": "P1", "volumes": (Volume("/", "/x", True),)}, UnsupportedFeature, 125),
        ({"volumes": (Volume("/etc/passwd", "/data"),)}, UdockerError, 125),
        ({"volumes": (Volume("/etc", "/bin/prog"),)}, UdockerError, 125),
    ],
)
def test_a_run_that_cannot_be_leaves_no_container(
    runs: Runs, asked: dict[str, Any], kind: type[UdockerError], code: int
) -> None:
    with pytest.raises(kind) as caught:
        runs.launch(name="box", **asked)
    assert caught.value.exit_code == code
    assert "\n" not in caught.value.message
    assert runs.containers() == []
    assert os.listdir(f"{runs.session.store.topdir}/tmp") == []
    runs.session.store.containers.check_name("box")


def test_a_run_that_cannot_be_leaves_an_old_container_alone(runs: Runs) -> None:
    runs.launch(name="box")
    with pytest.raises(CommandNotFound):
        runs.launch("box", command=("none",))
    with pytest.raises(CommandNotFound):
        run(runs.session, runs.request("box", command=("none",), remove=True))
    assert len(runs.containers()) == 1


# The mode


def test_the_mode_is_that_of_the_run_the_container_or_the_settings(store_path: Path) -> None:
    runs = Runs(store_path)
    on = host(programs=ALL_PROGRAMS, chosen=("proot",))
    settings = make_session(store_path, on, execution_mode="R1")
    runs.launch(name="box")
    assert runs.launch("box").argv == ("prog",)  # N1, by auto
    runs.session = settings
    assert runs.launch("box").argv[0] == "/usr/bin/runc"
    box = runs.session.store.containers.get("box")
    runs.session.store.containers.update(type(box)(**{**vars(box), "mode": "P1"}))
    assert runs.launch("box").argv[0] == "/usr/bin/proot"
    assert dict(runs.launch("box", mode="P2").env)["PROOT_NO_SECCOMP"] == "1"


def test_a_mode_that_shows_unions_needs_no_copy(runs: Runs) -> None:
    launch = runs.launch(mode="N1")
    [container] = runs.containers()
    assert container.form == "union"
    [union] = (step for step in launch.steps if isinstance(step, MountUnion))
    assert (union.lower, union.upper) == (container.tree, container.upper)


@pytest.mark.parametrize("mode", ["R1", "P1", "P2"])
def test_other_modes_run_on_a_copy(runs: Runs, mode: str) -> None:
    runs.launch(mode=mode, name="box")
    [container] = runs.containers()
    assert container.form == "plain"
    assert sorted(os.listdir(container.root))[:2] == ["bin", "data"]
    launch = runs.launch("box", mode="N1")
    assert not any(isinstance(step, MountUnion) for step in launch.steps)
    [enter] = (step for step in launch.steps if isinstance(step, EnterRoot))
    assert enter.path == container.root


def test_a_union_that_does_not_work_here_is_a_copy(runs: Runs) -> None:
    trust(runs.session, "N1", union=False)
    runs.launch(mode="N1")
    assert runs.containers()[0].form == "plain"


def test_a_tree_that_somebody_removed_is_no_missing_command(runs: Runs) -> None:
    runs.launch(name="box")
    [box] = runs.containers()
    Path(box.tree).rename(f"{box.tree}.gone")
    with pytest.raises(StoreError, match="are gone from the store") as raised:
        runs.launch("box")
    assert raised.value.hint == f"udocker pull {box.image}"


def test_a_mode_that_does_not_work_leaves_nothing(runs: Runs) -> None:
    trust(runs.session, *table.names(), reason="it failed")
    for mode in (None, "N1"):
        with pytest.raises(EngineUnavailable):
            runs.launch(mode=mode)
    assert runs.containers() == []


# What a run depends on


def spec_of(runs: Runs, tree: Mapping[str, Node], **asked: Any) -> Any:
    add_image(runs.session.store, "own", tree, RUN, layer=b"own")
    container = create(runs.session, Reference.parse("own"))
    return make_spec(runs.session, runs.request("own", **asked), container, "N1")


def test_accounts_are_those_of_the_container(runs: Runs) -> None:
    passwd = b"bob:x:7:8::/home/bob:/bin/sh\n"
    tree: dict[str, Node] = {"lib/passwd": passwd, "etc/passwd": Link("../lib/passwd")}
    assert spec_of(runs, tree, user="bob").user.home == "/home/bob"


def test_accounts_that_the_container_changed(runs: Runs) -> None:
    runs.launch(name="box")
    [box] = runs.containers()
    grow(Path(box.upper), {"etc/passwd": b"eve:x:9:9::/eve:/bin/sh\n"})
    assert "HOME=/eve" in runs.plan("box", user="eve")[-1]


def test_accounts_of_the_host_are_never_read_through_a_link(runs: Runs) -> None:
    """A link to /etc/passwd in an image means the image's."""
    tree: dict[str, Node] = {"etc/passwd": Link("/../../../../etc/passwd2")}
    with open("/etc/passwd", encoding="utf-8", errors="replace") as stream:
        name = stream.read().split("\n")[1].split(":")[0]
    with pytest.raises(UdockerError, match="no user"):
        spec_of(runs, tree, user=name)
    assert spec_of(runs, {}, user="root").user.uid == 0


def test_accounts_of_the_host_when_they_are_asked_for(runs: Runs) -> None:
    with open("/etc/passwd", "rb") as stream:
        content = stream.read()
    line = content.split(b"\n")[1].decode().split(":")
    spec = spec_of(runs, {}, user=line[0], hostauth=True)
    assert (spec.user.uid, spec.user.home) == (int(line[2]), line[5])
    assert {file.target: file.content for file in spec.files}["/etc/passwd"] == content


@pytest.mark.parametrize("node", [Directory(), Link("/dev/zero"), Link("passwd"), b"\xff\0:::"])
def test_a_passwd_of_any_kind(runs: Runs, node: Node) -> None:
    spec = spec_of(runs, {"etc/passwd": node}, user="77:88")
    assert spec.user.uid == 77


def test_variables_of_files_come_in_order(runs: Runs, tmp_path: Path) -> None:
    grow(tmp_path, {"one": b"A=1\nB=1\n", "two": b"B=2\nHOSTED\n"})
    runs.session.environ = {"HOSTED": "of the host"}
    paths = (f"{tmp_path}/one", f"{tmp_path}/two")
    env = dict(spec_of(runs, {}, env_files=paths, env=(("C", "3"),)).env)
    assert [env[name] for name in ("A", "B", "C", "HOSTED")] == ["1", "2", "3", "of the host"]
    grow(tmp_path, {"bad": b"A=1\n B C=2\n"})
    with pytest.raises(UdockerError, match=f"{tmp_path}/bad, line 2: not an environment variable"):
        spec_of(runs, {}, env_files=(f"{tmp_path}/bad",))
    with pytest.raises(UsageError, match=f"cannot read --env-file {tmp_path}: Is a directory"):
        spec_of(runs, {}, env_files=(str(tmp_path),))


def test_two_runs_have_two_tokens(runs: Runs) -> None:
    assert spec_of(runs, {}).token != spec_of(runs, {}).token


# The command and the mounts


@pytest.mark.parametrize("target", ["/tool", "/opt/new/tool", "/var/run/tool", "/bin/prog"])
def test_a_command_may_come_with_a_volume(runs: Runs, tmp_path: Path, target: str) -> None:
    grow(tmp_path, {"tool": program()})
    volume = Volume(f"{tmp_path}/tool", target)
    assert runs.launch(volumes=(volume,), command=(target,)).argv == (target,)
    runs.launch(volumes=(Volume(str(tmp_path), "/new"),), command=("/new/tool",))


def test_a_volume_may_hide_the_command(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(CommandNotFound):
        runs.launch(volumes=(Volume(str(tmp_path), "/bin"),), command=("/bin/prog",))


def test_mounts_are_where_links_of_the_image_lead(runs: Runs, tmp_path: Path) -> None:
    grow(tmp_path, {"outer/file": b"", "inner": Directory()})
    outer, inner = (os.path.realpath(tmp_path / name) for name in ("outer", "inner"))
    launch = runs.launch(volumes=(Volume(outer, "/var/run/deep"), Volume(inner, "/run/deep/in")))
    assert bound(launch)["/run/deep"] == outer
    assert bound(launch)["/run/deep/in"] == inner


def test_an_inner_mount_is_not_hidden_by_an_outer_one(runs: Runs, tmp_path: Path) -> None:
    """By their spelling the inner one comes first: links may lead deeper than they look."""
    add_image(
        runs.session.store, "links", {**IMAGE, "a": Link("/x/y/z"), "x/y/z/f": b""}, RUN, layer=b"l"
    )
    grow(tmp_path, {"outer": Directory(), "inner": Directory()})
    outer, inner = (os.path.realpath(tmp_path / name) for name in ("outer", "inner"))
    launch = runs.launch("links", volumes=(Volume(inner, "/a"), Volume(outer, "/x/y")))
    targets = [target for target in bound(launch) if target.startswith("/x")]
    assert targets == ["/x/y", "/x/y/z"]


# Dry runs


def test_a_plan_is_told_and_nothing_stays(runs: Runs, tmp_path: Path) -> None:
    grow(tmp_path, {"da ta": Directory()})
    before = sorted(os.listdir(runs.session.store.topdir))
    lines = runs.plan(
        mode="N1",
        command=("prog", "a b", "", "'"),
        volumes=(Volume(f"{tmp_path}/da ta", "/data", True),),
        env=(("ODD", "x y"),),
        name="box",
    )
    place = os.path.realpath(tmp_path / "da ta")
    assert f"# bind {place} on /data read-only" in lines
    assert lines[-2] == "cd /"
    assert lines[-1].startswith("env -i ")
    assert "'ODD=x y'" in lines[-1]
    assert lines[-1].endswith("""prog 'a b' '' ''"'"''""")
    assert runs.containers() == []
    assert set(before) <= set(os.listdir(runs.session.store.topdir))
    assert os.listdir(f"{runs.session.store.topdir}/containers") == []
    runs.session.store.containers.check_name("box")


def test_a_plan_tells_what_is_undone(runs: Runs) -> None:
    lines = runs.plan(mode="R1")
    assert lines[-1].startswith("# then remove ")
    assert "/usr/bin/runc" in lines[-2]


@pytest.mark.parametrize("mode", ["N1", "P1", "R1"])
def test_a_plan_leaves_an_old_container(runs: Runs, mode: str) -> None:
    runs.launch(name="box", mode="N1")
    [box] = runs.containers()
    assert box.path in "\n".join(runs.plan("box", mode=mode))
    assert [container.form for container in runs.containers()] == ["union"]
    assert os.listdir(box.root) == []


def test_guest_files_are_named_by_what_they_hold(runs: Runs) -> None:
    """So that runs of one container share them, and none is half written for another."""
    one = runs.launch(name="box", user="77:88")
    two = runs.launch("box", user="78:88")
    paths = [
        {step.path for step in launch.steps if isinstance(step, WriteFile)} for launch in (one, two)
    ]
    assert len(paths[0] & paths[1]) == len(paths[0]) - 1
    [box] = runs.containers()
    assert all(path.startswith(f"{box.path}/") for path in paths[0] | paths[1])
