"""Numbers in sentences."""

from __future__ import annotations


def counted(count: int, plural: str) -> str:
    """``1 image``, ``2 images``, ``1 directory``: of a plural that is regular."""
    if count != 1:
        return f"{count} {plural}"
    return f"1 {plural[:-3]}y" if plural.endswith("ies") else f"1 {plural[:-1]}"
