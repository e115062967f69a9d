"""Describes the extension module ``udocker._native`` to cffi; setup.py builds it."""

from __future__ import annotations

import os
import re

from cffi import FFI

_HERE = os.path.dirname(os.path.relpath(__file__))


def _declarations() -> str:
    """The prototypes of native.h, without comments and preprocessor lines, as cffi takes them."""
    with open(os.path.join(_HERE, "native.h"), encoding="ascii") as stream:
        text = re.sub(r"/\*.*?\*/", "", stream.read(), flags=re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


FFIBUILDER = FFI()
FFIBUILDER.cdef(_declarations())
FFIBUILDER.set_source(
    "udocker._native",
    '#include "native.h"',
    sources=[os.path.join(_HERE, "native.c")],
    include_dirs=[_HERE],
    depends=[os.path.join(_HERE, "native.h")],
    extra_compile_args=["-std=gnu11", "-O2"],
)
