"""CDI specs to test with: small, and as NVIDIA's tool makes them for two GPUs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from udocker.devices import cdi_rules

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from udocker.devices.cdi_rules import Spec

LIB = "/usr/lib/x86_64-linux-gnu"
UUID = "GPU-6c1b34f0-0f2e-4a53-9d0d-2a2f3a0a9f11"


def small(**fields: Any) -> dict[str, Any]:
    """One device ``a`` of kind v.com/c, at the newest version."""
    own = {"name": "a", "containerEdits": {"deviceNodes": [{"path": "/dev/a"}]}}
    return {"cdiVersion": "1.1.0", "kind": "v.com/c", "devices": [own], **fields}


def edited(version: str = "1.1.0", **edits: Any) -> dict[str, Any]:
    """With edits for all devices."""
    return small(cdiVersion=version, containerEdits=edits)


def spec(data: object, path: str = "/etc/cdi/x.json") -> Spec:
    return cdi_rules.read(data, path)


def hook(*words: str, program: str = "/usr/bin/nvidia-cdi-hook") -> dict[str, Any]:
    name = program.rpartition("/")[2]
    return {"hookName": "createContainer", "path": program, "args": [name, *words]}


def mount(host: str, path: str = "", *options: str) -> dict[str, Any]:
    given = list(options or ("ro", "nosuid", "nodev", "rbind", "rprivate"))
    return {"hostPath": host, "containerPath": path or host, "options": given}


def nvidia(version: str = "535.261.03") -> dict[str, Any]:
    def device(name: str, *paths: str) -> dict[str, Any]:
        return {"name": name, "containerEdits": {"deviceNodes": [{"path": p} for p in paths]}}

    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [
            device("0", "/dev/nvidia0", "/dev/dri/card1"),
            device(UUID, "/dev/nvidia0"),
            device("1:0", "/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap12"),
            device("all", "/dev/nvidia0", "/dev/nvidia1"),
        ],
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void", f"NVIDIA_CTK_LIBCUDA_DIR={LIB}"],
            "deviceNodes": [{"path": "/dev/nvidia-uvm"}, {"path": "/dev/nvidiactl"}],
            "hooks": [
                hook("create-symlinks", "--link", f"libcuda.so.1::{LIB}/libcuda.so"),
                hook("enable-cuda-compat", f"--host-driver-version={version}"),
                hook("update-ldcache", "--folder", LIB),
                hook("disable-device-node-modification"),
            ],
            "mounts": [
                mount(f"{LIB}/libcuda.so.{version}"),
                mount(f"{LIB}/libnvidia-ml.so.{version}"),
                mount("/usr/bin/nvidia-smi"),
                mount("/run/nvidia-persistenced/socket", "", "nosuid", "nodev", "rbind", "noexec"),
            ],
        },
    }


def write(path: Path, data: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return str(path)
