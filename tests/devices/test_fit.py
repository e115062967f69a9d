"""What of a spec's libraries an image can load: the rest is left out, or ends the run."""

from __future__ import annotations

import pytest

from udocker.devices.fit import fitted
from udocker.devices.plan import Image
from udocker.model.devices import Edits
from udocker.model.run import Mount

OLD, NEW = Image("glibc", (2, 31)), Image("glibc", (2, 36))
CUDA, EGL = "/l/libcuda.so.535.1", "/l/libnvidia-egl-gbm.so.1"


def edits(*paths: str) -> Edits:
    return Edits(
        mounts=tuple(Mount(f"/host{path}", path, True, False) for path in paths),
        links=tuple((f"{path}.link", path.rpartition("/")[2]) for path in paths),
        libraries=tuple((path[3:], f"{path}.link", 64) for path in paths),
    )


def test_what_fits() -> None:
    both = edits(CUDA, EGL)
    needs = ((CUDA, (2, 14)), (EGL, (2, 34)))
    assert fitted(both, needs, NEW) == both
    assert fitted(both, (), OLD) == both
    assert fitted(both, needs, Image("")) == both  # static programs load nothing


def test_of_nvidia_s_driver_only_the_first_two_are_needed() -> None:
    found = fitted(edits(CUDA, EGL), ((CUDA, (2, 14)), (EGL, (2, 34))), OLD)
    told = "libnvidia-egl-gbm.so.1 of the host needs glibc 2.34, the image has 2.31: left out"
    only = edits(CUDA)
    assert (found.mounts, found.links, found.libraries) == (only.mounts, only.links, only.libraries)
    assert (found.warnings, found.refusals) == ((told,), ())


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        (
            ((CUDA, (2, 34)), (EGL, (2, 36))),
            "libcuda.so.535.1 of the host needs glibc 2.34, the image has 2.31",
        ),
        (
            (("/l/libpocl.so.2", (2, 34)), ("/l/libhwloc.so.15", (2, 36)), ("/l/liba.so", (2, 2))),
            "libhwloc.so.15 and 1 more of the host need glibc 2.36, the image has 2.31",
        ),
    ],
)
def test_what_ends_a_run(needs: tuple[tuple[str, tuple[int, int]], ...], told: str) -> None:
    assert fitted(edits(CUDA, EGL), needs, OLD).refusals == (told,)


def test_another_c_library() -> None:
    found = fitted(edits(CUDA), ((CUDA, (2, 2)),), Image("musl", (1, 2, 3)))
    assert found.refusals == ("the image has musl, and libcuda.so.535.1 needs glibc",)
