"""What the tests of operations share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes.registry import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """One that is empty."""
    with FakeRegistry() as served:
        yield served
