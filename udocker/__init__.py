"""Run Docker and OCI images without privileges.

``udocker.Client`` is for programs; its module is loaded when it is first asked for, because the
command line has no use for it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.client import Client as Client
    from udocker.client import CommandFailed as CommandFailed
    from udocker.client import Finished as Finished
    from udocker.client import Image as Image
    from udocker.errors import UdockerError as UdockerError

__version__ = "2.0.0.dev0"
__all__ = ("Client", "CommandFailed", "Finished", "Image", "UdockerError", "__version__")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'udocker' has no attribute {name!r}")
    from udocker import client

    return getattr(client, name)
