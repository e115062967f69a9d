"""A container: an image's tree and one directory of changes."""

from __future__ import annotations

from types import MappingProxyType

from udocker.model.oci import ImageConfig
from udocker.model.reference import Digest
from udocker.model.request import DeviceOptions
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

UNION = "union"  # an upper directory over the shared tree
RANGES = "ranges"
PLAIN = "plain"  # a directory of its own, ROOT
# The attribute of what a run made to mount on, in the upper or ROOT; its value is where: the guest
# path. Programs may move, fill or change it: then it is theirs. overlayfs and F modes hide it.
POINT = "user.overlay.point"
SHORT = 12  # digits of an id, where it is not shown whole

_NO_DEVICES = DeviceOptions()


@value
class Container:
    """What container.json holds, and where it lies. Changed by writing a new one."""

    id: str  # 32 hexadecimal digits
    path: str  # absolute directory of the container
    image: str  # the reference it was created from, canonical
    manifest: Digest
    tree: str  # absolute path of the image's immutable root
    config: ImageConfig
    created: str  # ISO 8601, UTC
    form: str = UNION
    mode: str = ""  # execution mode set by `setup`; empty: not set
    names: tuple[str, ...] = ()
    devices: DeviceOptions = DeviceOptions()  # said to `create` or `setup`: wishes for each run
    asked: Mapping[str, object] = MappingProxyType({})  # RunRequest of ``codec``: what start runs

    @property
    def short_id(self) -> str:
        return self.id[:SHORT]

    @property
    def upper(self) -> str:
        return f"{self.path}/upper"

    @property
    def work(self) -> str:
        return f"{self.path}/work"

    @property
    def ranges(self) -> str:
        """There while files belong to ids of /etc/subuid, and says to which: see ``away``."""
        return f"{self.path}/{RANGES}"

    @property
    def root(self) -> str:
        """The private root of a PLAIN container; the empty mount point of a UNION one."""
        return f"{self.path}/ROOT"


def devices_of(data: Any) -> DeviceOptions:
    """What a record says of devices; most say nothing. Raises ValueError, KeyError, TypeError."""
    if data is None:
        return _NO_DEVICES
    lists = {name: data[name] for name in ("gpus", "devices", "cdi_dirs")}
    for texts in lists.values():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("not a list of texts")
    given = {name: tuple(texts) for name, texts in lists.items()}
    return DeviceOptions(
        nv=data["nv"] is True,
        rocm=data["rocm"] is True,
        skip_hooks=data.get("skip_hooks") is True,
        host_libc=data.get("host_libc") is True,
        mpi_host=_word(data.get("mpi_host", "")),
        **given,
    )


def _word(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError("not a text")
    return given
