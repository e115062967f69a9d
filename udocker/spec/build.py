"""RunRequest + image + host = RunSpec: every question answered, nothing carried out."""

from __future__ import annotations

import os

from udocker.errors import UsageError
from udocker.model.features import (
    BARE,
    FILE_MOUNTS,
    HOSTNAME,
    MOVED_MOUNTS,
    MOVED_PORTS,
    NO_NETWORK,
    PORT_ADDRESSES,
    READ_ONLY_MOUNTS,
    READ_ONLY_ROOT,
    USER,
)
from udocker.model.request import KEEP_ID, NameOptions, Published, RunRequest
from udocker.model.run import SYSTEM, GuestFile, Mount, Root, RunSpec, User
from udocker.model.value import replace, value
from udocker.spec import command, env, mounts, user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from udocker.model.container import Container
    from udocker.model.host import Host
    from udocker.model.oci import ImageConfig

_LONGEST_HOSTNAME = 64  # HOST_NAME_MAX, sethostname(2)


@value
class Inputs:
    """What was read from disk and from the environment for a run; None: no such file."""

    passwd: bytes | None  # the container's /etc/passwd, or the host's with --hostauth
    group: bytes | None
    resolv_conf: bytes | None  # the host's
    hosts: bytes | None
    env_files: tuple[tuple[str, str | None], ...]
    environ: Mapping[str, str]
    token: str  # unique to this run
    terminal: bool  # standard input and output are terminals
    job: tuple[tuple[str, str], ...] = ()  # variables of the batch job
    job_mounts: tuple[Mount, ...] = ()
    feigns: bool = False  # the mode can, and the user wants it
    has_apt: bool = False  # the container's APT_SETTINGS is a directory, and no link leads there


def build(
    request: RunRequest, container: Container, host: Host, mode: str, inputs: Inputs
) -> RunSpec:
    """The run that ``request`` asks for, of ``container``. Raises UdockerError."""
    if request.hostname is not None:
        _check_hostname(request.hostname)
    if not request.metadata:
        container = replace(container, config=_bare(container.config))
    who = _who(request, container, host, inputs)
    found = mounts.ordered([*inputs.job_mounts, *_mounts(request, host)])
    return RunSpec(
        container=container.id,
        token=inputs.token,
        directory=container.path,
        root=_root(container),
        argv=command.build(container.config, request.entrypoint, request.command),
        env=_env(request, container, host, mode=mode, who=who, inputs=inputs),
        cwd=_cwd(request.workdir or container.config.working_dir),
        user=who,
        mounts=found,
        files=_files(request, who, inputs, found),
        hostname=request.hostname,
        tty=inputs.terminal,
        features=_features(request, who, found),
        feigns=inputs.feigns and who.uid == 0,
        has_apt=inputs.has_apt,
        tmpfs=request.tmpfs,
        readonly=request.readonly,
        network=request.network,
        ports=_ports(request),
        system=tuple(path for path in SYSTEM if path not in request.left_out),
    )


def _bare(config: ImageConfig) -> ImageConfig:
    """What --nometa leaves of it: no word about the command."""
    return replace(config, env=(), entrypoint=(), cmd=(), user="", working_dir="")


def _who(request: RunRequest, container: Container, host: Host, inputs: Inputs) -> User:
    if request.userns == KEEP_ID:
        return user.own(host, request.user, inputs.passwd, inputs.group)
    asked = request.user if request.user is not None else container.config.user
    found = user.resolve(asked, inputs.passwd, inputs.group)
    if request.groups:
        more = (user.group_id(name, inputs.group) for name in request.groups)
        found = replace(found, groups=tuple(dict.fromkeys((*found.groups, *more))))
    return found


def _root(container: Container) -> Root:
    if container.form == "plain":
        return Root(os.path.realpath(container.root))
    return Root(container.root, container.tree, container.upper, container.work)


def _env(
    request: RunRequest, container: Container, host: Host, *, mode: str, who: User, inputs: Inputs
) -> tuple[tuple[str, str], ...]:
    facts = {
        "container_uuid": container.id,
        "container_names": ",".join(container.names),
        "container_execmode": mode,
        "container_ruser": host.username,
    }
    hostname = request.hostname or host.hostname
    common = env.always(who, hostname, inputs.environ.get("TERM"), facts)
    return env.build(
        common,
        image=container.config.env,
        job=inputs.job,
        files=inputs.env_files,
        options=request.env,
        host=inputs.environ,
        hostenv=request.hostenv,
    )


def _cwd(text: str) -> str:
    path = text or "/"
    if not path.startswith("/"):
        raise UsageError(f"the working directory {path!r} is not an absolute path")
    # Two leading slashes are one to the kernel, and to POSIX something of the system's own.
    return "/" + os.path.normpath(path).lstrip("/")


def _check_hostname(name: str) -> None:
    allowed = name.replace("-", "").replace(".", "").replace("_", "")
    if not allowed.isalnum() or not name.isascii() or len(name) > _LONGEST_HOSTNAME:
        raise UsageError(f"not a host name: {name!r}", hint="letters, digits, - and . up to 64")


def _mounts(request: RunRequest, host: Host) -> list[Mount]:
    found = []
    if request.bindhome and os.path.isdir(host.home):
        home = os.path.realpath(host.home)
        found.append(Mount(home, os.path.normpath(host.home), False, True, True))
    found += [mounts.to_mount(volume) for volume in request.volumes]
    return [m for m in found if not {m.source, m.target} & {*request.left_out}]


def _files(
    request: RunRequest, who: User, inputs: Inputs, found: tuple[Mount, ...]
) -> tuple[GuestFile, ...]:
    """Files the container sees in place of its own; what the user mounts comes first."""
    hosts = inputs.hosts
    if request.hostname is not None:
        domain = request.names.domain
        full = f"{request.hostname}.{domain} {request.hostname}" if domain else request.hostname
        hosts = (hosts or b"") + f"127.0.1.1\t{full}\n".encode()
    passwd = user.passwd_with(inputs.passwd, who)
    group = user.group_with(inputs.group, who)
    if request.hostauth:
        passwd, group = passwd or inputs.passwd, group or inputs.group
    if request.containerauth:
        passwd = group = None
    resolv_conf = inputs.resolv_conf
    if request.names != NameOptions():
        from udocker.spec import network

        resolv_conf = network.resolv_conf(resolv_conf, request.names)
        hosts = network.hosts(hosts, request.names)
    wanted = {
        "/etc/resolv.conf": resolv_conf,
        "/etc/hosts": hosts,
        "/etc/hostname": f"{request.hostname}\n".encode() if request.hostname else None,
        "/etc/passwd": passwd,
        "/etc/group": group,
    }
    taken = {*(mount.target for mount in found), *request.left_out}
    taken.update(tmpfs.target for tmpfs in request.tmpfs)
    return tuple(
        GuestFile(target, content)
        for target, content in wanted.items()
        if content is not None and target not in taken and "/etc" not in taken
    )


def _ports(request: RunRequest) -> tuple[Published, ...]:
    """Those that are not simply the host's."""
    return tuple(each for each in request.ports if each.is_moved or each.address)


def _features(request: RunRequest, who: User, found: tuple[Mount, ...]) -> frozenset[str]:
    needed = {
        HOSTNAME: request.hostname is not None,
        READ_ONLY_MOUNTS: any(mount.readonly for mount in found),
        FILE_MOUNTS: any(not mount.is_dir for mount in found),
        USER: who.uid != 0,
        MOVED_MOUNTS: bool(request.tmpfs)
        or any(os.path.realpath(m.target) != m.source for m in found),
        READ_ONLY_ROOT: request.readonly,
        NO_NETWORK: not request.network,
        MOVED_PORTS: any(each.is_moved for each in request.ports),
        PORT_ADDRESSES: any(each.address for each in request.ports),
        BARE: not set(SYSTEM).isdisjoint(request.left_out),
    }
    return frozenset(feature for feature, is_needed in needed.items() if is_needed)
