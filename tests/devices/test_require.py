"""What images of NVIDIA's require of the driver."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.devices.require import Facts, check, described, facts, is_any
from udocker.errors import DeviceError

OLD = Facts(driver="535.261.03", cuda="12.2")
KNOWN = Facts(driver="535.261.03", cuda="12.2", arch="8.6", brand="Tesla")


def held(text: str, facts: Facts = KNOWN) -> bool:
    """Whether it holds, and nothing is left open; other errors are not that it does not."""
    try:
        warnings = check({"NVIDIA_REQUIRE_CUDA": text}, facts)
    except DeviceError as error:
        return not error.message.startswith("requirement error: unsatisfied condition: ")
    return not warnings


@pytest.mark.parametrize(
    "text",
    [
        "cuda>=12.2",
        "cuda>=12",
        "cuda=12.2",
        "cuda=12.2.0",
        "cuda<=12.2",
        "cuda<12.10",
        "cuda!=12.1",
        "CUDA>11.8",
        "driver>=535.261.3",
        "driver=535.261.03",
        "driver<535.261.04",
        "arch>=8.6",
        "brand=tesla",
        "brand!=geforce",
        "cuda>=12.4 brand=tesla,driver>=535,driver<536",
        "cuda>=99 cuda>=12",
        "cuda>=12,driver>=500",
        "  cuda>=12.2\t",
        "cuda>=12.2,",
    ],
)
def test_what_holds(text: str) -> None:
    assert held(text)


@pytest.mark.parametrize(
    "text",
    [
        "cuda>=12.4",
        "cuda>12.2",
        "cuda<12.2",
        "cuda=12",
        "cuda!=12.2",
        "cuda>=100",
        "driver>=535.262",
        "driver>535.261.03",
        "arch>=9",
        "arch>=8.10",
        "brand=geforce",
        "brand!=TESLA",
        "cuda>=12,driver>=550",
        "cuda>=12.4 brand=tesla,driver>=550,driver<551 brand=geforce,driver>=535",
    ],
)
def test_what_does_not(text: str) -> None:
    assert not held(text)


def test_the_error_says_what_is_here_and_how_to_go_on() -> None:
    with pytest.raises(DeviceError) as caught:
        check({"NVIDIA_REQUIRE_CUDA": "cuda>=12.4"}, OLD)
    assert caught.value.message == (
        "requirement error: unsatisfied condition: cuda>=12.4 (NVIDIA_REQUIRE_CUDA); "
        "this host has driver 535.261.03, cuda 12.2"
    )
    assert "-e NVIDIA_DISABLE_REQUIRE=1" in str(caught.value.hint)


def test_what_a_driver_s_version_tells() -> None:
    assert facts("535.261.03") == OLD
    assert facts("") == Facts()
    assert facts("340.108") == Facts(driver="340.108")
    newer = facts("535.261.03", "570.1.2")
    assert newer == Facts(driver="535.261.03", cuda="12.8")
    assert check({"NVIDIA_REQUIRE_CUDA": "cuda>=12.4"}, newer) == ()
    with pytest.raises(DeviceError, match=r"NVIDIA_REQUIRE_D"):
        check({"NVIDIA_REQUIRE_D": "driver>=570"}, newer)
    assert described(facts("553.1")) == "driver 553.1, cuda 12.4 or newer"


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        *(("cuda>=12.4", True), ("cuda>12.3", True), ("cuda>12.4", None), ("cuda>=12.5", None)),
        *(("cuda<12.4", False), ("cuda<=12.3", False), ("cuda<=12.4", None), ("cuda<13", None)),
        *(("cuda=12.3", False), ("cuda=12.4", None), ("cuda=12.5", None)),
        *(("cuda!=12.3", True), ("cuda!=12.4", None), ("cuda!=12.5", None)),
        ("cuda>=12.5 driver>=553", True),
        ("cuda>=12.5,driver>=554", False),
    ],
)
def test_a_version_of_cuda_of_which_the_least_is_known(text: str, holds: bool | None) -> None:
    variables = {"NVIDIA_REQUIRE_CUDA": text}
    if holds is False:
        with pytest.raises(DeviceError, match=r"unsatisfied .* cuda 12\.4 or newer"):
            check(variables, facts("553.1"))
    else:
        assert bool(check(variables, facts("553.1"))) is (holds is None)


def test_whether_there_is_anything_to_check() -> None:
    assert is_any({"NVIDIA_REQUIRE_CUDA": "cuda>=12.4"})
    assert is_any({"CUDA_VERSION": "11.0"})
    assert not is_any({"NVIDIA_REQUIRE_JETPACK": "x", "NVIDIA_REQUIRE_CUDA": " "})


def test_all_variables_must_hold() -> None:
    both = {"NVIDIA_REQUIRE_CUDA": "cuda>=12", "NVIDIA_REQUIRE_X": "driver>=550"}
    with pytest.raises(DeviceError, match="NVIDIA_REQUIRE_X"):
        check(both, KNOWN)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("cuda>=12.4", Facts(driver="535.1")),
        ("cuda>=12.4 brand=tesla,driver>=535,driver<536", OLD),
        ("arch>=9.0", OLD),
        ("cuda>=12,brand=tesla", OLD),
        ("driver>=1", Facts(driver="of somebody")),
        ("newword>=1", KNOWN),
        ("newword=whatever,cuda>=12", KNOWN),
    ],
)
def test_what_is_not_known_is_a_warning(text: str, facts: Facts) -> None:
    (warning,) = check({"NVIDIA_REQUIRE_CUDA": text}, facts)
    assert warning == f"not known whether this host has what the image requires: {text}"


@pytest.mark.parametrize(
    "text", ["cuda>=12 brand=geforce", "brand=geforce cuda>=12", "newword=1 cuda>=12"]
)
def test_one_that_holds_is_enough(text: str) -> None:
    assert check({"NVIDIA_REQUIRE_CUDA": text}, OLD) == ()


@pytest.mark.parametrize("text", ["cuda>=99,brand=tesla", "newword=1,cuda>=99"])
def test_one_that_does_not_hold_is_enough(text: str) -> None:
    with pytest.raises(DeviceError):
        check({"NVIDIA_REQUIRE_CUDA": text}, OLD)


@pytest.mark.parametrize(
    "text",
    [
        "cuda>",
        "cuda>=",
        ">=12",
        "cuda=>12",
        "cuda==12",
        "cuda><12",
        "cuda",
        "12",
        "cuda>=twelve",
        "cuda>=12.x",
        "cuda>=-1",
        "cuda>=12.2.",
        "cuda >= 12",
        "brand>tesla",
        "cuda>=٣",
        "cuda>=12 cuda>",
        "cuda>=9999999999",
    ],
)
@pytest.mark.parametrize("facts", [KNOWN, Facts()])
def test_what_is_no_requirement(text: str, facts: Facts) -> None:
    with pytest.raises(DeviceError, match="NVIDIA_REQUIRE_CUDA: not a requirement: ") as caught:
        check({"NVIDIA_REQUIRE_CUDA": text}, facts)
    assert "NVIDIA_DISABLE_REQUIRE" in str(caught.value.hint)


def test_switched_off() -> None:
    for text in ("1", "true", "True", "TRUE", "t"):
        assert check({"NVIDIA_DISABLE_REQUIRE": text, "NVIDIA_REQUIRE_CUDA": "cuda>"}, OLD) == ()
    for text in ("", "0", "false", "yes"):
        with pytest.raises(DeviceError):
            check({"NVIDIA_DISABLE_REQUIRE": text, "NVIDIA_REQUIRE_CUDA": "cuda>99"}, OLD)


def test_what_is_passed_over() -> None:
    variables = {
        "NVIDIA_REQUIRE_JETPACK": "csv-mounts=all",
        "NVIDIA_REQUIRE_JETPACK_HOST_MOUNTS": "base-only",
        "NVIDIA_REQUIRE_CUDA": "",
        "NVIDIA_REQUIRE_X": "  ",
        "OTHER": "cuda>",
    }
    assert check(variables, Facts()) == ()


@pytest.mark.parametrize(
    ("version", "ok"),
    [("8.0.61", True), ("v12.2", True), ("12.4.1", False), ("13.0", False), ("abc", True)],
)
def test_an_old_image_requires_its_own_version(version: str, ok: bool) -> None:
    variables = {"CUDA_VERSION": version}
    if ok:
        assert check(variables, OLD) == ()
    else:
        with pytest.raises(DeviceError, match="CUDA_VERSION"):
            check(variables, OLD)
    assert check({**variables, "NVIDIA_REQUIRE_CUDA": ""}, OLD) == ()


def test_a_value_of_four_kilobytes() -> None:
    text = " ".join(f"brand=tesla,driver>={n},driver<{n + 1}" for n in range(600, 740))
    assert len(text) > 4096
    begin = time.perf_counter()
    with pytest.raises(DeviceError) as caught:
        check({"NVIDIA_REQUIRE_CUDA": text}, KNOWN)
    assert time.perf_counter() - begin < 0.5
    assert len(caught.value.message) < 400
    with pytest.raises(DeviceError, match="not a requirement"):
        check({"NVIDIA_REQUIRE_CUDA": "c" * 100_000}, KNOWN)


@settings(database=None, deadline=None)
@given(
    st.one_of(st.text(), st.text(alphabet="cudabrndivesl<>=!,. 0129")),
    st.sampled_from([OLD, KNOWN]),
)
def test_no_text_raises_anything_else(text: str, facts: Facts) -> None:
    with contextlib.suppress(DeviceError):
        check({"NVIDIA_REQUIRE_CUDA": text}, facts)
    with contextlib.suppress(DeviceError):
        check({"CUDA_VERSION": text}, facts)
