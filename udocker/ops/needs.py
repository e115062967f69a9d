"""What an image needs of the host, and whether this one has it."""

from __future__ import annotations

from udocker import elf, host
from udocker.engine import notes
from udocker.errors import NotExecutable, UdockerError
from udocker.model.oci import ImageConfig, Platform
from udocker.model.value import value
from udocker.ops import mpi
from udocker.ops.preload import library_directories
from udocker.store.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.ops.session import Session
    from udocker.store.images import ImageRecord

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LIBRARIES = ("libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1")
_NO_GPU = ("", "void", "none")


@value
class Need:
    """One need, and what this host has. ``hint``: what to try where that is not enough."""

    what: str
    found: str
    ok: bool = True
    hint: str = ""


def examine_image(session: Session, record: ImageRecord) -> tuple[Need, ...]:
    """Every need that is known of ``record``'s image. Raises StoreError, BadReplyError."""
    config = ImageConfig.parse(session.store.blobs.read(record.config), record.reference)
    view = View((session.store.trees.root(record.chain_id),))
    platform = _platform(session, config.platform)
    found = [platform]
    if platform.ok:
        found += _programs(session, config, view)
        found += _mpi(session, view)
    else:
        found = _emulated(session, config, view) or found
    return (*found, *_gpu(session, variables_of(config), view))


def _platform(session: Session, wanted: Platform) -> Need:
    here = Platform.of("linux", session.host.architecture)
    ok = here.accepts(wanted)
    hint = "" if ok else f"udocker pull --platform={here}, if the image is made for it"
    return Need(f"platform {wanted}", f"this host is {here}", ok, hint)


def _emulated(session: Session, config: ImageConfig, view: View) -> list[Need]:
    """The same of an image for another machine: by its command, or its shell. Empty: unknown."""
    from udocker.ops.foreign import emulation
    from udocker.spec import command

    argv = config.entrypoint + config.cmd or ("/bin/sh",)
    here = Platform.of("linux", session.host.architecture)
    what = f"platform {config.platform}"
    try:
        place = argv[0], *_search(config), view
        program, head = command.foreign(*place, session.host.architecture)
        if not head:
            return []
        how = emulation(session, program, head)
    except NotExecutable as error:
        return [Need(what, error.message, False, error.hint or "")]
    except UdockerError:
        return []
    ways = [f"{path} (F and P modes)" for _, path in how.emulators]
    ways += ["its kernel (N1, R1, S1)"] if how.by_kernel else []
    found = Need(what, f"this host is {here}, and such programs are started by {', '.join(ways)}")
    return [found, Need(f"command {argv[0]}", f"it is {program}")]


def _search(config: ImageConfig) -> tuple[str, str]:
    """Where commands are looked for: PATH and the working directory."""
    return variables_of(config).get("PATH") or _PATH, config.working_dir or "/"


def _programs(session: Session, config: ImageConfig, view: View) -> Iterator[Need]:
    from udocker.spec import command

    own = b""
    argv = config.entrypoint + config.cmd
    if not argv:
        yield Need("no command of its own", "give one: udocker run IMAGE COMMAND")
    else:
        try:
            place = argv[0], *_search(config), view
            program = command.check(*place, session.host.architecture)
            own = view.read(program) or b""
            yield Need(f"command {argv[0]}", f"it is {program}")
        except UdockerError as error:
            yield Need(f"command {argv[0]}", error.message, False, error.hint or "")
    yield from _library(own)
    yield from _notes(session, view, own)


def _library(content: bytes) -> Iterator[Need]:
    """How a program comes to its C library."""
    found = elf.read(content[: elf.HEAD])
    if found is not None and not found.interpreter:
        yield Need("static program", "every mode but F1 runs it")
    elif found is not None and "ld-musl" in found.interpreter:
        yield Need("C library musl", "the image brings it; every mode but F1 takes it")


def _notes(session: Session, view: View, own: bytes) -> Iterator[Need]:
    """What the program and its C library ask of the kernel and the processor."""
    asked = [notes.read(own)]
    version: tuple[int, int] | None = None
    for folder in library_directories(view, session.host.architecture):
        for name in _LIBRARIES:
            content = view.read(f"{folder}/{name}") or b""
            asked.append(notes.read(content))
            if name == _LIBRARIES[0]:
                version = version or elf.glibc(content)
    if version is not None:
        yield Need(f"C library glibc {version[0]}.{version[1]}", "the image brings it")
    kernel, level = max(each.kernel for each in asked), max(each.level for each in asked)
    if kernel > (0, 0):
        yield _kernel(session, kernel)
    if level > 1:
        yield _processor(level)


def _kernel(session: Session, wanted: tuple[int, int]) -> Need:
    ok = session.host.kernel >= wanted
    here = ".".join(map(str, session.host.kernel))
    hint = "" if ok else "an image with an older C library"
    return Need(f"Linux {wanted[0]}.{wanted[1]} or newer", f"this host has {here}", ok, hint)


def _processor(wanted: int) -> Need:
    here = host.processor_level()
    names = [f"x86-64-v{level}" for level in (wanted, here)]
    hint = "" if here >= wanted else "an image built for older processors, or a newer machine"
    return Need(f"processor {names[0]}", f"this one is {names[1]}", here >= wanted, hint)


def _mpi(session: Session, view: View) -> Iterator[Need]:
    """The image's MPI against the one that would start its ranks."""
    own = mpi.of_image(view, library_directories(view, session.host.architecture))
    if own is None:
        return
    what = f"{own[0]} ({own[1]})"
    here = mpi.launcher(session.environ)
    if here is None:
        yield Need(what, "no mpirun is in PATH here: srun, or the image's own on one node")
        return
    ok = here.family in ("", own[0])
    hint = "" if ok else f"an mpirun of {own[0]} (module load), or the image's own on one node"
    yield Need(what, f"mpirun here is {here.text}", ok, hint)


def _gpu(session: Session, variables: dict[str, str], view: View) -> Iterator[Need]:
    """What images of NVIDIA's say in their environment."""
    if variables.get("NVIDIA_VISIBLE_DEVICES", "") in _NO_GPU:
        return
    from udocker.ops.gpu_doctor import nvidia_of

    asked = variables.get("NVIDIA_REQUIRE_CUDA", "").split()
    what = f"NVIDIA GPU, {asked[0]}" if asked else "NVIDIA GPU"
    ok, told = nvidia_of(session, variables, view)
    hint = "a machine with a GPU (udocker gpu doctor tells more); what needs none runs all the same"
    yield Need(what, told, ok, "" if ok else hint)


def variables_of(config: ImageConfig) -> dict[str, str]:
    """Those that an image sets."""
    words = (word.partition("=") for word in config.env)
    return {name: text for name, _, text in words}
