"""``--label`` and ``--label-file``: what people write on containers and volumes."""

from __future__ import annotations

from udocker.errors import UsageError


def parse_label(text: str) -> tuple[str, str]:
    """``KEY=VALUE``, or ``KEY`` for an empty value. Raises UsageError."""
    key, _, given = text.partition("=")
    if not key.strip() or "\0" in text:
        raise UsageError(f"not a label: {text!r}", hint="--label KEY=VALUE")
    return key, given


def read_labels(path: str) -> list[tuple[str, str]]:
    """The labels of a file of --label-file: lines as for --env-file. Raises UsageError."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as stream:
            lines = stream.read().split("\n")
    except OSError as error:
        raise UsageError(f"cannot read --label-file {path}: {error.strerror}") from error
    stripped = (line.strip() for line in lines)
    return [parse_label(line) for line in stripped if line and not line.startswith("#")]
