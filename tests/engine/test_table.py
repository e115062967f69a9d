"""The table of modes: every row is a whole engine."""

from __future__ import annotations

import inspect

import pytest

from builders.hosts import ALL_PROGRAMS, host
from builders.specs import spec
from udocker.engine import table
from udocker.errors import UsageError
from udocker.model.features import FEATURE_TEXT
from udocker.model.host import Support
from udocker.model.launch import Launch


@pytest.mark.parametrize("mode", table.MODES, ids=table.names())
def test_every_row_is_a_whole_engine(mode: table.Mode) -> None:
    engine = mode.engine
    assert mode.name in engine.MODES
    assert mode.summary
    assert isinstance(engine.FEATURES, frozenset)
    assert set(engine.FEATURES) <= set(FEATURE_TEXT)
    assert list(inspect.signature(engine.probe).parameters) == ["host", "mode"]
    assert list(inspect.signature(engine.launch).parameters) == ["spec", "host", "mode"]
    here = host(programs=ALL_PROGRAMS)
    assert engine.probe(here, mode.name) == Support()
    assert isinstance(engine.launch(spec(), here, mode.name), Launch)


def test_every_mode_of_an_engine_has_a_row() -> None:
    for mode in table.MODES:
        assert set(mode.engine.MODES) <= set(table.names())


def test_names_are_unique_and_auto_is_none_of_them() -> None:
    assert len(set(table.names())) == len(table.MODES)
    assert table.AUTO not in table.names()


def test_rows_are_found_by_name() -> None:
    for mode in table.MODES:
        assert table.find(mode.name) is mode


@pytest.mark.parametrize("name", ["", "auto", "n1", "N2", "N1 "])
def test_unknown_modes_are_told_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        table.find(name)
    assert caught.value.message == f"unknown execution mode {name!r}"
    assert caught.value.hint == f"one of auto, {', '.join(table.names())}"
