"""download.py IMAGE STORE: fetch the layers of IMAGE into STORE as a pull does; unpack nothing."""

import sys


def main(image: str, store: str) -> None:
    from udocker.model.oci import Platform
    from udocker.model.reference import Reference
    from udocker.registry.auth import DockerConfig
    from udocker.registry.http import Settings
    from udocker.registry.remote import Registry
    from udocker.report import QuietReporter
    from udocker.store.blobs import Blobs

    settings = Settings(
        insecure=False,
        insecure_registries=(),
        jobs=6,
        connect_timeout=30,
        stall_timeout=60,
        user_agent="udocker/bench",
        proxy="",
        no_proxy="",
    )
    registry = Registry(settings, DockerConfig("/nonexistent"), QuietReporter())
    reference = Reference.parse(image)
    found = registry.resolve(reference, Platform.parse("linux/amd64"))
    registry.download(reference, found.manifest.layers, Blobs(store).sink)


main(*sys.argv[1:])
