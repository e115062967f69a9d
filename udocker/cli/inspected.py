"""What ``inspect --format`` shows: udocker's own fields, and Docker's names for them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def docker_names(found: dict[str, Any]) -> dict[str, Any]:
    """``found`` as inspect prints it, with Docker's fields added."""
    return {**found, **(_container(found) if "form" in found else _image(found))}


def _container(found: dict[str, Any]) -> dict[str, Any]:
    document = found["config"]
    names = found["names"]
    root = found["root"]
    state = found.get("state") or {}
    ports = found.get("ports") or {}
    return {
        "Id": found["id"],
        "Name": f"/{names[0]}" if names else "",
        "Created": found["created"],
        "Image": document.get("id", found["manifest"]),
        "Config": {**_config(document, found["image"]), "Labels": found["labels"]},
        "Platform": document.get("os", "linux"),
        "Driver": found["form"],
        "State": _state(state),
        "Mounts": found.get("mounts", []),
        "GraphDriver": {"Name": found["form"], "Data": {"LowerDir": found["tree"], "Root": root}},
        "HostConfig": {"NetworkMode": "host", "PortBindings": ports},
        "NetworkSettings": {
            "IPAddress": "",
            "Ports": ports if state.get("running") else {},
            "Networks": {"host": {}},
        },
    }


def _state(found: dict[str, Any]) -> dict[str, Any]:
    """With capitals, and as many more as udocker has no word for."""
    names = {key: f"{key[:1].upper()}{key[1:]}" for key in found}
    return {"Dead": False, "Restarting": False, **{names[key]: found[key] for key in found}}


def _image(found: dict[str, Any]) -> dict[str, Any]:
    document = found["config"]
    repository = found["reference"].rpartition(":")[0]
    return {
        "Id": found["id"],
        "RepoTags": [found["reference"]] if "@" not in found["reference"] else [],
        "RepoDigests": [f"{repository}@{found['index'] or found['manifest']}"],
        "Created": document.get("created", ""),
        "Architecture": document.get("architecture", ""),
        "Os": document.get("os", ""),
        "Variant": document.get("variant", ""),
        "Author": document.get("author", ""),
        "Config": _config(document, ""),
        "RootFS": {"Type": "layers", "Layers": document.get("rootfs", {}).get("diff_ids", [])},
        "Metadata": {"LastTagTime": found["pulled"]},
    }


def _config(document: dict[str, Any], image: str) -> dict[str, Any]:
    """All that Docker has, also what the image does not say."""
    said = document.get("config") or {}
    nothing: dict[str, Any] = {
        "Hostname": "",
        "User": "",
        "Env": [],
        "Cmd": None,
        "Entrypoint": None,
        "WorkingDir": "",
        "Labels": {},
        "Volumes": None,
        "ExposedPorts": None,
        "StopSignal": "",
        "Image": image,
    }
    return {**nothing, **{key: each for key, each in said.items() if each is not None}}
