"""Configurations, containers and runs that need nothing on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from udocker.model.container import PLAIN, UNION, Container
from udocker.model.oci import ImageConfig
from udocker.model.reference import Digest
from udocker.model.run import Preload, Root, RunSpec, Tracer, User
from udocker.model.value import replace

if TYPE_CHECKING:
    from typing import Any

ID = "0123456789abcdef0123456789abcdef"
PLACE = f"/store/containers/{ID}"
MANIFEST = Digest("sha256", "1" * 64)
PLAIN_ROOT = Root(f"{PLACE}/ROOT")
UNION_ROOT = Root(f"{PLACE}/ROOT", "/store/trees/t/root", f"{PLACE}/upper", f"{PLACE}/work")
ROOT_USER = User(0, 0, "root", "/root")
SPEC = RunSpec(
    container=ID,
    token="7070",
    directory=PLACE,
    root=PLAIN_ROOT,
    argv=("/bin/prog", "an argument", ""),
    env=(("HOME", "/root"), ("PATH", "/usr/bin:/bin")),
    cwd="/srv/work",
    user=ROOT_USER,
    mounts=(),
    files=(),
    hostname=None,
    tty=False,
    features=frozenset(),
    preload=Preload("/lib/ld.so", "/bin/prog", "prog", directories=("/lib", "/opt/lib")),
    tracer=Tracer(
        "proot",
        "loader",
        (("proot", "/usr/bin/proot"), ("loader", "/lib/ld.so"), ("libx.so.2", "/lib/libx.so.2.1")),
    ),
)


def spec(**changes: Any) -> RunSpec:
    """``SPEC`` with some answers changed."""
    return replace(SPEC, **changes)


def config(
    run: dict[str, Any] | None = None, *, architecture: str = "amd64", layers: tuple[str, ...] = ()
) -> ImageConfig:
    """A configuration; ``run`` is its "config" object (Cmd, Env, User…)."""
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": run or {},
        "rootfs": {"type": "layers", "diff_ids": list(layers or (f"sha256:{'2' * 64}",))},
    }
    return ImageConfig.parse(json.dumps(document).encode(), "test")


def container(
    identity: str = ID,
    *,
    top: str = "/store",
    image: ImageConfig | None = None,
    plain: bool = False,
    **changes: Any,
) -> Container:
    """A container in the store at ``top``, of which nothing need exist."""
    made = Container(
        id=identity,
        path=f"{top}/containers/{identity}",
        image="docker.io/library/test:latest",
        manifest=MANIFEST,
        tree=f"{top}/trees/t/root",
        config=image or config({"Cmd": ["/bin/prog"]}),
        created="2026-01-02T03:04:05.000006+00:00",
        form=PLAIN if plain else UNION,
    )
    return replace(made, **changes)
