"""A real dynamic loader finds a library by a cache that udocker wrote."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from builders.drivers import library, needs_x86_64
from udocker.devices import ldcache

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.engines import Inside

pytestmark = [pytest.mark.e2e, needs_x86_64]
pytest_plugins = ["e2e.engines"]

DEBIAN = "debian:12"
NAME = "libudocker-test.so.1"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a program that needs a library, and the library beside it."""
    top = tmp_path_factory.mktemp("program")
    content = library(NAME, "x86_64", "int given(void) { return 42; }")
    (top / NAME).write_bytes(content)
    source = "int given(void); int main(void) { return given(); }"
    words = ["gcc", "-x", "c", "-", "-x", "none", str(top / NAME), "-o", str(top / "program")]
    subprocess.run(words, input=source.encode(), check=True)
    return top


@pytest.mark.parametrize("inside", ["N1", "F3", "P1", "R1"], indirect=True)
def test_a_library_is_loaded_by_our_cache(inside: Inside, program: Path, tmp_path: Path) -> None:
    def run(*words: str, options: tuple[str, ...] = (), check: bool = True) -> tuple[int, str]:
        volumes = ("-v", f"{program}:/opt/test", "-v", f"{tmp_path}:/out", *options)
        ended = inside(*words, image=DEBIAN, options=volumes, check=check)
        return ended.code, ended.err

    run("cp", "/etc/ld.so.cache", "/out/image")
    code, told = run("/opt/test/program", check=False)
    assert code == 127
    assert NAME in told
    ours = ldcache.Entry(NAME.encode(), f"/opt/test/{NAME}".encode())
    image = (tmp_path / "image").read_bytes()
    (tmp_path / "merged").write_bytes(ldcache.merge(image, [ours]))
    over = ("-v", f"{tmp_path}/merged:{ldcache.PATH}")
    assert run("/opt/test/program", options=over, check=False) == (42, "")
    # The loader still finds all that it found before, by the cache: the directories are others.
    assert run("perl", "-e", "exit 3", options=over, check=False) == (3, "")
