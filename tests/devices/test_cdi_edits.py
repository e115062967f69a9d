"""What devices of CDI change in a container: what hooks would do is said, none is run."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from devices.specs import LIB, edited, hook, mount, nvidia, small, write
from udocker.devices.cdi import read, resolve
from udocker.devices.cdi_edits import HostFiles, Injection, inject
from udocker.devices.relocate import relocated, with_loaders
from udocker.elf import Shared
from udocker.errors import DeviceError
from udocker.model.devices import Edits
from udocker.model.run import GuestFile, Mount

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

CUDA, ML = f"{LIB}/libcuda.so.535.261.03", f"{LIB}/libnvidia-ml.so.535.261.03"


def shared(soname: str, bits: int = 64, glibc: tuple[int, int] = (2, 14)) -> Shared:
    return Shared(bits, 62, soname, (), glibc, False)


LIBRARIES = {CUDA: shared("libcuda.so.1"), ML: shared("libnvidia-ml.so.1")}
PARAMS = b"ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 1\nDeviceFileUID: 0\n"
PROFILE = "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf"


def host(
    missing: str = "",
    libraries: Mapping[str, Shared] = LIBRARIES,
    params: bytes | None = PARAMS,
) -> HostFiles:
    """Everything is there, and is no directory but what ends with a slash or says so."""
    return HostFiles(
        is_directory=lambda path: None if path == missing else path.endswith(("/", "-dir")),
        library=libraries.get,
        read=lambda path: params if path == "/proc/driver/nvidia/params" else None,
    )


def injected(tmp_path: Path, data: Any, *devices: str, files: HostFiles | None = None) -> Injection:
    path = write(tmp_path / "x.json", data)
    registry = read([str(tmp_path)])
    assert registry.problems == (), path
    names = [f"{data['kind']}={device}" for device in devices or ("a",)]
    return inject(resolve(registry, names), files or host())


def refusal(tmp_path: Path, data: Any, files: HostFiles | None = None) -> str:
    with pytest.raises(DeviceError) as caught:
        injected(tmp_path, data, files=files)
    assert caught.value.message.startswith(f"CDI spec {tmp_path}/x.json: ")
    return caught.value.message.partition("x.json: ")[2]


def test_gpus_that_are_not_chosen_are_hidden(tmp_path: Path) -> None:
    """Where they are, and nothing else of what the spec has."""

    def device(name: str, *paths: str) -> dict[str, Any]:
        nodes = [{"path": path} for path in paths]
        return {"name": name, "containerEdits": {"deviceNodes": nodes}}

    rows = [
        device("0", "/dev/nvidia0", "/dev/dri/card1"),
        device("1", "/dev/nvidia1", "/dev/dri/card2", "/dev/null", "/dev/nvidia-caps/x"),
        device("2", "/dev/nvidia2"),
        device("all", "/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia2"),
    ]
    data = {"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": rows}
    assert injected(tmp_path, data, "0").edits.hidden == ("/dev/nvidia1", "/dev/nvidia2")
    assert injected(tmp_path, data, "0", "1").edits.hidden == ("/dev/nvidia2",)
    assert injected(tmp_path, data, "all").edits.hidden == ()
    gone = host(missing="/dev/nvidia2")
    assert injected(tmp_path, data, "0", files=gone).edits.hidden == ("/dev/nvidia1",)


def test_a_spec_of_nvidia(tmp_path: Path) -> None:
    found = injected(tmp_path, nvidia(), "0")
    smi, socket = "/usr/bin/nvidia-smi", "/run/nvidia-persistenced/socket"
    assert found.edits == Edits(
        mounts=(
            Mount(CUDA, CUDA, True, False),
            Mount(ML, ML, True, False),
            Mount(smi, smi, True, False),
            Mount(socket, socket, False, False),
        ),
        nodes=tuple(
            (path, path)
            for path in ("/dev/nvidia-uvm", "/dev/nvidiactl", "/dev/nvidia0", "/dev/dri/card1")
        ),
        hidden=("/dev/nvidia1",),
        links=(
            (f"{LIB}/libcuda.so", "libcuda.so.1"),
            (f"{LIB}/libcuda.so.1", "libcuda.so.535.261.03"),
            (f"{LIB}/libnvidia-ml.so.1", "libnvidia-ml.so.535.261.03"),
        ),
        files=(GuestFile("/proc/driver/nvidia/params", PARAMS.replace(b": 1\n", b": 0\n"), 0o444),),
        env=(("NVIDIA_VISIBLE_DEVICES", "void"), ("NVIDIA_CTK_LIBCUDA_DIR", LIB)),
        libraries=(
            ("libcuda.so.1", f"{LIB}/libcuda.so.1", 64),
            ("libcuda.so.535.261.03", CUDA, 64),
            ("libnvidia-ml.so.1", f"{LIB}/libnvidia-ml.so.1", 64),
            ("libnvidia-ml.so.535.261.03", ML, 64),
        ),
    )
    assert found.compat == "535.261.03"


def test_several_devices_share_what_is_for_all(tmp_path: Path) -> None:
    alone = injected(tmp_path, nvidia(), "0").edits
    both = injected(tmp_path, nvidia(), "0", "1:0", "all").edits
    assert both.mounts == alone.mounts
    assert both.nodes[4:] == (
        ("/dev/nvidia1", "/dev/nvidia1"),
        ("/dev/nvidia-caps/nvidia-cap12", "/dev/nvidia-caps/nvidia-cap12"),
    )


def test_a_device_has_the_last_word(tmp_path: Path) -> None:
    """Also where another device of the spec comes after it."""
    data = edited(env=["A=all"])
    one = {"name": "one", "containerEdits": {"env": ["A=one"]}}
    data["devices"].append(one)
    assert injected(tmp_path, data, "one", "a").edits.env == (("A", "one"),)


def test_nodes_and_mounts_at_other_places(tmp_path: Path) -> None:
    data = edited(
        deviceNodes=[{"path": "/dev/x", "hostPath": "/dev/y"}],
        mounts=[mount("/h", "/c"), mount("/data-dir", "/data", "rw"), mount("/i", "/c", "rw")],
        env=["A=1", "A=2"],
        additionalGids=[44],
    )
    edits = injected(tmp_path, data).edits
    assert edits.nodes == (("/dev/y", "/dev/x"), ("/dev/a", "/dev/a"))
    # The later one of two at one place counts.
    assert edits.mounts == (
        Mount("/i", "/c", False, False),
        Mount("/data-dir", "/data", False, True),
    )
    assert edits.env == (("A", "2"),)
    assert edits.warnings == (
        f"CDI spec {tmp_path}/x.json: groups cannot be added (44): yours hold",
    )


@pytest.mark.parametrize("path", ["/h", "/dev/y", "/dev/a"])
def test_what_is_not_there(tmp_path: Path, path: str) -> None:
    data = edited(
        deviceNodes=[{"path": "/dev/x", "hostPath": "/dev/y"}], mounts=[mount("/h", "/c")]
    )
    assert refusal(tmp_path, data, host(missing=path)) == f"{path} is not there"


@pytest.mark.parametrize("name", ["intelRdt", "netDevices"])
def test_what_nobody_can_give(tmp_path: Path, name: str) -> None:
    fields: dict[str, Any] = {"intelRdt": {"closID": "x"}, "netDevices": [{"name": "x"}]}
    told = refusal(tmp_path, edited(**{name: fields[name]}))
    assert told == f"{name} cannot be given without privileges"


# Hooks


def linked(tmp_path: Path, *words: str) -> tuple[tuple[str, str], ...]:
    return injected(tmp_path, edited(hooks=[hook("create-symlinks", *words)])).edits.links


def test_links(tmp_path: Path) -> None:
    assert linked(tmp_path, "--link", "a::/b/c", "--link=../d::/e/./f") == (
        ("/b/c", "a"),
        ("/e/f", "../d"),
    )
    # Of the program's older name, and one that is installed behind a wrapper.
    for program in ("/usr/bin/nvidia-ctk", "/opt/x/nvidia-ctk.real"):
        own = hook("hook", "create-symlinks", "--link", "a::/b", program=program)
        assert injected(tmp_path, edited(hooks=[own])).edits.links == (("/b", "a"),)


@pytest.mark.parametrize("text", ["", "a", "a::", "::/b", "a::b", "a::/b/../../c", "a:/b"])
def test_what_is_no_link(tmp_path: Path, text: str) -> None:
    told = refusal(tmp_path, edited(hooks=[hook("create-symlinks", "--link", text)]))
    assert told == f"the hook create-symlinks: not a link: {text!r}"


def test_an_option_that_nobody_knows(tmp_path: Path) -> None:
    data = edited(hooks=[hook("create-symlinks", "--csv-filename", "/x")])
    assert refusal(tmp_path, data) == "the hook create-symlinks: --csv-filename is not known"


@pytest.mark.parametrize("name", ["update-ldcache", "create-soname-symlinks"])
def test_names_of_libraries(tmp_path: Path, name: str) -> None:
    libraries = {
        "/h/one": shared("libone.so.1"),
        "/h/two": shared("", 32),
        "/h/six": shared("libsix.so.6", glibc=(2, 36)),
    }
    data = edited(
        mounts=[
            mount("/h/one", "/l/libone.so.1.5"),
            mount("/h/two", "/l/libtwo.so"),
            mount("/h/text", "/l/libtext.so"),  # a script of the linker's
            mount("/h/one", "/l/below/libone.so.1.5"),
            mount("/h/one", "/l/one"),
            mount("/h/so-dir", "/l/lib.so"),
            mount("/h/six", "/l/libsix.so.6"),
        ],
        hooks=[hook(name, "--folder", "/l/", "--ldconfig-path", "@/sbin/ldconfig")],
    )
    found = injected(tmp_path, data, files=host(libraries=libraries))
    edits = found.edits
    assert edits.libraries == (
        ("libone.so.1", "/l/libone.so.1", 64),
        ("libone.so.1.5", "/l/libone.so.1.5", 64),
        ("libtwo.so", "/l/libtwo.so", 32),
        ("libsix.so.6", "/l/libsix.so.6", 64),
    )
    assert edits.links == (("/l/libone.so.1", "libone.so.1.5"),)
    assert found.needs == (
        ("/l/libone.so.1.5", (2, 14)),
        ("/l/libtwo.so", (2, 14)),
        ("/l/below/libone.so.1.5", (2, 14)),
        ("/l/libsix.so.6", (2, 36)),
    )


def test_without_that_hook_the_loader_learns_nothing(tmp_path: Path) -> None:
    data = edited(mounts=[mount(CUDA)], hooks=[hook("update-ldcache")])
    assert injected(tmp_path, data).edits.libraries == ()


def test_nodes_that_nvidia_would_make_anew(tmp_path: Path) -> None:
    data = edited(hooks=[hook("disable-device-node-modification")])
    assert injected(tmp_path, data, files=host(params=None)).edits.files == ()
    (file,) = injected(tmp_path, data).edits.files
    assert file.content == PARAMS.replace(b"ModifyDeviceFiles: 1", b"ModifyDeviceFiles: 0")


def test_the_profile_names_the_gpus(tmp_path: Path) -> None:
    data = nvidia()
    data["containerEdits"]["hooks"] = [hook("update-application-profile")]

    def mask(*devices: str) -> str:
        (file,) = injected(tmp_path, data, *devices).edits.files
        assert file.target == PROFILE
        text = file.content.decode()
        assert json.loads(re.sub("0x[0-9a-f]+", "0", text))["rules"] == [
            {"pattern": [], "profile": "_container_"}
        ]
        return text[text.index("0x") :].partition("]")[0]

    assert (mask("0"), mask("all"), mask("1:0")) == ("0x1", "0x3", "0x2")
    bare = edited(hooks=[hook("update-application-profile")])
    assert injected(tmp_path, bare).edits.files == ()


def test_hooks_that_change_nothing(tmp_path: Path) -> None:
    data = edited(hooks=[hook("chmod", "--mode", "755", "--path", "/dev/dri")])
    assert injected(tmp_path, data) == injected(tmp_path, small())


@pytest.mark.parametrize(
    ("own", "name"),
    [
        (hook("apply-limits", "--x"), "apply-limits"),
        (hook("hook", "apply-limits"), "apply-limits"),
        (hook(), "nvidia-cdi-hook"),
        (hook("create-symlinks", "--link", "a::/b", program="/opt/vendor/setup"), "setup"),
        ({"hookName": "prestart", "path": "/bin/sh", "args": ["sh", "-c", "x"]}, "sh"),
        ({"hookName": "poststop", "path": "/usr/bin/nvidia-ctk"}, "nvidia-ctk"),
    ],
)
def test_an_unknown_hook_is_refused_by_its_name(
    tmp_path: Path, own: dict[str, Any], name: str
) -> None:
    told = refusal(tmp_path, edited(hooks=[own]))
    assert told == f"the hook {name} is not known, and no hook is run"
    path = write(tmp_path / "x.json", edited(hooks=[own, own], env=["A=b"]))
    edits = inject(resolve(read([str(tmp_path)]), ["v.com/c=a"]), host(), skip_hooks=True).edits
    assert edits.env == (("A", "b"),)
    assert edits.warnings == (
        f"CDI spec {path}: the hook {name} is passed over: what it does is not known",
    )


# Places of libraries


def test_libraries_in_a_directory_of_their_own(tmp_path: Path) -> None:
    data = nvidia()
    gbm = hook("create-symlinks", "--link", f"../libcuda.so.1::{LIB}/gbm/nvidia-drm_gbm.so")
    absolute = hook("create-symlinks", "--link", f"{LIB}/libcuda.so.1::/etc/x.so")
    data["containerEdits"]["hooks"] += [gbm, absolute]
    data["containerEdits"]["mounts"].append(mount(f"{LIB}/vdpau/libvdpau_nvidia.so.535"))
    edits = relocated(injected(tmp_path, data, "0").edits, "/run/gpu")
    assert edits.libraries[0] == ("libcuda.so.1", f"/run/gpu{LIB}/libcuda.so.1", 64)
    assert edits.mounts[0] == Mount(CUDA, f"/run/gpu{CUDA}", True, False)
    others = [mount.target for mount in edits.mounts[2:]]
    assert others == [
        "/usr/bin/nvidia-smi",
        "/run/nvidia-persistenced/socket",
        f"{LIB}/vdpau/libvdpau_nvidia.so.535",
        f"/run/gpu{LIB}/vdpau/libvdpau_nvidia.so.535",
    ]
    assert edits.links == (
        (f"/run/gpu{LIB}/libcuda.so", "libcuda.so.1"),
        (f"{LIB}/gbm/nvidia-drm_gbm.so", f"/run/gpu{LIB}/libcuda.so.1"),
        ("/etc/x.so", f"/run/gpu{LIB}/libcuda.so.1"),
        (f"/run/gpu{LIB}/libcuda.so.1", "libcuda.so.535.261.03"),
        (f"/run/gpu{LIB}/libnvidia-ml.so.1", "libnvidia-ml.so.535.261.03"),
    )


def test_without_libraries_nothing_moves(tmp_path: Path) -> None:
    edits = injected(tmp_path, edited(mounts=[mount(CUDA)])).edits
    assert relocated(edits, "/run/gpu") == edits


def test_files_that_tell_loaders_of_drivers(tmp_path: Path) -> None:
    """They name libraries by a path, a file's name or a soname."""
    texts = {
        "/h/a.icd": f"{CUDA}\n".encode(),
        "/h/b.icd": b"libcuda.so.535.261.03",
        "/h/v.json": f'{{"library_path": "{LIB}/libcuda.so.1"}}'.encode(),
    }
    data = edited(
        mounts=[
            mount(CUDA),
            mount("/h/a.icd", "/etc/OpenCL/vendors/a.icd"),
            mount("/h/b.icd", "/etc/OpenCL/vendors/b.icd"),
            mount("/h/v.json", "/usr/share/vulkan/icd.d/v.json"),
            mount("/h/v.json", "/usr/share/other/v.json"),
        ],
        hooks=[hook("update-ldcache", "--folder", LIB)],
        env=["VK_DRIVER_FILES=/own"],
    )
    moved = relocated(injected(tmp_path, data).edits, "/run/gpu")
    edits = with_loaders(moved, "/run/gpu", texts.get)
    assert [mount.target for mount in edits.mounts[1:]] == [
        "/run/gpu/opencl/b.icd",
        "/usr/share/other/v.json",
    ]
    assert {file.target: file.content.decode() for file in edits.files} == {
        "/run/gpu/opencl/a.icd": f"/run/gpu{CUDA}\n",
        "/run/gpu/vulkan/v.json": f'{{"library_path": "/run/gpu{LIB}/libcuda.so.1"}}',
    }
    assert dict(edits.env) == {
        "OCL_ICD_VENDORS": "/run/gpu/opencl",
        "VK_DRIVER_FILES": "/own",  # what the spec says itself
        "VK_ICD_FILENAMES": "/run/gpu/vulkan/v.json",
    }
