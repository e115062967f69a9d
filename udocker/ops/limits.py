"""How much an image may unpack to, by the settings and by its compressed size."""

from __future__ import annotations

from udocker.unpack.limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.config import Config

# What harms nobody, however small it is when compressed.
_ALWAYS_ALLOWED = 4 << 30


def unpack_limits(config: Config, compressed: int) -> Limits:
    """The limits of an image whose layers have ``compressed`` bytes."""
    by_ratio = max(_ALWAYS_ALLOWED, compressed * config.max_unpack_ratio)
    if config.max_unpacked_bytes <= by_ratio:
        return Limits(config.max_unpacked_bytes, config.max_unpacked_entries)
    return Limits(
        by_ratio,
        config.max_unpacked_entries,
        hint="images are seldom compressed so much; if you trust this one, raise the limit "
        "max_unpack_ratio",
    )
