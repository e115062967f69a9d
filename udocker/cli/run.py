"""run and create."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.images import INDEX, PLACES, PLATFORM, PROXY, REGISTRY, platform, reference
from udocker.cli.parser import FLAG, LIST, TEXT, Option, Syntax
from udocker.cli.run_more import OPTIONS as _MORE
from udocker.cli.run_more import extended
from udocker.cli.run_request import asked
from udocker.cli.run_rows import notices
from udocker.cli.run_rows import options as row_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed

_PULL = Option(
    ("--pull",),
    TEXT,
    "fetch the image: always, when it is missing (default), or never",
    "WHEN",
    ("always", "missing", "never"),
)
_PULL_OR_REUSE = Option(
    ("--pull",),
    TEXT,
    "fetch the image: always, when it is missing (default), or never; reuse: take the container "
    "that has the name of --name, if there is one",
    "WHEN",
    ("always", "missing", "never", "reuse"),
)


def _run(context: Context, parsed: Parsed) -> int:
    from udocker.ops.preparing import plan
    from udocker.ops.run import run

    for text in notices(parsed, _OPTIONS):
        context.session.report.warn(text)
    request = extended(context.session, parsed, asked(context, parsed))
    is_in_front = not request.detach
    if is_in_front and parsed.flag("tty") and not context.session.terminal:
        context.session.report.warn("standard input is not a terminal: -t has no effect")
    if parsed.flag("dry-run"):
        for line in plan(context.session, request):
            context.print(line)
        return 0
    return run(context.session, request, context.print)


def _create(context: Context, parsed: Parsed) -> int:
    from udocker.model.place import Place
    from udocker.ops.create import create, in_file
    from udocker.ops.specify import as_asked
    from udocker.ops.target import check_early, write_id

    session = context.session
    for text in notices(parsed, _OPTIONS):
        session.report.warn(text)
    request = extended(session, parsed, asked(context, parsed))
    pull = request.pull
    check_early(session, request)
    place = Place.parse(parsed.words[0])
    if place is None:
        image = reference(session, parsed.words[0], parsed)
    else:
        image, pull = in_file(session, place, pull, platform(parsed))
    container = create(
        session,
        image,
        name=parsed.text("name"),
        pull=pull,
        platform=platform(parsed),
        copy=parsed.flag("copy"),
        devices=request.devices,
        asked=as_asked(request),
    )
    if request.cidfile is not None:
        write_id(session, request.cidfile, container, is_new=True)
    context.print(container.id)
    return 0


_DEVICES = (
    Option(("--gpus",), LIST, "NVIDIA's GPUs: all, a number, or '\"device=0,1\"'", "GPUS"),
    Option(("--nv",), FLAG, "NVIDIA's GPUs, if there are any"),
    Option(("--rocm",), FLAG, "AMD's GPUs, if there are any"),
    Option(
        ("--device",), LIST, "/dev/X[:/dev/Y[:rwm]], or a name of CDI, VENDOR/CLASS=NAME", "DEVICE"
    ),
    Option(("--cdi-dir",), LIST, "one more directory with CDI specs; what it has counts", "DIR"),
    Option(("--allow-cdi-hooks",), TEXT, "skip: go on without hooks that are not known", "skip"),
    Option(("--host-libc",), FLAG, "the host's glibc over an older one: see docs/gpu.md"),
    Option(
        ("--mpi-host",),
        TEXT,
        "the host's MPI in place of the image's, if its ABI allows: full (default) has all "
        "interfaces of the image's, strict is the same, major asks for no more than that",
        "CHECK",
        ("major", "full", "strict"),
        optional=True,
    ),
)
_TERMINAL = (
    Option(("--interactive", "-i"), FLAG, "with -d: take input from attach; else always connected"),
    Option(("--tty", "-t"), FLAG, "with -d: a terminal of its own; else the one that is there"),
)
_LIVING = (
    Option(("--detach", "-d"), FLAG, "let it go on without udocker, and print the container's id"),
)
_STOPPED = (
    Option(("--init",), FLAG, "somebody stays who waits for orphans and passes signals on"),
    Option(("--stop-signal",), TEXT, "what stop sends, before SIGKILL", "SIGNAL"),
    Option(("--stop-timeout",), TEXT, "seconds that stop waits; -1: for ever", "SECONDS"),
    Option(("--cidfile",), TEXT, "write the container's id to a new file", "FILE"),
    Option(("--detach-keys",), TEXT, "what leaves attach; default ctrl-p,ctrl-q", "KEYS"),
)
_MADE = (
    Option(("--name",), TEXT, "give the new container a name", "NAME"),
    Option(("--rm",), FLAG, "remove the container and what it wrote when the command ends"),
    Option(("--env", "-e"), LIST, "set a variable; NAME alone takes the host's value", "NAME=V"),
    Option(("--env-file",), LIST, "read variables from a file, NAME=VALUE lines", "FILE"),
    Option(("--volume", "-v"), LIST, "show a host path in the container", "SRC:DST[:ro]"),
    Option(("--workdir", "-w"), TEXT, "start the command in this directory", "DIR"),
    Option(("--user", "-u"), TEXT, "be this user inside: NAME or UID, :GROUP or :GID", "USER"),
    Option(("--entrypoint",), TEXT, 'in place of the image\'s; "" for none', "COMMAND"),
    Option(("--hostname", "-h"), TEXT, "a host name of the container's own", "NAME"),
    Option(("--execmode",), TEXT, "the mode; udocker doctor lists them", "MODE"),
    *_TERMINAL,
    *_STOPPED,
    Option(("--hostenv",), FLAG, "take over the host's environment"),
    Option(("--hostauth",), FLAG, "use the host's users and groups"),
    Option(("--userns",), TEXT, "ids: single (default), keep-id, auto; see above", "HOW"),
    Option(
        ("--no-fakeroot",), FLAG, "N1, R1: chown, setuid and mknod fail where the kernel says so"
    ),
    Option(("--bindhome",), FLAG, "show the home directory in the container"),
    *_DEVICES,
    *_MORE,
    PLATFORM,
    REGISTRY,
    Option(
        ("--mpi",),
        TEXT,
        "in a batch job: auto (default), pmix or pmi2 as srun has it, none",
        "KIND",
        ("auto", "pmix", "pmi2", "none"),
    ),
    Option(("--no-job",), FLAG, "in a batch job: run as outside"),
    PROXY,
    INDEX,
    Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
    Option(("--nobanner",), FLAG, "accepted: there is no banner", hidden=True),
)
_OPTIONS = (
    *_LIVING,
    *_MADE,
    _PULL_OR_REUSE,
    Option(("--dry-run",), FLAG, "print what would be done"),
)
_RUN = Syntax(
    usage="[OPTIONS] IMAGE|CONTAINER [COMMAND [ARG…]]",
    summary="Run a command in a new container of an image, or in a container that is there.",
    options=(*_OPTIONS, *row_options(_OPTIONS)),
    at_least=1,
    at_most=None,
    passes_on=True,
    details=(
        "Exit status: the command's own (128+N when signal N ended it); 125 udocker failed,\n"
        "126 the command cannot be executed, 127 it is not there, 2 the command line is wrong.\n"
        "--userns=single: one user and one group, yours outside (`host` means the same);\n"
        "keep-id: the same, with your own numbers; auto: root is you, and other users are those\n"
        "that /etc/subuid and /etc/subgid give you (N1; elsewhere, and without them, single).\n"
        f"{PLACES}"
    ),
)
_CREATE = Syntax(
    usage="[OPTIONS] IMAGE [COMMAND [ARG…]]",
    summary="Make a container of an image and print its id; udocker start runs it.",
    options=(
        *_MADE,
        *row_options(_OPTIONS),
        _PULL,
        Option(("--copy",), FLAG, "with its own copy of the image, as R1 needs it"),
        Option(("--force",), FLAG, "accepted: nothing has to be forced", hidden=True),
    ),
    at_least=1,
    at_most=None,
    passes_on=True,
    details=f"What it is given counts for `start`; `run CONTAINER` has its own options.\n{PLACES}",
)
COMMANDS = (Command("run", _RUN, _run), Command("create", _CREATE, _create))
