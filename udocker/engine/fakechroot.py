"""F1: a library of the host's, libfakechroot, stands before the container's C library.

It puts the container's root before the paths that a program gives to the C library. The program
is started by the container's own dynamic loader with the container's libraries, and so is whatever
it starts in turn. What makes its system calls itself, a static program above all, is not held, and
neither is what a program starts with an empty environment.
"""

from __future__ import annotations

from udocker.engine.base import mount_points, working_directory
from udocker.errors import UnsupportedFeature
from udocker.model.features import FILE_MOUNTS
from udocker.model.host import Support
from udocker.model.launch import Launch, MakeDirectory, RelativeLinks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.host import Host
    from udocker.model.launch import Step
    from udocker.model.run import RunSpec

MODES = ("F1",)
FEATURES = frozenset((FILE_MOUNTS,))
_SYSTEM = ("/dev", "/proc", "/sys")
_MOST_PATHS = 100  # EXCLUDE_LIST_SIZE of libfakechroot
# Nothing can be shown in another place, so these are the host's own.
_OF_THE_HOST = ("/etc/resolv.conf", "/etc/hosts", "/etc/passwd", "/etc/group")
_ALWAYS = _OF_THE_HOST[:2]
_OURS = ("FAKECHROOT", "LD_PRELOAD", "LD_LIBRARY_PATH")


def probe(host: Host, mode: str) -> Support:
    """The library must be there; whether it fits is a matter of each image."""
    library = host.program("libfakechroot")
    if library is None:
        return Support(
            "libfakechroot.so is not in the usual directories of libraries",
            "install libfakechroot, or name it: UDOCKER_FAKECHROOT_SO",
        )
    if any(character in library for character in ": "):
        return Support(
            f"a library with a blank or colon in its path cannot be preloaded: {library}",
            "name one elsewhere: UDOCKER_FAKECHROOT_SO",
        )
    return Support()


def launch(spec: RunSpec, host: Host, mode: str) -> Launch:
    """The container's loader runs the command. Raises UnsupportedFeature."""
    outside = _outside(spec)
    links = RelativeLinks(spec.root.path, outside)
    steps: list[Step] = [links, *mount_points(spec, _SYSTEM)]
    steps.append(working_directory(spec, _SYSTEM))
    steps.append(MakeDirectory("/tmp", 0o1777, root=spec.root.path, is_point=True))
    found = spec.preload
    name = ("--argv0", found.name) if found.has_argv0 else ()
    return Launch(
        argv=(
            _placed(spec, found.loader),
            *name,
            _placed(spec, found.program),
            *found.words,
            *spec.argv[1:],
        ),
        env=_env(spec, host, outside),
        cwd=_placed(spec, spec.cwd),
        steps=tuple(steps),
        undo=(links,),
    )


def _outside(spec: RunSpec) -> tuple[str, ...]:
    """The paths that are the host's."""
    files = [file.target for file in spec.files if file.target in _OF_THE_HOST]
    paths = (*_SYSTEM, *dict.fromkeys((*_ALWAYS, *files)), *(m.target for m in spec.mounts))
    if len(paths) > _MOST_PATHS:
        most = _MOST_PATHS - len(paths) + len(spec.mounts)
        raise UnsupportedFeature(
            f"{len(spec.mounts)} volumes: libfakechroot has room for {most}",
            hint="give a directory above them as one volume, or choose another mode",
        )
    for path in (spec.root.path, *paths):
        if ":" in path or ";" in path:
            raise UnsupportedFeature(
                f"libfakechroot takes no path with a colon or semicolon: {path}",
                hint="--execmode=auto or another mode",
            )
    return paths


def _placed(spec: RunSpec, path: str) -> str:
    """Where on the host a guest path is."""
    for mount in reversed(spec.mounts):
        if f"{path}/".startswith(f"{mount.target}/"):
            return mount.source + path[len(mount.target) :]
    if any(f"{path}/".startswith(f"{place}/") for place in _SYSTEM):
        return path
    return spec.root.path + path if path != "/" else spec.root.path


def _env(spec: RunSpec, host: Host, outside: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    given = dict(spec.env)
    own = [path for path in given.get("LD_LIBRARY_PATH", "").split(":") if path.startswith("/")]
    libraries = [_placed(spec, path) for path in (*own, *spec.preload.directories)]
    more = given.get("LD_PRELOAD", "").replace(" ", ":").split(":")
    preloaded = [_placed(spec, path) if path.startswith("/") else path for path in more if path]
    argv0 = (("FAKECHROOT_ELFLOADER_OPT_ARGV0", "--argv0"),) if spec.preload.has_argv0 else ()
    return (
        *((name, text) for name, text in spec.env if not name.startswith(_OURS)),
        ("LD_LIBRARY_PATH", ":".join(libraries)),
        ("LD_PRELOAD", ":".join([host.program("libfakechroot") or "", *preloaded])),
        ("FAKECHROOT", "true"),
        ("FAKECHROOT_BASE", spec.root.path),
        ("FAKECHROOT_ELFLOADER", _placed(spec, spec.preload.loader)),
        *argv0,
        ("FAKECHROOT_EXCLUDE_PATH", ":".join(outside)),
    )
