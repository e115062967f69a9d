"""CDI's own schema of its specs, as Debian packs it, and a validator of PyPI's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from builders.packages import Apt, kept

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

_PACKAGE = "golang-tags.cncf-container-device-interface-dev"
_SUITE = "trixie"
# Errors, one a line. The schema says nothing of what is for all devices: its definitions do.
_CHECK = """
import json, sys
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7
folder = sys.argv[1]
schema, defs = (json.load(open(f"{folder}/{name}.json")) for name in ("schema", "defs"))
shared = Registry().with_resource("defs.json", Resource(defs, DRAFT7))
data = json.load(sys.stdin)
common = {"$ref": "defs.json#/definitions/containerEdits"}
for rules, part in ((schema, data), (common, data.get("containerEdits", {}))):
    for error in Draft7Validator(rules, registry=shared).iter_errors(part):
        print(error.json_path, error.message)
"""


def problems(spec: Any) -> list[str]:
    """What the schema has against ``spec``. Skips the test where the packages cannot be had."""
    place = kept("cdi-schema-1", _make)
    done = subprocess.run(
        [sys.executable, "-c", _CHECK, place / "schema"],
        input=json.dumps(spec),
        env={**os.environ, "PYTHONPATH": str(place / "python")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def _make(top: Path) -> None:
    tree = top.parent / "tree"
    Apt(top.parent / "apt", _SUITE, "main").unpack((_PACKAGE,), tree)
    (schema,) = tree.rglob("schema/schema.json")
    os.rename(schema.parent, top / "schema")
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    done = subprocess.run(
        [*words, f"--target={top}/python", "jsonschema"], timeout=300, check=False
    )
    if done.returncode != 0:
        pytest.skip("host: jsonschema of PyPI cannot be had here")
