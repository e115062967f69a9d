"""Docker's options of ``run`` beyond the usual, and those of udocker 1.3, become a RunRequest."""

from __future__ import annotations

from udocker.cli.parser import FLAG, LIST, TEXT, Option
from udocker.errors import UsageError
from udocker.model.request import Limits, NameOptions, Tmpfs
from udocker.model.run import SYSTEM
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.parser import Parsed
    from udocker.model.request import RunRequest, Volume
    from udocker.ops.session import Session

# What --nosysdirs leaves out.
_HOSTS_OWN = (*SYSTEM, "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/lib/modules")
_NETWORKS = ("host", "none", "default")
OPTIONS = (
    Option(("--mount",), LIST, "type=bind|tmpfs|volume,source=…,target=…[,readonly]", "MOUNT"),
    Option(("--tmpfs",), LIST, "an empty directory that goes with the run", "DIR[:OPTIONS]"),
    Option(("--volumes-from",), LIST, "the volumes of that container's last run", "CONTAINER[:ro]"),
    Option(("--read-only",), FLAG, "the root may not be written; volumes may"),
    Option(("--network", "--net"), TEXT, "host (default), or none but the loopback", "NETWORK"),
    Option(
        ("--publish", "-p"),
        LIST,
        "a port of the host for the container's; another number: F, P modes, R2, R3",
        "[[ADDRESS:]HOST:]PORT[/udp]",
    ),
    Option(("--publish-all", "-P"), FLAG, "all ports that the image exposes; see udocker port"),
    Option(("--add-host",), LIST, "a line in /etc/hosts", "NAME:ADDRESS"),
    Option(("--dns",), LIST, "a name server, in place of the host's", "ADDRESS"),
    Option(("--dns-search",), LIST, "a domain to look for names in", "DOMAIN"),
    Option(("--dns-option", "--dns-opt"), LIST, "an option of resolv.conf(5)", "OPTION"),
    Option(("--domainname",), TEXT, "the domain of --hostname, in /etc/hosts", "DOMAIN"),
    Option(("--label", "-l"), LIST, "write something on the container", "KEY=VALUE"),
    Option(("--label-file",), LIST, "labels from a file, KEY=VALUE lines", "FILE"),
    Option(("--group-add",), LIST, "one more group for the user, in modes that feign", "GROUP"),
    Option(("--ulimit",), LIST, "a limit of getrlimit(2): nofile=1024:4096", "NAME=SOFT[:HARD]"),
    Option(("--cpus",), TEXT, "so many CPUs; without a control group, whole ones", "NUMBER"),
    Option(("--cpu-period",), TEXT, "microseconds, for --cpu-quota", "NUMBER"),
    Option(("--cpu-quota",), TEXT, "microseconds of each period: as --cpus", "NUMBER"),
    Option(("--cpuset-cpus",), TEXT, "these CPUs only, 0-3,8", "CPUS"),
    Option(("--memory", "-m"), TEXT, "so much; without a control group, each process", "SIZE"),
    Option(("--pids-limit",), TEXT, "so many processes, where there is a control group", "N"),
    Option(("--oom-score-adj",), TEXT, "how soon the kernel ends it, -1000 to 1000", "N"),
    Option(("--shm-size",), TEXT, "checked: /dev/shm is the host's", "SIZE"),
    Option(("--security-opt",), LIST, "no-new-privileges; no profiles", "OPTION"),
    Option(("--novol",), LIST, "leave out a volume, or a file or directory of the host's", "PATH"),
    Option(("--nosysdirs",), FLAG, "leave out /dev, /proc, /sys and the host's files in /etc"),
    Option(("--nometa",), FLAG, "do not heed what the image says of its command"),
    Option(("--containerauth",), FLAG, "the container's own passwd and group, as they are"),
    Option(("--location",), TEXT, "run in this directory as the root; TARGET is a name", "DIR"),
)


def extended(session: Session, parsed: Parsed, request: RunRequest) -> RunRequest:
    """``request`` with what OPTIONS say. Raises UsageError."""
    if not any(parsed.has(option.key) for option in OPTIONS):
        return request
    if parsed.has("label") or parsed.has("label-file"):
        request = replace(request, labels=labels(parsed))
    if parsed.has("location"):
        place = _location(parsed.text("location") or "", session)
        request = replace(request, location=place, remove=True)
    left_out = parsed.list("novol") + (_HOSTS_OWN if parsed.flag("nosysdirs") else ())
    request = replace(
        request,
        left_out=tuple(path.rstrip("/") or "/" for path in left_out),
        readonly=parsed.flag("read-only"),
        metadata=not parsed.flag("nometa"),
        containerauth=parsed.flag("containerauth"),
        groups=tuple(name for name in parsed.list("group-add") if name != "keep-groups"),
        limits=_limits(session, parsed),
    )
    return _on_network(session, parsed, _with_volumes(session, parsed, request))


def labels(parsed: Parsed) -> tuple[tuple[str, str], ...]:
    """Of files first, so that what is given by itself counts. Raises UsageError."""
    from udocker.spec.labels import parse_label, read_labels

    found: dict[str, str] = {}
    for path in parsed.list("label-file"):
        found.update(read_labels(path))
    found.update(parse_label(text) for text in parsed.list("label"))
    return tuple(found.items())


def _with_volumes(session: Session, parsed: Parsed, request: RunRequest) -> RunRequest:
    from udocker.spec.storage import parse_mount, parse_tmpfs, parse_volumes_from

    volumes: list[Volume] = list(request.volumes)
    tmpfs: list[Tmpfs] = []
    for text in parsed.list("mount"):
        found = parse_mount(text, session.cwd)
        if isinstance(found, Tmpfs):
            tmpfs.append(found)
        elif found is not None:
            volumes.append(found)
    tmpfs += [parse_tmpfs(text) for text in parsed.list("tmpfs")]
    targets = [volume.target for volume in volumes] + [each.target for each in tmpfs]
    for each in tmpfs:
        if targets.count(each.target) > 1:
            raise UsageError(f"two things are to be mounted at {each.target}")
    return replace(
        request,
        volumes=tuple(volumes),
        tmpfs=tuple(sorted(tmpfs, key=lambda each: each.target.count("/"))),
        volumes_from=tuple(parse_volumes_from(text) for text in parsed.list("volumes-from")),
    )


def _on_network(session: Session, parsed: Parsed, request: RunRequest) -> RunRequest:
    from udocker.spec import network

    name = parsed.text("network")
    has_network = name is None or network.is_network(name)
    if name is not None and name not in _NETWORKS and not name.startswith("container:"):
        session.report.warn(f"--network {name}: the container is on the host's network")
    names = NameOptions(
        tuple(network.check_server(text) for text in parsed.list("dns")),
        tuple(network.check_word(text, "--dns-search") for text in parsed.list("dns-search")),
        tuple(network.check_word(text, "--dns-option") for text in parsed.list("dns-option")),
        tuple(network.parse_host(text) for text in parsed.list("add-host")),
        network.check_word(parsed.text("domainname") or "-", "--domainname").strip("-"),
    )
    request = replace(request, network=has_network, names=names)
    return _with_ports(session, parsed, request) if has_network else request


def _with_ports(session: Session, parsed: Parsed, request: RunRequest) -> RunRequest:
    if not parsed.has("publish") and not parsed.flag("publish-all"):
        return request
    from udocker.ops.published import first_free_port
    from udocker.spec import ports

    found = []
    for text in parsed.list("publish"):
        each = ports.parse(text)
        if each.protocol == ports.SCTP and each.address:
            session.report.warn(f"-p {text}: the program chooses the address that it listens on")
            each = replace(each, address="")
        found.append(each)
    checked = ports.check(found, first_free_port(), session.host.uid)
    if not parsed.flag("publish-all"):
        return replace(request, ports=checked)
    return replace(request, ports=checked, publish_all=True, exposed=parsed.list("expose"))


def _limits(session: Session, parsed: Parsed) -> Limits:
    from udocker.cli.run_rows import no_new_privileges
    from udocker.spec import limits
    from udocker.spec.storage import parse_size

    given = parsed.text
    score, shm = given("oom-score-adj"), given("shm-size")
    if given("cpuset-cpus"):
        limits.parse_cpuset(given("cpuset-cpus") or "")
    if shm is not None:
        from udocker.ops.resources import check_shared_memory

        check_shared_memory(session, parse_size(shm, "--shm-size"))
    return Limits(
        rlimits=tuple(limits.parse_ulimit(text) for text in parsed.list("ulimit")),
        cpus=_cpus(parsed),
        cpuset=given("cpuset-cpus") or "",
        memory=limits.parse_memory(given("memory") or "0"),
        pids=limits.parse_pids(given("pids-limit") or "0"),
        oom_score=None
        if score is None
        else limits.parse_integer(score, "--oom-score-adj", -1000, 1000),
        no_new_privileges=no_new_privileges(parsed.list("security-opt")),
    )


def _cpus(parsed: Parsed) -> float:
    from udocker.spec import limits

    cpus, quota = parsed.text("cpus"), parsed.text("cpu-quota")
    period = limits.parse_integer(
        parsed.text("cpu-period") or "100000", "--cpu-period", 1000, 10**6
    )
    if cpus is not None:
        if quota is not None or parsed.text("cpu-period") is not None:
            raise UsageError("--cpus and --cpu-quota at once", hint="give one of them")
        return limits.parse_cpus(cpus)
    return 0.0 if quota is None else limits.parse_integer(quota, "--cpu-quota", -1, 10**9) / period


def _location(text: str, session: Session) -> str:
    import os

    path = os.path.realpath(os.path.join(session.cwd, text))
    if not text or not os.path.isdir(path) or path == "/":
        raise UsageError(f"--location {text!r} is not a directory", hint="--location DIR")
    return path
