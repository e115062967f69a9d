"""How another program starts udocker: this Python, this package."""

from __future__ import annotations

import os
import sys

# The first thing is to forget the current directory, from which Python would import: it may hold
# anything.
_BEGIN = (
    "import sys; sys.path[0] = sys.argv.pop(1); "
    "from udocker.cli.main import main; raise SystemExit(main())"
)


def words() -> list[str]:
    """The words before those of a command line."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [sys.executable, "-c", _BEGIN, package]
