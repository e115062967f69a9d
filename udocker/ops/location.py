"""``--location``: a run in a directory that is the root, without an image, as in 1.3."""

from __future__ import annotations

import json
import os

from udocker.files import store_errors, unique_name
from udocker.model.container import PLAIN, Container
from udocker.model.moment import now
from udocker.model.oci import ImageConfig
from udocker.model.reference import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.ops.session import Session


def at_location(session: Session, directory: str) -> Container:
    """A container whose root is ``directory``, and that goes once the run has ended.

    Raises StoreError.
    """
    from udocker.ops.pull import native_platform

    platform = native_platform(session)
    document = {
        "architecture": platform.architecture,
        "os": platform.os,
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    raw = json.dumps(document).encode()
    identity = unique_name()
    containers = session.store.containers
    with session.store.temporary() as made, store_errors("creating the container"):
        # Made before anything runs: what is removed later is the link, and not what it leads to.
        os.symlink(directory, f"{made}/ROOT")
        return containers.create(
            made,
            Container(
                id=identity,
                path=containers.path(identity),
                image=f"localhost/location{directory}",
                manifest=Digest.of(raw),
                tree=directory,
                config=ImageConfig.parse(raw, directory),
                created=now(),
                form=PLAIN,
            ),
            None,
            remove=True,
        )
