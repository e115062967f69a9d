"""What a user asks of a run. None stands for: not said."""

from __future__ import annotations

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


# Which ids there are in a container: of --userns.
SINGLE = "single"  # one user and one group, which are yours outside
KEEP_ID = "keep-id"  # the same, and they have your numbers inside
AUTO_RANGES = "auto"  # root is you, and the others are of /etc/subuid and /etc/subgid


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
class Published:
    """One ``-p``: ports of the container, as many of the host's, and an address of the host's."""

    container: int  # the first one
    host: int = 0  # the first one; 0: any that is free, for each of them
    count: int = 1
    protocol: str = "tcp"
    address: str = ""  # "": every one
    choices: int = 1  # so many of the host's, of which one that is free is taken

    @property
    def is_moved(self) -> bool:
        """Whether the container knows a port by another number than the host."""
        return self.host != self.container


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
    ports: tuple[Published, ...] = ()
    publish_all: bool = False  # the ports that the image exposes, too
    exposed: tuple[str, ...] = ()  # as if it did: "80", "53/udp", "8000-8009"
    names: NameOptions = NameOptions()
    limits: Limits = Limits()
    labels: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = ()  # more of them
    containerauth: bool = False
    metadata: bool = True  # False: what the image says of its command is not heeded
    location: str = ""  # a directory that is the root, in place of an image
