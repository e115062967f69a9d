"""What is wrong with the store, and what becomes of it."""

from __future__ import annotations

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional


@value
class Problem:
    """Something that is wrong; ``cure``: what helps; ``cured``: that was done."""

    kind: str
    name: str
    text: str
    cure: str
    cured: bool = False

    def as_json(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "name": self.name,
            "problem": self.text,
            "cure": self.cure,
            "repaired": self.cured,
        }


@value
class Finding:
    """A problem before anything is done about it; ``act`` None: nothing can be done here."""

    kind: str
    name: str
    text: str
    cure: str
    act: Optional[Callable[[], object]] = None
