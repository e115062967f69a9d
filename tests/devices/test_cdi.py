"""Which CDI specs there are, and which device a name means."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from devices.specs import UUID, nvidia, small, spec, write
from udocker.devices.cdi import DIRECTORIES, Registry, read, read_file, resolve, stale, with_own
from udocker.devices.cdi_write import spec_of
from udocker.errors import DeviceError
from udocker.model.devices import DeviceSet, Gpu, Node

if TYPE_CHECKING:
    from pathlib import Path


def named(registry: Registry, *names: str) -> list[str]:
    return [os.path.basename(found.spec.path) for found in resolve(registry, names)]


def refusal(registry: Registry, name: str) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        resolve(registry, [name])
    return caught.value


def test_directories() -> None:
    assert DIRECTORIES == ("/etc/cdi", "/var/run/cdi")
    assert read(["/none", "/none/x", "/none"]) == Registry(("/none", "/none/x"))


def test_a_name(tmp_path: Path) -> None:
    write(tmp_path / "a" / "nvidia.json", nvidia())
    registry = read([str(tmp_path / "a")])
    assert registry.problems == ()
    first, second = resolve(
        registry, ["nvidia.com/gpu=1:0", "nvidia.com/gpu=0", "nvidia.com/gpu=0"]
    )
    assert first.name == "nvidia.com/gpu=1:0"
    assert [node.path for node in second.changes.nodes] == ["/dev/nvidia0", "/dev/dri/card1"]


def test_the_later_directory_wins(tmp_path: Path) -> None:
    write(tmp_path / "a" / "old.json", small())
    write(tmp_path / "b" / "young.json", small())
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert named(read([a, b]), "v.com/c=a") == ["young.json"]
    assert named(read([b, a]), "v.com/c=a") == ["old.json"]


def test_one_device_in_two_files_of_a_directory(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, small()) for name in ("1.json", "2.json")]
    error = refusal(read([str(tmp_path)]), "v.com/c=a")
    assert error.message == f"conflicting CDI device v.com/c=a: it is in {paths[0]} and {paths[1]}"
    # Later there is one that counts, and other devices are in nobody's way.
    later = tmp_path / "later"
    write(later / "3.json", small())
    assert named(read([str(tmp_path), str(later)]), "v.com/c=a") == ["3.json"]
    write(tmp_path / "4.json", small(kind="v.com/d"))
    assert named(read([str(tmp_path)]), "v.com/d=a") == ["4.json"]


def test_what_was_found_counts_where_no_file_has_it(tmp_path: Path) -> None:
    found = DeviceSet("amd", gpus=(Gpu(0, (Node("/dev/dri/renderD128"),)),))
    write(tmp_path / "x.json", small(kind="amd.com/gpu"))
    registry = with_own(read([str(tmp_path)]), [DeviceSet("nvidia"), found])
    assert named(registry, "amd.com/gpu=0") == ["(devices of amd that are here)"]
    assert named(registry, "amd.com/gpu=a") == ["x.json"]
    (tmp_path / "x.json").write_text(json.dumps(spec_of(found)))
    registry = with_own(read([str(tmp_path)]), [found])
    assert named(registry, "amd.com/gpu=0") == ["x.json"]
    assert refusal(registry, "nvidia.com/gpu=0").message.startswith("unresolvable")


def test_what_is_read(tmp_path: Path) -> None:
    write(tmp_path / "below" / "1.json", small())
    write(tmp_path / "2.txt", small())
    write(tmp_path / ".json" / "x", small())
    os.symlink(write(tmp_path / "3.spec", small()), tmp_path / "4.json")
    registry = read([str(tmp_path)])
    assert [os.path.basename(found.path) for _, found in registry.specs] == ["4.json"]
    assert registry.problems == ()


def test_what_does_not_exist(tmp_path: Path) -> None:
    write(tmp_path / "nvidia.json", nvidia())
    registry = read([str(tmp_path)])
    error = refusal(registry, "nvidia.com/gpu=9")
    assert error.message == "unresolvable CDI devices nvidia.com/gpu=9"
    assert error.hint == f"nvidia.com/gpu has 0, {UUID}, 1:0, all"
    assert error.exit_code == 125
    assert refusal(registry, "v.com/c=0").hint == (
        f"in {tmp_path} there is nvidia.com/gpu; --cdi-dir adds to it"
    )
    assert "there is no spec" in str(refusal(read([str(tmp_path / "x")]), "v.com/c=0").hint)


def test_many_names_are_not_all_told(tmp_path: Path) -> None:
    devices = [{"name": f"d{n}", "containerEdits": {"env": ["A=b"]}} for n in range(500)]
    write(tmp_path / "x.json", small(devices=devices))
    assert str(refusal(read([str(tmp_path)]), "v.com/c=x").hint).endswith(", d19 and 480 more")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON: "),
        (b"{", "not JSON: "),
        (b"\xff\xfe", "not JSON: "),
        (b"[" * 100_000, "not JSON: "),
        (b"[]", "the spec is not an object"),
        (b"null", "the spec is not an object"),
        (b'{"cdiVersion": "0.5.0", "kind": "v.com/c", "devices": []}', "no devices"),
        (b" " * 10_000_000, "larger than 4 MiB"),
    ],
)
def test_a_file_that_is_no_spec(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    write(tmp_path / "good.json", small())
    registry = read([str(tmp_path)])
    (problem,) = registry.problems
    assert problem.startswith(f"{path}: {why}")
    # It is in nobody's way, but told where something is not found.
    assert named(registry, "v.com/c=a") == ["good.json"]
    told = refusal(registry, "v.com/c=b").message
    assert told.startswith(f"unresolvable CDI devices v.com/c=b; {path}: {why}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.json")
    os.symlink("/none", tmp_path / "2.json")
    os.symlink("3.json", tmp_path / "3.json")
    os.symlink("/dev/null", tmp_path / "4.json")
    problems = read([str(tmp_path)]).problems
    assert [problem.rpartition(": ")[2] for problem in problems] == [
        "not a regular file",
        "No such file or directory",
        "Too many levels of symbolic links",
        "not a regular file",
    ]


def test_yaml_without_a_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)  # its import fails
    path = write(tmp_path / "nvidia.yaml", nvidia())
    error = refusal(read([str(tmp_path)]), "nvidia.com/gpu=0")
    assert error.message == (
        f"unresolvable CDI devices nvidia.com/gpu=0; {path}: YAML, and PyYAML is not installed: "
        "pip install pyyaml, or write the spec as JSON"
    )


YAML = f"""\
---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
- name: {UUID}
  containerEdits: &edits
    deviceNodes:
    - path: /dev/nvidia0
- name: 1
  containerEdits: *edits
"""


def test_yaml(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is missing: pip install pyyaml")
    path = tmp_path / "nvidia.yaml"
    path.write_text(YAML)
    assert [name for name, _ in read_file(str(path)).devices] == ["0", UUID, "1"]
    write(tmp_path / "json.yaml", small())
    assert read([str(tmp_path)]).problems == ()
    for content in ("a: b: c", "- !!python/object/apply:os.system [x]", "\t", "a: [" * 5000):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"not YAML: "):
            read_file(str(path))
    path.write_text("")
    with pytest.raises(ValueError, match="the spec is not an object"):
        read_file(str(path))


@pytest.mark.parametrize(
    ("loaded", "is_stale"), [("535.261.03", False), ("550.54", True), ("", False)]
)
def test_a_spec_of_another_driver(loaded: str, is_stale: bool) -> None:
    told = stale(spec(nvidia(), "/etc/cdi/nvidia.json"), loaded)
    if is_stale:
        assert told.startswith(
            "CDI spec /etc/cdi/nvidia.json is stale: it is for driver 535.261.03, 550.54 is loaded"
        )
    else:
        assert told == ""
    assert stale(spec(small()), "550.54") == ""
