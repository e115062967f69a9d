"""gpu cdi."""

from __future__ import annotations

from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def cdi(context: Context, parsed: Parsed, vendor: str, driver: str, device: str) -> int:
    """Write the spec of ``vendor``'s devices, "" is the first that is here."""
    from udocker.ops.cdi import write_spec
    from udocker.ops.gpus import VENDORS

    if vendor and vendor not in VENDORS:
        raise UsageError(f"gpu cdi: unknown vendor {vendor!r}", hint=f"one of {', '.join(VENDORS)}")
    write_spec(
        context.session,
        parsed.text("output") or "-",
        vendor=vendor,
        driver=driver,
        device=device,
        with_hooks=not parsed.flag("hook-free"),
    )
    return 0
