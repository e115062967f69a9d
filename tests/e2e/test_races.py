"""Many commands at once on one store: each ends as if it had been alone, or says why not."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from fakes.registry import FakeRegistry, make_image
from udocker.engine import table

if TYPE_CHECKING:
    from typing import Any

    from e2e.conftest import Result
    from fakes.registry import MadeImage

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.checks"]

_NAME = "test/busy"
_MANY = 20


@pytest.fixture
def image(fake: FakeRegistry) -> MadeImage:
    layers = [checks.busybox_layer(), *(checks.file_layer(name, 20) for name in ("one", "two"))]
    return make_image(fake, _NAME, "latest", layers, {"Cmd": ["cat", "/etc/group"]})


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    return f"{fake.host}/{_NAME}"


def at_once(caller: checks.Caller, *commands: list[str]) -> list[Result]:
    """Run all commands at the same time."""
    return checks.ended([caller.start(*words) for words in commands])


def all_succeed(results: list[Result]) -> None:
    assert [result for result in results if result.code != 0] == []


def is_whole(caller: checks.Caller, name: str) -> None:
    """The image is in the store, and can be used without its registry."""
    assert checks.images(caller) == [f"{name}:latest"]
    assert checks.left(caller.store) == []
    assert "root:x:0:" in caller("run", "--rm", "--pull=never", name).out


# One image


@pytest.mark.parametrize("count", [2, _MANY])
def test_pulls_of_one_image_fetch_each_blob_once(
    caller: checks.Caller, fake: FakeRegistry, image: MadeImage, name: str, count: int
) -> None:
    results = at_once(caller, *[["pull", name]] * count)
    all_succeed(results)
    assert [len(fake.requests(layer["digest"])) for layer in image.layers] == [1, 1, 1]
    assert sum("pulled" in result.err for result in results) == 1
    assert len(checks.trees(caller.store)) == 1
    is_whole(caller, name)


def test_pulls_of_many_tags_of_one_image(
    caller: checks.Caller, fake: FakeRegistry, image: MadeImage, name: str
) -> None:
    tags = [f"tag{number}" for number in range(8)]
    for tag in tags:
        raw, media_type = fake.manifests[_NAME, "latest"]
        fake.add_manifest(_NAME, tag, raw, media_type)
    all_succeed(at_once(caller, *(["pull", f"{name}:{tag}"] for tag in tags)))
    assert sorted(checks.images(caller)) == [f"{name}:{tag}" for tag in tags]
    assert checks.left(caller.store) == []
    assert len(checks.trees(caller.store)) == 1


@pytest.mark.parametrize("options", [[], ["--rm"]])
def test_runs_of_an_image_that_is_not_there_yet(
    caller: checks.Caller,
    fake: FakeRegistry,
    image: MadeImage,
    name: str,
    options: list[str],
) -> None:
    results = at_once(caller, *[["run", *options, name]] * _MANY)
    all_succeed(results)
    assert {result.out for result in results} == {"root:x:0:\nuser:x:1000:\nstaff:x:50:user\n"}
    assert [len(fake.requests(layer["digest"])) for layer in image.layers] == [1, 1, 1]
    assert len(checks.containers(caller)) == (0 if options else _MANY)
    assert checks.left(caller.store) == []


def test_one_name_for_many_new_containers(
    caller: checks.Caller, image: MadeImage, name: str
) -> None:
    caller("pull", name)
    results = at_once(caller, *[["create", "--name=x", name]] * _MANY)
    won = [result for result in results if result.code == 0]
    assert len(won) == 1
    assert checks.containers(caller) == [won[0].out.strip()]
    for result in results:
        if result not in won:
            checks.is_told(result, 125, "the name 'x' is taken by container", "udocker rm x")
    assert checks.left(caller.store) == []
    caller("run", "x", "true")


def test_one_name_for_many_containers_that_are_there(
    caller: checks.Caller, image: MadeImage, name: str
) -> None:
    created = [caller("create", name).out.strip() for _ in range(8)]
    results = at_once(caller, *(["name", identity, "x"] for identity in created))
    assert sorted(result.code for result in results) == [0] + [125] * 7
    assert caller("inspect", "x").code == 0
    assert checks.left(caller.store) == []


# One container


def test_runs_of_one_container_in_every_mode(
    caller: checks.Caller, image: MadeImage, name: str, modes: tuple[str, ...]
) -> None:
    """Modes that need a copy of the image make it once, and wait for each other."""
    caller("pull", name)
    for mode in modes:
        caller("create", f"--name={mode}", name)
        results = at_once(caller, *[["run", f"--execmode={mode}", mode, "echo", "ran"]] * 8)
        all_succeed(results)
        assert {result.out for result in results} == {"ran\n"}
        assert sum("own copy" in result.err for result in results) <= 1
    assert len(checks.containers(caller)) == len(modes)
    assert checks.left(caller.store) == []


def test_removals_of_one_container(caller: checks.Caller, image: MadeImage, name: str) -> None:
    caller("create", "--name=x", name)
    results = at_once(caller, *[["rm", "x"]] * 8)
    assert sorted(result.code for result in results) == [0] + [125] * 7
    for result in results:
        if result.code:
            checks.is_told(result, 125, hint=False)
    assert checks.containers(caller) == []
    assert checks.left(caller.store) == []


def test_removal_of_a_container_that_runs(
    caller: checks.Caller, image: MadeImage, name: str
) -> None:
    """The command is ended, the files go, and nothing else breaks."""
    caller("create", "--name=x", name)
    running = caller.start("run", "x", "sh", "-c", "echo begun; read line; echo ended")
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    caller("rm", "-f", "x")
    out, _ = running.communicate("go on\n")
    assert out == ""
    assert checks.containers(caller) == []
    assert checks.left(caller.store) == []
    is_whole(caller, name)


@pytest.mark.parametrize("mode", [mode.name for mode in table.MODES if not mode.preloads])
def test_runs_of_one_container_see_each_other(
    caller: checks.Caller, image: MadeImage, name: str, modes: tuple[str, ...], mode: str
) -> None:
    """What one writes another reads, whichever began first, and none is kept from writing."""
    if mode not in modes:
        pytest.skip(f"host: mode {mode} does not work here")
    caller("create", "--name=x", name)
    words = ["run", f"--execmode={mode}", "x", "sh", "-c"]
    script = (
        "ls /one /tmp /etc >/dev/null; echo begun; read line; "
        "cat /tmp/second; echo first >/tmp/first; echo first >>/etc/group; busybox rm /one/2"
    )
    first = caller.start(*words, script)
    assert first.stdout is not None
    assert first.stdout.readline() == "begun\n"
    caller(*words, "echo second >/tmp/second; echo second >>/etc/group; busybox rm /one/1")
    out, err = first.communicate("go on\n")
    assert (first.returncode, out) == (0, "second\n"), err
    shown = caller(*words, "cat /tmp/first; busybox tail -n 2 /etc/group; ls /one").out.split()
    assert shown[:3] == ["first", "second", "first"]
    assert "1" not in shown[3:]
    assert "2" not in shown[3:]


# Images come and go


def test_removal_of_an_image_while_it_runs(
    caller: checks.Caller, image: MadeImage, name: str
) -> None:
    running = caller.start(
        "run", "--name=x", name, "sh", "-c", "echo begun; read l; busybox md5sum /one/1"
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    caller("rmi", name)
    assert checks.images(caller) == []
    out, err = running.communicate("go on\n")
    assert running.returncode == 0, err
    assert caller("run", "x", "sh", "-c", "busybox md5sum /one/1").out == out
    caller("rm", "x")


def test_pulls_while_it_is_removed(caller: checks.Caller, image: MadeImage, name: str) -> None:
    """A pull succeeds, a removal succeeds or has nothing to remove; lists never fail."""
    for _ in range(4):
        words = [["pull", name], ["rmi", name], ["images"], ["images", "--json"], ["ps"]]
        results = at_once(caller, *(words * 4))
        for (command, *_), result in zip(words * 4, results):
            if command != "rmi" or result.code == 0:
                assert result.code == 0, (command, result)
            else:
                checks.is_told(result, 125, f"no such image: {name}")
        assert checks.left(caller.store) == []
    caller("pull", name)
    is_whole(caller, name)


def test_runs_while_it_is_removed(caller: checks.Caller, image: MadeImage, name: str) -> None:
    for _ in range(3):
        words = [["run", "--rm", name], ["rmi", "-f", name], ["run", name]]
        results = at_once(caller, *(words * 4))
        all_succeed(results)
        assert all("root:x:0:" in result.out for result in results[::3] + results[2::3])
    for identity in checks.containers(caller):
        assert "root:x:0:" in caller("run", identity).out
    assert checks.left(caller.store) == []


def test_removal_of_an_image_whose_layers_a_pull_counts_on(
    caller: checks.Caller, fake: FakeRegistry, image: MadeImage, name: str
) -> None:
    """The pull has seen that a layer is there, then waits for another one; the layer goes."""
    layers = [fake.blobs[layer["digest"]] for layer in image.layers]
    more = checks.file_layer("more", 20)
    data: list[Any] = [*layers, more]
    made = make_image(fake, "test/grown", "latest", data, {"Cmd": ["cat", "/etc/group"]})
    caller("pull", name)
    opened = threading.Event()
    digest = made.layers[-1]["digest"]
    gated: Any = checks.Gated(more, opened)
    fake.blobs[digest] = gated
    pulling = caller.start("pull", f"{fake.host}/test/grown")
    while not fake.requests(digest):
        assert pulling.poll() is None
        time.sleep(0.01)
    caller("rmi", name)
    opened.set()
    _, err = pulling.communicate()
    assert pulling.returncode == 0, err
    is_whole(caller, f"{fake.host}/test/grown")
