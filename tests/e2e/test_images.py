"""Images of a real registry: what is unpacked is what went in, and it runs in every mode."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
from typing import TYPE_CHECKING, Any

import pytest

from udocker.engine import table
from udocker.model.features import USER

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.conftest import Udocker

pytestmark = pytest.mark.e2e

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
OTHER = {"amd64": "arm64", "arm64": "amd64"}[ARCHITECTURE]
_OWNER_MAY = {"directory": stat.S_IRWXU, "file": stat.S_IRUSR | stat.S_IWUSR}


def unpacked(root: Path) -> dict[str, list[Any]]:
    """What is in a tree, as tools/images lists it: kind, permissions, digest or target."""
    found: dict[str, list[Any]] = {}
    for top, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = os.path.join(top, name)
            mode = os.lstat(path).st_mode
            kind, detail = "directory", ""
            if stat.S_ISLNK(mode):
                kind, detail = "link", os.readlink(path)
            elif not stat.S_ISDIR(mode):
                with open(path, "rb") as stream:
                    kind, detail = "file", hashlib.sha256(stream.read()).hexdigest()
            found[os.path.relpath(path, root)] = [kind, stat.S_IMODE(mode), detail]
    return found


def allowed(kind: str, mode: int) -> int:
    """Permissions as they must be in a tree: the user may always, and nothing is set-uid."""
    return mode if kind == "link" else mode & 0o1777 | _OWNER_MAY[kind]


@pytest.mark.parametrize(
    ("image", "listing"), [("sci:latest", "sci"), ("sci:zstd", "sci"), ("debian:13", "debian-13")]
)
def test_an_unpacked_image_is_what_its_layers_say(
    udocker: Udocker, registry: str, images: Path, tmp_path: Path, image: str, listing: str
) -> None:
    udocker("create", "--name=whole", f"{registry}/{image}")
    root = tmp_path / udocker("inspect", "-p", "whole").out.strip()
    wanted = json.loads((images / "listing" / f"{listing}.json").read_bytes())
    found = unpacked(root)
    assert set(found) == set(wanted)
    for name, (kind, mode, detail) in wanted.items():
        is_kind, is_mode, is_detail = found[name]
        assert (name, is_kind, is_detail) == (name, kind, detail)
        assert (name, is_mode | _OWNER_MAY.get(kind, 0)) == (name, allowed(kind, mode))


def test_debian_runs_in_every_mode(udocker: Udocker, registry: str, modes: tuple[str, ...]) -> None:
    udocker("pull", f"{registry}/debian:12")
    for mode in modes:
        words = ("--execmode", mode, f"{registry}/debian:12", "cat", "/etc/os-release")
        assert "VERSION_CODENAME=bookworm\n" in udocker("run", "--rm", *words).out, mode


def test_numpy_and_gcc_work_in_every_mode(
    udocker: Udocker, registry: str, modes: tuple[str, ...]
) -> None:
    program = "import numpy; print(int(numpy.arange(10).sum()))"
    build = "echo 'int main(void){return 7;}' >/tmp/a.c && gcc -o /tmp/a /tmp/a.c && /tmp/a"
    udocker("pull", f"{registry}/sci")
    for mode in modes:
        run = ("run", "--rm", "--execmode", mode, f"{registry}/sci")
        assert udocker(*run, "python3", "-c", program).out == "45\n", mode
        assert udocker(*run, "sh", "-c", build, check=False).code == 7, mode


def test_busybox_runs_from_either_kind_of_manifest(
    udocker: Udocker, registry: str, modes: tuple[str, ...]
) -> None:
    for tag in ("latest", "docker"):
        udocker("pull", f"{registry}/busybox:{tag}")
        for mode in modes:
            run = ("run", "--rm", "--execmode", mode, f"{registry}/busybox:{tag}")
            shown = udocker(*run, "sh", "-c", "ls -l /bin/ls | wc -l; id -u").out
            assert shown == "1\n0\n", (tag, mode)


def test_what_the_config_says_holds_in_every_mode(
    udocker: Udocker, registry: str, modes: tuple[str, ...]
) -> None:
    told = "musl cwd=/data uid=1000 gid=1000 user=user PROBE=from the image root=readable\n"
    udocker("pull", f"{registry}/musl")
    for mode in modes:
        result = udocker("run", "--rm", "--execmode", mode, f"{registry}/musl", check=False)
        if USER not in table.find(mode).engine.FEATURES:
            assert result.code == 125
            assert f"{mode} lacks another user than root" in result.err
        else:
            assert (mode, result.out, result.code) == (mode, told, 0)


def test_a_pull_brings_layers_that_only_a_container_had_left(
    udocker: Udocker, registry: str, tmp_path: Path
) -> None:
    image = f"{registry}/busybox:latest"
    udocker("pull", "-q", image)
    udocker("save", "-q", "-o", str(tmp_path / "before.tar"), image)
    udocker("create", "-q", "--name=box", image)
    udocker("rmi", image)
    udocker("create", "-q", image)
    failed = udocker("save", "-q", "-o", str(tmp_path / "after.tar"), image, check=False)
    assert failed.code == 125
    assert f"try: udocker pull {image}, or" in failed.err
    udocker("pull", "-q", image)
    udocker("save", "-q", "-o", str(tmp_path / "after.tar"), image)
    assert (tmp_path / "after.tar").read_bytes() == (tmp_path / "before.tar").read_bytes()
    assert "nothing is wrong" in udocker("fsck").out


def test_the_platform_of_the_host_is_taken_unless_another_is_named(
    udocker: Udocker, registry: str, store_path: Path
) -> None:
    show = ("run", "--rm", f"{registry}/multi", "cat", "/etc/marker")
    assert udocker(*show).out == f"{ARCHITECTURE}\n"
    other = store_path.parent / "other"
    udocker("pull", "--platform", f"linux/{OTHER}", f"{registry}/multi", store=other)
    [listed] = json.loads(udocker("images", "--json", store=other).out)
    assert listed["platform"] == f"linux/{OTHER}"


def test_doctor_says_what_an_image_needs(udocker: Udocker, registry: str) -> None:
    udocker("pull", "-q", f"{registry}/debian:12")
    assert "C library glibc 2.36" in udocker("doctor", f"{registry}/debian:12").out
    other = f"{registry}/multi:latest"
    udocker("pull", "-q", f"--platform=linux/{OTHER}", other)
    result = udocker("doctor", "--json", other, check=False)
    assert result.code == 125
    assert json.loads(result.out)["needs"][0]["ok"] is False
    result = udocker("doctor", "not/here", check=False)
    assert (result.code, result.out) == (125, "")
    assert "no such image: not/here" in result.err
