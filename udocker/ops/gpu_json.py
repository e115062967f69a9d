"""What was found of GPUs, as ``udocker gpu list --json`` and ``doctor --json`` tell it."""

from __future__ import annotations

from udocker.ops.gpus import Permission, permission

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.devices import DeviceSet, Gpu, Node
    from udocker.ops.gpus import Devices


def as_json(found: Devices) -> dict[str, object]:
    return {
        "driverRoot": found.places.driver,
        "deviceRoot": found.places.device,
        "devices": [_set_as_json(each) for each in found.sets],
        "ok": found.ok,
        "needs": [
            {"what": need.what, "found": need.found, "ok": need.ok, "hint": need.hint}
            for need in found.needs
        ],
    }


def _set_as_json(found: DeviceSet) -> dict[str, object]:
    return {
        "vendor": found.vendor,
        "version": found.version,
        "gpus": [_gpu_as_json(gpu) for gpu in found.gpus],
        "nodes": [_node_as_json(node) for node in found.nodes],
        "libraries": [
            {
                "path": each.path,
                "soname": each.soname,
                "feature": each.feature,
                "bits": each.bits,
                "glibc": ".".join(map(str, each.glibc)) if any(each.glibc) else "",
            }
            for each in found.libraries
        ],
        "links": [{"name": name, "target": target} for name, target in found.links],
        "programs": list(found.programs),
        "files": list(found.files),
        "sockets": list(found.sockets),
        "warnings": list(found.warnings),
    }


def _gpu_as_json(gpu: Gpu) -> dict[str, object]:
    return {
        "index": gpu.index,
        "minor": gpu.minor if gpu.minor >= 0 else None,
        "uuid": gpu.uuid,
        "bus": gpu.bus,
        "name": gpu.name,
        "nodes": [_node_as_json(node) for node in gpu.nodes],
        "parts": [
            {"name": part.name, "nodes": [_node_as_json(node) for node in part.nodes]}
            for part in gpu.parts
        ],
    }


def _node_as_json(node: Node) -> dict[str, object]:
    try:
        own = permission(node.path)
    except OSError:
        own = Permission("", "", "")
    return {
        "path": node.path,
        "open": node.is_open,
        "mode": own.mode,
        "owner": own.owner,
        "group": own.group,
    }
