"""NVIDIA's driver in every layout that hosts have, and in the states in which hosts leave it."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.drivers import OPEN_MODULE, DriverHost, library, needs_x86_64
from udocker.devices import ldcache, nvidia
from udocker.model.devices import Node, Part
from udocker.model.value import replace

if TYPE_CHECKING:
    from udocker.model.devices import DeviceSet

pytestmark = needs_x86_64
V, W = "535.261.03", "550.163.01"
DEBIAN = "usr/lib/x86_64-linux-gnu"


@pytest.fixture
def host(tmp_path: Path) -> DriverHost:
    return DriverHost(tmp_path / "host")


def found(host: DriverHost, **environ: str) -> DeviceSet:
    result = nvidia.discover(host.places, environ)
    assert result is not None
    return result


def sonames(result: DeviceSet) -> list[str]:
    return [each.soname for each in result.libraries]


def names(host: DriverHost, result: DeviceSet) -> list[str]:
    return [each.path.removeprefix(f"{host.top}/") for each in result.libraries]


def test_a_host_without_any(host: DriverHost) -> None:
    assert nvidia.discover(host.places, {}) is None


# Layouts


@pytest.mark.parametrize(
    "folder",
    [
        DEBIAN,
        "usr/lib64",
        "usr/lib64/nvidia",
        f"{DEBIAN}/nvidia/current",
        "run/opengl-driver/lib",
        "home/kubernetes/bin/nvidia/lib64",
        "usr/lib",
    ],
)
@pytest.mark.parametrize("shape", [None, OPEN_MODULE])
def test_usual_directories(host: DriverHost, folder: str, shape: str | None) -> None:
    host.driver(folder, V)
    if shape:
        host.module(V, shape)
    result = found(host)
    assert (result.vendor, result.version) == ("nvidia", V)
    assert names(host, result) == [f"{folder}/libcuda.so.{V}", f"{folder}/libnvidia-ml.so.{V}"]
    assert [(each.feature, each.bits) for each in result.libraries] == [
        ("compute", 64),
        ("utility", 64),
    ]
    assert result.links == (("libcuda.so", "libcuda.so.1"),)


def test_debian_s_alternatives(host: DriverHost) -> None:
    """Links lead through /etc, absolutely: inside the root and not on the real host."""
    current = f"{DEBIAN}/nvidia/current"
    host.driver(current, V, "libcuda")
    host.driver(DEBIAN, V, "libnvidia-ptxjitcompiler")
    host.link("etc/alternatives/nvidia--libcuda.so.1-x86_64-linux-gnu", f"/{current}/libcuda.so.1")
    name = "libcuda.so.1"
    host.link(f"{DEBIAN}/{name}", "/etc/alternatives/nvidia--libcuda.so.1-x86_64-linux-gnu")
    host.cache(f"/{DEBIAN}/libcuda.so.1")
    result = found(host)
    assert set(names(host, result)) == {
        f"{current}/libcuda.so.{V}",
        f"{DEBIAN}/libnvidia-ptxjitcompiler.so.{V}",
    }


def test_a_directory_that_only_the_cache_knows(host: DriverHost) -> None:
    host.driver("opt/odd/lib", V)
    host.driver("opt/odd/more", V, "libnvidia-nvvm")
    host.cache("/opt/odd/lib/libcuda.so.1", "/opt/odd/more/libnvidia-nvvm.so.1")
    assert len(found(host).libraries) == 3
    host.path("etc/ld.so.cache").unlink()
    assert nvidia.discover(host.places, {}) is None


@pytest.mark.parametrize("content", [b"", b"garbage" * 99, b"glibc-ld.so.cache1.1", None])
def test_without_a_cache_that_can_be_read(host: DriverHost, content: bytes | None) -> None:
    """Directories are gone through then; the cache is told of where there is something in it."""
    host.driver("usr/lib64", V)
    if content is not None:
        host.path("etc/ld.so.cache").write_bytes(content)
    result = found(host)
    assert len(result.libraries) == 2
    assert ("ld.so.cache is no cache" in " ".join(result.warnings)) == bool(content)


def test_modules_of_a_site(host: DriverHost) -> None:
    host.driver("sw/nvidia/lib", V)
    host.driver("sw/toolkit/lib/stubs", W)
    assert nvidia.discover(host.places, {}) is None
    result = found(host, LD_LIBRARY_PATH="/sw/toolkit/lib/stubs:relative::/sw/nvidia/lib")
    assert names(host, result)[0] == f"sw/nvidia/lib/libcuda.so.{V}"
    site = replace(host.places, libraries=("/sw/nvidia/lib",))
    assert nvidia.discover(site, {}) == replace(result, programs=())


def test_features(host: DriverHost) -> None:
    wanted = {
        "libcuda": "compute",
        "libnvidia-nvvm": "compute",
        "libnvidia-unheard-of": "compute",
        "libnvidia-cfg": "utility",
        "libnvcuvid": "video",
        "libnvidia-glcore": "graphics",
        "libGLX_nvidia": "graphics",
        "libnvidia-ngx": "ngx",
    }
    host.driver("usr/lib64", V, *wanted)
    host.library(f"usr/lib64/vdpau/libvdpau_nvidia.so.{V}")
    host.library(f"usr/lib64/xorg/modules/extensions/libglxserver_nvidia.so.{V}")
    host.library("usr/lib64/libnvidia-egl-gbm.so.1.1.0")
    for other in ("libOpenCL.so.1", "libGLX.so.0", "libnvidia-container.so.1.14.1"):
        host.library(f"usr/lib64/{other}", soname=other)
    result = found(host)
    told = {
        os.path.basename(each.path).partition(".")[0]: each.feature for each in result.libraries
    }
    assert told == {
        **wanted,
        "libvdpau_nvidia": "video",
        "libglxserver_nvidia": "display",
        "libnvidia-egl-gbm": "graphics",
    }


def test_names_that_programs_look_for(host: DriverHost) -> None:
    """DT_SONAME counts, not what the name suggests."""
    host.driver("usr/lib64", V, "libcuda", "libnvidia-opticalflow", "libnvidia-allocator")
    host.library(f"usr/lib64/libnvidia-nvvm.so.{V}", soname="libnvidia-nvvm.so.4")
    host.library(f"usr/lib64/libGLX_nvidia.so.{V}", soname="libGLX_nvidia.so.0")
    host.library(f"usr/lib64/libnvidia-tls.so.{V}", soname="")
    result = found(host)
    assert {"libnvidia-nvvm.so.4", f"libnvidia-tls.so.{V}"} < set(sonames(result))
    assert dict(result.links) == {
        "libcuda.so": "libcuda.so.1",
        "libnvidia-opticalflow.so": "libnvidia-opticalflow.so.1",
        "libGLX_indirect.so.0": f"libGLX_nvidia.so.{V}",
        "gbm/nvidia-drm_gbm.so": f"../libnvidia-allocator.so.{V}",
    }


def test_32_bits_beside_64(host: DriverHost) -> None:
    host.driver(DEBIAN, V)
    host.driver("usr/lib/i386-linux-gnu", V, kind="i386")
    rows = [(each.soname, each.bits, each.feature) for each in found(host).libraries]
    assert rows == [
        ("libcuda.so.1", 64, "compute"),
        ("libnvidia-ml.so.1", 64, "utility"),
        ("libcuda.so.1", 32, "compat32"),
        ("libnvidia-ml.so.1", 32, "compat32"),
    ]


def test_only_32_bits(host: DriverHost) -> None:
    host.module(V)
    host.driver("usr/lib", V, kind="i386")
    result = found(host)
    assert {each.feature for each in result.libraries} == {"compat32"}
    assert any("only libraries of 32 bits" in text for text in result.warnings)
    assert result.links == ()


def test_another_machine_s(host: DriverHost) -> None:
    host.driver("usr/lib64", V, kind="aarch64")
    assert nvidia.discover(host.places, {}) is None
    assert len(found_for(host, "aarch64").libraries) == 2


def found_for(host: DriverHost, architecture: str) -> DeviceSet:
    result = nvidia.discover(replace(host.places, architecture=architecture), {})
    assert result is not None
    return result


# Versions


def test_leftovers_of_another_version(host: DriverHost) -> None:
    host.driver("usr/lib64", W)
    host.driver("usr/lib64", V)  # the links are of this one
    result = found(host)
    assert result.version == V
    assert len(result.libraries) == 2
    assert not any("version" in text for text in result.warnings)


def test_the_kernel_decides(host: DriverHost) -> None:
    host.driver("usr/lib64", V)
    host.driver("usr/lib64", W, "libcuda")  # links: libcuda to W, libnvidia-ml to V
    assert found(host).version == W
    host.module(V)
    result = found(host)
    assert result.version == V
    assert names(host, result) == [f"usr/lib64/lib{x}.so.{V}" for x in ("cuda", "nvidia-ml")]
    assert f"libraries of {W} are linked, and the kernel has {V}: those are taken" in (
        result.warnings
    )


def test_the_version_in_sys(host: DriverHost) -> None:
    host.text("sys/module/nvidia/version", f"{V}\n")
    host.driver("usr/lib64", W)
    host.driver("usr/lib64", V, "libnvidia-ml")
    assert found(host).version == V


def test_a_reboot_is_pending(host: DriverHost) -> None:
    host.driver("usr/lib64", W)
    host.module(V)
    result = found(host)
    assert (result.version, result.libraries) == (V, ())
    assert any(f"{V}, and the libraries are of {W}" in text for text in result.warnings)


def test_no_link_and_no_module(host: DriverHost) -> None:
    for version in (V, W, "535.99"):
        host.library(f"usr/lib64/libcuda.so.{version}")
    result = found(host)
    assert result.version == W
    assert any(f"newest is taken, {W}, not 535.99, {V}" in text for text in result.warnings)


def test_links_that_lead_nowhere_or_in_circles(host: DriverHost) -> None:
    host.link("usr/lib64/libcuda.so.1", "/etc/alternatives/gone")
    host.link("usr/lib64/libnvidia-ml.so.1", "libnvidia-ml.so.1")
    host.link("usr/lib64/nvidia", "nvidia")
    host.cache("/usr/lib64/libcuda.so.1", "/usr/lib64/libnvidia-ml.so.1")
    assert nvidia.discover(host.places, {}) is None
    host.library(f"usr/lib64/libcuda.so.{V}")
    assert found(host).version == V


@pytest.mark.parametrize("content", ["", "/* GNU ld script */ INPUT(libcuda.so)", "\x7fELF\2\1"])
def test_what_is_no_library(host: DriverHost, content: str) -> None:
    host.driver("usr/lib64", V, "libnvidia-ml")
    bad = host.text(f"usr/lib64/libcuda.so.{V}", content)
    result = found(host)
    assert sonames(result) == ["libnvidia-ml.so.1"]
    assert f"{bad} is no library: passed over" in result.warnings
    assert "libcuda.so.1 is not among the driver's libraries: no CUDA" in result.warnings


def test_a_text_where_the_link_should_be(host: DriverHost) -> None:
    host.text("usr/lib64/libcuda.so.1", "INPUT(libcuda.so)")
    host.module(V)
    host.node("nvidia0")
    assert any("libcuda.so.1 is no library" in text for text in found(host).warnings)


@pytest.mark.skipif(os.getuid() == 0, reason="host: root may read everything")
def test_what_may_not_be_read(host: DriverHost) -> None:
    host.driver("usr/lib64", V)
    host.driver("usr/lib64/nvidia", V, "libnvidia-cfg")
    closed = host.path("usr/lib64/nvidia")
    file = host.path(f"usr/lib64/libnvidia-ml.so.{V}")
    closed.chmod(0)
    file.chmod(0)
    result = found(host)
    closed.chmod(0o755)
    assert sonames(result) == ["libcuda.so.1"]
    assert f"{closed} cannot be read: Permission denied" in result.warnings
    assert f"{file} cannot be read: Permission denied" in result.warnings


def test_odd_characters_in_the_root(tmp_path: Path) -> None:
    host = DriverHost(tmp_path / "a:b c\nd")
    host.driver("usr/lib64", V)
    assert len(found(host).libraries) == 2


# GPUs and nodes


def test_gpus_in_the_order_of_the_bus(host: DriverHost) -> None:
    host.module(V)
    host.gpu("0000:81:00.0", 0, "GPU-81")
    host.gpu("0000:07:00.0", 1, "GPU-????????-????")
    for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-caps/nvidia-cap1"):
        host.node(name)
    for name in ("nvidia-caps-imex-channels/channel0", "nvidia-modeset", "nvidia-nvswitch0"):
        host.node(name)
    result = found(host)
    first, second = result.gpus
    assert (first.index, first.minor, first.uuid, first.bus) == (0, 1, "", "0000:07:00.0")
    assert (second.index, second.minor, second.uuid) == (1, 0, "GPU-81")
    assert first.nodes == (Node(f"{host.top}/dev/nvidia1"),)
    assert first.name == "NVIDIA A100-SXM4-40GB"
    assert [os.path.relpath(node.path, host.top / "dev") for node in result.nodes] == [
        *("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia-nvswitch0"),
        "nvidia-caps-imex-channels/channel0",
    ]
    assert result.warnings == ("GPUs are here, and no libraries of their driver are found",)


def test_nodes_of_graphics(host: DriverHost) -> None:
    host.gpu("0000:07:00.0", 0)
    for name, bus in (("card1", "07"), ("renderD128", "07"), ("card0", "03")):
        host.card(name, f"0000:{bus}:00.0", "0x10de")
    host.path("sys/class/drm/card1-DP-1").mkdir()
    [gpu] = found(host).gpus
    assert [os.path.basename(node.path) for node in gpu.nodes] == ["nvidia0", "renderD128", "card1"]


def test_nodes_of_graphics_by_links(host: DriverHost) -> None:
    host.gpu("0000:07:00.0", 0)
    host.text("dev/dri/renderD129")
    host.link("dev/dri/by-path/pci-0000:07:00.0-render", "../renderD129")
    [gpu] = found(host).gpus
    assert [os.path.basename(node.path) for node in gpu.nodes] == ["nvidia0", "renderD129"]


def test_nodes_of_which_nothing_is_told(host: DriverHost) -> None:
    for minor in (10, 2):
        host.node(f"nvidia{minor}")
    host.node("nvidia-uvm")
    gpus = found(host).gpus
    assert [(gpu.index, gpu.minor, gpu.bus) for gpu in gpus] == [(0, 2, ""), (1, 10, "")]


@pytest.mark.skipif(os.getuid() == 0, reason="host: root may open everything")
def test_nodes_that_are_closed(host: DriverHost) -> None:
    host.gpu("0000:07:00.0", 0, node=False)
    host.closed("nvidia0")
    host.gpu("0000:08:00.0", 1)
    assert [gpu.nodes[0].is_open for gpu in found(host).gpus] == [False, True]


def test_a_login_node(host: DriverHost) -> None:
    host.driver("usr/lib64", V)
    result = found(host)
    assert result.gpus == ()
    [told] = result.warnings
    assert told == (
        f"the driver's libraries are here, and no GPU: {host.top}/dev/nvidia0 is missing"
    )


def test_what_is_missing_of_nodes(host: DriverHost) -> None:
    host.driver("usr/lib64", V)
    host.gpu("0000:07:00.0", 0, node=False)
    host.gpu("0000:08:00.0", 1, node=False)
    host.text("dev/nvidia1")
    assert found(host).warnings == (
        f"{host.top}/dev/nvidia-uvm is missing, which CUDA needs: the module nvidia-uvm is not"
        " loaded",
        f"GPU 0 (0000:07:00.0) has no node: {host.top}/dev/nvidia0",
        f"{host.top}/dev/nvidia1 is a plain file and no device",
    )


def test_a_gpu_that_is_excluded(host: DriverHost) -> None:
    host.gpu("0000:07:00.0", 0)
    host.gpu("0000:08:00.0", 1)
    path = host.path("proc/driver/nvidia/gpus/0000:07:00.0/information")
    path.write_text(path.read_text().replace("Excluded:\t No", "Excluded:\t Yes"))
    assert [(gpu.index, gpu.minor) for gpu in found(host).gpus] == [(0, 1)]


def test_damaged_information(host: DriverHost) -> None:
    host.text("proc/driver/nvidia/gpus/0000:07:00.0/information", "Device Minor: x\nno colon\n")
    host.text("proc/driver/nvidia/gpus/0000:08:00.0", "no directory")
    gpus = found(host).gpus
    assert [(gpu.bus, gpu.minor, gpu.nodes) for gpu in gpus] == [
        ("0000:07:00.0", -1, ()),
        ("0000:08:00.0", -1, ()),
    ]


def test_parts_of_a_gpu(host: DriverHost) -> None:
    host.gpu("0000:07:00.0", 0)
    host.gpu("0000:08:00.0", 1)
    host.text(
        "proc/driver/nvidia-caps/mig-minors",
        "config 1\nmonitor 2\ngpu0/gi1/access 3\ngpu0/gi1/ci0/access 4\ngpu1/gi1/access 135\n"
        "gpu1/gi1/ci0/access 136\ngpu1/gi2/access 144\ngpu1/gi2/ci0/access 145\nbroken\n",
    )
    for instance in ("gi1", "gi2"):
        host.text(f"proc/driver/nvidia/capabilities/gpu1/mig/{instance}/ci0/access")
    for number in (135, 136):
        host.node(f"nvidia-caps/nvidia-cap{number}")
    host.node("nvidia-uvm")
    host.driver("usr/lib64", V)
    result = found(host)
    whole, divided = result.gpus
    caps = f"{host.top}/dev/nvidia-caps"
    own = tuple(Node(f"{caps}/nvidia-cap{number}") for number in (135, 136))
    assert whole.parts == ()
    assert divided.parts == (Part("gi1/ci0", own), Part("gi2/ci0"))
    assert result.warnings == (f"GPU 1 is divided (MIG), and nodes are missing: {caps}",)


# Programs, files, sockets


def test_programs(host: DriverHost) -> None:
    host.driver("usr/lib64", V)
    host.program("usr/bin/nvidia-smi", "")  # another tool left it
    host.program("opt/bin/nvidia-smi")
    host.program("usr/sbin/nvidia-persistenced", mode=0o644)
    host.program("usr/bin/nvidia-modprobe")
    host.program("usr/lib/nvidia/current/nvidia-debugdump")
    host.link("usr/bin/nvidia-debugdump", "/etc/alternatives/dump")
    host.link("etc/alternatives/dump", "/usr/lib/nvidia/current/nvidia-debugdump")
    top = str(host.top)
    assert found(host, PATH="relative:/opt/bin").programs == (
        f"{top}/opt/bin/nvidia-smi",
        f"{top}/usr/lib/nvidia/current/nvidia-debugdump",
    )


def test_files(host: DriverHost) -> None:
    host.driver("usr/lib64", V)
    wanted = [
        "etc/OpenCL/vendors/nvidia.icd",
        "usr/share/vulkan/icd.d/nvidia_icd.x86_64.json",
        "usr/share/glvnd/egl_vendor.d/10_nvidia.json",
        "usr/share/nvidia/nvoptix.bin",
        "usr/lib64/xorg/modules/drivers/nvidia_drv.so",
    ]
    for name in (*wanted, "etc/OpenCL/vendors/pocl.icd", "etc/vulkan/icd.d/radeon_icd.json"):
        host.text(name)
    assert found(host).files == tuple(f"{host.top}/{name}" for name in wanted)


def test_files_that_are_links(host: DriverHost) -> None:
    """By their names, which say what they are, where these lead there from outside too."""
    host.driver("usr/lib64", V)
    host.text("usr/share/nvidia/icd")
    host.link("etc/vulkan/icd.d/nvidia_icd.json", "../../../usr/share/nvidia/icd")
    host.link("etc/vulkan/icd.d/nvidia_icd.x.json", "/usr/share/nvidia/icd")
    host.text("usr/share/nvidia/other")
    host.link("etc/OpenCL/vendors/nvidia.icd", "/usr/share/nvidia/other")
    assert found(host).files == (
        f"{host.top}/usr/share/nvidia/other",
        f"{host.top}/etc/vulkan/icd.d/nvidia_icd.json",
    )


def test_sockets() -> None:
    with tempfile.TemporaryDirectory() as short:  # the name of a socket may not be long
        host = DriverHost(Path(short))
        host.driver("usr/lib64", V)
        host.text("run/nvidia-fabricmanager/socket")  # a plain file
        host.link("tmp/nvidia-mps", "/var/mps")
        host.path("var/mps/log").mkdir(parents=True)
        host.path("run/nvidia-persistenced").mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as served:
            served.bind(str(host.top / "run/nvidia-persistenced/socket"))
            assert found(host).sockets == (
                f"{short}/run/nvidia-persistenced/socket",
                f"{short}/var/mps",
            )
            chosen = found(host, CUDA_MPS_PIPE_DIRECTORY="/var").sockets
            assert chosen[1:] == (f"{short}/var",)
            assert len(found(host, CUDA_MPS_PIPE_DIRECTORY="relative").sockets) == 1


def test_what_it_needs_of_glibc(host: DriverHost) -> None:
    host.path("usr/lib64").mkdir(parents=True)
    source = "#include <pthread.h>\nvoid *f(void) { return (void *)pthread_create; }"
    content = library("libcuda.so.1", "glibc", source)
    host.path(f"usr/lib64/libcuda.so.{V}").write_bytes(content)
    [only] = found(host).libraries
    assert only.glibc == (2, 34)
    assert only.path == f"{host.top}/usr/lib64/libcuda.so.{V}"


def test_the_same_file_in_two_directories(host: DriverHost) -> None:
    host.driver("usr/lib64", V)
    host.driver(DEBIAN, V)
    host.link("lib64", "usr/lib64")
    host.cache("/lib64/libcuda.so.1", flags=ldcache.X86_64)
    assert names(host, found(host)) == [
        f"usr/lib64/libcuda.so.{V}",
        f"usr/lib64/libnvidia-ml.so.{V}",
    ]
