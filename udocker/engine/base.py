"""The seam between the program and its engines. A module satisfies it: see ``namespace``."""

from __future__ import annotations

from udocker.model.host import Support
from udocker.model.launch import MakeDirectory, MakeFile
from udocker.model.run import APT_SETTINGS, GuestFile
from udocker.model.value import replace

TYPE_CHECKING = False
# apt's downloads become the user _apt, look who they are, and give up.
_APT = GuestFile(f"{APT_SETTINGS}/99udocker", b'APT::Sandbox::User "root";\n')
_BY_WHOM = "ask whoever runs this container, or made its rules, to allow seccomp(2)"

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from udocker.model.host import Host
    from udocker.model.launch import Launch
    from udocker.model.run import RunSpec

    class Engine(Protocol):
        """Two facts and two pure functions.

        What an engine needs on disk it writes as steps of its Launch; what it needs of the
        container's form it says in FEATURES (``UNION_ROOT``), and ``ops`` sees to it.
        """

        @property
        def MODES(self) -> tuple[str, ...]: ...

        @property
        def FEATURES(self) -> frozenset[str]: ...

        def probe(self, host: Host, mode: str) -> Support:
            """Whether ``mode`` can work here, as far as facts tell. Pure."""
            ...

        def launch(self, spec: RunSpec, host: Host, mode: str) -> Launch:
            """What to do to run ``spec``. Pure: golden files hold its results."""
            ...


def need_filters(host: Host, instead: str) -> Support:
    """Whether seccomp filters can be installed; ``instead``: a mode that needs none."""
    if host.seccomp:
        return Support()
    if host.forbids_filters:
        return Support("seccomp filters are forbidden here", f"use {instead}, or {_BY_WHOM}")
    return Support("this kernel has no seccomp filters", f"use {instead}")


def need_namespaces(host: Host, who: str = "") -> Support:
    """Whether the kernel and the administrator let this user have user namespaces.

    ``who`` needs them.
    """
    before = f"{who} user namespaces, " if who else ""
    if host.max_user_namespaces is None:
        text = "which this kernel has not" if who else "this kernel has no user namespaces"
        return Support(f"{before}{text}", "use a mode that needs none")
    off = f"{before}which" if who else "user namespaces"
    if host.max_user_namespaces == 0:
        return Support(
            f"{off} are switched off here (user.max_user_namespaces is 0)",
            "ask the administrator for sysctl user.max_user_namespaces=10000",
        )
    if host.userns_for_root_only and host.uid != 0:
        return Support(
            f"{off} are root's alone here (kernel.unprivileged_userns_clone is 0)",
            "ask the administrator for sysctl kernel.unprivileged_userns_clone=1",
        )
    return Support()


def feigning(spec: RunSpec) -> RunSpec:
    """The run with what programs have to be told where success is feigned, if it is."""
    if not (spec.feigns and spec.has_apt):
        return spec
    return replace(spec, files=(*spec.files, _APT))


def guest_file(spec: RunSpec, file: GuestFile) -> str:
    """Where on the host a file of ``spec.files`` is put: named by what it is and holds.

    The file lies in the container's directory, so runs share it and it goes with the container.
    A checksum is enough for a name, since what is there is compared before it is used; hashlib
    would cost the start of a run the loading of OpenSSL.
    """
    import zlib

    name = file.target.strip("/").replace("/", "#")
    return f"{spec.directory}/files/{name}-{zlib.crc32(file.content):08x}-{len(file.content)}"


def mount_points(spec: RunSpec, system: Sequence[str]) -> list[MakeDirectory | MakeFile]:
    """The steps that make what ``system``, the files and the mounts of ``spec`` are mounted on.

    A point inside another mount would have to be made on the host: it is not.
    """
    root = spec.root.path
    outer = [*system, *(mount.target for mount in spec.mounts)]
    steps: list[MakeDirectory | MakeFile] = [
        MakeDirectory(path, root=root, is_point=True) for path in system
    ]
    points = [(mount.target, mount.is_dir) for mount in spec.mounts]
    points += [(file.target, False) for file in spec.files]
    for target, is_dir in points:
        if any(target.startswith(f"{path}/") for path in outer):
            continue
        if is_dir:
            steps.append(MakeDirectory(target, root=root, is_point=True))
        else:
            steps.append(MakeFile(target, root))
    for tmpfs in spec.tmpfs:  # runc gives it the mode of what it is mounted on
        steps.append(MakeDirectory(tmpfs.target, tmpfs.mode, root=root, is_point=True))
    return steps


def working_directory(spec: RunSpec, system: Sequence[str]) -> MakeDirectory:
    """The step that makes the working directory where it lies on the host.

    For engines that mount nothing: ``system`` are the directories that are the host's own.
    """
    places = [(path, path) for path in system] + [(m.target, m.source) for m in spec.mounts]
    above = [place for place in places if f"{spec.cwd}/".startswith(f"{place[0]}/")]
    target, source = above[-1] if above else ("", spec.root.path)
    return MakeDirectory(spec.cwd[len(target) :], root=source)
