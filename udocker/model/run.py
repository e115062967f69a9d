"""A run with nothing left to look up: made of a RunRequest, and what engines make a Launch of."""

from __future__ import annotations

from udocker.model.request import Published, Tmpfs
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


# Where apt(8) looks for settings: root's files, in the order of their names.
APT_SETTINGS = "/etc/apt/apt.conf.d"

# What of the host every container shows, unless it is told not to.
SYSTEM = ("/dev", "/proc", "/sys")
# Where what devices need lies in a container: a directory that is mounted, and what is on it.
DEVICE_FILES = "/run/udocker/devices"


@value
class Mount:
    """A host file or directory made visible in the container."""

    source: str  # absolute, symlinks resolved, exists
    target: str  # absolute guest path
    readonly: bool = False
    is_dir: bool = True
    required: bool = True  # False: passed over where it cannot be mounted


@value
class GuestFile:
    """A file the container sees in place of its own, without its own being changed."""

    target: str
    content: bytes
    mode: int = 0o644


@value
class User:
    """Who the command is, inside."""

    uid: int
    gid: int
    name: str
    home: str
    groups: tuple[int, ...] = ()


@value
class IdMap:
    """Users and groups of a user namespace: rows of first inside, first outside, and how many."""

    uids: tuple[tuple[int, int, int], ...]
    gids: tuple[tuple[int, int, int], ...]
    programs: tuple[str, str]  # newuidmap and newgidmap


@value
class Root:
    """Where the root filesystem is: a plain directory, or an upper over an immutable tree."""

    path: str  # the plain directory, or the mount point for the union
    tree: str = ""  # "" : plain
    upper: str = ""
    work: str = ""

    @property
    def is_union(self) -> bool:
        return bool(self.tree)


@value
class Preload:
    """How a command is started with a library before its C library. Paths are the guest's."""

    loader: str = ""  # links followed, as all of them
    program: str = ""
    name: str = ""  # its argv[0]
    words: tuple[str, ...] = ()  # before the command's arguments: those of a #! line
    directories: tuple[str, ...] = ()  # of libraries
    has_argv0: bool = True  # the loader has this option


@value
class Tracer:
    """PRoot as it is brought into a container: the host files, by the names that they get."""

    program: str
    loader: str = ""  # of a program that is not static
    files: tuple[tuple[str, str], ...] = ()


@value
class RunSpec:
    """A run with every question answered. Engines read nothing else."""

    container: str  # id
    token: str  # unique to this run
    directory: str  # the container's directory, for what an engine must keep on disk
    root: Root
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cwd: str
    user: User
    mounts: tuple[Mount, ...]
    files: tuple[GuestFile, ...]
    hostname: Optional[str]
    tty: bool
    features: frozenset[str]
    copies: str = ""  # directory on the host with patched copies of files; "": none
    owners: str = ""  # host file that says what files have owners of their own; "": none has
    image_owners: str = ""  # host file with the owners of the tree
    feigns: bool = False  # the command is root with one id, and is told that more succeeds
    ids: Optional[IdMap] = None  # many; None: one user and one group
    has_apt: bool = False  # the container has APT_SETTINGS, as a directory of its own
    preload: Preload = Preload()
    tracer: Optional[Tracer] = None
    program: str = ""  # the guest path that argv[0] was found at; "": argv[0] is a path
    group: str = ""  # the file by which tasks come into one user namespace; "": each has its own
    apart: tuple[tuple[str, str], ...] = ()  # variables where they do not
    tells: bool = False  # this task speaks for the others of its host
    # The number of a machine, of elf(5), and a static qemu-user of the host for its programs.
    emulators: tuple[tuple[int, str], ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    readonly: bool = False
    network: bool = True
    ports: tuple[Published, ...] = ()  # that are others of the host's, or on one address
    system: tuple[str, ...] = SYSTEM
