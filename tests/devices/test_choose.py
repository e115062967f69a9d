"""Which GPUs a request gets, and what programs are told of it."""

from __future__ import annotations

import pytest

from udocker.devices.choose import Choice, choose, is_usable, visible
from udocker.errors import DeviceError
from udocker.model.devices import DeviceRequest, DeviceSet, Gpu, Library, Node, Part
from udocker.model.value import replace

A, B, C = "GPU-6c1b34f0", "GPU-6c2fffff", "GPU-0a0a0a0a"


def gpu(index: int, uuid: str, *, is_open: bool = True, name: str = "A100") -> Gpu:
    nodes = (Node(f"/dev/nvidia{index + 4}", is_open), Node("/dev/dri/card0", False))
    return Gpu(index, nodes, index + 4, uuid, f"0000:0{index}:00.0", name)


HOST = DeviceSet("nvidia", "535.261.03", (gpu(0, A), gpu(1, B), gpu(2, C)))
AMD = DeviceSet("amd", "", (gpu(0, A), gpu(1, B)))
NOTHING = DeviceSet("nvidia")


def chosen(
    *ids: str, count: int = -1, found: DeviceSet = HOST, needed: bool = True, **environ: str
) -> Choice:
    request = DeviceRequest(found.vendor, count, ids, is_needed=needed, origin="--gpus x")
    return choose(request, found, environ)


def numbers(choice: Choice) -> list[int]:
    return [found.index for found in choice.gpus]


def refusal(*ids: str, count: int = -1, found: DeviceSet = HOST, **environ: str) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        chosen(*ids, count=count, found=found, **environ)
    assert caught.value.message.startswith("--gpus x: ")
    return caught.value


def test_all() -> None:
    assert chosen() == Choice(HOST.gpus)


def test_none() -> None:
    assert chosen(count=0) == Choice((), True)
    assert chosen(count=0, found=NOTHING) == Choice()


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        (("0",), [0]),
        (("2", "0"), [0, 2]),
        (("00",), [0]),
        ((A,), [0]),
        ((A.lower(), A), [0]),
        (("GPU-6c1",), [0]),
        (("GPU-0",), [2]),
        (("GPU-6c1b", "2"), [0, 2]),
        (("0000:01:00.0",), [1]),
    ],
)
def test_by_name(ids: tuple[str, ...], found: list[int]) -> None:
    choice = chosen(*ids)
    assert (numbers(choice), choice.is_cut) == (found, True)


def test_all_by_name_leaves_nothing_out() -> None:
    assert chosen("0", "1", "2") == Choice(HOST.gpus)


PARTS = (Part("gi1/ci0", (Node("/dev/nvidia-caps/nvidia-cap12"),)), Part("gi2/ci0"))
DIVIDED = DeviceSet("nvidia", "535.261.03", (gpu(0, A), replace(gpu(1, B), parts=PARTS)))


@pytest.mark.parametrize("word", ["1:1", f"MIG-{B}/2/0", f"mig-{B}/2/0".lower()])
def test_a_part_of_a_gpu(word: str) -> None:
    (found,) = chosen(word, found=DIVIDED).gpus
    assert (found.index, found.parts, found.uuid) == (1, PARTS[1:], "")


def test_parts_of_one_gpu() -> None:
    (found,) = chosen("1:1", "1:0", found=DIVIDED).gpus
    assert sorted(part.name for part in found.parts) == ["gi1/ci0", "gi2/ci0"]
    for words in (("1", "1:0"), ("1:0", "1"), ("1:0", B, "1:1")):
        choice = chosen(*words, found=DIVIDED)
        assert (choice.gpus, choice.is_cut) == (DIVIDED.gpus[1:], True)
    whole = chosen("0", "1", found=DIVIDED)
    assert (whole.gpus, whole.is_cut) == (DIVIDED.gpus, False)
    part = chosen("0", "1:0", found=DIVIDED)
    assert part.is_cut
    # NVML alone knows the UUIDs of parts.
    environ = {"CUDA_VISIBLE_DEVICES": "0"}
    assert visible(DIVIDED, part, environ) == (("CUDA_VISIBLE_DEVICES", None),)


@pytest.mark.parametrize("word", ["1:2", "0:0", "2:0", "1:", ":1", "MIG-1234", f"MIG-{A}/1/0"])
def test_parts_that_are_not_there(word: str) -> None:
    error = refusal(word, found=DIVIDED)
    assert error.message == f"--gpus x: device error: {word}: unknown device"
    assert error.hint == f"here are 0 ({A}), 1 ({B}), 1:0, 1:1"


@pytest.mark.parametrize("word", ["3", "99", "GPU-", "GPU-6c9", "MIG-1", "0:1", "x", "9" * 5000])
def test_what_is_not_there(word: str) -> None:
    error = refusal(word)
    assert error.message == f"--gpus x: device error: {word[:200]}: unknown device"
    assert error.hint == f"here are 0 ({A}), 1 ({B}), 2 ({C})"


def test_a_beginning_of_several() -> None:
    assert "GPU-6c: several devices begin so" in refusal("GPU-6c").message
    twins = DeviceSet("nvidia", gpus=(gpu(0, A), gpu(1, f"{A}-more")))
    assert numbers(chosen(A, found=twins)) == [0]


def test_one_that_may_not_be_opened() -> None:
    found = DeviceSet("nvidia", gpus=(gpu(0, A), gpu(1, B, is_open=False)))
    assert numbers(chosen(found=found)) == [0]
    assert not chosen(found=found).is_cut  # nothing that could be had is left out
    error = refusal("1", found=found)
    assert "1: /dev/nvidia5, /dev/dri/card0 may not be opened by this user" in error.message
    assert error.hint == f"here are 0 ({A})"
    assert numbers(chosen(count=1, found=found)) == [0]


def test_nodes_that_a_gpu_needs() -> None:
    closed, free = Node("/dev/dri/card0", False), Node("/dev/dri/renderD128")
    assert is_usable(Gpu(0, (Node("/dev/nvidia0"), closed)))
    assert not is_usable(Gpu(0, (Node("/dev/nvidia0", False), free)))
    assert is_usable(Gpu(0, (closed, free)))
    assert not is_usable(Gpu(0, ()))


# Counts, and what a batch system leaves to a job


@pytest.mark.parametrize(
    ("text", "count", "found"),
    [
        ("0,1,2", 1, [0]),
        ("2", 1, [2]),
        ("2,1", 2, [1, 2]),
        ("2,1", 1, [2]),
        (C, 1, [2]),
        (" 1 , 2 ", 1, [1]),
        ("GPU-6c2", 1, [1]),
        ("1,9,0", 1, [1]),
    ],
)
def test_a_count_is_taken_from_what_the_job_has(text: str, count: int, found: list[int]) -> None:
    assert numbers(chosen(count=count, CUDA_VISIBLE_DEVICES=text)) == found


def test_a_count_without_a_job() -> None:
    assert numbers(chosen(count=2)) == [0, 1]
    assert chosen(count=2).is_cut
    assert chosen(count=3) == Choice(HOST.gpus)


@pytest.mark.parametrize(
    ("text", "left"),
    [("", 0), ("NoDevFiles", 0), ("-1", 0), ("9", 0), ("1,9,0", 1), ("1,1", 1), ("0,-1,1", 1)],
)
def test_more_than_the_job_has(text: str, left: int) -> None:
    error = refusal(count=2, CUDA_VISIBLE_DEVICES=text)
    assert error.message == f"--gpus x: device error: {left}: unknown device"
    assert str(error.hint).startswith(f"CUDA_VISIBLE_DEVICES={text!r} leaves {left} GPU")


def test_more_than_are_here() -> None:
    error = refusal(count=99)
    assert error.message == "--gpus x: device error: 3: unknown device"
    assert error.hint == f"3 GPUs may be used here: 0 ({A}), 1 ({B}), 2 ({C})"
    choice = chosen(count=99, needed=False)
    assert choice.gpus == HOST.gpus
    assert "device error: 3" in choice.warnings[0]


def test_what_slurm_says_of_the_node_is_no_choice() -> None:
    """With a control group for devices the job's numbers begin at 0, whatever the node's are."""
    choice = chosen(count=1, CUDA_VISIBLE_DEVICES="0", SLURM_STEP_GPUS="2")
    assert numbers(choice) == [0]
    assert numbers(chosen(count=1, SLURM_STEP_GPUS="2")) == [0]


def test_a_job_of_a_part_of_a_gpu() -> None:
    choice = chosen(count=1, CUDA_VISIBLE_DEVICES="MIG-1234")
    assert choice == Choice(HOST.gpus)  # it has no number here: the variable says which
    assert refusal(count=2, CUDA_VISIBLE_DEVICES="MIG-1234").message.endswith("unknown device")


def test_numbers_of_gpus_that_differ() -> None:
    found = DeviceSet("nvidia", gpus=(gpu(0, A, name="T4"), gpu(1, B, name="H100")))
    choice = chosen(count=1, found=found, CUDA_VISIBLE_DEVICES="1")
    assert numbers(choice) == [1]
    assert "which number is which depends on their speed" in choice.warnings[0]
    by_bus = {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert not chosen(count=1, found=found, **by_bus).warnings
    assert not chosen(count=1, found=found, CUDA_VISIBLE_DEVICES=B).warnings


def test_amd_has_another_variable() -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "0", "ROCR_VISIBLE_DEVICES": "1"}
    assert numbers(chosen(count=1, found=AMD, **environ)) == [1]


# Hosts without


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (NOTHING, "there is no driver"),
        (DeviceSet("nvidia", "535.1"), "the driver is here, but no node of a GPU"),
        (
            DeviceSet("nvidia", libraries=(Library("/l", "l", "compute", 64),)),
            "the driver is here, but no node of a GPU",
        ),
        (
            DeviceSet("nvidia", gpus=(gpu(0, A, is_open=False),)),
            "/dev/nvidia4, /dev/dri/card0 may not be opened by this user",
        ),
        (DeviceSet("nvidia", warnings=("reboot pending",)), "there is no driver; reboot pending"),
    ],
)
def test_no_gpu(found: DeviceSet, why: str) -> None:
    for ids, count in (((), -1), ((), 1), (("0",), -1)):
        error = refusal(*ids, count=count, found=found)
        assert 'could not select device driver "" with capabilities: [[gpu]]' in error.message
        assert error.message.endswith(why)
        assert "--nv goes on without" in str(error.hint)
        choice = chosen(*ids, count=count, found=found, needed=False)
        assert choice.gpus == ()
        assert choice.warnings[0].endswith(why)


def test_a_setting_of_the_site_is_silent_where_there_is_nothing() -> None:
    request = DeviceRequest("nvidia", is_needed=False, origin="gpus=auto")
    assert choose(request, NOTHING) == Choice()
    assert choose(request, DeviceSet("nvidia", "535.1")).warnings
    assert choose(replace(request, origin="--nv"), NOTHING).warnings


def test_a_wish_by_name_gets_what_is_there() -> None:
    choice = chosen("1", "7", needed=False)
    assert numbers(choice) == [1]
    assert "device error: 7: unknown device; here are 0" in choice.warnings[0]


# Variables


JOB = {
    "CUDA_VISIBLE_DEVICES": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "GPU_DEVICE_ORDINAL": "1",
    "SLURM_STEP_GPUS": "3",
    "SLURM_JOB_GPUS": "3,4",
    "PATH": "/bin",
}


def test_variables_stay_where_nothing_is_left_out() -> None:
    assert dict(visible(HOST, Choice(HOST.gpus), JOB)) == {
        name: text for name, text in JOB.items() if name != "PATH"
    }
    assert visible(HOST, Choice(HOST.gpus), {}) == ()
    empty = {"CUDA_VISIBLE_DEVICES": ""}
    assert dict(visible(HOST, Choice(HOST.gpus), empty)) == empty


def test_numbers_become_uuids_or_go() -> None:
    """A number of before means another GPU, or none, where some are left out."""
    choice = chosen("1", "2")
    assert dict(visible(HOST, choice, JOB)) == {
        "CUDA_VISIBLE_DEVICES": f"{B},{C}",
        "GPU_DEVICE_ORDINAL": None,
        "SLURM_STEP_GPUS": None,
        "SLURM_JOB_GPUS": None,
    }
    assert visible(HOST, choice, {}) == (("CUDA_VISIBLE_DEVICES", f"{B},{C}"),)


def test_a_gpu_whose_uuid_is_not_known() -> None:
    found = DeviceSet("nvidia", gpus=(gpu(0, A), gpu(1, "")))
    choice = chosen("1", found=found)
    assert dict(visible(found, choice, {"CUDA_VISIBLE_DEVICES": "0"})) == {
        "CUDA_VISIBLE_DEVICES": None
    }
    assert visible(found, choice, {}) == ()


def test_no_gpu_for_programs() -> None:
    assert visible(HOST, chosen(count=0), {}) == (("CUDA_VISIBLE_DEVICES", ""),)
    assert visible(AMD, chosen(count=0, found=AMD), {"ROCR_VISIBLE_DEVICES": "0"}) == (
        ("ROCR_VISIBLE_DEVICES", None),
    )


def test_other_vendors() -> None:
    environ = {"ROCR_VISIBLE_DEVICES": "0,1", "HIP_VISIBLE_DEVICES": "1", "SLURM_STEP_GPUS": "0"}
    assert dict(visible(AMD, chosen("1", found=AMD), environ)) == {
        "ROCR_VISIBLE_DEVICES": B,
        "HIP_VISIBLE_DEVICES": None,
        "SLURM_STEP_GPUS": None,
    }
    intel = DeviceSet("intel", gpus=(gpu(0, ""), gpu(1, "")))
    mask = {"ZE_AFFINITY_MASK": "1"}
    assert visible(intel, chosen("1", found=intel), mask) == (("ZE_AFFINITY_MASK", None),)
    assert visible(intel, chosen(found=intel), mask) == (("ZE_AFFINITY_MASK", "1"),)
