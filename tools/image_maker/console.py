"""An image with Tomcat and its examples, the programs of Debian 12 at the places of Docker Hub's.

That is ``/usr/local/tomcat``, with the applications in ``webapps.dist`` and none in ``webapps``.
"""

from __future__ import annotations

import copy
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from image_maker import debian

_PACKAGES = [
    *("tomcat10", "tomcat10-examples", "openjdk-17-jre-headless"),
    *("dash", "coreutils", "findutils", "grep", "sed"),
]
_HOME = "usr/local/tomcat"
# What moves, the longest first where one is in another.
_MOVED = {
    "usr/share/tomcat10/etc": f"{_HOME}/conf",
    "usr/share/tomcat10": _HOME,
    "usr/share/tomcat10-root/default_root": f"{_HOME}/webapps.dist/ROOT",
    "usr/share/tomcat10-examples/examples": f"{_HOME}/webapps.dist/examples",
}
_EMPTY = ("webapps", "logs", "temp", "work")
_LEFT_OUT = (
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/maven"),
    *("usr/lib/systemd", "lib/systemd", "usr/share/perl5", "var/lib/dpkg", "var/cache", "dev"),
    *("etc/tomcat10", "var/lib/tomcat10", "usr/share/bash-completion", "usr/share/zoneinfo"),
)
_JAVA = "usr/lib/jvm/java-17-openjdk-"


def tree(tar: Path, scratch: Path) -> None:
    """Write the tar of the image. ``scratch`` is for the work in between."""
    packages = debian.unpacked("bookworm", _PACKAGES, scratch)
    with tarfile.open(packages) as source, tarfile.open(tar, "w") as archive:
        for member in source:
            if not member.name.removeprefix("./").startswith(_LEFT_OUT):
                data = source.extractfile(member) if member.isreg() else None
                archive.addfile(_at_home(member), data)
        for member in _directories():
            archive.addfile(member)


def config(architecture: str, path: str) -> dict[str, Any]:
    """How the image runs. ``architecture`` as Debian calls it; ``path``: ``PATH=`` and all."""
    java = f"/{_JAVA}{architecture}"
    first, _, rest = path.partition("=")
    return {
        "Env": [
            f"{first}=/{_HOME}/bin:{java}/bin:{rest}",
            f"JAVA_HOME={java}",
            f"CATALINA_HOME=/{_HOME}",
            "LANG=C.UTF-8",
        ],
        "Cmd": ["catalina.sh", "run"],
        "WorkingDir": f"/{_HOME}",
        "ExposedPorts": {"8080/tcp": {}},
    }


def _at_home(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """``member`` where the image has it; links to Debian's libraries become absolute."""
    name = member.name.removeprefix("./")
    for old, new in _MOVED.items():
        if name == old or name.startswith(f"{old}/"):
            moved = copy.copy(member)
            moved.name = f"./{new}{name[len(old) :]}"
            moved.pax_headers = {}  # it has the name once more where that is long
            if member.issym():
                moved.linkname = member.linkname.replace("../../java/", "/usr/share/java/")
            return moved
    return member


def _directories() -> Iterator[tarfile.TarInfo]:
    for name in _EMPTY:
        member = tarfile.TarInfo(f"./{_HOME}/{name}")
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        yield member
