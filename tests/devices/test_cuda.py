"""The CUDA of a driver: by a table, which the drivers themselves say is right."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.drivers import needs_x86_64
from builders.nvidia_driver import BRANCHES, libcuda
from udocker.devices.cuda import Cuda, of_driver

_ASK = """
import ctypes, sys
version = ctypes.c_int()
assert ctypes.CDLL(sys.argv[1]).cuDriverGetVersion(ctypes.byref(version)) == 0
print(version.value)
"""


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        ("384.81", Cuda("9.0")),
        ("535.261.03", Cuda("12.2")),
        ("610.43.02", Cuda("13.3")),
        # Of a branch that is not known, the one before it tells the least.
        ("430.50", Cuda("10.1", is_least=True)),
        ("9999.1", Cuda("13.3", is_least=True)),
        ("340.108", None),
        ("", None),
        ("of somebody", None),
        ("\u0663\u0669\u0660.1", None),
        ("9" * 5000, None),
    ],
)
def test_the_version(driver: str, expected: Cuda | None) -> None:
    assert of_driver(driver) == expected


@settings(database=None, deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    of_driver(text)


def test_it_only_grows() -> None:
    found = [of_driver(f"{branch}.1") for branch in range(384, 700)]
    versions = [tuple(map(int, each.version.split("."))) for each in found if each is not None]
    assert len(versions) == len(found)
    assert versions == sorted(versions)


@pytest.mark.e2e
@needs_x86_64
@pytest.mark.parametrize("branch", BRANCHES)
def test_it_is_what_the_driver_says(branch: str) -> None:
    """cuDriverGetVersion needs no GPU."""
    path = libcuda(branch)
    told = subprocess.run(
        [sys.executable, "-c", _ASK, path],
        env={"LD_LIBRARY_PATH": str(path.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    number = int(told.stdout)
    assert of_driver(f"{branch}.1") == Cuda(f"{number // 1000}.{number % 1000 // 10}")
