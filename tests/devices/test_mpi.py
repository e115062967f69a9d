"""The host's MPI: numbers of ABIs, and what belongs to it."""

from __future__ import annotations

import pytest

from udocker.devices import mpi
from udocker.devices.places import Places


@pytest.mark.parametrize(
    ("path", "numbers"),
    [
        ("/usr/lib/libmpi.so.40.30.4", (40, 30, 4)),
        ("/usr/lib/libmpich.so.12.2.2", (12, 2, 2)),
        ("/opt/lib/libmpi.so.12", (12,)),
        ("/opt/lib/libmpi.so", ()),
        ("/opt/lib/libmpi.so.99999999999", ()),
    ],
)
def test_versions(path, numbers):
    assert mpi.version(path) == numbers


def test_checks_of_the_abi():
    def passed(family, host, image):
        return [check for check in mpi.CHECKS if mpi.fits(family, host, image, check)]

    assert passed(mpi.OPEN, (40, 30, 4), (40, 30, 4)) == ["major", "full", "strict"]
    assert passed(mpi.OPEN, (40, 40, 7), (40, 30, 4)) == ["major", "full"]
    assert passed(mpi.OPEN, (40, 30, 4), (40, 40, 7)) == ["major"]
    assert passed(mpi.OPEN, (40, 30, 4), (20, 10, 4)) == []
    assert passed(mpi.OPEN, (), (40,)) == []
    # Intel's and Cray's libraries are of MPICH's kind, and count otherwise.
    assert passed(mpi.MPICH, (12, 0, 0), (12, 2, 2)) == ["major", "full"]
    assert passed(mpi.MPICH, (12, 2, 2), (12, 4, 1)) == ["major"]


def test_what_is_the_hosts_in_any_case():
    own = ("libmpi.so.40", "libopen-pal.so.80", "libfabric.so.1", "libucp.so.0", "libpmix.so.2")
    assert all(map(mpi.is_own, own))
    assert not any(map(mpi.is_own, ("libstdc++.so.6", "libz.so.1", "libhwloc.so.15", "libucl.so")))


def test_a_host_without_mpi(tmp_path):
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/libmpi.so.40").write_bytes(b"no library")
    assert mpi.discover(Places(driver=str(tmp_path)), {}, ("libmpi.so.40",), mpi.OPEN) is None
