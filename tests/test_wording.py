"""Numbers in sentences."""

from __future__ import annotations

import pytest

from udocker.wording import counted


@pytest.mark.parametrize(
    ("count", "plural", "text"),
    [
        (0, "images", "0 images"),
        (1, "images", "1 image"),
        (2, "images", "2 images"),
        (1, "directories", "1 directory"),
        (11, "directories", "11 directories"),
    ],
)
def test_one_is_not_many(count: int, plural: str, text: str) -> None:
    assert counted(count, plural) == text
