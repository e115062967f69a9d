"""``udocker try``: the image that comes along, in every mode, without a network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2e.conftest import Udocker

pytestmark = pytest.mark.e2e


def verdicts(text: str) -> dict[str, str]:
    """Mode -> ``ran`` or ``no``."""
    rows = [line.split(maxsplit=1) for line in text.splitlines()]
    return {mode: rest.partition(":")[0] for mode, rest in rows}


def test_every_working_mode_runs_the_image(udocker: Udocker, modes: tuple[str, ...]) -> None:
    shown = verdicts(udocker("try").out)
    assert {mode for mode, verdict in shown.items() if verdict == "ran"} == set(modes)


def test_each_mode_has_one_line_with_a_reason_if_it_does_not_run(udocker: Udocker) -> None:
    lines = udocker("try").out.splitlines()
    known = [row["name"] for row in json.loads(udocker("doctor", "--json").out)["modes"]]
    assert [line.split()[0] for line in lines] == known
    for line in lines:
        mode, verdict, text = line.split(maxsplit=2)
        assert verdict in ("ran:", "no:")
        assert text.strip(), mode


def test_no_network_and_no_setting_is_needed(udocker: Udocker) -> None:
    nowhere = "http://127.0.0.1:9"
    result = udocker("try", env={"http_proxy": nowhere, "https_proxy": nowhere})
    assert "ran" in verdicts(result.out).values()


def test_a_second_time_gives_the_same(udocker: Udocker) -> None:
    assert verdicts(udocker("try").out) == verdicts(udocker("try").out)
