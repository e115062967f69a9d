"""conftest.py: what is skipped is listed, and in CI only the host excuses it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("ci", "reason", "code", "told"),
    [
        ("true", "too lazy", 1, "FAILED: in CI a test is not skipped because of: too lazy"),
        ("true", "host: no such device", 0, "2 x host: no such device"),
        ("", "too lazy", 0, "2 x too lazy"),
        ("true", None, 0, "no test was skipped"),
    ],
)
def test_what_a_skipped_test_means(
    tmp_path: Path, ci: str, reason: str | None, code: int, told: str
) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    mark = "" if reason is None else f"@pytest.mark.skip(reason={reason!r})"
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        f"{mark}\n@pytest.mark.parametrize('n', [1, 2])\ndef test_marked(n): pass\n"
        "def test_home(tmp_path):\n"
        "    import os\n"
        "    assert os.listdir(os.environ['HOME']) == []\n"
        "    assert 'UDOCKER_DIR' not in os.environ and os.environ['UDOCKER_TEST_X'] == 'kept'\n"
    )
    given = {"CI": ci, "HOME": str(tmp_path), "UDOCKER_DIR": "/real", "UDOCKER_TEST_X": "kept"}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, tmp_path],
        cwd=tmp_path,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stdout
    assert told in result.stdout.splitlines()
