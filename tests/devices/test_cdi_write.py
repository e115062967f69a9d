"""The CDI spec of what was found: what we read of it is what it says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from devices.specs import LIB, UUID, spec
from udocker.devices.cdi import read, resolve
from udocker.devices.cdi_edits import HostFiles, inject
from udocker.devices.cdi_write import spec_of
from udocker.elf import Shared
from udocker.errors import DeviceError
from udocker.model.devices import DeviceSet, Gpu, Library, Node, Part
from udocker.model.value import replace

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from udocker.model.devices import Edits

V = "535.261.03"
PARTS = (Part("gi1/ci0", (Node("/dev/nvidia-caps/nvidia-cap12"),)), Part("gi2/ci0"))
FOUND = DeviceSet(
    vendor="nvidia",
    version=V,
    gpus=(
        Gpu(0, (Node("/dev/nvidia0"), Node("/dev/dri/card1", False)), 0, UUID),
        Gpu(1, (Node("/dev/nvidia1"),), 1, parts=PARTS),
        Gpu(2, (Node("/dev/nvidia2", False),), 2, "GPU-closed"),
    ),
    nodes=(Node("/dev/nvidiactl"), Node("/dev/nvidia-uvm"), Node("/dev/nvidia-modeset", False)),
    libraries=(
        Library(f"{LIB}/libcuda.so.{V}", "libcuda.so.1", "compute", 64),
        Library(f"/usr/lib/i386-linux-gnu/libcuda.so.{V}", "libcuda.so.1", "compute", 32),
        Library(f"{LIB}/libnvidia-tls.so.{V}", f"libnvidia-tls.so.{V}", "graphics", 64),
    ),
    links=(("libcuda.so", "libcuda.so.1"), ("gbm/x.so", f"../libnvidia-tls.so.{V}")),
    programs=("/usr/bin/nvidia-smi",),
    files=("/etc/OpenCL/vendors/nvidia.icd",),
    sockets=("/run/nvidia-persistenced/socket",),
)


def paths(edits: dict[str, Any]) -> list[str]:
    return [node["path"] for node in edits["deviceNodes"]]


def test_devices() -> None:
    made: Any = spec_of(FOUND)
    assert (made["cdiVersion"], made["kind"]) == ("0.5.0", "nvidia.com/gpu")
    assert {d["name"]: paths(d["containerEdits"]) for d in made["devices"]} == {
        "0": ["/dev/nvidia0"],
        UUID: ["/dev/nvidia0"],
        "1": ["/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap12"],
        "1:0": ["/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap12"],
        "all": ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap12"],
    }
    assert paths(made["containerEdits"]) == ["/dev/nvidiactl", "/dev/nvidia-uvm"]


def test_hooks_make_names_of_libraries() -> None:
    made: Any = spec_of(FOUND)
    hooks = {hook["args"][1]: hook["args"][2:] for hook in made["containerEdits"]["hooks"]}
    i386 = "/usr/lib/i386-linux-gnu"
    assert hooks["create-symlinks"] == [
        *("--link", f"libcuda.so.{V}::{LIB}/libcuda.so.1"),
        *("--link", f"libcuda.so.{V}::{i386}/libcuda.so.1"),
        *("--link", f"libcuda.so.1::{LIB}/libcuda.so"),
        *("--link", f"../libnvidia-tls.so.{V}::{LIB}/gbm/x.so"),
    ]
    assert hooks["update-ldcache"] == ["--folder", i386, "--folder", LIB]
    assert hooks["enable-cuda-compat"] == [f"--host-driver-version={V}"]
    assert hooks["disable-device-node-modification"] == []
    assert made["containerEdits"]["env"] == ["NVIDIA_VISIBLE_DEVICES=void"]
    mounts = {m["containerPath"]: m for m in made["containerEdits"]["mounts"]}
    assert mounts[f"{LIB}/libcuda.so.{V}"] == {
        "hostPath": f"{LIB}/libcuda.so.{V}",
        "containerPath": f"{LIB}/libcuda.so.{V}",
        "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"],
    }
    socket = mounts["/run/nvidia-persistenced/socket"]["options"]
    assert "ro" not in socket
    assert "noexec" in socket


def test_without_hooks_each_name_is_a_mount() -> None:
    made: Any = spec_of(FOUND, with_hooks=False)
    edits = made["containerEdits"]
    assert "hooks" not in edits
    assert edits["env"][1] == "LD_LIBRARY_PATH=/usr/local/nvidia/lib64:/usr/local/nvidia/lib"
    mounts = {m["containerPath"]: m["hostPath"] for m in edits["mounts"]}
    i386 = f"/usr/lib/i386-linux-gnu/libcuda.so.{V}"
    assert {path: host for path, host in mounts.items() if path.startswith("/usr/local")} == {
        f"/usr/local/nvidia/lib64/libcuda.so.{V}": f"{LIB}/libcuda.so.{V}",
        "/usr/local/nvidia/lib64/libcuda.so.1": f"{LIB}/libcuda.so.{V}",
        "/usr/local/nvidia/lib64/libcuda.so": f"{LIB}/libcuda.so.{V}",
        f"/usr/local/nvidia/lib64/libnvidia-tls.so.{V}": f"{LIB}/libnvidia-tls.so.{V}",
        f"/usr/local/nvidia/lib/libcuda.so.{V}": i386,
        "/usr/local/nvidia/lib/libcuda.so.1": i386,
    }
    assert len(mounts) == len(edits["mounts"]) == 9


@pytest.mark.parametrize("with_hooks", [True, False])
@pytest.mark.parametrize("root", ["", "/driver"])
def test_we_take_what_we_write(tmp_path: Path, with_hooks: bool, root: str) -> None:
    found = below(FOUND, root)
    edits = taken(
        tmp_path,
        spec_of(
            found, with_hooks=with_hooks, driver_root=root, device_root=f"{root}x" if root else ""
        ),
        "all",
    )
    assert ("/dev/nvidia0" if not root else "/driverx/dev/nvidia0", "/dev/nvidia0") in edits.nodes
    mounts = {mount.target: mount.source for mount in edits.mounts}
    assert mounts["/usr/bin/nvidia-smi"] == f"{root}/usr/bin/nvidia-smi"
    if with_hooks:
        assert ("libcuda.so.1", f"{LIB}/libcuda.so.1", 64) in edits.libraries
        assert dict(edits.links)[f"{LIB}/libcuda.so.1"] == f"libcuda.so.{V}"
    else:
        assert mounts["/usr/local/nvidia/lib64/libcuda.so.1"] == f"{root}{LIB}/libcuda.so.{V}"


def below(found: DeviceSet, root: str) -> DeviceSet:
    """The same host in a directory."""

    def moved(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(replace(node, path=(f"{root}x" if root else "") + node.path) for node in nodes)

    return replace(
        found,
        gpus=tuple(replace(gpu, nodes=moved(gpu.nodes)) for gpu in found.gpus),
        nodes=moved(found.nodes),
        libraries=tuple(replace(own, path=root + own.path) for own in found.libraries),
        programs=tuple(root + path for path in found.programs),
        files=tuple(root + path for path in found.files),
        sockets=tuple(root + path for path in found.sockets),
    )


def taken(tmp_path: Path, made: object, device: str) -> Edits:
    path = tmp_path / "nvidia.json"
    path.write_text(json.dumps(made))
    registry = read([str(tmp_path)])
    assert registry.problems == ()
    host = HostFiles(
        is_directory=lambda path: False,
        library=lambda path: Shared(
            64, 62, path.rpartition("/")[2].partition(V)[0] + "1", (), (2, 14), False
        ),
        read=lambda path: None,
    )
    return inject(resolve(registry, [f"nvidia.com/gpu={device}"]), host).edits


def test_nodes_only() -> None:
    amd = DeviceSet(
        "amd", gpus=(Gpu(0, (Node("/dev/dri/renderD128"),)),), nodes=(Node("/dev/kfd"),)
    )
    assert spec_of(amd) == spec_of(amd, with_hooks=False)
    assert spec_of(amd) == {
        "cdiVersion": "0.5.0",
        "kind": "amd.com/gpu",
        "devices": [
            {"name": name, "containerEdits": {"deviceNodes": [{"path": "/dev/dri/renderD128"}]}}
            for name in ("0", "all")
        ],
        "containerEdits": {"deviceNodes": [{"path": "/dev/kfd"}]},
    }


def test_a_program_is_where_path_leads() -> None:
    found = replace(FOUND, programs=("/usr/lib/nvidia/current/nvidia-smi",))
    made: Any = spec_of(found)
    mounts = {m["containerPath"]: m["hostPath"] for m in made["containerEdits"]["mounts"]}
    assert mounts["/usr/bin/nvidia-smi"] == "/usr/lib/nvidia/current/nvidia-smi"


def test_a_fabric_has_no_devices_to_choose() -> None:
    fabric = DeviceSet("fabric", nodes=(Node("/dev/infiniband/uverbs0"),))
    made: Any = spec_of(fabric)
    assert spec(made).kind == "udocker/fabric"
    assert made["devices"] == [
        {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/infiniband/uverbs0"}]}}
    ]


@pytest.mark.parametrize(
    "found",
    [
        DeviceSet("nvidia"),
        DeviceSet("nvidia", V, nodes=(Node("/dev/nvidiactl", False),)),
        replace(FOUND, gpus=()),
        replace(FOUND, gpus=FOUND.gpus[2:]),
    ],
)
def test_nothing_to_describe(found: DeviceSet) -> None:
    with pytest.raises(DeviceError, match="there is no device of nvidia to describe"):
        spec_of(found)
