"""The specs that ``gpu cdi`` writes, by CDI's own schema."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

from builders.cdi_schema import problems
from builders.drivers import DriverHost, needs_x86_64
from builders.nvidia_driver import driver_host
from udocker.devices import amd, cdi_write, fabric, intel, nvidia
from udocker.model.value import replace

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from udocker.model.devices import DeviceSet

pytestmark = [pytest.mark.e2e, needs_x86_64]


def gpus_of_nvidia(top: Path) -> DeviceSet:
    """The real driver, with two GPUs, one of which is divided."""
    host = DriverHost(top)
    for number in range(2):
        host.gpu(f"0000:0{number + 1}:00.0", number, f"GPU-{number}0000000-aaaa")
    for name in ("nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap12"):
        host.node(name)
    host.text("proc/driver/nvidia-caps/mig-minors", "gpu0/gi1/ci0/access 12\n")
    host.text("proc/driver/nvidia/capabilities/gpu0/mig/gi1/ci0/access")
    places = replace(host.places, driver=str(driver_host().top))
    found = nvidia.discover(places, {"PATH": "/usr/bin"})
    assert found is not None
    assert len(found.gpus) == 2
    assert found.libraries
    return found


@pytest.mark.parametrize("with_hooks", [False, True])
def test_nvidia(tmp_path: Path, with_hooks: bool) -> None:
    spec: Any = cdi_write.spec_of(gpus_of_nvidia(tmp_path), with_hooks=with_hooks)
    assert bool(spec["containerEdits"].get("hooks")) is with_hooks
    assert problems(spec) == []


def test_others(tmp_path: Path) -> None:
    host = DriverHost(tmp_path)
    host.card("card1", "0000:03:00.0", "0x1002")
    host.card("renderD128", "0000:03:00.0", "0x1002")
    host.card("card2", "0000:04:00.0", "0x8086")
    host.card("renderD129", "0000:04:00.0", "0x8086")
    for name in ("kfd", "infiniband/uverbs0", "infiniband/rdma_cm"):
        host.node(name)
    found = [vendor.discover(host.places, {}) for vendor in (amd, intel, fabric)]
    for each in found:
        assert each is not None
        assert problems(cdi_write.spec_of(each)) == []


def test_the_schema_finds_what_is_wrong(tmp_path: Path) -> None:
    right: Any = cdi_write.spec_of(gpus_of_nvidia(tmp_path))
    wrong = [copy.deepcopy(right) for _ in range(4)]
    del wrong[0]["kind"]
    del wrong[1]["devices"][0]["containerEdits"]
    wrong[2]["devices"][0]["containerEdits"]["deviceNodes"][0]["path"] = 7
    wrong[3]["containerEdits"]["mounts"][0]["options"] = "ro"
    assert [len(problems(spec)) for spec in wrong] == [1, 1, 1, 1]
