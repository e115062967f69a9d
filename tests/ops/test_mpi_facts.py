"""What ``doctor --mpi`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.sessions import session as make_session
from udocker.devices import fabric
from udocker.model.devices import DeviceSet, Library, Node
from udocker.ops import mpi_facts

if TYPE_CHECKING:
    from pathlib import Path

UCX = Library("/usr/lib/libucp.so.0.0.0", "libucp.so.0", "compute", 64)


@pytest.mark.parametrize(
    ("found", "between", "why"),
    [
        (None, "TCP", "no device of InfiniBand"),
        (DeviceSet("fabric", libraries=(UCX,)), "TCP", "no device of InfiniBand"),
        (
            DeviceSet("fabric", nodes=(Node("/dev/cxi0", is_open=False),), libraries=(UCX,)),
            "TCP",
            "/dev/cxi0 may not be opened by this user",
        ),
        (DeviceSet("fabric", nodes=(Node("/dev/cxi0"),)), "TCP", "neither UCX nor libfabric"),
        (
            DeviceSet("fabric", nodes=(Node("/dev/infiniband/uverbs0"),), libraries=(UCX,)),
            "InfiniBand or RoCE",
            "InfiniBand or RoCE",
        ),
    ],
)
def test_the_way_between_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: DeviceSet, between: str, why: str
) -> None:
    monkeypatch.setattr(fabric, "discover", lambda places, environ: found)
    findings = mpi_facts.examine(make_session(tmp_path))
    facts = {fact.what: fact for fact in findings.facts}
    assert findings.between_hosts == between
    assert why in facts["between hosts"].text
    assert facts["between hosts"].ok == (between != "TCP")
    assert findings.as_json()["falls_back_to_tcp"] == (between == "TCP")
