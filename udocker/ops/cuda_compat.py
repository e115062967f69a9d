"""Forward compatibility: the ``libcuda`` of an image that is newer than the host's driver.

Images of NVIDIA's have it for programs that need more than the driver has.
https://docs.nvidia.com/deploy/cuda-compatibility
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.store.view import View

FOLDER = "/usr/local/cuda/compat"
_LIBRARY = re.compile(r"libcuda\.so\.(([0-9]{1,5})(?:\.[0-9]{1,5}){1,2})", re.ASCII)


def newer(view: View, driver: str) -> str:
    """The version of the image's own; "" where it is not for a host with ``driver``.

    Where it is no newer than the host's, or there are several, it is not.
    """
    found = [match for name in view.names(FOLDER) if (match := _LIBRARY.fullmatch(name))]
    host = driver.partition(".")[0]
    if len(found) != 1 or not host.isdigit() or int(found[0][2]) <= int(host):
        return ""
    return found[0][1]
