"""download.py IMAGE STORE: fetch the layers of IMAGE into STORE as a pull does; unpack nothing."""

import os
import sys


def main(image: str, store: str) -> None:
    from udocker.model.config import Config
    from udocker.model.oci import Platform
    from udocker.model.reference import Reference
    from udocker.ops.registries import open_registry
    from udocker.ops.session import Session
    from udocker.report import QuietReporter
    from udocker.store.store import Store

    session = Session(Store(store), Config(store), QuietReporter(), os.environ)
    registry = open_registry(session)
    reference = Reference.parse(image)
    found = registry.resolve(reference, Platform.parse("linux/amd64"))
    registry.download(reference, found.manifest.layers, session.store.blobs.sink)


main(*sys.argv[1:])
