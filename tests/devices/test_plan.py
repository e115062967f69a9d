"""What of a driver comes into a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from udocker.devices import plan
from udocker.devices.choose import Choice
from udocker.devices.places import Places
from udocker.model.devices import (
    GLIBC,
    MUSL,
    DeviceRequest,
    DeviceSet,
    Edits,
    Gpu,
    Library,
    Node,
    Part,
)
from udocker.model.run import GuestFile, Mount
from udocker.model.value import replace

if TYPE_CHECKING:
    from typing import Any

V = "535.261.03"
LIB = "/drv/usr/lib"
CUDA = Library(f"{LIB}/libcuda.so.{V}", "libcuda.so.1", "compute", 64, (2, 14))
ML = Library(f"{LIB}/libnvidia-ml.so.{V}", "libnvidia-ml.so.1", "utility", 64, (2, 14))
NVVM = Library(f"{LIB}/libnvidia-nvvm.so.{V}", "libnvidia-nvvm.so.4", "compute", 64, (2, 14))
VIDEO = Library(f"{LIB}/libnvcuvid.so.{V}", "libnvcuvid.so.1", "video", 64)
SMALL = Library(f"{LIB}32/libcuda.so.{V}", "libcuda.so.1", "compat32", 32)
CONTROL = Node("/host/dev/nvidiactl")
GPUS = tuple(
    Gpu(n, (Node(f"/host/dev/nvidia{n}"), Node(f"/host/dev/dri/card{n}")), n, f"GPU-{n}")
    for n in range(2)
)
FOUND = DeviceSet(
    "nvidia",
    V,
    GPUS,
    (CONTROL, Node("/host/dev/nvidia-uvm", False)),
    (CUDA, ML, NVVM, VIDEO, SMALL),
    links=(("libcuda.so", "libcuda.so.1"),),
    programs=("/drv/usr/bin/nvidia-smi",),
    files=("/drv/etc/OpenCL/vendors/nvidia.icd", "/drv/usr/share/vulkan/icd.d/nvidia_icd.json"),
    sockets=("/drv/run/nvidia-persistenced/socket",),
)
ALL = DeviceRequest("nvidia")
BOTH = Choice(GPUS)
DEBIAN = plan.Image(GLIBC, (2, 36))
PLACES = Places("/drv", "/host")


def planned(
    found: DeviceSet = FOUND,
    choice: Choice = BOTH,
    request: DeviceRequest = ALL,
    image: plan.Image = DEBIAN,
    **more: Any,
) -> Edits:
    return plan.plan(found, choice, request, image, places=PLACES, **{"environ": {}, **more})


def targets(edits: Edits) -> dict[str, str]:
    return {mount.target: mount.source for mount in edits.mounts}


def test_libraries_of_the_features_that_are_asked_for() -> None:
    edits = planned()
    shown = targets(edits)
    assert shown[f"{plan.PLACE}/lib64/libcuda.so.{V}"] == CUDA.path
    assert shown[f"{plan.PLACE}/lib64/libnvidia-ml.so.{V}"] == ML.path
    assert VIDEO.path not in shown.values()
    assert SMALL.path not in shown.values()
    assert ("libnvidia-nvvm.so.4", f"{plan.PLACE}/lib64/libnvidia-nvvm.so.{V}", 64) in (
        edits.libraries
    )
    assert all(
        mount.readonly and not mount.is_dir for mount in edits.mounts if ".so" in mount.target
    )
    every = planned(request=replace(ALL, features=("compute", "video", "compat32")))
    assert {VIDEO.path, SMALL.path} <= set(targets(every).values())
    assert ML.path not in targets(every).values()
    assert ("libcuda.so.1", f"{plan.PLACE}/lib32/libcuda.so.{V}", 32) in every.libraries


def test_names_by_which_libraries_are_looked_for() -> None:
    links = dict(planned().links)
    assert links[f"{plan.PLACE}/lib64/libcuda.so.1"] == f"libcuda.so.{V}"
    assert links[f"{plan.PLACE}/lib64/libcuda.so"] == "libcuda.so.1"
    assert links[f"{plan.PLACE}/lib64/libnvidia-nvvm.so.4"] == f"libnvidia-nvvm.so.{V}"


def test_a_library_whose_file_has_its_name_needs_no_link() -> None:
    plain = replace(CUDA, path=f"{LIB}/libcuda.so.1")
    links = dict(planned(replace(FOUND, libraries=(plain,))).links)
    assert f"{plan.PLACE}/lib64/libcuda.so.1" not in links


def test_drivers_for_loaders_of_the_image() -> None:
    edits = planned()
    assert targets(edits)[f"{plan.PLACE}/opencl/nvidia.icd"] == FOUND.files[0]
    assert dict(edits.env)["OCL_ICD_VENDORS"] == f"{plan.PLACE}/opencl"
    assert "VK_DRIVER_FILES" not in dict(edits.env)
    gl = replace(CUDA, path=f"{LIB}/libGLX_nvidia.so.{V}", feature="graphics")
    edits = planned(replace(FOUND, libraries=(gl,)), request=replace(ALL, features=("graphics",)))
    place = f"{plan.PLACE}/vulkan/nvidia_icd.json"
    assert dict(edits.env) == {"VK_DRIVER_FILES": place, "VK_ICD_FILENAMES": place}


def test_programs_and_sockets_are_for_utilities() -> None:
    edits = planned()
    assert targets(edits)[f"{plan.PLACE}/bin/nvidia-smi"] == FOUND.programs[0]
    assert targets(edits)["/run/nvidia-persistenced/socket"] == FOUND.sockets[0]
    assert ("PATH", f"{plan.PLACE}/bin") in edits.prepend
    edits = planned(request=replace(ALL, features=("compute",)))
    assert not any("nvidia-smi" in path or "socket" in path for path in targets(edits))
    assert edits.prepend == ()


def test_an_image_without_a_cache_is_told_by_a_variable() -> None:
    edits = planned(image=plan.Image(GLIBC, (2, 36), has_cache=False))
    assert ("LD_LIBRARY_PATH", f"{plan.PLACE}/lib64") in edits.prepend


def test_nodes_that_may_be_opened() -> None:
    edits = planned()
    assert edits.nodes == (
        ("/host/dev/nvidia0", "/dev/nvidia0"),
        ("/host/dev/dri/card0", "/dev/dri/card0"),
        ("/host/dev/nvidia1", "/dev/nvidia1"),
        ("/host/dev/dri/card1", "/dev/dri/card1"),
        ("/host/dev/nvidiactl", "/dev/nvidiactl"),
    )
    assert edits.hidden == ()


def test_gpus_that_were_not_chosen_are_hidden() -> None:
    edits = planned(choice=Choice(GPUS[1:], is_cut=True), environ={"CUDA_VISIBLE_DEVICES": "1"})
    assert ("/host/dev/nvidia0", "/dev/nvidia0") not in edits.nodes
    assert edits.hidden == ("/dev/nvidia0",)
    assert dict(edits.env)["CUDA_VISIBLE_DEVICES"] == "GPU-1"


def test_parts_of_a_gpu_have_nodes_of_their_own() -> None:
    part = Part("gi1/ci0", (Node("/host/dev/nvidia-caps/nvidia-cap12"),))
    edits = planned(choice=Choice((replace(GPUS[0], parts=(part,)),)))
    assert ("/host/dev/nvidia-caps/nvidia-cap12", "/dev/nvidia-caps/nvidia-cap12") in edits.nodes


def test_the_driver_is_told_to_make_no_nodes() -> None:
    params = b"Mobile: 4\nModifyDeviceFiles: 1\nDeviceFileMode: 438\n"
    [file] = planned(params=params).files
    assert file == GuestFile(
        "/proc/driver/nvidia/params", b"Mobile: 4\nModifyDeviceFiles: 0\nDeviceFileMode: 438\n"
    )
    assert planned().files == ()


def test_what_an_older_image_cannot_load() -> None:
    newer = replace(NVVM, glibc=(2, 38))
    edits = planned(replace(FOUND, libraries=(CUDA, ML, newer)))
    assert newer.path not in targets(edits).values()
    assert edits.refusals == ()
    assert edits.warnings == (
        "libnvidia-nvvm.so.4 of the driver needs glibc 2.38, the image has 2.36: left out",
    )
    edits = planned(image=plan.Image(GLIBC, (2, 12)))
    assert edits.refusals[0] == "libcuda.so.1 of the driver needs glibc 2.14, the image has 2.12"


@pytest.mark.parametrize("libc", [MUSL, "bionic"])
def test_another_c_library_is_refused(libc: str) -> None:
    edits = planned(image=plan.Image(libc))
    assert edits.refusals == (f"the image has {libc}, and the driver's libraries need glibc",)
    assert edits.libraries == ()


def test_static_programs_are_told() -> None:
    edits = planned(image=plan.Image(""))
    assert edits.refusals == ()
    told = "the image has no C library for this machine: its programs load no driver"
    assert edits.warnings == (told,)
    assert [mount.target for mount in edits.mounts] == ["/run/nvidia-persistenced/socket"]
    assert len(edits.nodes) == 5


def test_of_amd_there_are_nodes_only() -> None:
    amd = DeviceSet("amd", "", GPUS, (Node("/host/dev/kfd"),), (replace(CUDA, soname="x.so.1"),))
    edits = planned(amd, request=DeviceRequest("amd"), image=plan.Image(MUSL))
    assert edits.mounts == edits.libraries == edits.refusals == ()
    assert ("/host/dev/kfd", "/dev/kfd") in edits.nodes


def test_edits_are_joined_and_the_later_counts() -> None:
    one = Edits(
        mounts=(Mount("/a", "/x"),), env=(("A", "1"),), nodes=(("/n", "/n"),), warnings=("w",)
    )
    other = Edits(
        mounts=(Mount("/b", "/x"),), env=(("A", None),), nodes=(("/n", "/n"),), warnings=("w",)
    )
    assert plan.joined((one, other)) == Edits(
        mounts=(Mount("/b", "/x"),), env=(("A", None),), nodes=(("/n", "/n"),), warnings=("w",)
    )
    assert plan.joined(()) == Edits()
