"""The fuzzing targets of the core: all inputs that were kept, and as many new ones as are quick.

``tools/fuzz TARGET SECONDS`` runs longer.
"""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import pytest

import fuzzer

_RUNS = 20_000
_RUNS_OF = {"union": 60}  # each makes two trees anew

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="host: the engine runs on x86_64"),
    pytest.mark.skipif(shutil.which("clang") is None, reason="no clang here: see tools/check"),
]


def test_there_are_targets() -> None:
    assert {"path", "elf", "guest", "proc", "script", "socket", "union"} <= set(fuzzer.TARGETS)


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the core is compiled to, once for all targets."""
    return tmp_path_factory.mktemp("fuzz") / "objects"


@pytest.mark.parametrize("target", fuzzer.TARGETS)
def test_target(target: str, objects: Path, tmp_path: Path) -> None:
    program, folder = tmp_path / target, tmp_path / "inputs"
    fuzzer.build(target, program, objects)
    count = fuzzer.unpack(target, folder)
    assert count > 0
    runs = _RUNS_OF.get(target, _RUNS)
    said = fuzzer.run(program, folder, f"-runs={runs}", "-seed=1")
    assert f"{count} files found" in said
    done = re.search(r"^Done (\d+) runs", said, re.MULTILINE)
    assert done
    assert int(done[1]) >= runs
