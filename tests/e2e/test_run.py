"""``udocker run``: what a program finds inside and what comes back, in every mode."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from e2e.checks import busybox_layer, is_told
from e2e.engines import PATIENCE, SCI, Inside, Shared
from fakes.registry import FakeRegistry, make_image, make_layer, program
from udocker.engine import singularity
from udocker.model.features import HOSTNAME, USER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

N1 = pytest.mark.parametrize("inside", ["N1"], indirect=True)
_NUMPY = """
import numpy
square = numpy.arange(16.0).reshape(4, 4) + numpy.eye(4)
print(round(float(numpy.linalg.det(square)), 3), numpy.__file__)
"""
_C = r"""
#include <math.h>
#include <stdio.h>
int main(int argc, char **argv) {
    printf("%s %d\n", argv[1], (int)sqrt(1764.0 * argc / 2));
    return 42;
}
"""
# Each with the path as its argument, in the form that would succeed on the host.
_LOOK = """
import ctypes, errno, os, sys
path = sys.argv[1].encode()
call = ctypes.CDLL(None, use_errno=True).syscall
room = ctypes.create_string_buffer(4096)
how = (ctypes.c_uint64 * 3)(0, 0, 0)
here = -100
calls = {
    "open": (2, path, 0), "stat": (4, path, room), "access": (21, path, 4),
    "openat": (257, here, path, 0), "newfstatat": (262, here, path, room, 0),
    "faccessat": (269, here, path, 4), "inotify_add_watch": (254, call(253), path, 2),
    "renameat2": (316, here, path, here, path + b"2", 1),
    "execveat": (322, here, path, 0, 0, 0), "statx": (332, here, path, 0, 0x7ff, room),
    "open_tree": (428, here, path, 0), "openat2": (437, here, path, how, 24),
    "faccessat2": (439, here, path, 4, 0), "fchmodat2": (452, here, path, 0o600, 0),
}
for name, words in calls.items():
    result = call(*words)
    print(name, errno.errorcode[ctypes.get_errno()] if result < 0 else f"gave {result}")
"""


# Real images


@pytest.mark.parametrize(
    ("image", "codename"), [("debian:12", "bookworm"), ("debian:13", "trixie")]
)
def test_debian_tells_its_release(over_debian: Inside, image: str, codename: str) -> None:
    shown = over_debian.large(image, "cat", "/etc/os-release").out
    assert f"VERSION_CODENAME={codename}\n" in shown


def test_numpy_computes(over_debian: Inside) -> None:
    shown = over_debian.large(SCI, "python3", "-c", _NUMPY).out.split()
    assert shown == ["-49.0", "/usr/lib/python3/dist-packages/numpy/__init__.py"]


def test_a_c_program_is_compiled_and_runs(over_debian: Inside) -> None:
    build = "cd /tmp && cat >a.c && gcc -O1 -Wall -o a a.c -lm && ./a answer"
    result = over_debian.large(SCI, "sh", "-c", build, input=_C, check=False)
    assert (result.code, result.out) == (42, "answer 42\n"), result


def test_a_program_of_musl_runs_and_starts_another(inside: Inside) -> None:
    if not inside.has(USER):
        result = inside("probe", image="musl:latest", check=False)
        is_told(result, 125, inside.mode, "another user than root", "N1")
        return
    told = "musl cwd=/data uid=1000 gid=1000 user=user PROBE=from the image root=readable\n"
    assert inside("probe", image="musl:latest").out == told * 2


def test_static_busybox_runs(inside: Inside) -> None:
    shown = inside("sh", "-c", "grep ^ID= /etc/os-release | tr a-z A-Z; ls /bin | wc -l").out
    name, count = shown.split()
    assert name == "ID=BUSYBOX"
    assert int(count) > 100


@pytest.mark.parametrize("image", ["debian:12", "debian:13"])
def test_every_lookup_finds_the_container_s_file_and_not_the_host_s(
    over_debian: Inside, image: str
) -> None:
    script = """
        mkdir -p /opt/only-here/deep && echo text >/opt/only-here/deep/file
        ls /opt/only-here/deep && stat -c '%n %s' /opt/only-here/deep/file
        rm -rf /opt/copy && cp -r /opt/only-here /opt/copy && cat /opt/copy/deep/file
        mv /opt/copy /opt/moved && test -r /opt/moved/deep/file && rm -r /opt/moved && ls /opt
    """
    shown = over_debian.large(image, "sh", "-ec", script).out
    assert shown.split("\n")[:3] == ["file", "/opt/only-here/deep/file 5", "text"]
    assert "moved" not in shown


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="host: numbers of system calls")
def test_no_system_call_finds_what_is_the_host_s_alone(inside: Inside, tmp_path: Path) -> None:
    """Young ones above all: a tracer that does not know a call would let it pass."""
    place = tmp_path / "host-only"
    place.write_text("of the host")
    told = inside.large(SCI, "python3", "-c", _LOOK, str(place)).out.splitlines()
    assert len(told) == 14
    assert [
        line for line in told if line.split()[1:] not in (["ENOENT"], ["ENOSYS"], ["EPERM"])
    ] == []


# Files


def test_what_a_container_wrote_stays_in_every_mode(shared: Shared, works: tuple[str, ...]) -> None:
    order = [mode for mode in ("N1", "P1", "R1", "N1") if mode in works]
    shared("create", "--name=kept", shared.image("busybox:latest"))
    try:
        for number, mode in enumerate(order):
            script = (
                f"mkdir -p /srv/data; echo {mode} >>/srv/data/log; rm -f /bin/{number}-; "
                f"touch /bin/{number + 1}-; ls /bin | grep -c ^[0-9]-; cat /srv/data/log"
            )
            shown = shared("run", "-q", f"--execmode={mode}", "kept", "sh", "-c", script).out
            assert shown.split() == ["1", *order[: number + 1]], mode
    finally:
        shared("rm", "kept")


def test_a_container_of_rm_goes_with_all_it_wrote(inside: Inside, shared: Shared) -> None:
    before = shared.containers()
    names = set(os.listdir(shared.store / "containers")) if before else set()
    assert inside("sh", "-c", "echo x >/etc/new; rm /etc/group; cat /etc/new").out == "x\n"
    assert shared.containers() == before
    assert set(os.listdir(shared.store / "containers")) == names
    assert os.listdir(shared.store / "tmp") == []


def test_another_container_has_the_image_s_own_files(inside: Inside) -> None:
    spoil = "echo spoiled >/etc/os-release; rm -r /bin/ls /home; chmod 600 /etc/passwd; echo done"
    assert inside("sh", "-c", spoil).out == "done\n"
    look = "grep -c ID= /etc/os-release; ls -d /home/user; stat -c %a /etc/passwd"
    assert inside("sh", "-c", look).out == "1\n/home/user\n644\n"


def test_a_file_over_an_image_s_directory_and_back(inside: Inside, shared: Shared) -> None:
    name = f"swap-{inside.mode.lower()}"
    shared("create", f"--name={name}", shared.image("busybox:latest"))
    run = ("run", "-q", f"--execmode={inside.mode}", name, "sh", "-c")
    try:
        shared(
            *run, "rm -r /home && echo file >/home && rm /etc/os-release && mkdir /etc/os-release"
        )
        shown = shared(
            *run, "cat /home; ls -a /etc/os-release; rm /home; mkdir /home; ls /home"
        ).out
        assert shown == "file\n.\n..\n"
    finally:
        shared("rm", name)


# What the image says


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


_DOCKER = [  # image, options, words -> what is executed: docker run
    ({"Cmd": ["echo", "cmd"]}, [], [], ["cmd"]),
    ({"Cmd": ["echo", "cmd"]}, [], ["echo", "word"], ["word"]),
    ({"Entrypoint": ["echo", "entry"]}, [], [], ["entry"]),
    ({"Entrypoint": ["echo", "entry"]}, [], ["word"], ["entry word"]),
    ({"Entrypoint": ["echo", "entry"], "Cmd": ["cmd"]}, [], [], ["entry cmd"]),
    ({"Entrypoint": ["echo", "entry"], "Cmd": ["cmd"]}, [], ["word"], ["entry word"]),
    ({"Entrypoint": ["false"], "Cmd": ["cmd"]}, ["--entrypoint=echo"], [], [""]),
    ({"Entrypoint": ["false"], "Cmd": ["cmd"]}, ["--entrypoint=echo"], ["word"], ["word"]),
    ({"Entrypoint": ["false"], "Cmd": ["cmd"]}, ["--entrypoint", ""], ["echo", "w"], ["w"]),
    ({"Entrypoint": ["sh", "-c"]}, [], ["echo $0 $HOME"], ["sh /root"]),
]


@pytest.mark.parametrize(("config", "options", "words", "printed"), _DOCKER)
def test_entrypoint_and_cmd_as_docker_has_them(
    shared: Shared,
    fake: FakeRegistry,
    config: Mapping[str, Any],
    options: list[str],
    words: list[str],
    printed: list[str],
) -> None:
    reference = made(fake, config)
    assert shared("run", "-q", "--rm", *options, reference, *words).out.splitlines() == printed


def test_nothing_to_run_is_an_error(shared: Shared, fake: FakeRegistry) -> None:
    words = ("run", "-q", "--rm", "--entrypoint", "", made(fake, {"Entrypoint": ["echo"]}))
    is_told(shared(*words, check=False), 2, "no command")


def test_env_workdir_and_user_of_the_image(inside: Inside, fake: FakeRegistry) -> None:
    config = {
        "Env": ["PATH=/bin", "WORD=two words", "EMPTY=", "EQUALS=a=b"],
        "WorkingDir": "/made/for it",
        "Cmd": ["sh", "-c", 'pwd; echo "[$WORD][$EMPTY][$EQUALS][$PATH]"; id -u; id -g'],
    }
    if inside.has(USER):
        config["User"] = "user:staff"
    shown = inside(image=made(fake, config)).out.splitlines()
    assert shown[:2] == ["/made/for it", "[two words][][a=b][/bin]"]
    assert shown[2:] == (["1000", "50"] if inside.has(USER) else ["0", "0"])


def test_a_user_that_the_runtime_cannot_map_is_an_error(inside: Inside, fake: FakeRegistry) -> None:
    image = made(fake, {"User": "user", "Cmd": ["id", "-u"]})
    result = inside(image=image, check=False)
    if inside.has(USER):
        assert (result.code, result.out) == (0, "1000\n")
    else:
        is_told(result, 125, inside.mode, "another user than root", "N1")
    assert inside(image=image, options=["--user=root"]).out == "0\n"


def made(fake: FakeRegistry, config: Mapping[str, Any]) -> str:
    """An image of busybox and a fitting configuration."""
    digest = make_image(fake, "test/config", None, [_layer()], config).digest
    return f"{fake.host}/test/config@{digest}"


def _layer(made_once: list[bytes] = []) -> bytes:  # noqa: B006 - one layer for all
    if not made_once:
        made_once.append(busybox_layer())
    return made_once[0]


# Environment


def test_env_options_come_last(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("# comment\n\nB=file\nC=file with  blanks\nQ='kept'\nTOLD\n")
    options = ["-e", "A=1", "--env=B=2", "-e=EMPTY=", "-eX=a=b c", "-e", "TOLD2", "-e", "UNSET"]
    options += ["--env-file", str(tmp_path / "file")]
    shown = environment(inside, options, {"TOLD": "by the host", "TOLD2": "2", "OTHER": "no"})
    wanted = {
        "A": "1",
        "B": "2",
        "C": "file with  blanks",
        "Q": "'kept'",
        "EMPTY": "",
        "X": "a=b c",
    }
    assert wanted.items() <= shown.items()
    assert (shown["TOLD"], shown["TOLD2"]) == ("by the host", "2")
    assert "UNSET" not in shown
    assert "OTHER" not in shown
    assert shown["HOME"] == "/root"


def test_the_host_s_environment_when_asked(inside: Inside) -> None:
    told = {"MINE": "1", "LD_PRELOAD": "", "PYTHONSTARTUP": "x", "TMPDIR": "/tmp/mine"}
    assert "MINE" not in environment(inside, [], told)
    shown = environment(inside, ["--hostenv"], told)
    assert shown["MINE"] == "1"
    assert shown["HOME"] == "/root"
    for name in ("LD_PRELOAD", "PYTHONSTARTUP", "TMPDIR", "UDOCKER_DIR"):
        assert name not in shown


def environment(inside: Inside, options: list[str], told: dict[str, str]) -> dict[str, str]:
    lines = inside("env", options=options, env=told).out.splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("option", [["-e", "=x"], ["-e", ""], ["--env-file=/nowhere"]])
def test_a_bad_variable_is_a_wrong_command_line(shared: Shared, option: list[str]) -> None:
    result = shared("run", *option, shared.image("busybox:latest"), "env", check=False)
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err


# Users


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("user", "1000 1000 user /home/user"),
        ("1000", "1000 1000 user /home/user"),
        ("user:root", "1000 0 user /home/user"),
        ("user:0", "1000 0 user /home/user"),
        ("4242", "4242 0 user4242 /"),
        ("4242:4343", "4242 4343 user4242 /"),
        ("root", "0 0 root /root"),
        ("0:0", "0 0 root /root"),
    ],
)
def test_user_by_name_and_number(inside: Inside, user: str, told: str) -> None:
    script = 'echo "$(id -u) $(id -g) $(id -un) $HOME"'
    result = inside("sh", "-c", script, options=["--user", user], check=False)
    if inside.has(USER) or told.startswith("0 "):
        assert (result.code, result.out) == (0, f"{told}\n"), result
    else:
        is_told(result, 125, inside.mode, "another user than root", "N1")


def test_a_user_may_write_what_is_the_caller_s(inside: Inside, tmp_path: Path) -> None:
    options = ["-v", f"{tmp_path}:/data", *(["--user=4242"] if inside.has(USER) else [])]
    inside("sh", "-c", "echo x >/data/file; echo y >/etc/new", options=options)
    assert (tmp_path / "file").stat().st_uid == os.getuid()


@pytest.mark.parametrize(
    "user",
    ["nobody-here", "user:nogroup-here", "-1", "4294967295", "99999999999", "a:b:c"],
)
def test_an_impossible_user_is_told(inside: Inside, user: str) -> None:
    result = inside("id", options=[f"--user={user}"], check=False)
    assert result.code == 125
    assert result.out == ""
    assert result.err.startswith("udocker: ")
    assert "Traceback" not in result.err


def test_hostauth_shows_the_host_s_accounts(inside: Inside) -> None:
    if not inside.has(USER):
        shown = inside("cat", "/etc/passwd", options=["--hostauth"]).out
        with open("/etc/passwd", encoding="utf-8") as stream:
            assert shown == stream.read()
        return
    options = ["--hostauth", f"--user={os.getuid()}"]
    shown = inside("sh", "-c", "id -u; grep -c . /etc/passwd", options=options).out.split()
    with open("/etc/passwd", encoding="utf-8") as stream:
        assert shown == [str(os.getuid()), str(len(stream.read().splitlines()))]


def test_the_host_s_accounts_do_not_stay_in_the_container(inside: Inside, shared: Shared) -> None:
    name = f"accounts-{inside.mode.lower()}"
    shared("create", f"--name={name}", shared.image("busybox:latest"))
    run = ("run", "-q", f"--execmode={inside.mode}")
    try:
        assert "tests" not in shared(*run, "--hostauth", name, "cat", "/etc/os-release").err
        assert shared(*run, name, "wc", "-l", "/etc/passwd").out == "2 /etc/passwd\n"
    finally:
        shared("rm", name)


# Host name and network files


def test_hostname(inside: Inside) -> None:
    script = "hostname; cat /etc/hostname; echo $HOSTNAME; grep -c told.example /etc/hosts"
    result = inside("sh", "-c", script, options=["--hostname=told.example"], check=False)
    if inside.has(HOSTNAME):
        assert result.out.splitlines() == ["told.example"] * 3 + ["1"], result
        assert result.err == ""
    else:
        assert result.code == 0
        assert result.out.splitlines()[0] == os.uname().nodename


def test_a_mode_without_host_names_says_so(inside: Inside, shared: Shared) -> None:
    words = inside.words("true", options=["--hostname=told"])
    result = shared(*(word for word in words if word != "-q"))
    assert ("a hostname of its own" in result.err) == (not inside.has(HOSTNAME))


def test_names_are_resolved_as_on_the_host(inside: Inside) -> None:
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        if os.path.exists(path):
            with open(path, encoding="utf-8") as stream:
                assert inside("cat", path).out == stream.read()
    assert inside("sh", "-c", "echo 192.0.2.7 mine >>/etc/hosts && tail -n1 /etc/hosts").out == (
        "192.0.2.7 mine\n"
    )
    with open("/etc/hosts", encoding="utf-8") as stream:
        assert "192.0.2.7" not in stream.read()


# The command line


def test_words_arrive_as_typed(inside: Inside) -> None:
    words = ["a b", "", '"', "'", "\\", "$HOME", "*", "--rm", "--", "-v", "ä€", "line\nline", " "]
    shown = inside("sh", "-c", 'printf "[%s]\\n" "$@"', "sh", *words).out
    assert shown == "".join(f"[{word}]\n" for word in words)


def test_bytes_arrive_as_typed(inside: Inside, shared: Shared) -> None:
    words = [b"\xff\xfe", b"\xe4", "ü".encode()]
    before = [*inside.words("sh", "-c", 'printf "[%s]" "$@"', "sh")]
    with shared.start([*before, *words]) as child:
        out, err = child.communicate(timeout=PATIENCE)
    if inside.is_utf8_only:
        assert (child.returncode, out) == (125, b"")
        assert b"UTF-8" in err
    else:
        assert (out, err) == (b"[\xff\xfe][\xe4][\xc3\xbc]", b"")


def test_options_of_the_command_are_its_own(inside: Inside) -> None:
    assert inside("echo", "--help", "-q", "--rm").out == "--help -q --rm\n"
    assert inside("sh", "--", "-c", check=False).code != 0


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_the_locale_changes_no_byte(inside: Inside, locale: str) -> None:
    name = "U" if inside.engine is singularity else "Ü"  # which no shell has
    result = inside(
        "echo", "ä", options=["-e", f"{name}=ö"], env={"LANG": locale, "LC_ALL": locale}
    )
    assert result.out == "ä\n"


# How it ends


@pytest.mark.parametrize("code", [0, 1, 2, 125, 126, 127, 128, 137, 255])
def test_exit_codes_are_the_command_s(inside: Inside, code: int) -> None:
    result = inside("sh", "-c", f"exit {code}", check=False)
    assert (result.code, result.out, result.err) == (code, "", "")


@pytest.mark.parametrize(("name", "number"), [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("INT", 2)])
def test_a_signal_gives_128_and_its_number(inside: Inside, name: str, number: int) -> None:
    result = inside("sh", "-c", f"kill -{name} $$", check=False)
    assert result.code == inside.signaled(number), result
    assert result.out == ""


@pytest.mark.parametrize(
    ("word", "code", "part"),
    [
        ("nowhere", 127, "not found in the container's PATH"),
        ("/bin/nowhere", 127, "not found in the container"),
        ("./nowhere", 127, "not found in the container"),
        ("", 127, "empty"),
        ("/etc", 126, "is a directory"),
        ("/etc/passwd", 126, "permission denied"),
    ],
)
def test_a_command_that_cannot_run_is_told_the_same_everywhere(
    inside: Inside, word: str, code: int, part: str
) -> None:
    result = inside(word, check=False)
    assert (result.code, result.out) == (code, "")
    assert part in result.err
    assert result.err.startswith("udocker: ")
    assert "Traceback" not in result.err


def test_programs_of_other_kinds_are_told(inside: Inside, fake: FakeRegistry) -> None:
    arm = b"\x7fELF\x02\x01\x01" + bytes(11) + (183).to_bytes(2, "little") + bytes(200)
    other = 62 if os.uname().machine == "aarch64" else 183
    arm = arm[:18] + other.to_bytes(2, "little") + arm[20:]
    layer = make_layer(
        {
            "bin/other": program(arm),
            "bin/script": program(b"#!/nowhere/python\nprint()\n"),
        }
    )
    digest = make_image(fake, "test/kinds", None, [_layer(), layer], {}).digest
    image = f"{fake.host}/test/kinds@{digest}"
    is_told(inside("other", image=image, check=False), 126, "it is made for", "--platform")
    result = inside("script", image=image, check=False)
    assert (result.code, "/nowhere/python" in result.err) == (127, True), result


# Input and output


def test_input_passes_through_a_pipe(inside: Inside) -> None:
    text = "".join(f"line {number}\n" for number in range(20000))
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert inside("sha256sum", input=text).out == f"{digest}  -\n"


def test_no_input_is_an_end_of_file(inside: Inside) -> None:
    assert inside("cat").out == ""


def test_much_output_arrives_whole(inside: Inside, shared: Shared) -> None:
    script = (
        "i=0; while [ $i -lt 160 ]; do head -c 65536 /dev/zero | tr '\\0' 'A'; i=$((i+1)); done"
    )
    with shared.start(inside.words("sh", "-c", script)) as child:
        out, err = child.communicate(timeout=PATIENCE)
    assert (child.returncode, err) == (0, b"")
    assert len(out) == 160 * 65536
    assert out.count(b"A") == len(out)


def test_stdout_and_stderr_stay_apart(inside: Inside) -> None:
    result = inside("sh", "-c", "echo to out; echo to err >&2")
    assert (result.out, result.err) == ("to out\n", "to err\n")


def test_a_reader_that_goes_ends_the_writer(inside: Inside, shared: Shared) -> None:
    with shared.start(inside.words("yes"), stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"y\n"
        child.stdout.close()
        assert child.wait(PATIENCE) == inside.signaled(signal.SIGPIPE)


def test_output_can_be_a_file(inside: Inside, shared: Shared, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as stream:
        words = inside.words("sh", "-c", "echo 1; echo 2")
        with shared.start(words, stdout=stream) as child:
            assert child.wait(PATIENCE) == 0
    assert (tmp_path / "out").read_text() == "1\n2\n"


@N1
@pytest.mark.parametrize("options", [[], ["--rm"]])
def test_inherited_descriptors_reach_the_program(
    inside: Inside, shared: Shared, options: list[str]
) -> None:
    reader, writer = os.pipe()
    words = [
        word for word in inside.words("sh", "-c", f"echo through >&{writer}") if word != "--rm"
    ]
    with shared.start([words[0], *options, *words[1:]], pass_fds=(writer,)) as child:
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            assert stream.read() == b"through\n"
        assert child.wait(PATIENCE) == 0
