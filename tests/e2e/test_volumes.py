"""``-v``, ``--workdir`` and ``--bindhome``: the host's files inside, in every mode."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from e2e.checks import is_told
from udocker.engine import singularity, table
from udocker.model.features import READ_ONLY_MOUNTS

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.engines import Inside, Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_READ_ONLY = tuple(
    mode for mode in table.names() if READ_ONLY_MOUNTS in table.find(mode).engine.FEATURES
)
read_only = pytest.mark.parametrize("inside", _READ_ONLY, indirect=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory of the host with a file and a directory in it."""
    path = tmp_path / "data"
    (path / "sub").mkdir(parents=True)
    (path / "file").write_text("of the host\n")
    return path


def test_both_sides_read_and_write(inside: Inside, data: Path) -> None:
    script = "cat /data/file; echo from inside >>/data/file; mkdir /data/new; echo x >/data/new/x"
    assert inside("sh", "-c", script, options=["-v", f"{data}:/data"]).out == "of the host\n"
    assert (data / "file").read_text() == "of the host\nfrom inside\n"
    assert (data / "new" / "x").read_text() == "x\n"
    assert (data / "new" / "x").stat().st_uid == os.getuid()


def test_a_running_container_sees_what_the_host_writes(
    inside: Inside, shared: Shared, data: Path
) -> None:
    script = "read line; cat /data/later; rm /data/file"
    words = inside.words("sh", "-c", script, options=["-v", f"{data}:/data"])
    with shared.start(words) as child:
        (data / "later").write_text("later\n")
        out, err = child.communicate(b"go\n", timeout=60)
    assert (child.returncode, out, err) == (0, b"later\n", b"")
    assert not (data / "file").exists()


@read_only
def test_a_read_only_volume_is_not_written(inside: Inside, data: Path) -> None:
    script = """
        cat /data/file
        for action in 'touch /data/x' 'rm /data/file' 'mkdir /data/sub/x' 'chmod 777 /data/file'; do
            $action 2>/dev/null && echo "possible: $action"
        done
        echo x 2>/dev/null >/data/file; mount -o remount,rw /data 2>/dev/null; touch /data/y; exit 0
    """
    result = inside("sh", "-c", script, options=["-v", f"{data}:/data:ro"])
    assert result.out == "of the host\n"
    assert sorted(os.listdir(data)) == ["file", "sub"]
    assert (data / "file").read_text() == "of the host\n"


@read_only
def test_a_read_only_file_and_a_writable_one(inside: Inside, data: Path) -> None:
    (data / "other").write_text("")
    options = ["-v", f"{data}/file:/srv/a:ro", "-v", f"{data}/other:/srv/b:rw"]
    script = "echo x 2>/dev/null >/srv/a || echo refused; echo y >/srv/b"
    assert inside("sh", "-c", script, options=options).out == "refused\n"
    assert (data / "file").read_text() == "of the host\n"
    assert (data / "other").read_text() == "y\n"


def test_a_mode_without_read_only_volumes_refuses(inside: Inside, data: Path) -> None:
    if inside.has(READ_ONLY_MOUNTS):
        assert inside("cat", "/data/file", options=["-v", f"{data}:/data:ro"]).code == 0
        return
    result = inside("touch", "/data/x", options=["-v", f"{data}:/data:ro"], check=False)
    is_told(result, 125, inside.mode, "read-only volumes", *_READ_ONLY)
    assert not (data / "x").exists()


def test_a_single_file(inside: Inside, data: Path) -> None:
    script = "cat /srv/here/it; echo more >>/srv/here/it; ls /srv/here"
    result = inside("sh", "-c", script, options=["-v", f"{data}/file:/srv/here/it"])
    assert result.out == "of the host\nit\n"
    assert (data / "file").read_text() == "of the host\nmore\n"


def test_a_file_over_a_file_of_the_image(inside: Inside, data: Path) -> None:
    options = ["-v", f"{data}/file:/etc/os-release", "-v", f"{data}/file:/etc/passwd"]
    assert inside("cat", "/etc/os-release", "/etc/passwd", options=options).out == (
        "of the host\n" * 2
    )
    assert "busybox" in inside("cat", "/etc/os-release").out


def test_a_volume_hides_a_directory_of_the_image(inside: Inside, data: Path) -> None:
    assert inside("ls", "/home", options=["-v", f"{data}:/home"]).out == "file\nsub\n"
    assert inside("ls", "/home").out == "user\n"


def test_a_volume_over_etc(inside: Inside, data: Path) -> None:
    if inside.engine is singularity:
        result = inside("true", options=["-v", f"{data}:/etc"], check=False)
        is_told(result, 125, "mode S1 cannot show a volume at /etc")
        return
    result = inside("ls", "/etc", options=["-v", f"{data}:/etc"])
    assert result.out == "file\nsub\n"
    assert sorted(os.listdir(data)) == ["file", "sub"]


def test_a_place_that_the_image_lacks(inside: Inside, data: Path) -> None:
    options = ["-v", f"{data}:/made/for/it", "-v", f"{data}/sub:/made/too"]
    script = "ls /made/for/it; ls /made; ls -ld /made | cut -c 1-10"
    assert inside("sh", "-c", script, options=options).out.split() == (
        ["file", "sub", "for", "too", "drwxr-xr-x"]
    )


def test_a_target_through_a_link_of_the_image(inside: Inside, data: Path) -> None:
    """In Debian /bin is a link to usr/bin, and /var/run one to /run."""
    options = ["-v", f"{data}:/var/run/data", "-v", f"{data}/sub:/lib/sub"]
    script = "cat /run/data/file && cd /usr/lib/sub && pwd -P && cd /var/run/data && pwd -P"
    shown = inside("sh", "-c", script, image="debian:12", options=options).out
    assert shown == "of the host\n/usr/lib/sub\n/run/data\n"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_nested_volumes_in_any_order(inside: Inside, data: Path, order: tuple[int, ...]) -> None:
    (data / "sub" / "deep").mkdir()
    other = data.parent / "other"
    other.mkdir()
    (other / "mark").write_text("inner\n")
    volumes = [f"{data}:/top", f"{other}:/top/sub", f"{data}/file:/top/sub/it"]
    options = [word for number in order for word in ("-v", volumes[number])]
    shown = inside("sh", "-c", "cat /top/sub/mark /top/sub/it; ls /top", options=options).out
    assert shown == "inner\nof the host\nfile\nsub\n"
    assert os.listdir(data / "sub") == ["deep"]


def test_of_two_on_one_place_the_later_is_seen(inside: Inside, data: Path) -> None:
    options = ["-v", f"{data}:/place", "-v", f"{data}/sub:/place"]
    assert inside("ls", "/place", options=options).out == ""


@pytest.mark.parametrize("source", [".", "./", "./sub/..", "../data"])
def test_a_relative_source(inside: Inside, data: Path, source: str) -> None:
    shown = inside("cat", "/data/file", options=["-v", f"{source}:/data"], cwd=data).out
    assert shown == "of the host\n"


def test_without_a_target_the_path_is_the_same(inside: Inside, data: Path) -> None:
    assert inside("cat", f"{data}/file", options=["-v", f"{data}"]).out == "of the host\n"


def test_a_source_that_is_a_link_is_followed(inside: Inside, data: Path) -> None:
    (data.parent / "link").symlink_to("data")
    options = ["-v", f"{data.parent}/link:/data"]
    assert inside("cat", "/data/file", options=options).out == "of the host\n"


@pytest.mark.parametrize(
    "name", ["two words", "ä ö/ü €", "comma,and=equals", "back\\slash", "-v", "%41"]
)
def test_unusual_characters_in_paths(inside: Inside, tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    source.mkdir(parents=True)
    (source / "file").write_text("found\n")
    options = ["-v", f"{source}:/in/{name}"]
    script = 'cat "$1/file" && echo back >"$1/new" && cd "$1" && pwd'
    assert inside("sh", "-c", script, "sh", f"/in/{name}", options=options).out == (
        f"found\n/in/{name}\n"
    )
    assert (source / "new").read_text() == "back\n"


def test_what_is_mounted_nowhere_else_changes_nothing(inside: Inside, data: Path) -> None:
    """A mount point that was made stays empty in the container, and the image has none."""
    inside("true", options=["-v", f"{data}:/was/here"])
    assert inside("ls", "/was", check=False).code != 0


@pytest.mark.parametrize(
    ("volume", "code", "part"),
    [
        ("/nowhere-here:/data", 125, "/nowhere-here does not exist"),
        ("na/me:/data", 2, "nor the name of a volume"),
        ("/tmp:relative", 2, "not an absolute path"),
        ("/tmp:/data:rx", 2, "unknown option 'rx'"),
        ("/tmp:/data:ro:more", 2, "not a volume"),
        ("/tmp:", 2, "not a volume"),
        (":/data", 2, "not a volume"),
        ("", 2, "not a volume"),
        ("/tmp:/", 2, "place of /"),
        ("/tmp:/etc/passwd", 125, "a directory over a file"),
        ("/etc/passwd:/home", 125, "a file over a directory"),
    ],
)
def test_a_wrong_volume_is_told(inside: Inside, volume: str, code: int, part: str) -> None:
    is_told(inside("true", options=["-v", volume], check=False), code, part)


@pytest.mark.skipif(os.getuid() == 0, reason="host: root may read everything")
def test_a_source_that_may_not_be_read_is_told(inside: Inside, data: Path) -> None:
    (data / "sub").chmod(0)
    result = inside("true", options=["-v", f"{data}/sub:/data"], check=False)
    (data / "sub").chmod(0o700)
    assert result.code == 125
    assert "permission denied" in result.err


# --workdir and --bindhome


@pytest.mark.parametrize(
    "workdir", ["/home/user", "/made/for it/ü", "/", "/etc/../home", "//home", "/devices"]
)
def test_workdir_is_made_where_it_is_missing(inside: Inside, workdir: str) -> None:
    shown = inside("sh", "-c", "pwd -P; touch here && ls here", options=["--workdir", workdir]).out
    assert shown == f"{os.path.normpath(workdir).replace('//', '/')}\nhere\n"


def test_workdir_in_a_volume(inside: Inside, data: Path) -> None:
    options = ["-v", f"{data}:/data", "-w", "/data/sub"]
    assert inside("sh", "-c", "pwd; cat ../file", options=options).out == "/data/sub\nof the host\n"
    options[-1] = "/data/not/yet"
    result = inside("pwd", options=options, check=False)
    assert (result.code, result.out) == (0, "/data/not/yet\n"), result
    assert (data / "not" / "yet").is_dir()


def test_workdir_in_a_volume_inside_another(inside: Inside, data: Path) -> None:
    other = data.parent / "other"
    other.mkdir()
    options = ["-v", f"{data}:/data", "-v", f"{other}:/data/sub", "-w", "/data/sub/new"]
    assert inside("pwd", options=options).out == "/data/sub/new\n"
    assert (other / "new").is_dir()
    assert os.listdir(data / "sub") == []


@pytest.mark.parametrize(
    ("workdir", "code"),
    [("relative", 2), ("/etc/passwd", 125), ("/etc/passwd/x", 125), ("/proc/nowhere", 125)],
)
def test_an_impossible_workdir_is_told(inside: Inside, workdir: str, code: int) -> None:
    result = inside("true", options=[f"--workdir={workdir}"], check=False)
    is_told(result, code, workdir, hint=False)


def test_a_relative_command_is_found_in_the_workdir(inside: Inside, data: Path) -> None:
    (data / "own").write_text("#!/bin/sh\necho own $1\n")
    (data / "own").chmod(0o755)
    options = ["-v", f"{data}:/data", "-w", "/data"]
    assert inside("./own", "word", options=options).out == "own word\n"
    assert inside("sub/../own", options=options).out == "own\n"


def test_bindhome_shows_the_home_directory(inside: Inside, shared: Shared) -> None:
    (shared.home / "mine").write_text("at home\n")
    path = str(shared.home / "mine")
    assert inside("cat", path, options=["--bindhome"]).out == "at home\n"
    if not path.startswith("/dev/"):  # the host's is there anyway
        assert inside("cat", path, check=False).code != 0
