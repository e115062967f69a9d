"""unpack.py LAYOUT NAME DIRECTORY THREADS [MODULE...]: unpack an image, as if MODULEs were not."""

import os
import sys


def main(layout: str, name: str, directory: str, threads: str, *without: str) -> None:
    for module in without:
        sys.modules[module] = None  # type: ignore[assignment]
    from udocker.archive.oci_layout import OciLayout
    from udocker.unpack.tree import Limits, build_tree

    os.mkdir(directory, 0o700)
    layers = OciLayout(layout).image(name).layers()
    build_tree(layers, directory, Limits(max_bytes=1 << 40), lambda size: None, int(threads))


main(*sys.argv[1:])
