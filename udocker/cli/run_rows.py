"""Options of Docker's and udocker 1.3's ``run`` that have no effect here, and why, by table.

A row is accepted with one warning, or refused where going on would mislead. A row whose option
``run`` itself has counts no more. docs/docker.md and docs/udocker-1.3.md are made from the rows.
"""

from __future__ import annotations

from udocker.cli.parser import FLAG, LIST, TEXT, Option
from udocker.errors import UsageError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from udocker.cli.parser import Parsed

ACCEPTED = "accepted"
REFUSED = "refused"
_IO = "reading and writing is not limited here"
_NO_CGROUP = "it is not limited: see --cpus and --memory"
_LOGS = "output goes where udocker's goes, and with -d to udocker logs"
_WINDOWS = "it is for Windows"
_HEALTH = "nobody looks whether the command is well"
_HOSTS_NETWORK = "a container is on the host's network"


@value
class Row:
    """An option: its spellings, its kind, and what there is to say of it.

    ``quiet``: values, or the beginnings of values, of which nothing has to be said; "*": all.
    """

    names: tuple[str, ...]
    kind: str
    verdict: str
    text: str
    hint: str = ""
    quiet: tuple[str, ...] = ()

    @property
    def option(self) -> Option:
        metavar = "" if self.kind == FLAG else "VALUE"
        streams = ("stdin", "stdout", "stderr") if self.names[0] == "--attach" else ()
        return Option(
            self.names, self.kind, self.text, metavar, streams, hidden=True, optional=bool(streams)
        )


def _row(
    names: str, kind: str, text: str, *, hint: str = "", quiet: str = "", verdict: str = ACCEPTED
) -> Row:
    return Row(tuple(names.split()), kind, verdict, text, hint, tuple(quiet.split()))


ROWS = (
    _row("--annotation", LIST, "annotations are not kept", hint="--label keeps"),
    _row("--attach -a", LIST, "standard streams are always connected", quiet="*"),
    _row("--blkio-weight", TEXT, _IO),
    _row("--blkio-weight-device", LIST, _IO),
    _row("--cap-add", LIST, "a container has your rights on the host and no others"),
    _row("--cap-drop", LIST, "nothing is taken away: there are no rights but yours on the host"),
    _row("--cgroup-parent", TEXT, "the control group is yours, or one below it"),
    _row("--cgroupns", TEXT, "control groups are shown as on the host", quiet="host private"),
    _row("--cpu-count", TEXT, _WINDOWS, hint="--cpus N"),
    _row("--cpu-percent", TEXT, _WINDOWS, hint="--cpus N"),
    _row("--cpu-rt-period", TEXT, _NO_CGROUP),
    _row("--cpu-rt-runtime", TEXT, _NO_CGROUP),
    _row("--cpu-shares -c", TEXT, _NO_CGROUP),
    _row("--cpuset-mems", TEXT, "memory is taken from all nodes", hint="numactl in the container"),
    _row("--device-cgroup-rule", LIST, "devices are those that the host lets you open", quiet="*"),
    _row("--device-read-bps", LIST, _IO),
    _row("--device-read-iops", LIST, _IO),
    _row("--device-write-bps", LIST, _IO),
    _row("--device-write-iops", LIST, _IO),
    _row("--disable-content-trust", FLAG, "digests are always checked", quiet="*"),
    _row("--expose", LIST, "for -P; what listens is open on the host's network anyhow", quiet="*"),
    _row("--health-cmd", TEXT, _HEALTH),
    _row("--health-interval", TEXT, _HEALTH, quiet="*"),
    _row("--health-retries", TEXT, _HEALTH, quiet="*"),
    _row("--health-start-interval", TEXT, _HEALTH, quiet="*"),
    _row("--health-start-period", TEXT, _HEALTH, quiet="*"),
    _row("--health-timeout", TEXT, _HEALTH, quiet="*"),
    _row("--io-maxbandwidth", TEXT, _WINDOWS),
    _row("--io-maxiops", TEXT, _WINDOWS),
    _row("--ip", TEXT, f"{_HOSTS_NETWORK}, with its addresses", verdict=REFUSED),
    _row("--ip6", TEXT, f"{_HOSTS_NETWORK}, with its addresses", verdict=REFUSED),
    _row("--ipc", TEXT, "shared memory and queues are the host's", quiet="host shareable"),
    _row("--isolation", TEXT, _WINDOWS, quiet="default"),
    _row("--kernel-memory", TEXT, _NO_CGROUP),
    _row(
        "--link",
        LIST,
        "the other container is on this host's network, and has no name there",
        hint="--add-host ALIAS:127.0.0.1",
        verdict=REFUSED,
    ),
    _row("--link-local-ip", LIST, f"{_HOSTS_NETWORK}, with its addresses", verdict=REFUSED),
    _row("--log-driver", TEXT, _LOGS, quiet="none json-file local"),
    _row("--log-opt", LIST, _LOGS, quiet="max- mode= compress="),
    _row("--mac-address", TEXT, f"{_HOSTS_NETWORK}, with its addresses"),
    _row("--memory-reservation", TEXT, _NO_CGROUP),
    _row("--memory-swap", TEXT, "swap is not limited: see --memory", quiet="-1"),
    _row("--memory-swappiness", TEXT, _NO_CGROUP),
    _row("--network-alias --net-alias", LIST, f"{_HOSTS_NETWORK}: no other finds it by a name"),
    _row("--no-healthcheck", FLAG, _HEALTH, quiet="*"),
    _row("--oom-kill-disable", FLAG, "the kernel decides what it ends when memory is used up"),
    _row("--pid", TEXT, "processes are shown as on the host", quiet="host"),
    _row("--privileged", FLAG, "a container has your rights on the host and no others"),
    _row("--restart", TEXT, "nothing starts it again when it has ended", quiet="no"),
    _row("--runtime", TEXT, "the mode says how it is run", hint="--execmode=R1 takes runc"),
    _row("--sig-proxy", FLAG, "signals are always passed on", quiet="*"),
    _row("--storage-opt", LIST, "the size of the container is not limited"),
    _row("--sysctl", LIST, "settings of the kernel are the host's", verdict=REFUSED),
    _row("--use-api-socket", FLAG, "there is no daemon with a socket", verdict=REFUSED),
    _row("--uts", TEXT, "a name of its own is given by --hostname", quiet="host private"),
    _row("--volume-driver", TEXT, "volumes are directories of the store", quiet="local"),
    # Of udocker 1.3 only.
    _row("--dri", FLAG, "/dev/dri is there anyway, and libraries are the image's", quiet="*"),
    _row(
        "--kernel",
        TEXT,
        "uname tells the version of this host's kernel",
        hint="a newer image of the program, or setarch --uname-2.6 in the container",
    ),
    _row("--index", TEXT, "images come from registries: --registry names one", quiet="*"),
)
# Of --security-opt; other words are refused.
_HARMLESS = ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined", "label")


def options(taken: Iterable[Option]) -> tuple[Option, ...]:
    """The rows as options of ``run``, but for those that are ``taken``."""
    names = {name for option in taken for name in option.names}
    return tuple(row.option for row in ROWS if names.isdisjoint(row.names))


def notices(parsed: Parsed, taken: Iterable[Option]) -> list[str]:
    """What is to be warned of. Raises UsageError for what is refused."""
    names = {name for option in taken for name in option.names}
    found = []
    for row in ROWS:
        if not parsed.has(row.option.key) or not names.isdisjoint(row.names):
            continue
        if row.kind == FLAG and not parsed.flag(row.option.key):
            continue
        if row.verdict == REFUSED:
            raise UsageError(f"{row.names[0]} cannot be had: {row.text}", hint=row.hint or None)
        if all(_is_quiet(row, text) for text in parsed.list(row.option.key)):
            continue
        hint = f" ({row.hint})" if row.hint else ""
        found.append(f"{row.names[0]} has no effect: {row.text}{hint}")
    return found


def _is_quiet(row: Row, text: str) -> bool:
    return row.quiet == ("*",) or text.startswith(row.quiet)


def no_new_privileges(words: Iterable[str]) -> bool:
    """What --security-opt asks for. Raises UsageError for a profile, which nothing would apply."""
    wanted = False
    for word in words:
        name, _, given = word.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges":
            wanted = given in ("", "true")
        elif not word.replace(":", "=", 1).startswith(_HARMLESS):
            raise UsageError(
                f"--security-opt {word}: no profile can be applied without privileges",
                hint="leave it out, or: no-new-privileges, seccomp=unconfined, label=disable",
            )
    return wanted
