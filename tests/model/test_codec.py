"""Values as JSON: every value that a record may hold comes back as it was."""

from __future__ import annotations

import json

import pytest

from udocker.model.codec import decode, encode
from udocker.model.request import DeviceOptions, RunRequest, Volume
from udocker.model.run import IdMap

ASKED = RunRequest(
    target="debian:12",
    command=("sh", "-c", "echo \udcff"),
    env=(("A", "1"), ("B", None)),
    volumes=(Volume("/a", "/b", True), Volume("/c", "/d")),
    user="1000:1000",
    remove=True,
    devices=DeviceOptions(gpus=("all",), nv=True),
)


def test_a_request_comes_back() -> None:
    assert decode(RunRequest, json.loads(json.dumps(encode(ASKED)))) == ASKED


def test_defaults_are_not_written() -> None:
    assert encode(RunRequest("x")) == {"target": "x"}


def test_rows_of_numbers_come_back() -> None:
    ids = IdMap(((0, 1000, 1), (1, 100000, 65535)), ((0, 1000, 1),), ("/a", "/b"))
    assert decode(IdMap, json.loads(json.dumps(encode(ids)))) == ids


def test_every_field_of_a_request_can_be_read() -> None:
    """Other types than those of today need a reader: this fails where one is missing."""
    whole = {name: encode(getattr(ASKED, name)) for name in getattr(RunRequest, "_fields")}
    assert decode(RunRequest, json.loads(json.dumps(whole))) == ASKED


def test_what_a_newer_udocker_has_written_is_passed_over() -> None:
    data = {**encode(ASKED), "teleport": ["mars"]}
    assert decode(RunRequest, data) == ASKED


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"target": 3},
        {"target": "x", "remove": "yes"},
        {"target": "x", "command": "ls"},
        {"target": "x", "env": [["A"]]},
        {"target": "x", "volumes": [{"source": "/a"}]},
        {"target": "x", "devices": None},
    ],
)
def test_what_is_no_request(data: object) -> None:
    with pytest.raises(ValueError, match=r"RunRequest|object|missing"):
        decode(RunRequest, data)
