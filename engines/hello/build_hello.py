"""Makes the image that comes with udocker: an OCI image layout with hello.c as its program.

setup.py calls ``build``; by hand: ``python build_hello.py DIRECTORY``. The same compiler gives
the same bytes, at any time and under any name; SOURCE_DATE_EPOCH dates the files in the image.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from datetime import datetime, timezone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hello.c")
# No position independence and no stack protector: both need start-up code that is not there.
# What the compiler would add about itself (notes, identities) would differ between machines.
_FLAGS = (
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"),
    *("-ffreestanding", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector"),
    *("-fno-asynchronous-unwind-tables", "-fno-ident", "-Wl,--build-id=none"),
    *("-Wl,-z,noexecstack", "-s"),
)
# e_machine of elf(5) -> the architecture as OCI spells it.
_ARCHITECTURES = {62: "amd64", 183: "arm64"}
_PASSWD = b"root:x:0:0:root:/:/hello\nhello:x:1000:1000:hello:/tmp:/hello\n"
_GROUP = b"root:x:0:\nhello:x:1000:\n"
_OCI = "application/vnd.oci.image"


def build(destination: str, compiler: str = "cc") -> None:
    """Write the layout at ``destination``, in place of what is there.

    ``compiler`` is a command with its options, as $CC holds it. Raises
    subprocess.CalledProcessError, and OSError.
    """
    program = _compile(compiler)
    blobs: dict[str, bytes] = {}
    index = _image(program, int(os.environ.get("SOURCE_DATE_EPOCH", "0")), blobs)
    shutil.rmtree(destination, ignore_errors=True)
    directory = os.path.join(destination, "blobs", "sha256")
    os.makedirs(directory)
    for name, data in blobs.items():
        _write(os.path.join(directory, name), data)
    _write(os.path.join(destination, "oci-layout"), _json({"imageLayoutVersion": "1.0.0"}))
    _write(os.path.join(destination, "index.json"), _json(index))


def _compile(compiler: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        program = os.path.join(directory, "hello")
        subprocess.run([*shlex.split(compiler), *_FLAGS, _SOURCE, "-o", program], check=True)
        with open(program, "rb") as stream:
            return stream.read()


def _image(program: bytes, moment: int, blobs: dict[str, bytes]) -> dict[str, Any]:
    """The index of the image, after putting what it leads to into ``blobs``."""
    architecture = _ARCHITECTURES[struct.unpack_from("<H", program, 18)[0]]
    layer = _layer(program, moment)
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)  # gzip with no name and no time
    created = datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": ["PATH=/"],
            "Entrypoint": ["/hello"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": created, "created_by": "engines/hello/build_hello.py"}],
    }
    media_type = f"{_OCI}.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _put(blobs, _json(config), f"{_OCI}.config.v1+json"),
        "layers": [
            _put(
                blobs, compressor.compress(layer) + compressor.flush(), f"{_OCI}.layer.v1.tar+gzip"
            )
        ],
    }
    descriptor = _put(blobs, _json(manifest), media_type)
    descriptor["platform"] = {"architecture": architecture, "os": "linux"}
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    return {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.index.v1+json",
        "manifests": [descriptor],
    }


def _layer(program: bytes, moment: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, mode, data in (
            ("etc/", 0o755, None),
            ("etc/group", 0o644, _GROUP),
            ("etc/image-name", 0o644, b"udocker-hello\n"),
            ("etc/passwd", 0o644, _PASSWD),
            ("hello", 0o755, program),
            ("tmp/", 0o1777, None),
        ):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            member.mode = mode
            member.mtime = moment
            member.size = len(data or b"")
            archive.addfile(member, io.BytesIO(data or b""))
    return stream.getvalue()


def _put(blobs: dict[str, bytes], data: bytes, media_type: str) -> dict[str, Any]:
    """Add a blob; its descriptor."""
    name = hashlib.sha256(data).hexdigest()
    blobs[name] = data
    return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(data)


if __name__ == "__main__":
    build(sys.argv[1], os.environ.get("CC", "cc"))
