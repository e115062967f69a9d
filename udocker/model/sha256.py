"""SHA-256 of little data, without what it takes to load OpenSSL."""

from __future__ import annotations

import functools
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def sha256_hex(data: bytes) -> str:
    """The digest of ``data`` in hexadecimal digits (FIPS 180-4)."""
    digits: str = _maker()(data).hexdigest()
    return digits


@functools.cache  # a list of images asks for hundreds, and to look for a module takes long
def _maker() -> Any:
    # hashlib takes milliseconds to load, a third of what creating a container takes. What it falls
    # back to without OpenSSL is there as well, under a name that changed in Python 3.12.
    if "hashlib" not in sys.modules:
        names = ("_sha2", "_sha256")
        for name in names if sys.version_info >= (3, 12) else reversed(names):
            try:
                return __import__(name).sha256
            except ImportError:
                continue
    import hashlib

    return hashlib.sha256
