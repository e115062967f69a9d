"""run and create."""

from __future__ import annotations

import os

from udocker.cli.commands import Command
from udocker.cli.images import INDEX, PLACES, PLATFORM, PROXY, REGISTRY, platform, reference
from udocker.cli.parser import FLAG, LIST, TEXT, Option, Syntax
from udocker.cli.run_more import OPTIONS as _MORE
from udocker.cli.run_more import extended
from udocker.cli.run_rows import notices
from udocker.cli.run_rows import options as row_options
from udocker.errors import UsageError
from udocker.model.run import SINGLE, DeviceOptions, RunRequest

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


def _request(context: Context, parsed: Parsed) -> RunRequest:
    from udocker.spec.env import parse_option
    from udocker.spec.mounts import parse_volume
    from udocker.spec.user import parse_userns

    cwd = context.session.cwd
    userns = parsed.text("userns")
    return RunRequest(
        target=parsed.words[0],
        command=parsed.words[1:],
        env=tuple(parse_option(text) for text in parsed.list("env")),
        env_files=parsed.list("env-file"),
        volumes=tuple(parse_volume(text, cwd) for text in parsed.list("volume")),
        workdir=parsed.text("workdir"),
        user=parsed.text("user"),
        entrypoint=parsed.text("entrypoint"),
        name=parsed.text("name"),
        hostname=parsed.text("hostname"),
        mode=parsed.text("execmode"),
        platform=parsed.text("platform"),
        registry=_host(parsed.text("registry")),
        pull=parsed.text("pull") or "missing",
        remove=parsed.flag("rm"),
        hostenv=parsed.flag("hostenv"),
        hostauth=parsed.flag("hostauth"),
        bindhome=parsed.flag("bindhome"),
        userns=SINGLE if userns is None else parse_userns(userns),
        fakeroot=context.session.config.fakeroot and not parsed.flag("no-fakeroot"),
        devices=_devices(parsed, cwd),
    )


def _devices(parsed: Parsed, cwd: str) -> DeviceOptions:
    """What is asked of GPUs and devices; wrong words are told now. Raises UsageError."""
    options = DeviceOptions(
        gpus=parsed.list("gpus"),
        nv=parsed.flag("nv"),
        rocm=parsed.flag("rocm"),
        devices=parsed.list("device"),
        cdi_dirs=tuple(_directory(text, cwd) for text in parsed.list("cdi-dir")),
    )
    if options.gpus or options.devices:
        from udocker.devices.request import check

        check(options)
    return options


def _directory(text: str, cwd: str) -> str:
    path = os.path.normpath(os.path.join(cwd, text))
    if not text or not os.path.isdir(path):
        raise UsageError(f"--cdi-dir {text!r} is not a directory", hint="--cdi-dir DIR")
    return path


def _host(registry: str | None) -> str | None:
    return None if registry is None else registry.partition("://")[2] or registry


def _run(context: Context, parsed: Parsed) -> int:
    from udocker.ops.run import plan, run

    for text in notices(parsed, _OPTIONS):
        context.session.report.warn(text)
    request = extended(context.session, parsed, _request(context, parsed))
    if parsed.flag("tty") and not context.session.terminal:
        context.session.report.warn("standard input is not a terminal: -t has no effect")
    if parsed.flag("dry-run"):
        for line in plan(context.session, request):
            context.print(line)
        return 0
    return run(context.session, request)


def _create(context: Context, parsed: Parsed) -> int:
    from udocker.model.place import Place
    from udocker.ops.create import create, in_file

    session = context.session
    devices = _devices(parsed, session.cwd)
    pull = parsed.text("pull") or "missing"
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
        devices=devices,
    )
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
)
_OPTIONS = (
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
    Option(("--interactive", "-i"), FLAG, "accepted: standard input is always connected"),
    Option(("--tty", "-t"), FLAG, "accepted: a terminal is used when there is one"),
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
    _PULL_OR_REUSE,
    REGISTRY,
    PROXY,
    Option(("--dry-run",), FLAG, "print what would be done"),
    Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
    Option(("--nobanner",), FLAG, "accepted: there is no banner", hidden=True),
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
    usage="[OPTIONS] IMAGE",
    summary="Make a container of an image and print its id.",
    options=(
        Option(("--name",), TEXT, "give the container a name", "NAME"),
        PROXY,
        INDEX,
        Option(("--copy",), FLAG, "with its own copy of the image, as R1 and the P modes need it"),
        *_DEVICES,
        PLATFORM,
        _PULL,
        REGISTRY,
        Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
        Option(("--force",), FLAG, "accepted: nothing has to be forced", hidden=True),
    ),
    at_least=1,
    at_most=1,
    details=PLACES,
)
COMMANDS = (Command("run", _RUN, _run), Command("create", _CREATE, _create))
