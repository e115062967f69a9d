"""CDI: which specs there are, and which device of them a name means.

Files ``*.json`` and ``*.yaml`` in each directory, none below it. The later directory wins; one
device in two files of one directory is a conflict. A file that is wrong is in nobody's way until a
device is asked for that no other file has.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat

from udocker.devices import cdi_rules
from udocker.devices.cdi_write import spec_of
from udocker.devices.request import split
from udocker.errors import DeviceError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from udocker.devices.cdi_rules import Changes, Spec
    from udocker.model.devices import DeviceSet

DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
_LARGEST = 4 << 20  # bytes; of 16 GPUs with all their parts a spec has 200 kB
_MOST_NAMES = 20
_VERSIONED = re.compile(r"/lib(?:cuda|nvidia-ml)\.so\.([0-9]+\.[0-9]+(?:\.[0-9]+)?)$")
_REMAKE = "make the spec anew: udocker gpu cdi, or nvidia-ctk cdi generate"


@value
class Registry:
    """The specs of several directories, with the number of the directory of each."""

    directories: tuple[str, ...] = ()
    specs: tuple[tuple[int, Spec], ...] = ()
    problems: tuple[str, ...] = ()  # files that are no specs, and why


@value
class Found:
    """A device, and the spec it is of."""

    name: str  # vendor.com/class=device
    spec: Spec
    changes: Changes


def read(directories: Iterable[str]) -> Registry:
    """The specs that ``directories`` have; those that are not there have none."""
    given = tuple(dict.fromkeys(directories))
    specs = []
    problems = []
    for number, directory in enumerate(given):
        for path in _files(directory):
            try:
                specs.append((number, read_file(path)))
            except ValueError as error:
                problems.append(f"{path}: {error}")
            except OSError as error:
                problems.append(f"{path}: {error.strerror}")
    return Registry(given, tuple(specs), tuple(problems))


def read_file(path: str) -> Spec:
    """The spec in a file. Raises ValueError, OSError."""
    content = _content(path)
    if path.endswith(".yaml"):
        return cdi_rules.read(_yaml(content), path, from_yaml=True)
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    return cdi_rules.read(data, path)


def with_own(
    registry: Registry, sets: Iterable[DeviceSet], *, driver_root: str = "", device_root: str = ""
) -> Registry:
    """With what was found here, by the names that ``gpu cdi`` gives it; any file comes before."""
    own = []
    for found in sets:
        with contextlib.suppress(DeviceError):  # no device
            path = f"(devices of {found.vendor} that are here)"
            spec = spec_of(found, driver_root=driver_root, device_root=device_root)
            own.append((-1, cdi_rules.read(spec, path)))
    return Registry(registry.directories, (*own, *registry.specs), registry.problems)


def resolve(registry: Registry, names: Iterable[str]) -> tuple[Found, ...]:
    """The devices that ``names`` mean, each once. Raises DeviceError, saying what exists."""
    return tuple(_found(registry, name) for name in dict.fromkeys(names))


def stale(spec: Spec, loaded: str) -> str:
    """What is wrong with a spec whose libraries are of another driver than is loaded; or ""."""
    versions = {match[1] for path in _host_files(spec) if (match := _VERSIONED.search(path))}
    if not loaded or not versions or loaded in versions:
        return ""
    there = ", ".join(sorted(versions))
    return f"CDI spec {spec.path} is stale: it is for driver {there}, {loaded} is loaded; {_REMAKE}"


def _host_files(spec: Spec) -> Iterator[str]:
    for changes in (spec.changes, *(own for _, own in spec.devices)):
        yield from (mount.host for mount in changes.mounts)


def _found(registry: Registry, name: str) -> Found:
    kind, device = split(name)
    fitting = [
        (priority, spec, own)
        for priority, spec in registry.specs
        if spec.kind == kind
        for candidate, own in spec.devices
        if candidate == device
    ]
    if not fitting:
        raise _unresolvable(registry, name, kind)
    best = max(priority for priority, _, _ in fitting)
    winners = [(spec, own) for priority, spec, own in fitting if priority == best]
    if len(winners) > 1:
        paths = " and ".join(spec.path for spec, _ in winners[:2])
        raise DeviceError(
            f"conflicting CDI device {name}: it is in {paths}", hint="remove one of these files"
        )
    return Found(name, *winners[0])


def _unresolvable(registry: Registry, name: str, kind: str) -> DeviceError:
    devices = [d for _, spec in registry.specs if spec.kind == kind for d, _ in spec.devices]
    if devices:
        hint = f"{kind} has {_some(tuple(dict.fromkeys(devices)))}"
    else:
        kinds = tuple(dict.fromkeys(spec.kind for _, spec in registry.specs))
        where = ", ".join(registry.directories)
        hint = f"in {where} there is {_some(kinds) if kinds else 'no spec'}; --cdi-dir adds to it"
    told = "; ".join((f"unresolvable CDI devices {name}", *registry.problems[:3]))
    return DeviceError(told, hint=hint)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _files(directory: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    paths = (f"{directory}/{name}" for name in names if name.endswith((".json", ".yaml")))
    return [path for path in paths if not os.path.isdir(path)]


def _content(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"larger than {_LARGEST >> 20} MiB")
    return content


def _yaml(content: bytes) -> object:
    try:
        import yaml
    except ImportError:
        raise ValueError(
            "YAML, and PyYAML is not installed: pip install pyyaml, or write the spec as JSON"
        ) from None
    try:
        found: object = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())[:200]}") from None
    return found
