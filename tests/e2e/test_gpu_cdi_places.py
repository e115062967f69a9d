"""CDI specs where a site has them, /etc/cdi and /var/run/cdi: a run reads both, unasked.

An ordinary user can put none there. In a mount namespace of this user's they seem to be.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from builders.drivers import needs_x86_64
from builders.nvidia_doubles import two_gpus
from builders.processes import needs_namespaces
from e2e.engines import need
from e2e.gpus import PROBE, GpuHost, Gpus

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from e2e.engines import Shared

pytestmark = [pytest.mark.e2e, needs_x86_64, needs_namespaces]
pytest_plugins = ["e2e.engines"]

_NODES = ("nvidia0", "nvidia1", "nvidiactl")
_BEFORE = """\
mount -t overlay -o lowerdir={top}/etc:/etc overlay /etc
mount -t overlay -o lowerdir={top}/run:/run overlay /run
"""


def named(**devices: str) -> dict[str, Any]:
    """A spec whose devices are a variable each."""
    rows = [
        {"name": name, "containerEdits": {"env": [f"THING={text}"]}}
        for name, text in devices.items()
    ]
    return {"cdiVersion": "0.6.0", "kind": "site.test/thing", "devices": rows}


@pytest.fixture(params=["N1", "F3"])
def site(
    request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str], tmp_path: Path
) -> GpuHost:
    """udocker's own spec of the GPUs in one directory, others in both."""
    need(refusals, request.param)
    doubles = two_gpus(tmp_path / "doubles", "535.261.03")
    for name in ("etc", "run"):
        (tmp_path / name / "cdi").mkdir(parents=True)
    writer = Gpus(shared, request.param, doubles)
    told = writer.command("gpu", "cdi", f"--device-root={doubles.top}", "--output=-").out
    spec = told.replace(f"{doubles.top}/dev/", "/dev/")
    (tmp_path / "etc/cdi/nvidia.json").write_text(spec)
    (tmp_path / "etc/cdi/thing.json").write_text(json.dumps(named(one="etc", two="etc")))
    (tmp_path / "run/cdi/thing.json").write_text(json.dumps(named(one="run")))
    before = _BEFORE.format(top=shlex.quote(str(tmp_path)))
    place = tmp_path / "host"
    return GpuHost(shared, request.param, doubles, place, nodes=_NODES, before=before)


@pytest.mark.parametrize(("name", "bits"), [("1", 2), ("0", 1), ("all", 3)])
def test_a_gpu(site: GpuHost, name: str, bits: int) -> None:
    """In these modes /dev is the host's, and the others are hidden."""
    options = (f"--device=nvidia.com/gpu={name}",)
    result = site("python3", "-c", PROBE, options=options, UDOCKER_DRIVER_ROOT="")
    assert int(result.out.split()[0]) == bits


def test_the_later_directory_counts(site: GpuHost) -> None:
    """Of two devices of one name; others of the earlier are there all the same."""
    for name, told in (("one", "run"), ("two", "etc")):
        options = (f"--device=site.test/thing={name}",)
        assert site("sh", "-c", "echo $THING", options=options).out == f"{told}\n"


def test_one_that_is_in_neither(site: GpuHost) -> None:
    result = site("true", options=("--device=site.test/thing=three",), check=False)
    assert result.code == 125
    assert "unresolvable CDI devices site.test/thing=three" in result.err
    assert "one" in result.err
