"""PRoot in place of udocker's own tracer, where the user names one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from e2e.engines import BUSYBOX, Shared, need

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_MODES = ("P1", "P2", "R2", "R3")


class Proot:
    """Runs a script in a mode by the host's PRoot."""

    def __init__(self, shared: Shared, mode: str, program: str) -> None:
        self.shared = shared
        self.mode = mode
        self.environment = {"UDOCKER_USE_PROOT_EXECUTABLE": program}

    def __call__(self, script: str, *options: str, check: bool = True) -> tuple[int, str, str]:
        words = ("run", "-q", "--rm", f"--execmode={self.mode}", *options)
        image = self.shared.image(BUSYBOX)
        result = self.shared(*words, image, "sh", "-c", script, check=check, env=self.environment)
        return result.code, result.out, result.err


@pytest.fixture(params=_MODES)
def by_proot(request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str]) -> Proot:
    program = shutil.which("proot")
    if program is None:
        pytest.skip("no proot here: see tools/check")
    need(refusals, request.param)
    return Proot(shared, request.param, program)


def test_it_is_proot_that_runs(by_proot: Proot) -> None:
    """It shows itself as the tracer, which ours does not."""
    _, out, _ = by_proot("grep TracerPid /proc/self/status")
    assert int(out.split()[1]) > 0


def test_a_command_runs_in_its_container(by_proot: Proot) -> None:
    assert by_proot("id -u; ls /bin/busybox; exit 7", check=False)[:2] == (7, "0\n/bin/busybox\n")


def test_a_volume_is_mounted(by_proot: Proot, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("in\n")
    script = "cat /v/given; echo out >/v/made"
    assert by_proot(script, "-v", f"{tmp_path}:/v")[1] == "in\n"
    assert (tmp_path / "made").read_text() == "out\n"


def test_a_read_only_volume_is_refused_where_proot_alone_makes_it(
    by_proot: Proot, tmp_path: Path
) -> None:
    code, _, err = by_proot("echo x >/v/made", "-v", f"{tmp_path}:/v:ro", check=False)
    assert code != 0
    assert list(tmp_path.iterdir()) == []
    if by_proot.mode in ("P1", "P2"):
        assert "PRoot cannot make read-only volumes" in err


def test_other_users_are_refused_where_proot_is_inside(by_proot: Proot) -> None:
    code, out, err = by_proot("id -u", "--user=7", check=False)
    if by_proot.mode in ("P1", "P2"):
        assert (code, out) == (0, "7\n")
    else:
        assert code == 125
        assert "PRoot inside of the container shows root only" in err
