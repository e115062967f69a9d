from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from unpack.layers import snapshot

KNOWN = {"root", "layer", "index.jsonl"}


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory that no archive may touch; looked at again when the test is over."""
    place = tmp_path / "outside"
    (place / "inner").mkdir(parents=True)
    (place / "secret").write_text("secret")
    (place / "inner" / "file").write_text("inner")
    before = snapshot(place)
    around = {path.name for path in tmp_path.iterdir()}
    yield place
    assert snapshot(place) == before
    assert {path.name for path in tmp_path.iterdir()} - around <= {"tree"}
    if (tmp_path / "tree").exists():
        left = {path.name for path in (tmp_path / "tree").iterdir()}
        assert {re.sub(r"^layer-\d+$", "layer", name) for name in left} <= KNOWN
