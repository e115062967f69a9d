"""A run, from what the user asked to what an engine executes.

RunRequest (None = not said) -> RunSpec (nothing left to look up) -> Launch (what happens).
"""

from __future__ import annotations

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Union

# Where apt(8) looks for settings: root's files, in the order of their names.
APT_SETTINGS = "/etc/apt/apt.conf.d"

# Which ids there are in a container: of --userns.
SINGLE = "single"  # one user and one group, which are yours outside
KEEP_ID = "keep-id"  # the same, and they have your numbers inside
AUTO_RANGES = "auto"  # root is you, and the others are of /etc/subuid and /etc/subgid

# Features a run may need and an engine may have.
HOSTNAME = "hostname"
READ_ONLY_MOUNTS = "read-only-mounts"
FILE_MOUNTS = "file-mounts"
USER = "user"
MOVED_MOUNTS = "moved-mounts"
UNION_ROOT = "union-root"  # runs a container without a directory of its own
FOREIGN_TREE = "foreign-tree"  # also over an image's tree that belongs to another user
HOST_DEVICES = "host-devices"  # /dev is the host's, whole
MOVED_DEVICES = "moved-devices"
READ_ONLY_ROOT = "read-only-root"
TMPFS = "tmpfs"  # of the kernel; elsewhere a directory that goes with the run
NO_NETWORK = "no-network"
BARE = "bare"
# What of the host every container shows, unless it is told not to.
SYSTEM = ("/dev", "/proc", "/sys")
# Programs of other machines: where the kernel or an emulator may start them; only one of these.
OTHER_MACHINES = "other-machines"
BY_KERNEL = "by-kernel"
BY_EMULATOR = "by-emulator"
FEATURE_TEXT = {
    HOSTNAME: "a hostname of its own",
    READ_ONLY_MOUNTS: "read-only volumes",
    FILE_MOUNTS: "single files as volumes",
    USER: "another user than root",
    MOVED_MOUNTS: "volumes at other paths than on the host",
    UNION_ROOT: "shared image trees",
    FOREIGN_TREE: "image trees of other users",
    HOST_DEVICES: "all devices of the host",
    MOVED_DEVICES: "devices by other names than on the host",
    READ_ONLY_ROOT: "a read-only root",
    TMPFS: "a tmpfs of the kernel's",
    NO_NETWORK: "a network of its own",
    BARE: "a root without the host's /dev, /proc or /sys",
    OTHER_MACHINES: "programs of other machines",
    BY_KERNEL: "a kernel that starts programs of other machines by itself (binfmt_misc)",
    BY_EMULATOR: "an emulator of its own for programs of other machines",
}
# Where what devices need lies in a container: a directory that is mounted, and what is on it.
DEVICE_FILES = "/run/udocker/devices"


@value
class Volume:
    """``-v source:target[:ro]`` as the user said it."""

    source: str  # a host path, or the name of a volume of the store
    target: str
    readonly: bool = False
    copies: bool = True  # a new volume of the store begins with what the image has there

    @property
    def is_named(self) -> bool:
        return not self.source.startswith("/")


@value
class Tmpfs:
    """A directory that is empty at first and goes with the run."""

    target: str
    options: tuple[str, ...] = ()  # of tmpfs(5), as mount(8) spells them
    readonly: bool = False
    executable: bool = True

    @property
    def mode(self) -> int:
        """Of the directory, as tmpfs(5) takes it."""
        given = (option[5:] for option in self.options if option.startswith("mode="))
        return int(next(given, "1777"), 8)


@value
class NameOptions:
    """What the container is to believe of names of hosts: --dns, --add-host and the like."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()  # name and address
    domain: str = ""


@value
class Limits:
    """What the command may use: --ulimit, --cpus, --memory and the like."""

    rlimits: tuple[tuple[str, int, int], ...] = ()  # name, soft, hard; -1: no limit
    cpus: float = 0.0  # 0: all
    cpuset: str = ""
    memory: int = 0  # bytes; 0: no limit
    pids: int = 0
    oom_score: Optional[int] = None
    no_new_privileges: bool = False


@value
class DeviceOptions:
    """``--gpus``, ``--nv``, ``--rocm``, ``--device`` and so on, as the user said them."""

    gpus: tuple[str, ...] = ()
    nv: bool = False
    rocm: bool = False
    devices: tuple[str, ...] = ()
    cdi_dirs: tuple[str, ...] = ()  # absolute
    skip_hooks: bool = False  # pass over hooks of CDI that are not known
    host_libc: bool = False  # the host's C library in place of an older one of the image
    mpi_host: str = ""  # the host's MPI in place of the image's, and how its ABI is checked


@value
class RunRequest:
    """What the user asked for on the command line."""

    target: str  # image reference, container name or id
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, Optional[str]], ...] = ()  # None: take the host's value
    env_files: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    workdir: Optional[str] = None
    user: Optional[str] = None
    entrypoint: Optional[str] = None  # "" removes the image's
    name: Optional[str] = None
    hostname: Optional[str] = None
    mode: Optional[str] = None
    platform: Optional[str] = None
    registry: Optional[str] = None  # of an image name that gives none
    pull: str = "missing"  # always, missing, never
    remove: bool = False
    hostenv: bool = False
    hostauth: bool = False
    bindhome: bool = False
    userns: str = SINGLE
    fakeroot: bool = False  # root with one id is told that what needs more has succeeded
    devices: DeviceOptions = DeviceOptions()
    mpi: str = "auto"  # how the tasks of a batch job find each other: auto, pmix, pmi2, none
    detach: bool = False
    tty: bool = False  # of its own, where it is detached; else the terminal that is there
    interactive: bool = False  # input may be sent to a detached command
    init: bool = False  # somebody is there to wait for orphans
    stop_signal: Optional[str] = None
    stop_timeout: Optional[int] = None  # seconds; -1: for ever
    cidfile: Optional[str] = None
    detach_keys: Optional[str] = None
    tmpfs: tuple[Tmpfs, ...] = ()
    volumes_from: tuple[tuple[str, bool], ...] = ()  # container, and whether read-only
    left_out: tuple[str, ...] = ()  # of volumes, files and directories of the host: --novol
    readonly: bool = False
    network: bool = True
    names: NameOptions = NameOptions()
    limits: Limits = Limits()
    labels: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = ()  # more of them
    containerauth: bool = False
    metadata: bool = True  # False: what the image says of its command is not heeded
    location: str = ""  # a directory that is the root, in place of an image


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
    system: tuple[str, ...] = SYSTEM


# Set-up steps of a Launch, carried out in order by engine/execute.py.


@value
class Unshare:
    """New user and mount namespaces; one user id and one group id are mapped, or ``ids``."""

    uid: int  # inside
    gid: int
    host_uid: int
    host_gid: int
    uts: bool = False
    ids: Optional[IdMap] = None
    net: bool = False  # with nothing but the loopback interface
    group: str = ""  # as of RunSpec
    tells: bool = False  # this task speaks for its group


@value
class Join:
    """The namespaces of a process, where they are others than ours; then this user in them."""

    process: int
    mark: str  # of ``makers``
    user: User


@value
class GiveOwners:
    """Files below ``upper`` get the owners that are kept for them, if they have not got them yet.

    ``top`` is the container's directory: see ``away``.
    """

    top: str
    upper: str
    ids: IdMap


@value
class Become:
    """Be another user inside, and no longer root."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@value
class MountUnion:
    """Kernel overlayfs at ``target``: one mount, which all that run the container share."""

    lower: str
    upper: str
    work: str
    target: str


@value
class ShareUnion:
    """The file ``state`` for the processes of a container whose engine makes the union."""

    upper: str
    tree: str
    work: str
    state: str
    root: str  # where a directory of the container's own would be: it must be empty


@value
class EnterRoot:
    """Make ``path`` the root. Later steps name targets inside, sources outside (the old root)."""

    path: str


@value
class Bind:
    """Show ``source`` of the old root at ``target``, whose mount point is made if it is missing.

    What is mounted below ``source`` comes along.
    """

    source: str
    target: str
    readonly: bool = False
    shallow: bool = False  # read-only is the mount itself, not what is mounted below it
    is_dir: bool = True
    required: bool = True


@value
class MountTmpfs:
    """As Bind, a new tmpfs."""

    target: str
    options: tuple[str, ...] = ()
    readonly: bool = False
    executable: bool = True


@value
class ReadOnlyRoot:
    """The root, and not what is mounted below it, may not be written from now on."""


@value
class SetLimits:
    """Of this process, and so of the command: numbers of setrlimit(2), CPUs, and more."""

    rlimits: tuple[tuple[int, int, int], ...] = ()  # resource, soft, hard
    cpus: tuple[int, ...] = ()  # none: as they are
    oom_score: Optional[int] = None
    no_new_privileges: bool = False


@value
class MakeDirectory:
    """``path`` and its parents, in the container.

    Before EnterRoot ``root`` is the container's root on the host, and no symbolic link leads out.
    ``is_point``: what is made is marked as made by the run (``container.POINT``).
    """

    path: str
    mode: int = 0o755
    root: str = ""
    is_point: bool = False


@value
class MakeFile:
    """An empty file at ``path`` under ``root`` on the host, with its parents; what is there stays.

    No symbolic link leads out of the root. What is made is marked as made by the run.
    """

    path: str
    root: str


@value
class SetHostname:
    name: str


@value
class RefuseCalls:
    """Answer ENOSYS to the system calls of this machine that a tracer of paths does not know."""


@value
class FeignIds:
    """Answer success to root's calls that need other ids than the one user and group mapped.

    Those that make devices are among them. Passed over where the kernel takes no filters.
    """

    gid: int


@value
class RelativeLinks:
    """Links below ``root`` lead nowhere else, but for those into ``outside``. Also an undo step."""

    root: str
    outside: tuple[str, ...]


@value
class WriteFile:
    """A file on the host that the launch needs; its parents are made."""

    path: str
    content: bytes
    mode: int = 0o600


@value
class RunProgram:
    """Undo step: a program that ends by itself; what it says is of no interest."""

    argv: tuple[str, ...]


@value
class RemoveTree:
    """Undo step: remove a host directory that set-up steps made."""

    path: str


if TYPE_CHECKING:
    Step = Union[
        Unshare,
        Join,
        GiveOwners,
        Become,
        MountUnion,
        ShareUnion,
        EnterRoot,
        Bind,
        MountTmpfs,
        ReadOnlyRoot,
        SetLimits,
        MakeDirectory,
        MakeFile,
        SetHostname,
        RefuseCalls,
        FeignIds,
        RelativeLinks,
        WriteFile,
    ]


@value
class Launch:
    """All that ``execute`` needs: steps, then argv in env, then undo.

    After EnterRoot, ``argv[0]`` and ``cwd`` are guest paths, else host paths. Where ``undo`` is
    not empty, or signals must be passed on, a parent stays; otherwise the command takes udocker's
    place. With ``pid_file`` argv is a program that starts the command in another session, writes
    its process id there and ends; that it fails is no status of the command.
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cwd: str
    steps: tuple[Step, ...] = ()
    undo: tuple[Union[RemoveTree, RunProgram, RelativeLinks], ...] = ()
    go_betweens: int = (
        0  # from argv down to the command, each the other's child: none heeds signals
    )
    pid_file: str = ""
    apart: tuple[tuple[str, str], ...] = ()  # more of env, where ``Unshare`` has found no group
