"""Command lines, settings and stores that are wrong: what is told, and that nothing comes of it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from fakes.registry import (
    Entry,
    FakeRegistry,
    directory,
    make_image,
    make_index,
    make_layer,
    program,
    symlink,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from e2e.conftest import Result
    from fakes.registry import MadeImage

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.checks"]

_NAME = "test/box"
_WHO = 'echo "$(id -u) $(id -g)"'
_FILES: dict[str, Entry | bytes] = {
    "data": directory(),
    "data/plain": b"text\n",
    "data/script": program(b"#!/nowhere/sh\n"),
    "data/windows": program(b"#!/bin/sh\r\necho\r\n"),
    "data/loop": symlink("loop"),
    "data/dangling": symlink("nowhere"),
}


class Box:
    """A store with an image and a container ``box``, which no test changes."""

    def __init__(self, caller: checks.Caller, fake: FakeRegistry, image: MadeImage) -> None:
        self.call = caller
        self.fake = fake
        self.image = image
        self.name = f"{fake.host}/{_NAME}"
        self.box = caller("create", "--name=box", self.name).out.strip()
        caller("run", "box", "true")
        self._before = self._state()

    def refuses(
        self,
        words: list[str],
        code: int,
        *parts: str,
        hint: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """The words are refused with a message that has ``parts``, and nothing is changed."""
        result = self.call(*(self.filled(word) for word in words), check=False, env=env)
        checks.is_told(result, code, *map(self.filled, parts), hint=hint)
        assert result.out == ""
        assert self._state() == self._before
        return result

    def filled(self, text: str) -> str:
        return text.replace("IMAGE", self.name)

    def _state(self) -> object:
        """All that lists are made of, and what is half-made."""
        store = self.call.store
        found = [path for part in ("images", "names", "tmp") for path in (store / part).rglob("*")]
        return sorted(found), sorted((store / "containers").iterdir())


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("box")
    with FakeRegistry() as fake:
        layers = [checks.busybox_layer(), make_layer(_FILES)]
        image = make_image(fake, _NAME, "latest", layers, {"Cmd": ["true"]})
        make_image(fake, "test/idle", "latest", layers[1:])
        box = Box(checks.Caller(folder / "store", folder / "home"), fake, image)
        yield box
        assert checks.images(box.call) == [f"{box.name}:latest"]
        assert checks.containers(box.call) == [box.box]


# Options of run


@pytest.mark.parametrize(
    ("volume", "code", "part"),
    [
        ("/nowhere:/x", 125, "/nowhere does not exist"),
        ("./nowhere:/x", 125, "/nowhere does not exist"),
        ("/tmp:x", 2, "'x' is not an absolute path"),
        ("/tmp: /x", 2, "' /x' is not an absolute path"),
        ("/tmp:", 2, "not a volume: '/tmp:'"),
        (":/x", 2, "not a volume: ':/x'"),
        ("", 2, "not a volume: ''"),
        ("::", 2, "not a volume: '::'"),
        ("/tmp::ro", 2, "not a volume: '/tmp::ro'"),
        ("/tmp:/x:ro:rw", 2, "not a volume: '/tmp:/x:ro:rw'"),
        ("/tmp:/x:bogus", 2, "unknown option 'bogus'"),
        ("/tmp:/x:ro,bogus", 2, "unknown option 'bogus'"),
        ("/tmp:/", 2, "cannot take the place of /"),
        ("/tmp:/x/..", 2, "cannot take the place of /"),
        (".named:/x", 2, "nor the name of a volume"),
        ("some/where:/x", 2, "nor the name of a volume"),
        ("~/x:/x", 2, "'~/x' is neither a path"),
        ("/tmp:/data/plain", 125, "a directory over a file"),
        ("/etc/passwd:/data", 125, "a file over a directory"),
    ],
)
def test_volume(box: Box, volume: str, code: int, part: str) -> None:
    box.refuses(["run", f"--volume={volume}", "box", "true"], code, part)


@pytest.mark.parametrize(
    ("user", "part", "hint"),
    [
        ("nobody-here", "no user 'nobody-here'", True),
        ("-1", "no user '-1'", True),
        (" ", "no user ' '", True),
        ("٣", "no user '٣'", True),
        ("user:nogroup", "no group 'nogroup'", True),
        ("user:-1", "no group '-1'", True),
        ("user:staff:more", "group", True),
        ("4294967295", "4294967295 is not a user or group id", False),
        ("99999999999999999999", "is not a user or group id", False),
        ("user:4294967295", "4294967295 is not a user or group id", False),
    ],
)
def test_user(box: Box, user: str, part: str, hint: bool) -> None:
    box.refuses(["run", f"--user={user}", "box", "true"], 125, part, hint=hint)


@pytest.mark.parametrize("user", ["user:", ":", ""])
def test_user_with_empty_parts(box: Box, user: str) -> None:
    """As Docker has it: root for no user, and the user's own group for none."""
    who = "1000 1000" if user.startswith("user") else "0 0"
    assert box.call("run", f"--user={user}", "box", "sh", "-c", _WHO).out.strip() == who


@pytest.mark.parametrize("variable", ["", "=", "=value"])
def test_variable(box: Box, variable: str) -> None:
    words = ["run", f"--env={variable}", "box", "true"]
    box.refuses(words, 2, f"not an environment variable: {variable!r}")


@pytest.mark.parametrize(
    ("content", "number"), [(b"A=1\nB C=2\n", 2), (b"=1\n", 1), (b"\n# c\nA=\0\n", 3)]
)
def test_env_file_with_a_bad_line(box: Box, tmp_path: Path, content: bytes, number: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    words = ["run", f"--env-file={path}", "box", "true"]
    box.refuses(words, 125, f"{path}, line {number}: ", hint=False)


@pytest.mark.parametrize("path", ["/nowhere", "/tmp", "", "/etc/passwd/x"])
def test_env_file_that_cannot_be_read(box: Box, path: str) -> None:
    words = ["run", f"--env-file={path}", "box", "true"]
    box.refuses(words, 2, f"cannot read --env-file {path}", hint=False)


@pytest.mark.parametrize(
    ("path", "code"),
    [("relative", 2), ("../x", 2), ("/data/plain", 125), ("/data/plain/x", 125)],
)
def test_workdir(box: Box, path: str, code: int) -> None:
    box.refuses(["run", f"--workdir={path}", "box", "true"], code, path, hint=False)


@pytest.mark.parametrize("name", ["a b", "", "é", "a\nb", "x" * 65, ".", "a/b"])
def test_hostname(box: Box, name: str) -> None:
    box.refuses(["run", f"--hostname={name}", "box", "true"], 2, f"not a host name: {name!r}")


@pytest.mark.parametrize("text", ["nonsense", "", "linux", "linux/", "/amd64", "a/b/c/d", "a b/c"])
@pytest.mark.parametrize("command", ["run", "create", "pull"])
def test_platform(box: Box, command: str, text: str) -> None:
    words = [command, f"--platform={text}", "IMAGE"]
    box.refuses(words, 2, f"not a platform: {text!r}", "linux/arm64")


@pytest.mark.parametrize("command", ["run", "create"])
def test_pull(box: Box, command: str) -> None:
    words = [command, "--pull=sometimes", "IMAGE"]
    box.refuses(words, 2, "--pull cannot be 'sometimes'", "always, missing, never")
    words = [command, "--pull=never", "IMAGE:absent"]
    box.refuses(words, 125, "IMAGE:absent is not in the store", "udocker pull IMAGE:absent")


@pytest.mark.parametrize("mode", ["X9", "n1", "N1,P1"])
@pytest.mark.parametrize("words", [["run", "box"], ["run", "absent"], ["setup", "box"]])
def test_unknown_mode(box: Box, words: list[str], mode: str) -> None:
    """Also before the image is looked for."""
    words = [words[0], f"--execmode={mode}", *words[1:]]
    box.refuses(words, 2, f"unknown execution mode {mode!r}", "auto, N1")


@pytest.mark.parametrize("target", ["box", "IMAGE"])
def test_mode_that_this_host_cannot_run(box: Box, target: str) -> None:
    setting = {"UDOCKER_USE_PROOT_EXECUTABLE": "/nowhere/proot"}
    words = ["run", "--execmode=P1", target, "true"]
    box.refuses(words, 125, "mode P1 does not work here", "/nowhere/proot", env=setting)


@pytest.mark.parametrize("entrypoint", ["'open", '"', "end\\"])
def test_entrypoint(box: Box, entrypoint: str) -> None:
    words = ["run", f"--entrypoint={entrypoint}", "box"]
    box.refuses(words, 2, "--entrypoint", hint=False)


def test_nothing_to_run(box: Box) -> None:
    idle = f"{box.fake.host}/test/idle"
    box.call("pull", idle)
    try:
        result = box.call("run", idle, check=False)
        checks.is_told(result, 2, "no command to run", "udocker run IMAGE COMMAND")
        assert checks.containers(box.call) == [box.box]
    finally:
        box.call("rmi", idle)


def test_what_is_wrong_with_a_run_is_told_before_a_pull(box: Box) -> None:
    before = len(box.fake.log)
    for option in ("--volume=/nowhere:/x", "--env-file=/nowhere", "--execmode=X9", "--name=a b"):
        words = ["run", option, "IMAGE:absent"]
        result = box.call(*(box.filled(word) for word in words), check=False)
        assert result.code in (2, 125)
    assert len(box.fake.log) == before


# Commands in the container


@pytest.mark.parametrize(
    ("command", "code", "part"),
    [
        ("nowhere", 127, "command not found in the container's PATH"),
        ("/nowhere", 127, "command not found in the container: /nowhere"),
        ("./nowhere", 127, "command not found in the container: ./nowhere"),
        ("/data/plain/x", 127, "command not found"),
        ("/data/dangling", 127, "command not found"),
        ("/data/loop", 127, "command not found"),
        ("", 127, "the command is an empty string"),
        ("/data", 126, "cannot execute /data: it is a directory"),
        ("/data/plain", 126, "cannot execute /data/plain: permission denied"),
        ("/data/script", 127, "its interpreter '/nowhere/sh' is not in the container"),
        ("/data/windows", 127, "its interpreter '/bin/sh\\r' is not in the container"),
    ],
)
def test_command_of_the_container(box: Box, command: str, code: int, part: str) -> None:
    box.refuses(["run", "box", command], code, part, hint=False)
    box.refuses(["run", "IMAGE", command], code, part, hint=False)


# Names of images and containers


@pytest.mark.parametrize(
    "name",
    [
        "Upper",
        "debian:",
        "debian:" + "x" * 129,
        "debian:a b",
        "x" * 256,
        "",
        " ",
        "a//b",
        "/a",
        "a/",
        "-x",
        "a b",
        "a:b:c",
        "é",
        "a\nb",
        "\x1b[31mred",
        "a@",
        "a@sha256:12",
        "a@md5:" + "0" * 32,
        "@sha256:" + "0" * 64,
        "0" * 64,
        "http://host/x",
        "localhost:port/x",
        ".",
        "..",
        "../x",
        "a_/b",
        "host.example/../x",
    ],
)
def test_reference(box: Box, name: str) -> None:
    box.refuses(["pull", "--", name], 2, hint=False)
    box.refuses(["create", "--", name], 2, hint=False)
    box.refuses(["run", "--", name, "true"], 125, "no such container", hint=False)
    box.refuses(["rmi", "--", name], 125, "no such image", "udocker images")
    box.refuses(["inspect", "--", name], 125, "no such container or image", "udocker ps")


def test_a_reference_in_upper_case_is_told_how_to_be_written(box: Box) -> None:
    box.refuses(["pull", "Debian:12"], 2, "lower case", "try: debian")


@pytest.mark.parametrize("name", ["localhost:99999/x", "x" * 64 + ".example.invalid/x"])
def test_a_reference_to_an_impossible_host(box: Box, name: str) -> None:
    box.refuses(["pull", name], 2, "registry host")


@pytest.mark.parametrize(
    "name", ["", "a b", "-x", ".x", "_x", "a/b", "..", "é", "a\nb", "a:b", "0" * 32, "*"]
)
def test_container_name(box: Box, name: str) -> None:
    told = f"not a container name: {name!r}"
    box.refuses(["create", f"--name={name}", "IMAGE"], 2, told)
    box.refuses(["run", f"--name={name}", "IMAGE"], 2, told)
    box.refuses(["name", "--", "box", name], 2, told)
    box.refuses(["rename", "--", "box", name], 2, told)
    box.refuses(["rmname", "--", name], 125, f"no container has the name {name!r}")
    box.refuses(["rm", "--", name], 125, "no such container")


def test_container_name_that_is_too_long(box: Box) -> None:
    for words in (["create", f"--name={'x' * 300}", "IMAGE"], ["name", "box", "x" * 300]):
        result = box.call(*(box.filled(word) for word in words), check=False)
        checks.is_told(result, result.code, hint=False)
        assert result.code in (2, 125)
    assert checks.containers(box.call) == [box.box]
    assert checks.left(box.call.store) == []


def test_container_name_that_is_taken(box: Box) -> None:
    told = f"the name 'box' is taken by container {box.box[:12]}"
    box.refuses(["create", "--name=box", "IMAGE"], 125, told, "udocker rm box")
    box.refuses(["run", "--name=box", "IMAGE"], 125, told)
    box.refuses(["name", "box", "box"], 125, told)
    box.refuses(["run", "--name=other", "box"], 2, "box is a container and has its name")
    # Before the image is looked for, which may take long.
    box.refuses(["create", "--name=box", "IMAGE:absent"], 125, told)


@pytest.mark.parametrize(
    "words",
    [
        ["rm", "absent"],
        ["rm", "f" * 32],
        ["rm", "f" * 12],
        ["rm", "../box"],
        ["rm", ""],
        ["name", "absent", "x"],
        ["setup", "absent"],
        ["inspect", "-p", "absent"],
    ],
)
def test_absent_container(box: Box, words: list[str]) -> None:
    box.refuses(words, 125, "no such container", "udocker ps")


@pytest.mark.parametrize("words", [["rename", "absent", "x"], ["rmname", "absent"]])
def test_absent_name(box: Box, words: list[str]) -> None:
    box.refuses(words, 125, "no container has the name 'absent'", "udocker ps")


def test_absent_is_no_error_with_force(box: Box) -> None:
    box.call("rm", "--force", "absent")
    box.call("rmi", "--force", "absent")


def test_beginning_of_a_container_id(caller: checks.Caller, box: Box) -> None:
    """That of one is enough, that of several is not. Ids of our making: see the store."""
    made = caller("create", box.name).out.strip()
    folder = caller.store / "containers"
    ids = ["ab12" + "0" * 28, "ab13" + "0" * 28]
    (folder / made).rename(folder / ids[0])
    caller("create", box.name)
    other = next(name for name in checks.containers(caller) if name != ids[0])
    (folder / other).rename(folder / ids[1])
    for words in (["rm"], ["setup"], ["inspect", "-p"]):
        result = caller(*words, "ab1", check=False)
        checks.is_told(result, 125, "ab1 is the beginning of several container ids", "digits")
    assert sorted(checks.containers(caller)) == ids
    caller("rm", "ab12")
    assert checks.containers(caller) == ids[1:]


def test_inspect_of_nothing(box: Box) -> None:
    box.refuses(["inspect"], 2, "an argument is missing", "usage: udocker inspect")
    box.refuses(["inspect", "absent"], 125, "no such container or image: absent")


def test_one_that_is_there_and_one_that_is_not(caller: checks.Caller, box: Box) -> None:
    caller("create", "--name=x", box.name)
    result = caller("rm", "x", "absent", check=False)
    assert (result.code, result.out) == (125, "x\n")
    assert checks.containers(caller) == []


# Command lines


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["qqqq"], ["unknown command 'qqqq'", "udocker help"]),
        (["imges"], ["unknown command 'imges'", "did you mean images?"]),
        ([""], ["unknown command ''", "udocker help"]),
        (["help", "bogus"], ["unknown command 'bogus'"]),
        (["--bogus", "ps"], ["unknown option --bogus", "udocker --help"]),
        (["ps", "--jsn"], ["ps: unknown option --jsn", "did you mean --json?"]),
        (["run", "-Z", "box"], ["run: unknown option -Z", "udocker run --help"]),
        (["run", "--", "-Z"], []),
        (["run"], ["run: an argument is missing", "usage: udocker run"]),
        (["rm"], ["rm: an argument is missing"]),
        (["name", "box"], ["name: an argument is missing"]),
        (["pull", "a", "b"], ["pull: unexpected argument 'b'"]),
        (["ps", "x"], ["ps: unexpected argument 'x'"]),
        (["run", "--name"], ["run: --name needs a value"]),
        (["setup", "box", "--execmode"], ["setup: --execmode needs a value"]),
        (["--repo="], []),
        (["--repo=", "ps"], ["--repo names no directory"]),
        (["--repo"], ["--repo needs a value"]),
    ],
)
def test_command_line(box: Box, words: list[str], parts: list[str]) -> None:
    if parts:
        box.refuses(words, 2, *parts)


@pytest.mark.parametrize("text", ["maybe", "", "2", "tru"])
def test_flag_that_is_neither_true_nor_false(box: Box, text: str) -> None:
    words = ["run", f"--rm={text}", "box"]
    box.refuses(words, 2, "--rm is true or false", repr(text), hint=False)


def test_a_message_is_one_line_whatever_the_words(box: Box) -> None:
    """Line ends and the codes that terminals obey do not pass."""
    for word in ("a\nb", "\x1b]0;title\x07", "a\rb", "\u202e"):
        for command in ("run", "inspect", "rm", "rmi", word):
            result = box.call(command, word, check=False)
            assert len(result.err.splitlines()) == 2, result
            assert result.err.replace("\n", "").isprintable(), result


# Settings


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bogus = 1", "unknown setting 'bogus'"),
        ("jobs = many", "jobs: 'many': a whole number from 1 to 32 is expected"),
        ("jobs = 0", "jobs: '0': a whole number from 1 to 32 is expected"),
        ("jobs =", "jobs: ''"),
        ("http_insecure = perhaps", "http_insecure: 'perhaps': true or false"),
        ("topdir = ~/x", "topdir: '~/x': ~ is not known"),
        ("topdir =", "topdir: ''"),
        ("use_runc_executable = runc", "use_runc_executable: 'runc': an absolute path"),
        ("just words", "line 1: not a setting"),
        ("jobs = 1\n\x01\x02", "line 2: not a setting"),
        ("[DEFAULT", "line 1: not a setting"),
    ],
)
def test_configuration_file(box: Box, tmp_path: Path, text: str, part: str) -> None:
    """One that is named, that of the user, and that of the store."""
    path = tmp_path / "file.conf"
    path.write_text(text)
    box.refuses([f"--config={path}", "ps"], 2, str(path), part, hint=False)
    home = tmp_path / "home" / ".udocker"
    home.mkdir(parents=True)
    path.rename(home / "udocker.conf")
    setting = {"HOME": str(home.parent)}
    box.refuses(["images"], 2, f"{home}/udocker.conf", part, hint=False, env=setting)


@pytest.mark.parametrize("path", ["/nowhere", "/tmp", "/etc/passwd/x"])
def test_configuration_file_that_cannot_be_read(box: Box, path: str) -> None:
    box.refuses([f"--config={path}", "ps"], 2, f"cannot read {path}", hint=False)


@pytest.mark.parametrize(
    ("variable", "text", "part"),
    [
        ("UDOCKER_JOBS", "x", "a whole number"),
        ("UDOCKER_JOBS", "0", "a whole number from 1 to 32"),
        ("UDOCKER_CONNECT_TIMEOUT", "-1", "a number"),
        ("UDOCKER_STALL_TIMEOUT", "1.5", "a whole number"),
        ("UDOCKER_LOGLEVEL", "loud", "a whole number"),
        ("UDOCKER_MAX_UNPACKED_BYTES", "1G", "a whole number"),
        ("UDOCKER_DIR", "~/x", "~ is not known"),
        ("UDOCKER_DIR", " ", "a value is expected"),
        ("UDOCKER_DEFAULT_EXECUTION_MODE", " ", "a value is expected"),
        ("UDOCKER_USE_PROOT_EXECUTABLE", "proot", "an absolute path"),
        ("UDOCKER_USE_RUNC_EXECUTABLE", "bin/runc", "an absolute path"),
    ],
)
def test_environment_variable(box: Box, variable: str, text: str, part: str) -> None:
    told = f"environment variable {variable}: {text!r}: {part}"
    box.refuses(["ps"], 2, told, hint=False, env={variable: text})


def test_settings_that_only_a_run_looks_at(box: Box) -> None:
    setting = {"UDOCKER_DEFAULT_EXECUTION_MODE": "X9"}
    box.refuses(["run", "box"], 2, "unknown execution mode 'X9'", env=setting)
    box.refuses(["run", "absent"], 2, "unknown execution mode 'X9'", env=setting)
    setting = {"UDOCKER_REGISTRY": "no host"}
    box.refuses(["pull", "absent"], 2, "not a registry host: 'no host'", env=setting)


def test_home_that_is_none(box: Box) -> None:
    for home in ("", "relative", "/nowhere"):
        assert box.call("run", "box", "echo", "ran", env={"HOME": home}).out == "ran\n"


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 7}', '{"auths": {"HOST": {"auth": "%"}}}'])
def test_login_file(box: Box, tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text.replace("HOST", box.fake.host))
    box.fake.auth = "basic"
    try:
        setting = {"DOCKER_CONFIG": str(tmp_path)}
        box.refuses(["pull", "IMAGE:absent"], 2, str(path), hint=False, env=setting)
    finally:
        box.fake.auth = ""


# Stores


@pytest.fixture
def own(caller: checks.Caller, box: Box) -> checks.Caller:
    """A store of the test's own with the image and the container ``x``."""
    caller("create", "--name=x", box.name)
    return caller


_DAMAGE = [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe\0", b'{"image": 7, "form": []}']


@pytest.mark.parametrize("data", _DAMAGE)
@pytest.mark.parametrize("name", ["container.json", "config.json"])
def test_damaged_container(own: checks.Caller, box: Box, name: str, data: bytes) -> None:
    """Told by each command that needs it, and removed as the hint says."""
    identity = checks.containers(own)[0]
    (own.store / "containers" / identity / name).write_bytes(data)
    way_out = ["rm", identity[:12]]
    told = [f"container {identity[:12]}", "damaged", f"udocker {' '.join(way_out)}"]
    for words in (["run", "x"], ["inspect", "x"], ["setup", "x"]):
        checks.is_told(own(*words, check=False), 125, *told)
    listed = own("ps")
    assert all(part in listed.err for part in told)
    own(*way_out)
    assert checks.containers(own) == []
    own("create", "--name=x", box.name)


def test_container_without_its_record(own: checks.Caller, box: Box) -> None:
    identity = checks.containers(own)[0]
    (own.store / "containers" / identity / "container.json").unlink()
    assert checks.containers(own) == []
    checks.is_told(own("run", "--pull=never", "x", check=False), 125)
    own("rm", identity)
    own("create", "--name=x", box.name)


@pytest.mark.parametrize("data", _DAMAGE)
def test_damaged_image_record(own: checks.Caller, box: Box, data: bytes) -> None:
    """Pulling again puts it right, as does removing the file that is named."""
    (record,) = (path for path in (own.store / "images").rglob("latest") if path.is_file())
    sound = record.read_bytes()
    record.write_bytes(data)
    told = [str(record), "damaged", "remove that file and pull again"]
    for words in (["run", box.name], ["rmi", box.name]):
        checks.is_told(own(*words, check=False), 125, *told)
    listed = own("images")
    assert all(part in listed.err for part in told)
    own("run", "x")
    own("pull", box.name)
    assert len(checks.images(own)) == 1
    assert json.loads(record.read_text())["manifest"] == json.loads(sound)["manifest"]
    record.write_bytes(data)
    record.unlink()
    assert checks.images(own) == []
    own("run", "--rm", box.name)


@pytest.mark.parametrize("change", ["altered", "emptied", "removed"])
@pytest.mark.parametrize("part", ["manifest", "config"])
def test_damaged_document(own: checks.Caller, box: Box, part: str, change: str) -> None:
    """Pulling again puts it right."""
    digest = box.image.digest if part == "manifest" else box.image.config["digest"]
    path = own.store / "blobs" / "sha256" / digest.partition(":")[2]
    sound = path.read_bytes()
    damage(path, change)
    if part == "manifest":
        assert path.name in own("images").err
    else:
        for words in (["create", box.name], ["inspect", box.name]):
            result = own(*words, check=False)
            checks.is_told(result, 125, path.name, hint=change != "removed")
    own("run", "x")
    own("pull", box.name)
    assert path.read_bytes() == sound
    own("create", box.name)
    assert len(checks.images(own)) == 1


@pytest.mark.parametrize("change", ["altered", "emptied", "removed"])
@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_an_image_with_a_damaged_blob_can_be_removed(
    own: checks.Caller, box: Box, part: str, change: str
) -> None:
    digests = {"manifest": box.image.digest, "config": box.image.config["digest"]}
    digest = digests.get(part, box.image.layers[0]["digest"])
    damage(own.store / "blobs" / "sha256" / digest.partition(":")[2], change)
    own("rmi", box.name)
    assert checks.images(own) == []
    own("run", "x")
    own("run", "--rm", box.name)


@pytest.mark.parametrize("change", ["altered", "emptied", "removed"])
def test_damaged_layer_is_fetched_again(own: checks.Caller, box: Box, change: str) -> None:
    """When it is needed: for another image that has it, and whose tree is not here."""
    digest = box.image.layers[0]["digest"]
    path = own.store / "blobs" / "sha256" / digest.partition(":")[2]
    sound = path.read_bytes()
    damage(path, change)
    layers = [sound, checks.file_layer("other")]
    make_image(box.fake, "test/other", "latest", layers, {"Cmd": ["true"]})
    before = len(box.fake.requests(digest))
    own("run", "--rm", f"{box.fake.host}/test/other")
    assert path.read_bytes() == sound
    assert len(box.fake.requests(digest)) == before + 1
    assert checks.left(own.store) == []


def damage(path: Path, change: str) -> None:
    if change == "removed":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data if change == "altered" else b"")


def test_tree_that_is_gone(own: checks.Caller, box: Box) -> None:
    """Somebody has removed it by hand: a container of it says so, and the image comes again."""
    folder = own.store / "trees" / "sha256"
    for name in checks.trees(own.store):
        (folder / name).rename(own.store / f"gone-{name}")
    result = own("run", "x", check=False)
    assert result.code in (125, 127)
    assert "Traceback" not in result.err
    assert "internal error" not in result.err
    own("run", "--rm", box.name)
    own("run", "x")


def test_what_does_not_belong_in_a_store(own: checks.Caller, box: Box) -> None:
    """Files of others are not read, not listed, and not removed."""
    strange = [
        "containers/README",
        "containers/not-an-id/container.json",
        "images/README",
        "names/.hidden",
        "blobs/sha256/README",
        "trees/sha256/README",
    ]
    for name in strange:
        path = own.store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (own.store / "names" / "broken").symlink_to("0" * 32)
    (own.store / "names" / "escape").symlink_to("../../../etc")
    assert len(checks.containers(own)) == 1
    assert len(checks.images(own)) == 1
    own("run", "--rm", box.name)
    checks.is_told(own("rm", "escape", check=False), 125, "no such container: escape")
    own("create", "--name=broken", box.name)
    own("rmi", box.name)
    assert [name for name in strange if (own.store / name).read_text() != "mine"] == []


def test_platforms_of_one_tag(caller: checks.Caller, box: Box) -> None:
    """The tag means what was pulled last; asking for another platform fetches that."""
    made = []
    for name in ("linux/amd64", "linux/arm64"):
        layers = [checks.file_layer(name.replace("/", "-"))]
        made.append((name, make_image(box.fake, "test/two", None, layers, platform=name).digest))
    make_index(box.fake, "test/two", "latest", made)
    reference = f"{box.fake.host}/test/two"
    for name, _ in made:
        caller("pull", f"--platform={name}", reference)
        assert json.loads(caller("images", "--json").out)[0]["platform"] == name
    result = caller("pull", "--platform=linux/s390x", reference, check=False)
    checks.is_told(result, 125, "linux/s390x", "linux/amd64, linux/arm64")


def test_an_image_of_another_platform_is_told(caller: checks.Caller, box: Box) -> None:
    """A tag of a single manifest gives that, whatever is asked for: with a warning."""
    layers = [checks.file_layer("x")]
    make_image(box.fake, "test/single", "latest", layers, platform="linux/s390x")
    result = caller("pull", "--platform=linux/riscv64", f"{box.fake.host}/test/single")
    assert "warning: " in result.err
    assert "is made for linux/s390x, not for linux/riscv64" in result.err
    assert os.listdir(caller.store / "tmp") == []
