"""MPI and fabrics as ``doctor`` tells of them, of this host and of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.sessions import session as make_session
from builders.stores import add_image
from builders.trees import File, Link, grow, program
from udocker.ops import doctor, mpi, needs
from udocker.ops.mpi import MPICH, OPEN, Launcher
from udocker.store.view import View

if TYPE_CHECKING:
    from pathlib import Path

    from builders.trees import Node
    from udocker.ops.needs import Need

OPEN_4 = "mpirun (Open MPI) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/"
HYDRA = "HYDRA build details:\n    Version:                                 4.0.2\n"
INTEL = "Intel(R) MPI Library for Linux* OS, Version 2021.5 Build 20211102 (id: 9279b7d62)\n"
PRRTE = "mpirun (Open MPI) 5.0.3\n"


def install(folder: Path, text: str, name: str = "mpirun", code: int = 0) -> dict[str, str]:
    """A launcher that says ``text``; the environment in which it is found."""
    script = f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n"
    grow(folder, {name: program(script)})
    return {"PATH": f"{folder}:/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("text", "family", "version"),
    [
        (OPEN_4, OPEN, "4.1.4"),
        (PRRTE, OPEN, "5.0.3"),
        (HYDRA, MPICH, "4.0.2"),
        (INTEL, MPICH, "2021.5"),
        ("a tool of the site's own", "", ""),
        ("", "", ""),
    ],
)
def test_launchers_tell_what_they_are(tmp_path: Path, text: str, family: str, version: str) -> None:
    found = mpi.launcher(install(tmp_path, text))
    assert found == Launcher(f"{tmp_path}/mpirun", family, version)
    assert found.text.endswith(f"({tmp_path}/mpirun)")
    assert found.text.startswith(family or "MPI of an unknown kind")


def test_a_launcher_that_does_not_tell_is_known_by_its_name(tmp_path: Path) -> None:
    install(tmp_path, "no such option", "orterun", code=1)
    environ = {"PATH": str(tmp_path)}  # the host may have an mpirun
    (tmp_path / "mpiexec").symlink_to("orterun")
    assert mpi.launcher(environ) == Launcher(f"{tmp_path}/mpiexec", OPEN, "")


def test_no_launcher(tmp_path: Path) -> None:
    assert mpi.launcher({"PATH": str(tmp_path)}) is None
    session = make_session(tmp_path / "store", host(max_user_namespaces=0), {"PATH": "/none"})
    assert doctor._mpi(session)[0] == "no mpirun is in PATH"


def test_fabrics(tmp_path: Path) -> None:
    assert mpi.fabrics(str(tmp_path)) == ()
    grow(
        tmp_path,
        {
            "dev/infiniband/uverbs0": b"",
            "dev/infiniband/uverbs1": b"",
            "dev/infiniband/rdma_cm": b"",
            "dev/knem": b"",
            "usr/lib64/libfabric.so.1": b"",
            "usr/lib64/libfabric/libverbs-fi.so": b"",
            "usr/lib64/libfabric/libpsm3-fi.so": b"",
        },
    )
    assert mpi.fabrics(str(tmp_path)) == (
        "InfiniBand or RoCE (/dev/infiniband/uverbs0, /dev/infiniband/uverbs1)",
        "knem (/dev/knem)",
        "libfabric (/usr/lib64/libfabric.so.1, providers psm3, verbs)",
    )


@pytest.mark.parametrize(
    ("table", "family"),
    [
        ({"usr/lib/libmpi.so.40": b""}, OPEN),
        ({"usr/lib/openmpi/lib/libmpi.so.20": b""}, OPEN),
        ({"usr/lib/libmpi.so.12": b""}, MPICH),
        ({"usr/lib/libmpi.so.12": b"", "usr/lib/libopen-pal.so.13": b""}, OPEN),
        ({"opt/mpich/lib/libmpi.so.12": b""}, MPICH),
        ({"usr/local/mpi/lib/libmpi.so.40": b""}, OPEN),
        ({"usr/lib/libmpi.so.40": Link("/nowhere")}, ""),
        ({"usr/lib/libmpi.so.99": b""}, ""),
        ({"usr/lib": Link("/usr/lib")}, ""),
        ({}, ""),
    ],
)
def test_libraries_in_images(tmp_path: Path, table: dict[str, Node], family: str) -> None:
    grow(tmp_path / "tree", table)
    found = mpi.of_image(View((str(tmp_path / "tree"),)), ("/usr/lib",))
    assert (found[0] if found else "") == family


def need(store: Path, environ: dict[str, str], table: dict[str, Node]) -> Need | None:
    session = make_session(store, host(), environ)
    table = {"bin/prog": program(), "bin/sh": File(b"\x7fELF", 0o755), **table}
    record = add_image(session.store, "mpi", table, {"Cmd": ["/bin/prog"]})
    found = [each for each in needs.examine_image(session, record) if "MPI" in each.what]
    return found[0] if found else None


def test_an_image_against_this_host(store_path: Path, tmp_path: Path) -> None:
    table: dict[str, Node] = {"usr/lib/libmpi.so.40": b""}
    fits = need(store_path, install(tmp_path / "a", OPEN_4), table)
    assert fits is not None
    assert fits.ok
    assert fits.what == "Open MPI (/usr/lib/libmpi.so.40)"
    assert fits.found == f"mpirun here is Open MPI 4.1.4 ({tmp_path}/a/mpirun)"
    other = need(store_path, install(tmp_path / "b", HYDRA), table)
    assert other is not None
    assert not other.ok
    assert other.hint.startswith("an mpirun of Open MPI")
    unknown = need(store_path, install(tmp_path / "c", "?"), table)
    assert unknown is not None
    assert unknown.ok
    none = need(store_path, {"PATH": "/none"}, table)
    assert none is not None
    assert none.ok
    assert "no mpirun is in PATH here" in none.found
    assert need(tmp_path / "other", {"PATH": "/none"}, {}) is None
