"""Files that the caller may use by a supplementary group only, as those of a project are.

UDOCKER_TEST_GROUP names a directory of another user's, for a group that the tests' user is in
besides its own. Only root can make that: tools/check does.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.engines import need
from e2e.living import LONG, living
from udocker.model.features import USER

if TYPE_CHECKING:
    from e2e.engines import Inside, Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

USE = "cat /theirs/file && echo new >/theirs/open/$0 && cat /theirs/open/$0 && rm /theirs/open/$0"


@pytest.fixture
def theirs() -> Path:
    given = os.environ.get("UDOCKER_TEST_GROUP")
    if not given:
        pytest.skip("host: the user has one group: tools/check gives it another where it is root")
    status = os.stat(f"{given}/file")
    assert status.st_gid in os.getgroups()
    assert status.st_gid != os.getgid()
    assert status.st_uid != os.getuid()
    assert stat.S_IMODE(status.st_mode) == 0o640
    return Path(given)


def test_what_a_group_may_use(theirs: Path, inside: Inside) -> None:
    users = [(), ("--user=1000:1000",)] if inside.has(USER) else [()]
    for user in users:
        words = ("sh", "-c", USE, f"{inside.mode}-{os.getpid()}")
        options = (f"-v{theirs}:/theirs", *user)
        assert inside(*words, options=options).out == "for the group\nnew\n", user


@pytest.mark.parametrize("mode", ["N1", "F3", "P1", "R1"])
def test_what_exec_and_cp_may_use(
    theirs: Path, shared: Shared, refusals: dict[str, str], tmp_path: Path, mode: str
) -> None:
    need(refusals, mode)
    made = f"cp-{mode}-{os.getpid()}"
    with living(shared, f"group-{mode.lower()}") as box:
        box.run("sleep", LONG, options=(f"--execmode={mode}", f"-v{theirs}:/theirs"))
        assert box("exec", "sh", "-c", USE, made).out == "for the group\nnew\n"
        shared("cp", f"{box.name}:/theirs/file", str(tmp_path / "file"))
        assert (tmp_path / "file").read_text() == "for the group\n"
        shared("cp", str(tmp_path / "file"), f"{box.name}:/theirs/open/{made}")
        assert (theirs / "open" / made).read_text() == "for the group\n"
        (theirs / "open" / made).unlink()
