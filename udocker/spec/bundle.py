"""An OCI bundle's config.json, read as a run; and the one that is written for an image. Pure.

https://github.com/opencontainers/runtime-spec/blob/main/config.md, version 1.x. What needs rights
that nobody has here (control groups, capabilities, namespaces, security modules) is passed over.
"""

from __future__ import annotations

import json
import os

from udocker.errors import UnsupportedFeature, UsageError
from udocker.model.request import Limits, RunRequest, Tmpfs, Volume
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from udocker.model.run import User

VERSION = "1.0.2"
# What every run has of the host already, or nobody may mount.
_SYSTEM_TYPES = ("proc", "sysfs", "devpts", "devtmpfs", "mqueue", "cgroup", "cgroup2")
_SYSTEM = ("/dev", "/proc", "/sys")
_UNLIMITED = (1 << 63) - 1
_NOT_TMPFS = ("ro", "rw", "nosuid", "nodev", "noexec", "exec", "suid", "dev", "strictatime")
_NOT_TMPFS_TOO = ("relatime", "noatime", "tmpcopyup", "bind", "rbind")


@value
class Bundled:
    """A run, and what of the file has no effect: for a warning."""

    request: RunRequest
    terminal: bool
    unheeded: tuple[str, ...]


def read(raw: bytes, bundle: str) -> Bundled:
    """The run that the config.json ``raw`` of directory ``bundle`` (absolute) asks for.

    Raises UsageError where it is not one, UnsupportedFeature for a mount that cannot be.
    """
    try:
        config = json.loads(raw)
        major = str(config["ociVersion"]).partition(".")[0]
        process, root = config["process"], config["root"]
        request = RunRequest(
            target=os.path.basename(bundle) or "bundle",
            command=_texts(process["args"]),
            entrypoint="",
            env=tuple(_variables(process.get("env") or ())),
            workdir=_path(process["cwd"]),
            user=_user(process.get("user") or {}),
            groups=tuple(
                str(int(g)) for g in (process.get("user") or {}).get("additionalGids", ())
            ),
            hostname=_name(config.get("hostname")),
            readonly=root.get("readonly") is True,
            location=os.path.normpath(os.path.join(bundle, _text(root["path"]))),
            limits=Limits(rlimits=tuple(_rlimits(process.get("rlimits") or ()))),
            metadata=False,
            **_mounts(config.get("mounts") or (), bundle),
        )
        terminal = process.get("terminal") is True
        unheeded = tuple(name for name in ("hooks",) if config.get(name))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UsageError(
            f"{bundle}/config.json is not the configuration of an OCI bundle: "
            f"{type(error).__name__}: {error}",
            hint="udocker bundle IMAGE DIR makes a bundle",
        ) from error
    if major != "1":
        raise UsageError(f"{bundle}/config.json is of version {config['ociVersion']!r}, not 1.x")
    return Bundled(request, terminal, unheeded)


def write(
    argv: Sequence[str],
    *,
    variables: Sequence[tuple[str, str]],
    cwd: str,
    user: User,
    owner: tuple[int, int],
) -> bytes:
    """A config.json for the root ``rootfs``; ``owner`` is who has its files: user and group."""
    uid, gid = owner
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        _bind("/dev"),
        _bind("/sys", "ro"),
    ]
    document = {
        "ociVersion": VERSION,
        "process": {
            "terminal": False,
            "user": {"uid": user.uid, "gid": user.gid},
            "args": list(argv),
            "env": [f"{name}={text}" for name, text in variables],
            "cwd": cwd,
        },
        "root": {"path": "rootfs", "readonly": False},
        "mounts": mounts,
        "linux": {
            "uidMappings": [{"containerID": user.uid, "hostID": uid, "size": 1}],
            "gidMappings": [{"containerID": user.gid, "hostID": gid, "size": 1}],
            "namespaces": [{"type": "user"}, {"type": "mount"}, {"type": "pid"}],
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _bind(path: str, *options: str) -> dict[str, Any]:
    return {
        "destination": path,
        "type": "bind",
        "source": path,
        "options": ["rbind", *options],
    }


def _text(given: object) -> str:
    if not isinstance(given, str) or not given or "\0" in given:
        raise ValueError(f"{given!r} is no text")
    return given


def _texts(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not given or not given[0]:
        raise ValueError("process.args is no list of words")
    if not all(isinstance(word, str) and "\0" not in word for word in given):
        raise ValueError("process.args is no list of words")
    return tuple(given)


def _path(given: object) -> str:
    path = _text(given)
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path")
    return path


def _name(given: object) -> str | None:
    return None if given in (None, "") else _text(given)


def _variables(given: Sequence[str]) -> list[tuple[str, str | None]]:
    pairs = (text.partition("=") for text in map(_text, given))
    return [(name, value) for name, equals, value in pairs if name and equals]


def _user(given: Mapping[str, Any]) -> str:
    uid, gid = int(given.get("uid", 0)), int(given.get("gid", 0))
    if min(uid, gid) < 0:
        raise ValueError("process.user has a negative id")
    return f"{uid}:{gid}"


def _rlimits(given: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    return [
        (
            _text(each["type"]).removeprefix("RLIMIT_").lower(),
            _limit(each["soft"]),
            _limit(each["hard"]),
        )
        for each in given
    ]


def _limit(given: object) -> int:
    if not isinstance(given, int):
        raise ValueError(f"{given!r} is not a limit")
    return -1 if given >= _UNLIMITED else given


def _mounts(given: Sequence[Mapping[str, Any]], bundle: str) -> dict[str, Any]:
    volumes: list[Volume] = []
    tmpfs: list[Tmpfs] = []
    for each in given:
        target = os.path.normpath(_path(each["destination"]))
        options = tuple(map(str, each.get("options") or ()))
        kind = str(each.get("type") or "")
        readonly = "ro" in options or "rro" in options
        if {"bind", "rbind"} & {kind, *options}:
            source = os.path.normpath(os.path.join(bundle, _text(each["source"])))
            if not _is_system(target):
                volumes.append(Volume(source, target, readonly))
        elif kind in _SYSTEM_TYPES or _is_system(target):
            continue
        elif kind == "tmpfs":
            kept = tuple(o for o in options if o not in (*_NOT_TMPFS, *_NOT_TMPFS_TOO))
            tmpfs.append(Tmpfs(target, kept, readonly, "noexec" not in options))
        else:
            raise UnsupportedFeature(
                f"config.json: a mount of type {kind!r} at {target} cannot be made without root",
                hint="type bind or tmpfs",
            )
    return {"volumes": tuple(volumes), "tmpfs": tuple(tmpfs)}


def _is_system(target: str) -> bool:
    return target in _SYSTEM or target.startswith(tuple(f"{path}/" for path in _SYSTEM))
