"""What was said of a container when it was made or run last: its labels, volumes and ports."""

from __future__ import annotations

import json
import os

from udocker import files
from udocker.model.request import Published, Volume
from udocker.model.value import value

_FILE = "said.json"
_LIMIT = 1 << 20  # bytes


@value
class Said:
    """Volumes are as they were said: a host path, or a volume's name. Ports are as they became."""

    labels: tuple[tuple[str, str], ...] = ()
    volumes: tuple[Volume, ...] = ()
    ports: tuple[Published, ...] = ()  # of the last run


def is_there(path: str) -> bool:
    """Whether anything was said of the container at ``path``."""
    return os.path.exists(f"{path}/{_FILE}")


def read(path: str) -> Said:
    """Of the container at ``path``; nothing where nothing was said, or the record is damaged."""
    try:
        with open(f"{path}/{_FILE}", "rb") as stream:
            data = json.loads(stream.read(_LIMIT))
        volumes = tuple(Volume(str(v[0]), str(v[1]), v[2] is True) for v in data["volumes"])
        labels = tuple((str(key), str(text)) for key, text in data["labels"].items())
        return Said(labels, volumes, _ports(data.get("ports", ())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return Said()


def _ports(data: list[object]) -> tuple[Published, ...]:
    """Hardly any container has some, so nothing is loaded for them."""
    if not data:
        return ()
    from udocker.model.codec import decode

    return tuple(decode(Published, each) for each in data)


def write(path: str, said: Said) -> None:
    """Raises OSError."""
    data: dict[str, object] = {
        "labels": dict(said.labels),
        "volumes": [[v.source, v.target, v.readonly] for v in said.volumes],
    }
    if said.ports:
        from udocker.model.codec import encode

        data["ports"] = encode(said.ports)
    text = json.dumps(data, indent=2, sort_keys=True) + "\n"
    files.write_atomic(f"{path}/{_FILE}", text.encode(), parents=False)
