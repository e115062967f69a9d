"""What happens in a run: set-up steps, a command, and what is undone after it."""

from __future__ import annotations

from udocker.model.run import IdMap, User
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Union


# Set-up steps, carried out in order by engine/steps.py.


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
