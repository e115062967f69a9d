"""The digest of little data, with and without OpenSSL at hand."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from udocker.model.sha256 import sha256_hex

_DATA = b"some bytes" * 1000
_PRINT = f"print(sha256_hex({_DATA!r}), 'hashlib' in sys.modules)"


def test_it_is_that_of_hashlib() -> None:
    assert sha256_hex(_DATA) == hashlib.sha256(_DATA).hexdigest()


@pytest.mark.parametrize(
    "absent",
    [(), ("_sha2",), ("_sha256",), ("_sha2", "_sha256")],
    ids="+".join,
)
def test_whatever_python_has_of_it(absent: tuple[str, ...]) -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
    code += f"from udocker.model.sha256 import sha256_hex\n{_PRINT}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    digits, loaded = done.stdout.split()
    assert digits == hashlib.sha256(_DATA).hexdigest()
    assert loaded == "True" or absent != ("_sha2", "_sha256")


def test_openssl_is_not_loaded_for_it() -> None:
    code = f"import sys\nfrom udocker.model.sha256 import sha256_hex\n{_PRINT}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.split()[1] == "False"
