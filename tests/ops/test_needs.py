"""What images need of the host: ``udocker doctor IMAGE``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost
from builders.hosts import host
from builders.sessions import session as make_session
from builders.stores import add_image
from builders.trees import File, program
from engine.test_notes import isa, tag
from engine.test_notes import program as noted
from test_elf import program as elf
from udocker import host as host_module
from udocker.errors import ImageNotFound
from udocker.ops import doctor, needs
from udocker.ops.needs import Need

if TYPE_CHECKING:
    from pathlib import Path

    from builders.sessions import TestSession

V2 = "flags : fpu cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
V3 = f"{V2} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.fixture
def session(store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestSession:
    """On Linux 5.14 with a processor of level 2 and no GPU."""
    processors(tmp_path, monkeypatch, V2)
    root = DriverHost(tmp_path / "driver")
    root.text("proc/none")
    root.text("sys/none")
    return make_session(store_path, host(), driver_root=str(root.top), device_root=str(root.top))


def processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{text}\n")
    monkeypatch.setattr(host_module, "_PROCESSORS", str(tmp_path / "cpuinfo"))


def found(session: TestSession, **image: object) -> dict[str, Need]:
    record = add_image(session.store, **image)  # type: ignore[arg-type]
    return {need.what: need for need in needs.examine_image(session, record)}


def library(*segments: tuple[bytes, int], version: str = "2.36") -> File:
    return File(noted(*segments) + f"\0GLIBC_{version}\0".encode())


def test_what_is_here(session: TestSession) -> None:
    table = {
        "bin/prog": program(),
        "bin/sh": File(elf(interpreter=b"/lib64/ld.so\0"), 0o755),
        "usr/lib/libc.so.6": library((tag(3, 2), 4), (isa(2), 8)),
    }
    shown = found(session, table=table, run={"Cmd": ["prog"], "Env": ["PATH=/bin"]})
    assert list(shown) == [
        *("platform linux/amd64", "command prog", "C library glibc 2.36"),
        *("Linux 3.2 or newer", "processor x86-64-v2"),
    ]
    assert all(need.ok and not need.hint for need in shown.values())


def test_what_is_not(session: TestSession) -> None:
    table = {"lib64/libc.so.6": library((tag(6, 1), 4), (isa(4), 8))}
    run = {"Entrypoint": ["/none"], "Env": ["NVIDIA_VISIBLE_DEVICES=all"]}
    shown = found(session, table=table, run=run)
    assert {what: need.ok for what, need in shown.items() if not need.ok} == {
        "command /none": False,
        "Linux 6.1 or newer": False,
        "processor x86-64-v3": False,
        "NVIDIA GPU": False,
    }
    assert shown["Linux 6.1 or newer"].found == "this host has 5.14"
    assert shown["processor x86-64-v3"].found == "this one is x86-64-v2"
    assert all(need.hint for need in shown.values() if not need.ok and "command" not in need.what)


def test_another_machine_s_image_is_not_looked_into(session: TestSession) -> None:
    shown = found(session, architecture="arm64")
    [need] = shown.values()
    assert not need.ok
    assert "this host is linux/amd64" in need.found


def test_another_machine_s_programs(store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    session = make_session(store_path, host(), {"PATH": str(tmp_path / "bin")})
    image = {"table": {"bin/sh": File(elf(183), 0o755)}, "architecture": "arm64"}
    [need] = found(session, **image).values()
    assert not need.ok
    assert need.hint.startswith("install the package qemu-user-static, or pull")
    emulator = tmp_path / "bin" / "qemu-aarch64-static"
    emulator.write_bytes(elf(interpreter=None))
    emulator.chmod(0o755)
    shown = found(session, **image)
    assert list(shown) == ["platform linux/arm64", "command /bin/sh"]
    assert all(need.ok and not need.hint for need in shown.values())
    assert shown["platform linux/arm64"].found == (
        f"this host is linux/amd64, and such programs are started by {emulator} (F and P modes)"
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (elf(interpreter=None), "static program"),
        (elf(interpreter=b"/lib/ld-musl-x86_64.so.1\0"), "C library musl"),
    ],
)
def test_other_c_libraries(session: TestSession, content: bytes, what: str) -> None:
    table = {"prog": File(content, 0o755)}
    assert found(session, table=table, run={"Cmd": ["/prog"]})[what].ok


def test_no_command(session: TestSession) -> None:
    assert found(session)["no command of its own"].ok


def test_gpus(session: TestSession, tmp_path: Path) -> None:
    env = ["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_CUDA=cuda>=12.2 brand=tesla"]
    env.append("NVIDIA_REQUIRE_DRIVER=driver>=500")

    def shown() -> tuple[bool, str]:
        need = found(session, run={"Env": env})["NVIDIA GPU, cuda>=12.2"]
        return need.ok, need.found

    assert shown() == (False, "no driver is here")
    root = DriverHost(tmp_path / "driver")
    root.node("nvidiactl")  # a driver's node alone is no GPU
    root.driver("usr/lib64", "470.1.2")
    ok, told = shown()
    assert not ok
    assert told.startswith("driver 470.1.2, 0 GPUs to be used: requirement error")
    env.pop()
    ok, told = shown()
    assert not ok
    assert "nvidia0 is missing" in told
    root.gpu("0000:07:00.0", 0)
    root.node("nvidia-uvm")
    assert shown() == (True, "driver 470.1.2, 1 GPU to be used")
    for none in ("void", "none", ""):
        shown = found(session, run={"Env": [f"NVIDIA_VISIBLE_DEVICES={none}"]})
        assert not any("NVIDIA" in what for what in shown)


@pytest.mark.parametrize(
    ("text", "level"), [("", 1), ("flags : fpu", 1), (V2, 2), (V3, 3), (V4, 4)]
)
def test_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, level: int) -> None:
    processors(tmp_path, monkeypatch, text)
    assert host_module.processor_level() == level
    monkeypatch.setattr(host_module, "_PROCESSORS", str(tmp_path / "none"))
    assert host_module.processor_level() == 1


def test_doctor_shows_them(session: TestSession) -> None:
    add_image(session.store, "one:1")
    findings = doctor.examine_host(session, "one:1")
    assert findings.needs[0].what == "platform linux/amd64"
    shown = json.loads(json.dumps(findings.as_json()))["needs"]
    assert shown[0] == {
        **{"what": "platform linux/amd64", "found": "this host is linux/amd64"},
        **{"ok": True, "hint": ""},
    }
    assert doctor.examine_host(session).needs == ()
    with pytest.raises(ImageNotFound, match="no such image: none"):
        doctor.examine_host(session, "none")
