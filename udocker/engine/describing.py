"""Steps in words: for ``--dry-run`` and for errors."""

from __future__ import annotations

from udocker.model.launch import (
    Become,
    Bind,
    EnterRoot,
    FeignIds,
    GiveOwners,
    Join,
    MakeDirectory,
    MakeFile,
    MountTmpfs,
    MountUnion,
    ReadOnlyRoot,
    RefuseCalls,
    RelativeLinks,
    RemoveTree,
    SetHostname,
    SetLimits,
    ShareUnion,
    Unshare,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.launch import RunProgram, Step


def describe(step: Step) -> str:
    """The step in words, as an order."""
    if isinstance(step, Unshare):
        names = "user, mount" + (", uts" if step.uts else "") + (", network" if step.net else "")
        text = f"make new namespaces ({names}; {_ids(step)})"
        text += ", the user namespace with the other tasks here" if step.group else ""
    elif isinstance(step, MountUnion):
        layers = f"(lower {step.lower}, upper {step.upper})"
        text = f"mount overlayfs on {step.target} {layers}, or the mount that another run has"
    elif isinstance(step, ShareUnion):
        text = f"share the union of {step.upper} over {step.tree} in {step.state}"
    elif isinstance(step, EnterRoot):
        text = f"make {step.path} the root"
    elif isinstance(step, Bind):
        text = f"bind {step.source} on {step.target}{' read-only' if step.readonly else ''}"
    elif isinstance(step, (MountTmpfs, ReadOnlyRoot, SetHostname, SetLimits)):
        text = _describe_options(step)
    elif isinstance(step, MakeDirectory):
        text = f"make the directory {step.root}{step.path}"
    elif isinstance(step, MakeFile):
        text = f"make the file {step.root}{step.path} if there is none"
    elif isinstance(step, RefuseCalls):
        text = "refuse the system calls that no tracer knows, such as statx(2)"
    elif isinstance(step, (GiveOwners, Become, FeignIds, Join)):
        text = _describe_owners(step)
    elif isinstance(step, RelativeLinks):
        text = f"make absolute links below {step.root} relative"
    else:
        text = f"write {step.path} ({len(step.content)} bytes)"
    return text


def _describe_options(step: MountTmpfs | ReadOnlyRoot | SetHostname | SetLimits) -> str:
    if isinstance(step, SetHostname):
        return f"set the host name {step.name}"
    if isinstance(step, MountTmpfs):
        return f"mount a tmpfs on {step.target} ({','.join(step.options) or 'no options'})"
    if isinstance(step, ReadOnlyRoot):
        return "make the root read-only"
    from udocker.engine.limits import told

    return f"limit the command: {told(step)}"


def _describe_owners(step: GiveOwners | Become | FeignIds | Join) -> str:
    if isinstance(step, Join):
        return f"enter the namespaces of process {step.process} as user {step.user.uid}"
    if isinstance(step, GiveOwners):
        return f"note in {step.top} that files have other ids, and give {step.upper} its owners"
    if isinstance(step, Become):
        return f"become user {step.uid}, group {step.gid}"
    return f"feign success where ids other than 0:{step.gid}, or devices, are wanted"


def _ids(step: Unshare) -> str:
    if step.ids is None:
        return f"uid {step.uid} is {step.host_uid}, gid {step.gid} is {step.host_gid}"
    return f"{_rows('uid', step.ids.uids)}; {_rows('gid', step.ids.gids)}"


def _rows(name: str, rows: tuple[tuple[int, int, int], ...]) -> str:
    spans = (f"{a}-{a + n - 1} are {b}-{b + n - 1}" if n > 1 else f"{a} is {b}" for a, b, n in rows)
    return f"{name} {', '.join(spans)}"


def describe_undo(step: RemoveTree | RunProgram | RelativeLinks) -> str:
    """As ``describe``."""
    if isinstance(step, RelativeLinks):
        return describe(step)
    return f"remove {step.path}" if isinstance(step, RemoveTree) else f"run {' '.join(step.argv)}"


def describe_briefly(step: Step) -> str:
    """As ``describe``, without the long paths that an error need not tell."""
    if isinstance(step, MountUnion):
        return f"mount overlayfs on {step.target}"
    return describe(step)
