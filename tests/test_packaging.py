"""What is built from the source: the wheel, the source archive, and the image that comes along."""

from __future__ import annotations

import configparser
import gzip
import hashlib
import io
import json
import os
import platform
import runpy
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".*_cache", ".git", ".hypothesis", ".venv", "__pycache__", "build", "data", "*.egg-info", "*.so"
)
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def setup(source: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run setup.py of ``source``."""
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", *words],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, as it comes from the repository."""
    copy = tmp_path_factory.mktemp("source") / "udocker"
    shutil.copytree(SOURCE, copy, ignore=LEFT_OUT)
    # A build in place for another machine must not get into a wheel.
    for place in ("hello/blobs/sha256", "engine"):
        stale = copy / "udocker" / "data" / place / ("0" * 64)
        stale.parent.mkdir(parents=True)
        stale.write_bytes(b"stale")
    return copy


@pytest.fixture(scope="session")
def wheel(source: Path) -> Path:
    result = setup(source, "bdist_wheel")
    assert result.returncode == 0, result.stderr
    [built] = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="session")
def build_hello() -> Callable[..., None]:
    build: Callable[..., None] = runpy.run_path(
        str(SOURCE / "engines" / "hello" / "build_hello.py")
    )["build"]
    return build


def test_wheel_serves_every_python_from_3_9_on(wheel: Path) -> None:
    version = runpy.run_path(str(SOURCE / "udocker" / "__init__.py"))["__version__"]
    assert wheel.name == f"udocker-{version}-cp39-abi3-linux_{platform.machine()}.whl"


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "udocker/_native.abi3.so" in names
    assert "udocker/cli/main.py" in names
    assert "udocker/data/hello/index.json" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"udocker"}
    assert not [name for name in names if name.endswith("0" * 64)]


def test_wheel_brings_manual_pages(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    pages = [name for name in archive.namelist() if ".data/data/share/man/man1/" in name]
    assert {"udocker.1", "udocker-run.1", "udocker-volume-ls.1"} <= {Path(p).name for p in pages}
    [run] = (name for name in pages if name.endswith("/udocker-run.1"))
    assert b".SH OPTIONS" in archive.read(run)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="host: the engine is for x86_64")
def test_wheel_holds_the_engine_as_a_program(wheel: Path, tmp_path: Path) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"),
            *("--no-deps", "--no-index", "--target", tmp_path / "installed", wheel),
        ],
        check=True,
    )
    folder = tmp_path / "installed" / "udocker" / "data" / "engine"
    for program in (folder / "porter", folder / "inprocess"):
        assert os.access(program, os.X_OK)
        assert program.read_bytes()[:4] == b"\x7fELF"
        assert 3 not in _program_headers(program.read_bytes())  # PT_INTERP: it needs no library
    assert program.with_name("inprocess.numbers").exists()


def test_engine_is_left_out_where_it_does_not_run_yet(source: Path, tmp_path: Path) -> None:
    elsewhere = (
        "import platform, runpy, sys; platform.machine = lambda: 'aarch64';"
        " sys.argv[0] = 'setup.py'; runpy.run_path('setup.py', run_name='__main__')"
    )
    folders = [f"--build-{name}={tmp_path / name}" for name in ("lib", "temp")]
    done = subprocess.run(
        [sys.executable, "-c", elsewhere, "--quiet", "build_ext", *folders],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    data = tmp_path / "lib" / "udocker" / "data"
    assert (data / "hello" / "index.json").exists()
    assert not (data / "engine").exists()


def test_wheel_tells_its_command_and_needs(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [folder] = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    points = configparser.ConfigParser()
    points.read_string(archive.read(f"{folder}/entry_points.txt").decode())
    assert points["console_scripts"]["udocker"] == "udocker.cli.main:main"
    metadata = archive.read(f"{folder}/METADATA").decode()
    for name in ("requests", "pycurl", "PySocks", "cffi", "zstandard", "isal", "rich"):
        assert f"\nRequires-Dist: {name}\n" in metadata
    assert "\nRequires-Dist: tomli" in metadata
    assert "\nRequires-Python: >=3.9\n" in metadata


def test_source_archive_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    result = setup(source, "sdist", "--dist-dir", str(tmp_path))
    assert result.returncode == 0, result.stderr
    [built] = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        archive.extractall(tmp_path)
    [unpacked] = (path for path in tmp_path.iterdir() if path.is_dir())
    assert not (unpacked / "udocker" / "data").exists()
    assert (unpacked / "tests" / "conftest.py").exists()
    again = setup(unpacked, "bdist_wheel")
    assert again.returncode == 0, again.stderr
    [other] = (unpacked / "dist").glob("*.whl")
    names = sorted(zipfile.ZipFile(wheel).namelist())
    assert sorted(zipfile.ZipFile(other).namelist()) == names


def test_build_in_place_serves_the_checkout(source: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(source, checkout, ignore=LEFT_OUT)
    result = setup(checkout, "build_ext", "--inplace")
    assert result.returncode == 0, result.stderr
    program = "import udocker._native as native; print(native.__file__)"
    # -c puts the working directory first on the path
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=checkout, capture_output=True, text=True, check=True
    )
    assert Path(loaded.stdout.strip()).parent == checkout / "udocker"
    check_layout(checkout / "udocker" / "data" / "hello")


@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        ("no-such-compiler", "udocker needs a C compiler: install gcc "),
        ("exit 1", "udocker needs a C compiler: install gcc "),
        ("! grep -q Python.h", f"udocker needs Python.h for {sys.executable}: "),
    ],
)
def test_what_is_missing_is_told_in_one_line(
    source: Path, tmp_path: Path, compiler: str, message: str
) -> None:
    script = tmp_path / "cc"
    script.write_text(f"#!/bin/sh\n{compiler}\n")
    script.chmod(0o755)
    result = setup(source, "build", CC=compiler if "-" in compiler[:3] else str(script))
    assert result.returncode == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def check_layout(layout: Path) -> dict[str, Any]:
    """Check every digest, size and reference of an OCI layout of one image; gives its config."""
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    [described] = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = json.loads(_blob(layout, described))
    config: dict[str, Any] = json.loads(_blob(layout, manifest["config"]))
    layers = [gzip.decompress(_blob(layout, layer)) for layer in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(x).hexdigest()}" for x in layers
    ]
    assert described["platform"] == {"architecture": config["architecture"], "os": "linux"}
    assert len(list((layout / "blobs" / "sha256").iterdir())) == 2 + len(layers)
    return config


def _blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    data = (layout / "blobs" / "sha256" / descriptor["digest"].partition(":")[2]).read_bytes()
    assert len(data) == descriptor["size"]
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == descriptor["digest"]
    return data


def _layer(layout: Path) -> tarfile.TarFile:
    [described] = json.loads((layout / "index.json").read_bytes())["manifests"]
    [layer] = json.loads(_blob(layout, described))["layers"]
    return tarfile.open(fileobj=io.BytesIO(gzip.decompress(_blob(layout, layer))))


def _files(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_hello_image_is_whole(tmp_path: Path, build_hello: Callable[..., None]) -> None:
    build_hello(str(tmp_path / "hello"))
    config = check_layout(tmp_path / "hello")
    assert config["architecture"] == ARCHITECTURE
    assert config["created"] == "1970-01-01T00:00:00Z"
    assert config["config"]["Entrypoint"] == ["/hello"]
    assert config["config"]["WorkingDir"] == "/"
    archive = _layer(tmp_path / "hello")
    members = {m.name: stat.filemode(m.mode | _kind(m)) for m in archive.getmembers()}
    assert members == {
        "etc": "drwxr-xr-x",
        "etc/group": "-rw-r--r--",
        "etc/image-name": "-rw-r--r--",
        "etc/passwd": "-rw-r--r--",
        "hello": "-rwxr-xr-x",
        "tmp": "drwxrwxrwt",
    }
    assert {(m.uid, m.gid, m.mtime) for m in archive.getmembers()} == {(0, 0, 0)}


def _kind(member: tarfile.TarInfo) -> int:
    return stat.S_IFDIR if member.isdir() else stat.S_IFREG


def test_hello_image_is_the_same_every_time(
    tmp_path: Path, build_hello: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "other"):
        build_hello(str(tmp_path / name))
    assert _files(tmp_path / "one") == _files(tmp_path / "other")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    build_hello(str(tmp_path / "other"))  # in place of the old one
    assert check_layout(tmp_path / "other")["created"] == "1970-01-02T00:00:00Z"


def test_hello_needs_nothing_of_its_container(
    tmp_path: Path, build_hello: Callable[..., None]
) -> None:
    build_hello(str(tmp_path / "layout"))
    _layer(tmp_path / "layout").extract("hello", tmp_path)
    program = tmp_path / "hello"
    assert 3 not in _program_headers(program.read_bytes())  # PT_INTERP: there is no loader
    made = tmp_path / "made"
    result = subprocess.run(
        [program, "--env", "WORD", "--write", made, "--cat", made, "--exit", "7"],
        env={"WORD": "said"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("said\nwritten by hello\n", "", 7)


def _program_headers(elf: bytes) -> set[int]:
    """The types of the program headers of a 64-bit ELF file: elf(5)."""
    [start] = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    return {struct.unpack_from("<I", elf, start + size * number)[0] for number in range(count)}


def test_hello_greets(tmp_path: Path, build_hello: Callable[..., None]) -> None:
    build_hello(str(tmp_path / "layout"))
    _layer(tmp_path / "layout").extract("hello", tmp_path)
    result = subprocess.run([tmp_path / "hello"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("Hello from udocker: ")
    assert f"uid     {os.getuid()}\n" in result.stdout
    assert platform.release() in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["--exit", "256"], 2, ""),
        (["--exit", "x"], 2, ""),
        (["--exit"], 2, "usage: "),
        (["--wrong", "x"], 2, "usage: "),
        (["--env", "NOT_SET"], 1, "hello: cannot find the variable NOT_SET\n"),
        (["--cat", "/no/such"], 1, "hello: cannot open /no/such: errno 2\n"),
        (["--write", "/no/such"], 1, "hello: cannot make /no/such: errno 2\n"),
    ],
)
def test_hello_refuses_what_is_wrong(
    tmp_path: Path, build_hello: Callable[..., None], words: list[str], code: int, error: str
) -> None:
    build_hello(str(tmp_path / "layout"))
    _layer(tmp_path / "layout").extract("hello", tmp_path)
    result = subprocess.run(
        [tmp_path / "hello", *words], env={}, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith(error)
