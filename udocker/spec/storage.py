"""``--mount``, ``--tmpfs`` and ``--volumes-from``, as Docker spells them."""

from __future__ import annotations

import re

from udocker.errors import UsageError
from udocker.model.request import Tmpfs, Volume
from udocker.spec.mounts import guest_directory, is_volume_name, parse_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Wanted = Union[Volume, Tmpfs, None]

_HINT = "--mount type=bind,source=/host/path,target=/container/path[,readonly]"
_TMPFS_HINT = "--tmpfs /path[:size=64m,mode=1777]"
_SIZE = re.compile(r"(\d+)([kmgt]?)(i?b)?", re.IGNORECASE)
_KINDS = ("bind", "volume", "tmpfs")
_TARGETS = ("target", "destination", "dst")
# Of --mount: what means nothing here, and nothing is lost by that.
_IGNORED = [
    "consistency",
    "bind-propagation",
    "bind-recursive",
    "bind-nonrecursive",
    "bind-create-src",
    "volume-label",
]
# Of tmpfs(5), and flags of mount(8) that are so anyway or mean nothing here.
_TMPFS_VALUES = ("size", "mode", "nr_inodes", "nr_blocks")
_TMPFS_IGNORED = {
    *("rw", "nosuid", "nodev", "suid", "dev", "exec", "async", "sync", "strictatime"),
    *("atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime"),
    *("private", "rprivate", "shared", "rshared", "slave", "rslave"),
}


def parse_mount(text: str, cwd: str) -> Wanted:
    """Read the value of --mount; None: the container's own directory will do.

    Raises UsageError.
    """
    fields = _fields(text)
    kind = fields.pop("type", "volume")
    target = next((fields.pop(name) for name in _TARGETS if name in fields), "")
    source = fields.pop("source", fields.pop("src", ""))
    readonly = _flag(fields, "readonly", text) or _flag(fields, "ro", text)
    if kind not in _KINDS:
        raise UsageError(
            f"--mount {text!r}: type={kind} is not known here", hint="bind, volume or tmpfs"
        )
    if not target:
        raise UsageError(f"--mount {text!r}: there is no target", hint=_HINT)
    target = guest_directory(target, f"--mount {text!r}")
    if kind == "tmpfs":
        found: Wanted = _tmpfs_of(fields, target, readonly, text)
    elif kind == "bind":
        found = _bind_of(source, target, readonly, text, cwd)
    else:
        found = _volume_of(fields, source, target, readonly, text)
    for name in fields:
        if name not in _IGNORED:
            raise UsageError(f"--mount {text!r}: {name} means nothing here", hint=_HINT)
    return found


def parse_tmpfs(text: str) -> Tmpfs:
    """Read the value of --tmpfs, ``/path[:options]``. Raises UsageError."""
    target, _, rest = text.partition(":")
    target = guest_directory(target, f"--tmpfs {text!r}")
    options, readonly, executable = [], False, True
    for option in filter(None, rest.split(",")):
        name, equals, given = option.partition("=")
        if equals and name in _TMPFS_VALUES:
            options.append(_checked(name, given, text))
        elif option in ("ro", "noexec"):
            readonly, executable = readonly or option == "ro", executable and option != "noexec"
        elif name not in ("uid", "gid") and option not in _TMPFS_IGNORED:
            raise UsageError(f"--tmpfs {text!r}: unknown option {option!r}", hint=_TMPFS_HINT)
    return Tmpfs(target, tuple(options), readonly, executable)


def parse_volumes_from(text: str) -> tuple[str, bool]:
    """Read the value of --volumes-from, ``CONTAINER[:ro]``. Raises UsageError."""
    name, _, access = text.partition(":")
    if not name or access not in ("", "ro", "rw", "z", "Z"):
        raise UsageError(f"--volumes-from {text!r}: CONTAINER[:ro] is expected")
    return name, access == "ro"


def parse_size(text: str, option: str) -> int:
    """Bytes, of ``64m`` or ``1g``; units are powers of 1024. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} {text!r}: not a size", hint=f"{option} 512m, or 2g")
    return int(match[1]) << (10 * (" kmgt".index(match[2].lower() or " ")))


def _fields(text: str) -> dict[str, str]:
    import csv

    fields: dict[str, str] = {}
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise UsageError(f"--mount {text!r}: {error}", hint=_HINT) from error
    for word in rows[0] if rows else ():
        name, equals, given = word.partition("=")
        if not name or "\0" in word:
            raise UsageError(f"--mount {text!r}: {word!r} is not NAME=VALUE", hint=_HINT)
        fields[name.strip().lower()] = given if equals else "true"
    return fields


def _flag(fields: dict[str, str], name: str, text: str) -> bool:
    given = fields.pop(name, "false").lower()
    if given not in ("true", "1", "false", "0"):
        raise UsageError(f"--mount {text!r}: {name} is true or false", hint=_HINT)
    return given in ("true", "1")


def _tmpfs_of(fields: dict[str, str], target: str, readonly: bool, text: str) -> Tmpfs:
    given = {name: fields.pop(f"tmpfs-{name}", "") for name in ("size", "mode")}
    options = (_checked(name, value, text) for name, value in given.items() if value)
    return Tmpfs(target, tuple(options), readonly)


def _checked(name: str, given: str, text: str) -> str:
    if name == "mode":
        if not given or len(given) > 5 or given.strip("01234567"):
            raise UsageError(f"tmpfs {text!r}: {given!r} is not a file mode", hint="mode=1777")
        return f"mode={given}"
    if name == "size" and given.endswith("%") and given[:-1].isdigit():
        return f"size={given}"
    return f"{name}={parse_size(given, name)}"


def _bind_of(source: str, target: str, readonly: bool, text: str, cwd: str) -> Volume:
    if not source:
        raise UsageError(f"--mount {text!r}: a bind has a source", hint=_HINT)
    if ":" not in source and ":" not in target:
        found = parse_volume(f"{source}:{target}", cwd)
        if not found.is_named:
            return Volume(found.source, target, readonly)
    if not source.startswith("/"):
        raise UsageError(f"--mount {text!r}: {source!r} is not an absolute path", hint=_HINT)
    return Volume(source, target, readonly)


def _volume_of(
    fields: dict[str, str], source: str, target: str, readonly: bool, text: str
) -> Volume | None:
    copies = not _flag(fields, "volume-nocopy", text)
    if fields.pop("volume-driver", "local") != "local":
        raise UsageError(f"--mount {text!r}: there is no volume driver but local", hint=_HINT)
    if not source:
        return None
    if not is_volume_name(source):
        raise UsageError(f"--mount {text!r}: {source!r} is not a volume's name", hint=_HINT)
    return Volume(source, target, readonly, copies)
