"""Archives that skopeo, podman and umoci wrote are loaded, and what is saved they read."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.archives import Image, docker_25_files, tar
from e2e.peers import Podman, told
from image_maker import small
from image_maker.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.conftest import Udocker

pytestmark = pytest.mark.e2e

NAME = "docker.io/ann/box:1"
FORMATS = ("docker-archive", "oci-archive", "oci-dir")
COMPRESSIONS = ("gzip", "zstd")


def skopeo(source: str, target: str) -> None:
    told("skopeo", "--insecure-policy", "copy", "--quiet", source, target)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An image of two layers as an OCI layout, by compression."""
    top = tmp_path_factory.mktemp("layouts")
    small.busybox(top / "busybox")
    small.marked(top / "mark", "here")
    run = {"Env": ["PATH=/bin"], "Cmd": ["cat", "/etc/marker"]}
    for name in COMPRESSIONS:
        layout = Layout(top / name)
        layers = [layout.layer(top / part, name) for part in ("busybox", "mark")]
        layout.tag(NAME, layout.image(layers, "amd64", run))
        layout.finish()
    return {name: top / name for name in COMPRESSIONS}


@pytest.fixture
def podman() -> Iterator[Podman]:
    program = Podman(Path(tempfile.mkdtemp(prefix="p-", dir="/var/tmp")))  # no long path for podman
    yield program
    program.close()


def image_id(layout: Path) -> str:
    [entry] = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = json.loads((layout / "blobs" / entry["digest"].replace(":", "/")).read_bytes())
    found: str = manifest["config"]["digest"]
    return found


def by_skopeo(kind: str) -> Callable[[Path, Path, Podman], Path]:
    def write(layout: Path, target: Path, _: Podman) -> Path:
        skopeo(f"oci:{layout}:{NAME}", f"{kind}:{target}:{NAME}")
        return target

    return write


def by_podman(kind: str) -> Callable[[Path, Path, Podman], Path]:
    def write(layout: Path, target: Path, podman: Podman) -> Path:
        target.with_name("layout").symlink_to(layout)
        identity = podman("pull", "--quiet", f"oci:layout:{NAME}", cwd=target.parent).split()[-1]
        podman("tag", identity, NAME)
        podman("save", "--quiet", f"--format={kind}", "-o", target, NAME)
        return target

    return write


def by_umoci(layout: Path, target: Path, _: Podman) -> Path:
    """A change that changes nothing: umoci writes blobs and index of its own."""
    told("cp", "-r", layout, target)
    told("umoci", "tag", "--image", f"{target}:{NAME}", "v2")
    told("umoci", "rm", "--image", f"{target}:{NAME}")
    told("umoci", "gc", "--layout", target)
    return target


WRITERS = {
    "skopeo docker-archive": by_skopeo("docker-archive"),
    "skopeo oci-archive": by_skopeo("oci-archive"),
    "skopeo oci": by_skopeo("oci"),
    "podman docker-archive": by_podman("docker-archive"),
    "podman oci-archive": by_podman("oci-archive"),
    "podman oci-dir": by_podman("oci-dir"),
    "umoci": by_umoci,
}
# A layout does not tell podman's name.
NAMES = {"podman oci-dir": "localhost/out:latest", "umoci": "localhost/out:v2"}


def spelled(form: str, path: Path) -> str:
    return f"{'oci' if form == 'oci-dir' else form}:{path}"


@pytest.mark.parametrize(
    ("writer", "compression"),
    # These versions of skopeo and podman write no zstd into an archive of docker's.
    [(w, c) for w in WRITERS for c in COMPRESSIONS if (c, w[-14:]) != ("zstd", "docker-archive")],
)
def test_from_others_and_to_others(
    udocker: Udocker,
    tmp_path: Path,
    layouts: dict[str, Path],
    podman: Podman,
    writer: str,
    compression: str,
) -> None:
    """Loaded, run, saved in every format, judged by skopeo, and loaded again: one image id."""
    layout = layouts[compression]
    archive = WRITERS[writer](layout, tmp_path / "out", podman)
    told("chmod", "-R", "a+rX", archive)
    name = udocker("load", "-i", str(archive)).out.strip()
    assert name in (NAMES.get(writer, "ann/box:1"), "ann/box:1")
    [image] = json.loads(udocker("images", "--json").out)
    assert image["id"] == image_id(layout)
    assert udocker("run", "-q", "--rm", name).out == "here\n"
    for form in FORMATS:
        saved = tmp_path / form
        udocker("save", "-o", str(saved), f"--format={form}", name)
        skopeo(spelled(form, saved), f"dir:{tmp_path}/judged-{form}")
        manifest = json.loads((tmp_path / f"judged-{form}" / "manifest.json").read_bytes())
        assert manifest["config"]["digest"] == image_id(layout), form
        fresh = tmp_path / f"store-{form}"
        place = spelled(form, saved)
        assert udocker("run", "-q", "--rm", place, store=fresh).out == "here\n"
        assert udocker("pull", place, store=fresh).out.strip() == name
        [again] = json.loads(udocker("images", "--json", store=fresh).out)
        assert again["id"] == image_id(layout), form


@pytest.mark.parametrize("form", FORMATS)
def test_podman_and_umoci_take_what_is_saved(
    udocker: Udocker, tmp_path: Path, layouts: dict[str, Path], podman: Podman, form: str
) -> None:
    for compression, layout in layouts.items():
        udocker("pull", f"oci:{layout}")
        saved = tmp_path / compression
        udocker("save", "-o", str(saved), f"--format={form}", "ann/box:1")
        if form == "oci-dir":
            told("umoci", "unpack", "--rootless", "--image", f"{saved}:{NAME}", tmp_path / "un")
            assert (tmp_path / "un" / "rootfs" / "etc" / "marker").read_text() == "here\n"
            podman("pull", "--quiet", f"oci:{saved.name}:{NAME}", cwd=saved.parent)
            told("rm", "-rf", tmp_path / "un")
        else:
            assert NAME in podman("load", "--quiet", "-i", saved)
        listed = podman("images", "--no-trunc", "--format", "{{.ID}}").split()
        assert image_id(layout) in listed


def test_several_images(udocker: Udocker, tmp_path: Path, layouts: dict[str, Path]) -> None:
    udocker("pull", f"oci:{layouts['gzip']}")
    udocker("load", "-i", f"{layouts['zstd']}", "other:2")
    udocker("save", "-o", str(tmp_path / "both"), "other:2", "ann/box:1")
    out = udocker("load", "-i", str(tmp_path / "both"), store=tmp_path / "fresh").out
    assert out.split() == ["other:2", "ann/box:1"]


def test_what_docker_25_writes(udocker: Udocker, tmp_path: Path) -> None:
    """No Docker is here: its layout, by hand."""
    image = Image(tar({"etc/motd": b"hello\n"}))
    path = tmp_path / "docker.tar"
    path.write_bytes(tar(docker_25_files(image, "box:1")))
    assert udocker("load", "-i", str(path)).out == "box:1\n"
    skopeo(f"docker-archive:{path}", f"dir:{tmp_path}/judged")
    [listed] = json.loads(udocker("images", "--json").out)
    manifest = json.loads((tmp_path / "judged" / "manifest.json").read_bytes())
    assert listed["id"] == manifest["config"]["digest"] == str(image.id)
