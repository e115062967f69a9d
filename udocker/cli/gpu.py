"""gpu."""

from __future__ import annotations

import os

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, TEXT, Option, Syntax
from udocker.cli.table import columns, line
from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed
    from udocker.model.devices import DeviceSet, Gpu, Node
    from udocker.ops.gpus import Devices

_NOTHING = "no GPU, no accelerator and no fabric is found here"
# How many arguments each word takes.
_WORDS = {"list": 0, "doctor": 1, "cdi": 1}


def _gpu(context: Context, parsed: Parsed) -> int:
    word, *rest = parsed.words
    hint = f"usage: udocker gpu {_GPU.usage}"
    if word not in _WORDS:
        raise UsageError(f"gpu: unknown word {word!r}", hint=hint)
    if len(rest) > _WORDS[word]:
        raise UsageError(f"gpu {word}: unexpected argument {rest[_WORDS[word]]!r}", hint=hint)
    settings = context.session.config
    driver = _root(parsed, "driver-root", settings.driver_root)
    device = _root(parsed, "device-root", settings.device_root)
    if word == "list":
        return _list(context, parsed, driver, device)
    subject = rest[0] if rest else ""
    if word == "cdi":
        from udocker.cli.gpu_cdi import cdi

        return cdi(context, parsed, subject, driver, device)
    return _doctor(context, parsed, subject, driver, device)


def _root(parsed: Parsed, key: str, otherwise: str) -> str:
    given = parsed.text(key)
    if given is None:
        return otherwise or "/"
    if not os.path.isdir(given):
        raise UsageError(f"--{key} {given!r} is no directory", hint=f"--{key} DIR")
    return os.path.abspath(given)


def _list(context: Context, parsed: Parsed, driver: str, device: str) -> int:
    from udocker.ops.gpus import list_devices

    found = list_devices(context.session, driver, device)
    _show(context, parsed, found)
    return 0


def _doctor(context: Context, parsed: Parsed, image: str, driver: str, device: str) -> int:
    from udocker.ops.gpu_doctor import examine

    found = examine(context.session, image, driver, device)
    _show(context, parsed, found)
    if parsed.flag("json"):
        return 0 if found.ok else 125
    for need in found.needs:
        context.print(line(f"{'ok' if need.ok else 'no'}  {need.what}: {need.found}"))
        if need.hint:
            context.print(line(f"        try: {need.hint}"))
    context.print(line(f"verdict: {_verdict(found, image or 'this user')}"))
    return 0 if found.ok else 125


def _verdict(found: Devices, subject: str) -> str:
    if found.ok:
        return f"{subject} can use what is here"
    against = ", ".join(need.what for need in found.needs if not need.ok)
    return f"{subject} cannot use it: {against or 'no device is here'}"


def _show(context: Context, parsed: Parsed, found: Devices) -> None:
    if parsed.flag("json"):
        from udocker.ops.gpu_json import as_json

        context.print_json(as_json(found))
        return
    if not found.sets:
        context.print(_NOTHING)
    for each in found.sets:
        context.print(line(f"{each.vendor} {each.version}".strip()))
        context.print(columns([[line(cell) for cell in row] for row in _rows(each)]))
        for text in each.warnings:
            context.print(line(f"  warning: {text}"))
        context.print()


def _rows(found: DeviceSet) -> Iterator[tuple[str, str]]:
    from udocker.ops.gpus import by_feature

    for gpu in found.gpus:
        yield f"  GPU {gpu.index}", _facts(gpu)
        yield from (("", text) for text in _nodes(gpu.nodes))
        for number, part in enumerate(gpu.parts):
            yield f"  MIG {gpu.index}:{number}", part.name
            yield from (("", text) for text in _nodes(part.nodes))
    if not found.gpus and found.vendor != "fabric":
        yield "  GPUs", "none"
    for number, text in enumerate(_nodes(found.nodes)):
        yield "" if number else "  nodes", text
    for feature, libraries in by_feature(found.libraries):
        yield f"  {feature}", " ".join(each.soname for each in libraries)
    for what in ("programs", "files", "sockets"):
        for number, path in enumerate(getattr(found, what)):
            yield "" if number else f"  {what}", path


def _facts(gpu: Gpu) -> str:
    return ", ".join(filter(None, (gpu.name, gpu.bus, gpu.uuid))) or "nothing is known of it"


def _nodes(nodes: Iterable[Node]) -> Iterator[str]:
    from udocker.ops.gpus import permission

    for node in nodes:
        try:
            own = permission(node.path)
        except OSError as error:
            yield f"{node.path}  {error.strerror}"
            continue
        able = "open to this user" if node.is_open else "closed to this user"
        yield f"{node.path}  {own.mode} {own.owner} {own.group}, {able}"


_GPU = Syntax(
    usage="list [OPTIONS], or: doctor [OPTIONS] [IMAGE], or: cdi [OPTIONS] [VENDOR]",
    summary="Show GPUs, accelerators and fabrics of this host, and whether IMAGE can use them.",
    options=(
        Option(("--json",), FLAG, "as JSON"),
        Option(("--driver-root",), TEXT, "where the driver is installed (default: /)", "DIR"),
        Option(("--device-root",), TEXT, "where /dev is (and /proc, /sys; default: /)", "DIR"),
        Option(("--hook-free",), FLAG, "cdi: without programs of NVIDIA's container toolkit"),
        Option(("--output", "-o"), TEXT, "cdi: the file to write; - is stdout", "FILE"),
    ),
    at_least=1,
    at_most=None,
    details=(
        "list shows versions, GPUs in the order of the bus, nodes and who may open them, and the\n"
        "libraries of the driver by feature. doctor says besides whether this user can use them,\n"
        "and of an image of the store whether its C library can load the libraries, with reasons;\n"
        "its exit code is then 125 where something cannot. Nothing is changed, and no program of\n"
        "a driver is run.\n\n"
        "cdi writes a CDI spec of the devices of VENDOR (nvidia, amd, intel, fabric; without it,\n"
        "the first of them that is here) for podman, docker and others: put it into /etc/cdi, or\n"
        "name its directory to --cdi-dir. The hooks in it need the NVIDIA Container Toolkit;\n"
        "--hook-free has mounts and LD_LIBRARY_PATH in their place."
    ),
)
COMMANDS = (Command("gpu", _GPU, _gpu),)
