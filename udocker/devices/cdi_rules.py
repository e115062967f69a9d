"""The rules of a CDI spec, from 0.3.0 to 1.1.0: JSON, as it was read, becomes a Spec.

https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md. Unknown fields are
errors there, and so is a field that is younger than the version that the file says. Besides, paths
in the container must be absolute and lead nowhere by ``..``: they are places to mount on.
"""

from __future__ import annotations

import re

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
HOOK_NAMES = (
    *("prestart", "createRuntime", "createContainer", "startContainer"),
    *("poststart", "poststop"),
)
_WORD = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_DEVICE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?")
_PERMISSIONS = re.compile("[rwm]*")
_UINT32, _INT64 = 2**32 - 1, 2**63 - 1


@value
class NodeChange:
    """A device node; ``host`` is where it is outside."""

    path: str
    host: str


@value
class MountChange:
    """A mount of a host file or directory."""

    host: str
    path: str
    options: tuple[str, ...] = ()


@value
class Hook:
    """A program that others would run on the container; we know what some of them do."""

    path: str
    arguments: tuple[str, ...] = ()


@value
class Changes:
    """``containerEdits``. ``others``: fields that nothing here can do."""

    env: tuple[tuple[str, str], ...] = ()
    nodes: tuple[NodeChange, ...] = ()
    mounts: tuple[MountChange, ...] = ()
    hooks: tuple[Hook, ...] = ()
    groups: tuple[int, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return self == Changes()


@value
class Spec:
    """A file: its devices by their names, and what each of them brings along."""

    path: str
    kind: str  # vendor.com/class
    devices: tuple[tuple[str, Changes], ...]
    changes: Changes = Changes()


def read(data: object, path: str, *, from_yaml: bool = False) -> Spec:
    """The Spec that ``data`` is. Raises ValueError, which says where it is none."""
    return _Reader(from_yaml).spec(data, path)


class _Reader:
    def __init__(self, from_yaml: bool) -> None:
        self._from_yaml = from_yaml
        self._needed: list[tuple[str, str]] = []  # a version, and what needs it

    def spec(self, data: object, path: str) -> Spec:
        fields = ("cdiVersion", "kind", "devices", "containerEdits", "annotations")
        top = self._object(data, "the spec", fields)
        version = self._text(top, "cdiVersion", "the spec")
        kind = self._text(top, "kind", "the spec")
        self._check_kind(kind)
        self._annotations(top, "the spec")
        changes = self._changes(top.get("containerEdits"), "containerEdits")
        devices: dict[str, Changes] = {}
        for number, item in enumerate(self._list(top, "devices", "the spec")):
            name, own = self._device(item, f"devices[{number}]")
            if name in devices:
                raise ValueError(f"device {name!r} twice")
            devices[name] = own
        if not devices:
            raise ValueError("no devices")
        self._check_version(version)
        return Spec(path, kind, tuple(devices.items()), changes)

    def _check_kind(self, kind: str) -> None:
        vendor, slash, name = kind.partition("/")
        if not slash or not _WORD.fullmatch(vendor) or not _WORD.fullmatch(name):
            raise ValueError(f"kind {kind[:200]!r} is not like vendor.com/class")
        if "." in name:
            self._needs("0.6.0", "a dot in the class")

    def _check_version(self, version: str) -> None:
        known = version.removeprefix("v")
        if known not in VERSIONS:
            raise ValueError(
                f"version {version[:40]!r} is not known: {VERSIONS[0]} to {VERSIONS[-1]} are"
            )
        for least, what in self._needed:
            if VERSIONS.index(known) < VERSIONS.index(least):
                raise ValueError(f"{what} needs version {least}, the file says {known}")

    def _device(self, data: object, where: str) -> tuple[str, Changes]:
        fields = self._object(data, where, ("name", "containerEdits", "annotations"))
        name = self._text(fields, "name", where)
        if not _DEVICE.fullmatch(name):
            raise ValueError(f"{where}: {name[:200]!r} is not a name of a device")
        if not name[0].isalpha():
            self._needs("0.5.0", f"the name {name!r}")
        self._annotations(fields, where)
        changes = self._changes(fields.get("containerEdits"), f"device {name}")
        if changes.is_empty:
            raise ValueError(f"device {name}: nothing to edit")
        return name, changes

    def _changes(self, data: object, where: str) -> Changes:
        if data is None:
            return Changes()
        known = (
            *("env", "deviceNodes", "mounts", "hooks"),
            *("additionalGids", "intelRdt", "netDevices"),
        )
        fields = self._object(data, where, known)
        for name, least in (("additionalGids", "0.7.0"), ("intelRdt", "0.7.0")):
            if fields.get(name):
                self._needs(least, name)
        if fields.get("netDevices"):
            self._needs("1.1.0", "netDevices")
        groups = self._list(fields, "additionalGids", where)
        return Changes(
            env=tuple(self._variables(fields, where)),
            nodes=tuple(
                self._node(item, f"{where}, deviceNodes[{number}]")
                for number, item in enumerate(self._list(fields, "deviceNodes", where))
            ),
            mounts=tuple(
                self._mount(item, f"{where}, mounts[{number}]")
                for number, item in enumerate(self._list(fields, "mounts", where))
            ),
            hooks=tuple(
                self._hook(item, f"{where}, hooks[{number}]")
                for number, item in enumerate(self._list(fields, "hooks", where))
            ),
            groups=tuple(filter(None, (self._group(item, where) for item in groups))),
            others=tuple(name for name in ("intelRdt", "netDevices") if fields.get(name)),
        )

    def _node(self, data: object, where: str) -> NodeChange:
        numbers = ("major", "minor", "fileMode", "uid", "gid")
        known = ("path", "hostPath", "type", "permissions", *numbers)
        fields = self._object(data, where, known)
        path = self._inside(fields, "path", where)
        host = path
        if fields.get("hostPath") not in (None, ""):
            self._needs("0.5.0", "hostPath of a node")
            host = self._outside(fields, "hostPath", where)
        kind = self._text(fields, "type", where, default="")
        if kind not in ("", "b", "c", "u", "p"):
            raise ValueError(f"{where}: type {kind[:40]!r}")
        permissions = self._text(fields, "permissions", where, default="")
        if permissions != "none" and not _PERMISSIONS.fullmatch(permissions):
            raise ValueError(f"{where}: permissions {permissions[:40]!r}")
        for name in numbers:
            most = _INT64 if name in ("major", "minor") else _UINT32
            self._number(fields.get(name), f"{where}: {name}", most)
        return NodeChange(path, host)

    def _mount(self, data: object, where: str) -> MountChange:
        fields = self._object(data, where, ("hostPath", "containerPath", "type", "options"))
        kind = self._text(fields, "type", where, default="")
        if kind:
            self._needs("0.4.0", "type of a mount")
        if kind not in ("", "bind", "none"):
            raise ValueError(f"{where}: only bind mounts can be made, not {kind[:40]!r}")
        path = self._inside(fields, "containerPath", where)
        if path == "/":
            raise ValueError(f"{where}: containerPath is /")
        options = tuple(self._texts(fields, "options", where))
        return MountChange(self._outside(fields, "hostPath", where), path, options)

    def _hook(self, data: object, where: str) -> Hook:
        fields = self._object(data, where, ("hookName", "path", "args", "env", "timeout"))
        name = self._text(fields, "hookName", where)
        if name not in HOOK_NAMES:
            raise ValueError(f"{where}: hookName {name[:40]!r}")
        path = self._outside(fields, "path", where)
        tuple(self._variables(fields, where))
        self._number(fields.get("timeout"), f"{where}: timeout", _UINT32)
        return Hook(path, tuple(self._texts(fields, "args", where)))

    def _variables(self, fields: dict[str, Any], where: str) -> Iterator[tuple[str, str]]:
        for text in self._texts(fields, "env", where):
            name, equals, given = text.partition("=")
            if not name or not equals or "\0" in text:
                raise ValueError(f"{where}: not an environment variable: {text[:200]!r}")
            yield name, given

    def _group(self, data: object, where: str) -> int:
        return self._number(data, f"{where}: additionalGids", _UINT32) or 0

    def _annotations(self, fields: dict[str, Any], where: str) -> None:
        found = fields.get("annotations")
        if not found:
            return
        self._needs("0.6.0", "annotations")
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise ValueError(f"{where}: annotations are not texts by names")

    # Types

    def _needs(self, version: str, what: str) -> None:
        self._needed.append((version, what))

    def _object(self, data: object, where: str, known: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise ValueError(f"{where} is not an object")
        unknown = [name for name in data if name not in known]
        if unknown:
            raise ValueError(f"{where}: unknown field {str(unknown[0])[:200]!r}")
        return data

    def _list(self, fields: dict[str, Any], name: str, where: str) -> list[Any]:
        found = fields.get(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise ValueError(f"{where}: {name} is not a list")
        return found

    def _texts(self, fields: dict[str, Any], name: str, where: str) -> Iterator[str]:
        for item in self._list(fields, name, where):
            yield self._as_text(item, f"{where}: {name}")

    def _text(
        self, fields: dict[str, Any], name: str, where: str, default: str | None = None
    ) -> str:
        found = fields.get(name)
        if found is None:
            if default is None:
                raise ValueError(f"{where}: {name} is missing")
            return default
        return self._as_text(found, f"{where}: {name}")

    def _as_text(self, found: object, where: str) -> str:
        """In YAML a name of digits needs no quotes."""
        if self._from_yaml and isinstance(found, int) and not isinstance(found, bool):
            return str(found)
        if not isinstance(found, str):
            raise ValueError(f"{where} is not a text")
        return found

    def _number(self, found: object, where: str, most: int) -> int | None:
        if found is None:
            return None
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= most:
            raise ValueError(f"{where} is not a number from 0 to {most}")
        return found

    def _outside(self, fields: dict[str, Any], name: str, where: str) -> str:
        path = self._text(fields, name, where)
        if not path.startswith("/") or "\0" in path or "\n" in path:
            raise ValueError(f"{where}: {name} {path[:200]!r} is not an absolute path")
        return path

    def _inside(self, fields: dict[str, Any], name: str, where: str) -> str:
        path = self._outside(fields, name, where)
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise ValueError(f"{where}: {name} {path[:200]!r} has a .. in it")
        return "/" + "/".join(parts)
