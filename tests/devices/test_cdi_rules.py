"""The rules of CDI: what is a spec, at which version, and why something else is none."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.specs import UUID, edited, hook, mount, nvidia, small, spec
from udocker.devices import cdi_rules
from udocker.devices.cdi_rules import VERSIONS, Changes, Hook, MountChange, NodeChange

if TYPE_CHECKING:
    from typing import Any

NODE = {"path": "/dev/a"}


def why(data: object) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        spec(data)
    return str(caught.value)


def test_a_spec_of_nvidia() -> None:
    read = spec(nvidia(), "/etc/cdi/nvidia.json")
    assert (read.path, read.kind) == ("/etc/cdi/nvidia.json", "nvidia.com/gpu")
    assert [name for name, _ in read.devices] == ["0", UUID, "1:0", "all"]
    assert dict(read.devices)["1:0"].nodes == (
        NodeChange("/dev/nvidia1", "/dev/nvidia1"),
        NodeChange("/dev/nvidia-caps/nvidia-cap12", "/dev/nvidia-caps/nvidia-cap12"),
    )
    assert read.changes.env[0] == ("NVIDIA_VISIBLE_DEVICES", "void")
    assert len(read.changes.hooks) == len(read.changes.mounts) == 4


def test_every_field() -> None:
    data = edited(
        env=["A=b=c", "E="],
        deviceNodes=[
            {
                "path": "/dev/./x",
                "hostPath": "/dev/y",
                "type": "c",
                "major": 1,
                "minor": 2,
                "fileMode": 438,
                "permissions": "rw",
                "uid": 0,
                "gid": 4294967295,
            },
            {"path": "/dev/z", "permissions": "none", "type": ""},
        ],
        mounts=[{**mount("/h/../i", "/c//d"), "type": "bind"}],
        hooks=[{**hook("x"), "env": ["A=b"], "timeout": 0}],
        additionalGids=[0, 44],
        intelRdt={"closID": "x"},
        netDevices=[{"hostInterfaceName": "eth0", "name": "e"}],
    )
    data["annotations"] = {"a": "b"}
    data["devices"][0]["annotations"] = {}
    assert spec(data).changes == Changes(
        env=(("A", "b=c"), ("E", "")),
        nodes=(NodeChange("/dev/x", "/dev/y"), NodeChange("/dev/z", "/dev/z")),
        mounts=(MountChange("/h/../i", "/c/d", ("ro", "nosuid", "nodev", "rbind", "rprivate")),),
        hooks=(Hook("/usr/bin/nvidia-cdi-hook", ("nvidia-cdi-hook", "x")),),
        groups=(44,),
        others=("intelRdt", "netDevices"),
    )


def test_null_is_nothing() -> None:
    data = edited(env=None, mounts=None, hooks=None, deviceNodes=[{**NODE, "major": None}])
    assert spec(data).changes == Changes(nodes=(NodeChange("/dev/a", "/dev/a"),))
    assert spec(small(containerEdits=None, annotations=None)).changes == Changes()


@pytest.mark.parametrize("version", [*VERSIONS, "v0.5.0"])
def test_versions(version: str) -> None:
    assert spec(small(cdiVersion=version)).kind == "v.com/c"


@pytest.mark.parametrize("version", ["", "0.2.0", "0.1.0", "0.3", "1.2.0", "2.0.0", "x", "0.5.0 "])
def test_versions_that_nobody_knows(version: str) -> None:
    assert why(small(cdiVersion=version)).startswith(f"version {version!r} is not known")


@pytest.mark.parametrize(
    ("least", "fields", "what"),
    [
        ("0.4.0", {"containerEdits": {"mounts": [{**mount("/a"), "type": "bind"}]}}, "type of a"),
        ("0.5.0", {"containerEdits": {"deviceNodes": [{**NODE, "hostPath": "/b"}]}}, "hostPath"),
        (
            "0.5.0",
            {"devices": [{"name": "0", "containerEdits": {"env": ["A=b"]}}]},
            "the name '0'",
        ),
        ("0.6.0", {"annotations": {"a": "b"}}, "annotations"),
        ("0.6.0", {"kind": "v.com/c.d"}, "a dot in the class"),
        ("0.7.0", {"containerEdits": {"additionalGids": [1]}}, "additionalGids"),
        ("0.7.0", {"containerEdits": {"intelRdt": {"closID": "x"}}}, "intelRdt"),
        ("1.1.0", {"containerEdits": {"netDevices": [{"name": "x"}]}}, "netDevices"),
    ],
)
def test_a_field_that_is_younger_than_the_file(
    least: str, fields: dict[str, object], what: str
) -> None:
    assert spec(small(cdiVersion=least, **fields))
    before = VERSIONS[VERSIONS.index(least) - 1]
    told = why(small(cdiVersion=before, **fields))
    assert told.startswith(what)
    assert told.endswith(f" needs version {least}, the file says {before}")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "the spec is not an object"),
        ([], "the spec is not an object"),
        ("x", "the spec is not an object"),
        ({}, "the spec: cdiVersion is missing"),
        ({"cdiVersion": 5, "kind": "v.com/c"}, "the spec: cdiVersion is not a text"),
        ({"cdiVersion": "0.5.0"}, "the spec: kind is missing"),
        (small(more=1), "the spec: unknown field 'more'"),
        (small(devices=[]), "no devices"),
        (small(devices=None), "no devices"),
        (small(devices={}), "the spec: devices is not a list"),
        (small(devices=["a"]), "devices[0] is not an object"),
        (small(devices=[{"name": "a"}]), "device a: nothing to edit"),
        (small(devices=[{"name": "a", "containerEdits": {}}]), "device a: nothing to edit"),
        (small(devices=[{"containerEdits": {}}]), "devices[0]: name is missing"),
        (small(devices=small()["devices"] * 2), "device 'a' twice"),
        (small(annotations={"a": 1}), "the spec: annotations are not texts by names"),
        (small(annotations=["a"]), "the spec: annotations are not texts by names"),
        (edited(more=1), "containerEdits: unknown field 'more'"),
        (edited(env="A=b"), "containerEdits: env is not a list"),
        (edited(env=[1]), "containerEdits: env is not a text"),
        (edited(env=["A"]), "containerEdits: not an environment variable: 'A'"),
        (edited(env=["=A"]), "containerEdits: not an environment variable: '=A'"),
        (edited(additionalGids=[-1]), "containerEdits: additionalGids is not a number from 0"),
        (edited(additionalGids=[True]), "containerEdits: additionalGids is not a number from 0"),
    ],
)
def test_what_is_no_spec(data: object, told: str) -> None:
    assert why(data).startswith(told)


@pytest.mark.parametrize(
    "kind", ["", "v", "v/", "/c", "1v/c", "v/1c", "v/c/d", "v /c", "v-/c", "v/c."]
)
def test_what_is_no_kind(kind: str) -> None:
    assert why(small(kind=kind)) == f"kind {kind!r} is not like vendor.com/class"


@pytest.mark.parametrize("name", ["a", "0", "GPU-1a", "1:0", "a.b_c-d", "0000:07:00.0"])
def test_names(name: str) -> None:
    changes = {"env": ["A=b"]}
    assert spec(small(devices=[{"name": name, "containerEdits": changes}])).devices[0][0] == name


@pytest.mark.parametrize("name", ["", "-a", "a-", ":", "a/b", "a b", "a=b", "ä", "*"])
def test_what_is_no_name(name: str) -> None:
    changes = {"env": ["A=b"]}
    told = why(small(devices=[{"name": name, "containerEdits": changes}]))
    assert told == f"devices[0]: {name!r} is not a name of a device"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"path": None}, "path is missing"),
        ({"path": ""}, "path '' is not an absolute path"),
        ({"path": "dev/a"}, "path 'dev/a' is not an absolute path"),
        ({"path": "/dev/../a"}, "path '/dev/../a' has a .. in it"),
        ({"path": "/dev/a\nb"}, "path '/dev/a\\nb' is not an absolute path"),
        ({"hostPath": "a"}, "hostPath 'a' is not an absolute path"),
        ({"type": "x"}, "type 'x'"),
        ({"permissions": "rwx"}, "permissions 'rwx'"),
        ({"major": -1}, "major is not a number from 0"),
        ({"major": "1"}, "major is not a number from 0"),
        ({"minor": 1.5}, "minor is not a number from 0"),
        ({"uid": 1 << 32}, "uid is not a number from 0"),
        ({"mode": 1}, "unknown field 'mode'"),
    ],
)
def test_what_is_no_node(fields: dict[str, object], told: str) -> None:
    found = why(edited(deviceNodes=[NODE, {**NODE, **fields}]))
    assert found.startswith("containerEdits, deviceNodes[1]: ")
    assert told in found


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"hostPath": None}, "hostPath is missing"),
        ({"hostPath": "a"}, "hostPath 'a' is not an absolute path"),
        ({"containerPath": ""}, "containerPath '' is not an absolute path"),
        ({"containerPath": "a"}, "containerPath 'a' is not an absolute path"),
        ({"containerPath": "/a/../../etc"}, "containerPath '/a/../../etc' has a .. in it"),
        ({"containerPath": "/"}, "containerPath is /"),
        ({"containerPath": "/./"}, "containerPath is /"),
        ({"type": "tmpfs"}, "only bind mounts can be made, not 'tmpfs'"),
        ({"options": "ro"}, "options is not a list"),
        ({"options": [1]}, "options is not a text"),
        ({"readonly": True}, "unknown field 'readonly'"),
    ],
)
def test_what_is_no_mount(fields: dict[str, object], told: str) -> None:
    found = why(edited(mounts=[{**mount("/a"), **fields}]))
    assert found == f"containerEdits, mounts[0]: {told}"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"hookName": "onExit"}, "hookName 'onExit'"),
        ({"hookName": None}, "hookName is missing"),
        ({"path": "hook"}, "path 'hook' is not an absolute path"),
        ({"args": "x"}, "args is not a list"),
        ({"env": ["x"]}, "not an environment variable: 'x'"),
        ({"timeout": "1"}, "timeout is not a number from 0 to 4294967295"),
        ({"when": {}}, "unknown field 'when'"),
    ],
)
def test_what_is_no_hook(fields: dict[str, object], told: str) -> None:
    found = why(edited(hooks=[{**hook("x"), **fields}]))
    assert found == f"containerEdits, hooks[0]: {told}"


def test_a_name_of_digits_in_yaml() -> None:
    data = small(devices=[{"name": 0, "containerEdits": {"env": ["A=b"]}}])
    assert cdi_rules.read(data, "/x.yaml", from_yaml=True).devices[0][0] == "0"
    assert why(data) == "devices[0]: name is not a text"
    data["devices"][0]["name"] = True
    with pytest.raises(ValueError, match="name is not a text"):
        cdi_rules.read(data, "/x.yaml", from_yaml=True)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.sampled_from(["/a", "/a/../b", "A=b", "rwm", "0.5.0", "v.com/c", "prestart"]),
)
NAMES = st.sampled_from(
    [
        *("cdiVersion", "kind", "devices", "containerEdits", "annotations", "name", "env"),
        *("deviceNodes", "mounts", "hooks", "additionalGids", "intelRdt", "netDevices", "path"),
        *("hostPath", "containerPath", "options", "hookName", "args", "timeout", "type", "x"),
    ]
)
JSON = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(NAMES, st.integers()), inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(database=None, deadline=None)
@given(JSON, st.lists(NAMES, min_size=1, max_size=3), st.booleans())
def test_no_data_is_anything_but_a_spec_or_an_error(
    data: object, place: list[str], from_yaml: bool
) -> None:
    """Alone, and in the place of some part of a spec that is right."""
    whole: Any = edited(env=["A=b"], deviceNodes=[dict(NODE)], mounts=[mount("/a")], hooks=[hook()])
    part = whole
    for name in place[:-1]:
        inner = part.get(name) if isinstance(part, dict) else None
        part = inner[0] if isinstance(inner, list) and isinstance(inner[0], dict) else inner
    if isinstance(part, dict):
        part[place[-1]] = data
    for each in (data, whole):
        with contextlib.suppress(ValueError):
            assert isinstance(cdi_rules.read(each, "/x", from_yaml=from_yaml), cdi_rules.Spec)
