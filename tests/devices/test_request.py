"""From options, settings and the image's variables to requests."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.devices.request import HostDevice, asked, check, host_devices, is_cdi, merged
from udocker.errors import DeviceError, UsageError
from udocker.model.devices import FEATURES, DeviceRequest
from udocker.model.request import DeviceOptions

ALL = DeviceOptions(gpus=("all",))
NV = DeviceOptions(nv=True)


def one(options: DeviceOptions, **variables: str) -> DeviceRequest:
    (request,) = asked(options, variables)
    return request


def seen(request: DeviceRequest) -> tuple[int, tuple[str, ...]]:
    return request.count, request.ids


# Options


@pytest.mark.parametrize(
    ("text", "count", "ids"),
    [
        ("all", -1, ()),
        ("-1", -1, ()),
        ("-3", -1, ()),
        ("2", 2, ()),
        ("99", 99, ()),
        ("driver=nvidia", 1, ()),
        ("device=0", -1, ("0",)),
        ("device=GPU-6c1b", -1, ("GPU-6c1b",)),
        ('"device=GPU-6c1b,0"', -1, ("GPU-6c1b", "0")),
        ('"device=0,0,1"', -1, ("0", "1")),
        ("device=0:1", -1, ("0:1",)),
        ("device=MIG-GPU-6c1b/1/0", -1, ("MIG-GPU-6c1b/1/0",)),
        ("device=nvidia.com/gpu=0", -1, ("0",)),
        ("device=all", -1, ()),
    ],
)
def test_gpus(text: str, count: int, ids: tuple[str, ...]) -> None:
    request = one(DeviceOptions(gpus=(text,)))
    assert request == DeviceRequest("nvidia", count, ids, origin=f"--gpus {text}")
    assert request.is_needed


def test_none_is_a_request_for_nothing() -> None:
    assert one(DeviceOptions(gpus=("0",))) == DeviceRequest(
        "nvidia", 0, features=(), origin="--gpus 0"
    )
    request = one(DeviceOptions(gpus=("device=none",)))
    assert (request.count, request.features) == (0, ("compute", "utility"))
    request = one(DeviceOptions(gpus=("device=void",)))
    assert (request.count, request.features) == (0, ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("device=", "names no device"),
        ('"device=0,"', "an empty name between commas"),
        ('"device=all,0"', "'all' cannot stand with other names"),
        ('"device=void,0"', "'void' cannot stand with other names"),
        ("device=intel.com/gpu=0", "a device of another kind"),
        ("capabilities=bogus", 'driver "" with capabilities: [[bogus gpu]]'),
        ('"capabilities=compute,bogus"', "[[compute bogus gpu]]"),
        ("driver=foo", 'could not select device driver "foo" with capabilities: [[gpu]]'),
        ("driver=cdi", "names no device"),
        ("driver=cdi,device=0", "'0' is not a name of CDI"),
    ],
)
def test_gpus_that_cannot_be(text: str, why: str) -> None:
    options = DeviceOptions(gpus=(text,))
    for function in (check, lambda options: asked(options, {})):
        with pytest.raises(UsageError) as caught:
            function(options)
        assert why in caught.value.message
        assert caught.value.message.startswith("--gpus")
        assert caught.value.hint


def test_features() -> None:
    def features(text: str, **variables: str) -> tuple[str, ...]:
        return one(DeviceOptions(gpus=(text,)), **variables).features

    assert features('all,"capabilities=video,compute"') == ("compute", "video")
    assert features("all,capabilities=gpu") == ("compute", "utility")
    assert features("all,capabilities=display") == ("graphics", "display")
    assert features("all,capabilities=all") == FEATURES
    assert features("capabilities=video", NVIDIA_DRIVER_CAPABILITIES="ngx") == ("video",)
    assert features("capabilities=gpu", NVIDIA_DRIVER_CAPABILITIES="ngx") == ("ngx",)
    # What the last one says counts, also where it says nothing.
    both = DeviceOptions(gpus=("capabilities=video", "all"))
    assert one(both, NVIDIA_DRIVER_CAPABILITIES="ngx").features == ("ngx",)


def test_nv_and_rocm_need_nothing() -> None:
    nv, rocm = asked(DeviceOptions(nv=True, rocm=True), {})
    assert nv == DeviceRequest("nvidia", is_needed=False, origin="--nv")
    assert rocm == DeviceRequest("amd", is_needed=False, origin="--rocm")


def test_gpus_are_more_than_nv() -> None:
    request = one(DeviceOptions(nv=True, gpus=("1", "2")))
    assert (request.count, request.is_needed, request.origin) == (2, True, "--gpus 2")


def test_amd_by_its_driver() -> None:
    assert one(DeviceOptions(gpus=("driver=amd,count=2",))).vendor == "amd"
    both = asked(DeviceOptions(gpus=("all", "driver=amd")), {})
    assert [request.vendor for request in both] == ["nvidia", "amd"]


def test_the_setting() -> None:
    assert asked(DeviceOptions(), {}) == ()
    assert asked(DeviceOptions(), {}, "none") == ()
    found = asked(DeviceOptions(), {}, "auto")
    assert [(r.vendor, r.count, r.is_needed, r.origin) for r in found] == [
        ("nvidia", -1, False, "gpus=auto"),
        ("amd", -1, False, "gpus=auto"),
    ]
    nvidia, _ = asked(DeviceOptions(gpus=("1",)), {}, "auto")
    assert (nvidia.count, nvidia.is_needed) == (1, True)


def test_names_of_cdi() -> None:
    options = DeviceOptions(devices=("nvidia.com/gpu=0", "/dev/fuse", "vendor1.com/a_b-c.d=x:y.z"))
    assert asked(options, {}) == (
        DeviceRequest(
            "cdi", ids=("nvidia.com/gpu=0", "vendor1.com/a_b-c.d=x:y.z"), origin="--device"
        ),
    )
    assert one(DeviceOptions(gpus=("driver=cdi,device=a.b/c=0",))).ids == ("a.b/c=0",)


@pytest.mark.parametrize(
    "text",
    ["=", "a=b", "a/b=", "/b=c"[1:], "1a/b=c", "a/1b=c", "a/b=c/d", "a-/b=c", "a/b=c-", "a/b=-c"],
)
def test_what_is_no_name_of_cdi(text: str) -> None:
    with pytest.raises(UsageError, match="not a name of CDI"):
        is_cdi(text)


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("/dev/fuse", HostDevice("/dev/fuse", "/dev/fuse")),
        ("/dev/fuse:/dev/x", HostDevice("/dev/fuse", "/dev/x")),
        ("/dev/fuse:rw", HostDevice("/dev/fuse", "/dev/fuse", "rw")),
        ("/dev/fuse:/dev/x:r", HostDevice("/dev/fuse", "/dev/x", "r")),
        ("/dev/a=b", HostDevice("/dev/a=b", "/dev/a=b")),
        ("//dev/./fuse", HostDevice("/dev/fuse", "/dev/fuse")),
    ],
)
def test_nodes(text: str, device: HostDevice) -> None:
    assert host_devices(DeviceOptions(devices=(text, "a.b/c=0"))) == (device,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "bad format for path: "),
        (":/dev/x", "bad format for path: :/dev/x"),
        ("/a:/b:r:w", "bad format for path: /a:/b:r:w"),
        ("/a:/b:rx", "bad mode specified: rx"),
        ("/a:/b:rr", "bad mode specified: rr"),
        ("/a:/b:", "bad mode specified: "),
        ("/a:", " is not an absolute path"),
        ("/a:rx", "rx is not an absolute path"),
        ("dev/x", "dev/x is not an absolute path"),
        ("fuse", "fuse is not an absolute path"),
        ("/dev/x\n", "bad format for path: /dev/x\n"),
    ],
)
def test_nodes_that_cannot_be(text: str, why: str) -> None:
    options = DeviceOptions(devices=(text,))
    for function in (check, host_devices):
        with pytest.raises(UsageError) as caught:
            function(options)
        assert caught.value.message == f"--device: {why}"


def test_a_record_and_a_run() -> None:
    kept = DeviceOptions(gpus=("all",), devices=("/dev/a",), cdi_dirs=("/kept",))
    assert merged(kept, DeviceOptions()) == kept
    more = merged(kept, DeviceOptions(devices=("/dev/b", "/dev/a"), cdi_dirs=("/said",)))
    assert more == DeviceOptions(("all",), False, False, ("/dev/a", "/dev/b"), ("/said",))
    assert merged(kept, DeviceOptions(gpus=("0",))).gpus == ("0",)
    assert merged(NV, DeviceOptions(rocm=True)) == DeviceOptions(rocm=True)


# The container's variables


@pytest.mark.parametrize(
    ("text", "count", "ids"),
    [
        ("all", -1, ()),
        (" all ", -1, ()),
        ("0", -1, ("0",)),
        (" 0, 1 ", -1, ("0", "1")),
        ("0,,1,", -1, ("0", "1")),
        ("GPU-6c1b,MIG-77", -1, ("GPU-6c1b", "MIG-77")),
        ("0:1", -1, ("0:1",)),
        ("nvidia.com/gpu=1", -1, ("1",)),
        ("runtime.nvidia.com/gpu=all", -1, ()),
        ("none", 0, ()),
        ("void", 0, ()),
        ("", 0, ()),
        (" , ", 0, ()),
    ],
)
@pytest.mark.parametrize("options", [ALL, NV])
def test_a_variable_narrows(
    options: DeviceOptions, text: str, count: int, ids: tuple[str, ...]
) -> None:
    request = one(options, NVIDIA_VISIBLE_DEVICES=text)
    assert seen(request) == (count, ids)
    assert bool(request.features) == (text not in ("void", "", " , "))
    if count == 0 or ids:
        assert request.origin.endswith(f", NVIDIA_VISIBLE_DEVICES={text.strip()}")


def test_a_variable_starts_nothing() -> None:
    variables = {"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VERSION": "8.0", "AMD_VISIBLE_DEVICES": "0"}
    assert asked(DeviceOptions(), variables) == ()
    assert asked(DeviceOptions(devices=("/dev/fuse",)), variables) == ()


@pytest.mark.parametrize("text", ["2", "device=1", "0"])
def test_a_variable_does_not_change_what_the_user_counts(text: str) -> None:
    options = DeviceOptions(gpus=(text,))
    assert one(options, NVIDIA_VISIBLE_DEVICES="0") == one(options)


def test_each_vendor_has_a_variable_of_its_own() -> None:
    nvidia, amd = asked(
        DeviceOptions(), {"NVIDIA_VISIBLE_DEVICES": "1", "AMD_VISIBLE_DEVICES": "0"}, "auto"
    )
    assert (nvidia.ids, amd.ids) == (("1",), ("0",))


@pytest.mark.parametrize("text", ["void,0", "0,none", "all,1", "intel.com/gpu=0", "0=1"])
def test_a_variable_that_makes_no_sense(text: str) -> None:
    with pytest.raises(DeviceError, match="NVIDIA_VISIBLE_DEVICES=") as caught:
        one(ALL, NVIDIA_VISIBLE_DEVICES=text)
    assert caught.value.hint == "-e NVIDIA_VISIBLE_DEVICES=all"
    assert caught.value.exit_code == 125


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("", ("compute", "utility")),
        (" , ", ("compute", "utility")),
        ("utility,compute", ("compute", "utility")),
        (" video , compute", ("compute", "video")),
        ("all", FEATURES),
        ("video,all", FEATURES),
        ("display", ("graphics", "display")),
    ],
)
def test_capabilities(text: str, features: tuple[str, ...]) -> None:
    assert one(ALL, NVIDIA_DRIVER_CAPABILITIES=text).features == features


def test_a_capability_that_nobody_knows() -> None:
    with pytest.raises(DeviceError, match="unsupported capabilities found: bogus") as caught:
        one(NV, NVIDIA_DRIVER_CAPABILITIES="compute,bogus")
    assert caught.value.hint == "-e NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    assert asked(DeviceOptions(), {"NVIDIA_DRIVER_CAPABILITIES": "bogus"}) == ()


def test_an_old_image_of_cuda_needs_everything() -> None:
    assert one(ALL, CUDA_VERSION="8.0.61").features == FEATURES
    old = {"CUDA_VERSION": "8.0.61", "NVIDIA_DRIVER_CAPABILITIES": "video"}
    assert one(ALL, **old).features == ("video",)
    young = {"CUDA_VERSION": "12.2.0", "NVIDIA_REQUIRE_CUDA": "cuda>=12.2"}
    assert one(ALL, **young).features == ("compute", "utility")


@pytest.mark.parametrize("name", ["NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES"])
def test_what_only_the_privileged_may(name: str) -> None:
    with pytest.raises(DeviceError, match=f"{name} is set: only a privileged container"):
        one(ALL, **{name: "all"})
    for text in ("", "void", "none"):
        assert one(ALL, **{name: text}).count == -1
    assert asked(DeviceOptions(), {name: "all"}) == ()


WORDS = st.text(alphabet="alvoidne0:1,GPUMIG-/=. nvidia.com")


@settings(database=None, deadline=None)
@given(st.one_of(st.text(), WORDS), st.one_of(st.text(), WORDS), st.one_of(st.text(), WORDS))
def test_no_text_raises_anything_else(visible: str, capabilities: str, device: str) -> None:
    variables = {"NVIDIA_VISIBLE_DEVICES": visible, "NVIDIA_DRIVER_CAPABILITIES": capabilities}
    for options in (ALL, NV):
        with contextlib.suppress(DeviceError):
            asked(options, variables)
    with contextlib.suppress(UsageError):
        check(DeviceOptions(gpus=(f"device={visible}",), devices=(device,)))
