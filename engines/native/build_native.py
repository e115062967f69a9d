"""Describes the extension module ``udocker._native`` to cffi; setup.py builds it."""

from __future__ import annotations

import os
import re

from cffi import FFI

_HERE = os.path.dirname(os.path.relpath(__file__))


_HEADERS = ("native.h", "layer.h", "feign.h")
_SOURCES = ("native.c", "layer.c", "feign.c")


def _declarations(header: str) -> str:
    """The declarations of a header, without comments and preprocessor lines, as cffi takes them."""
    with open(os.path.join(_HERE, header), encoding="ascii") as stream:
        text = re.sub(r"/\*.*?\*/", "", stream.read(), flags=re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


FFIBUILDER = FFI()
for _header in _HEADERS:
    FFIBUILDER.cdef(_declarations(_header))
FFIBUILDER.set_source(
    "udocker._native",
    "".join(f'#include "{header}"\n' for header in _HEADERS),
    sources=[os.path.join(_HERE, name) for name in _SOURCES],
    include_dirs=[_HERE],
    depends=[os.path.join(_HERE, name) for name in _HEADERS],
    extra_compile_args=["-std=gnu11", "-O2"],
)
