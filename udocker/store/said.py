"""What was said of a container when it was made or run last: its labels and its volumes."""

from __future__ import annotations

import json

from udocker import files
from udocker.model.request import Volume
from udocker.model.value import value

_FILE = "said.json"
_LIMIT = 1 << 20  # bytes


@value
class Said:
    """Volumes are as they were said: a host path, or a volume's name."""

    labels: tuple[tuple[str, str], ...] = ()
    volumes: tuple[Volume, ...] = ()


def read(path: str) -> Said:
    """Of the container at ``path``; nothing where nothing was said, or the record is damaged."""
    try:
        with open(f"{path}/{_FILE}", "rb") as stream:
            data = json.loads(stream.read(_LIMIT))
        volumes = tuple(Volume(str(v[0]), str(v[1]), v[2] is True) for v in data["volumes"])
        labels = tuple((str(key), str(text)) for key, text in data["labels"].items())
        return Said(labels, volumes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return Said()


def write(path: str, said: Said) -> None:
    """Raises OSError."""
    data = {
        "labels": dict(said.labels),
        "volumes": [[v.source, v.target, v.readonly] for v in said.volumes],
    }
    text = json.dumps(data, indent=2, sort_keys=True) + "\n"
    files.write_atomic(f"{path}/{_FILE}", text.encode(), parents=False)
