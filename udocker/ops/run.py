"""Run a command in a container: a new one of an image, or one that is there."""

from __future__ import annotations

import contextlib
import os
from types import MappingProxyType

from udocker.engine import ptrace, table
from udocker.errors import (
    ContainerNotFound,
    EngineError,
    EngineFailed,
    StoreError,
    UdockerError,
    UsageError,
)
from udocker.model.container import UNION
from udocker.model.place import Place
from udocker.model.reference import Reference
from udocker.model.run import AUTO_RANGES, DEVICE_FILES, TMPFS, DeviceOptions, Limits, Root
from udocker.model.value import replace, value
from udocker.ops.specify import as_asked, env_files, layers, make_spec
from udocker.spec import command, mounts
from udocker.store.users import RUNS, SUPERVISES
from udocker.store.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from udocker.engine.table import Mode
    from udocker.model.container import Container
    from udocker.model.oci import Platform
    from udocker.model.run import Launch, Mount, Preload, RemoveTree, RunRequest, RunSpec
    from udocker.ops.foreign import Emulation
    from udocker.ops.session import Session

# Digits of a container id: with fewer, image names such as "cafe" would mean containers.
_LEAST_ID = 8
REUSE = "reuse"  # of --pull: take the container that has the name


@value
class Planned:
    """A run that is ready: its mode, whether another may take its place, and what to do."""

    mode: str
    is_automatic: bool
    launch: Launch


def run(
    session: Session, request: RunRequest, told: Callable[[str], None] = lambda identity: None
) -> int:
    """Run as asked; returns only where udocker stays as the command's parent, or leaves it.

    ``told`` is called with the container's id where the command goes on without udocker.

    Where the mode that ``auto`` took fails before the command has begun, the next one is tried.
    Raises UdockerError before the command has begun.
    """
    session, request = _in_job(session, request)
    container, is_new = _container(session, request)
    with _gone_unless_begun(session, container, is_new):
        if request.cidfile is not None:
            write_id(session, request.cidfile, container, is_new)
        if request.detach and is_new:
            from udocker.ops import events

            events.note(session, "create", container)
    code = run_container(session, request, container, is_new)
    if request.detach:
        told(container.id)
    return code


def run_container(
    session: Session,
    request: RunRequest,
    container: Container,
    is_new: bool = False,
    listening: Callable[[], None] | None = None,
) -> int:
    """As ``run``, of a container that is there. ``listening``: see ``ops.living``."""
    failed: dict[str, str] = {}
    with _gone_unless_begun(session, container, is_new):
        session.store.containers.enter(container, SUPERVISES if request.detach else RUNS)
        if request.remove:
            session.store.containers.hold(container)
        if request.volumes or request.volumes_from or request.labels:
            from udocker.ops.volumes import noted

            request = noted(session, request, container, is_new)
    while True:
        planned = prepare(session, request, container, is_new, failed)
        session.report.close()
        try:
            return _carry_out(session, request, container, planned, listening)
        except EngineFailed as error:
            forget_mode(session, planned.mode)
            if not planned.is_automatic:
                if request.remove:
                    _remove(session, container)
                hint = error.hint or "--execmode=auto takes one that works"
                text = f"mode {planned.mode} failed at its start: {error.message}"
                raise EngineError(text, hint=hint) from error
            text = f"mode {planned.mode} failed at its start ({error.message}): trying the next"
            session.report.warn(text)
            failed[planned.mode] = error.message
        container = session.store.containers.get(container.id)


@contextlib.contextmanager
def _gone_unless_begun(session: Session, container: Container, goes: bool) -> Iterator[None]:
    """A container that ``goes`` does so if the block does not end, told to by a signal or not."""
    try:
        yield
    except BaseException:
        if goes:
            with contextlib.suppress(UdockerError):  # it may be gone already
                session.store.containers.delete(container.id)
            _leave_scratch(session)
        raise


def write_id(session: Session, path: str, container: Container, is_new: bool) -> None:
    """Docker's --cidfile: never over a file that is there. Raises UsageError."""
    try:
        with open(path, "x", encoding="ascii") as stream:
            stream.write(container.id)
    except OSError as error:
        if is_new:
            session.store.containers.delete(container.id)
        hint = "give the name of a new file in a directory that is there"
        raise UsageError(f"--cidfile {path}: {error.strerror}", hint=hint) from error


def _carry_out(
    session: Session,
    request: RunRequest,
    container: Container,
    planned: Planned,
    listening: Callable[[], None] | None,
) -> int:
    from udocker.engine.execute import execute

    def clean() -> None:
        if request.remove:
            _remove(session, container)

    launch, host = planned.launch, session.host
    programs = (host.inprocess, *(path for _, path in host.programs))
    is_engine = launch.argv[0] in programs or table.find(planned.mode).preloads
    stays = request.remove or request.init
    try:
        if request.detach:
            how = {"is_engine": is_engine, "listening": listening}
            _detach(session, request, container, planned, **how)
            return 0
        code = execute(launch, clean if stays else None, session.report.warn, is_engine)
    except EngineFailed:
        raise
    except KeyboardInterrupt:  # it has not begun: from then on signals are the command's
        if request.remove and not request.detach:
            _remove(session, container)
        raise
    except EngineError:
        forget_mode(session, planned.mode)
        raise
    if launch.pid_file and code == EngineError.exit_code:  # perhaps of the runtime
        forget_mode(session, planned.mode)
    return code


def _detach(
    session: Session,
    request: RunRequest,
    container: Container,
    planned: Planned,
    **how: Any,
) -> None:
    from udocker.ops.living import launch

    try:
        launch(session, request, container, planned, **how)
    except EngineFailed:
        raise
    except UdockerError:
        if request.remove:
            _remove(session, container)
        raise


def forget_mode(session: Session, mode: str) -> None:
    """What is remembered of ``mode`` has not come true."""
    from udocker.ops.modes import forget

    forget(session, mode)


def _remove(session: Session, container: Container) -> None:
    """After the run: that it fails is no reason to lose the command's status."""
    try:
        session.store.containers.delete(container.id)
    except UdockerError as error:
        session.report.warn(error.message)
    _leave_scratch(session)


def _leave_scratch(session: Session) -> None:
    if session.scratch:
        from udocker.files import remove_tree

        with contextlib.suppress(OSError):  # what stays goes with the job
            remove_tree(session.scratch)


def plan(session: Session, request: RunRequest) -> list[str]:
    """What ``run`` would do, line by line, for --dry-run.

    Nothing changes: a new container is removed again, none is given a copy of its image, and no
    image is pulled. Raises as ``run``, and ImageNotFound.
    """
    import shlex

    from udocker.engine.steps import describe, describe_undo

    session, request = _in_job(session, replace(request, pull="never"))
    container, is_new = _container(session, request, trial=True)
    try:
        launch = _prepare(session, request, container, dry=True).launch
    finally:
        if is_new:
            session.store.containers.delete(container.id)
        _leave_scratch(session)
    lines = [f"# {describe(step)}" for step in launch.steps]
    lines.append(f"cd {shlex.quote(launch.cwd)}")
    variables = [shlex.quote(f"{name}={text}") for name, text in launch.env]
    lines.append(" ".join(["env", "-i", *variables, *map(shlex.quote, launch.argv)]))
    lines += [f"# then {describe_undo(step)}" for step in launch.undo]
    return lines


def prepare(
    session: Session,
    request: RunRequest,
    container: Container,
    is_new: bool,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> Planned:
    """Choose the mode and plan the launch. A new container goes if that fails.

    ``failed``: modes that have failed in this run already, and why.
    """
    try:
        return _prepare(session, request, container, failed)
    except BaseException:
        if is_new or (failed and request.remove):
            session.store.containers.delete(container.id)
            _leave_scratch(session)
        raise


def _prepare(
    session: Session,
    request: RunRequest,
    container: Container,
    failed: Mapping[str, str] = MappingProxyType({}),
    dry: bool = False,
) -> Planned:
    from udocker.ops.modes import choose

    container = _found(session, container)
    if container.form == UNION and not os.path.isdir(container.tree):
        raise StoreError(
            f"the files of {container.image} are gone from the store: {container.tree}",
            hint=f"udocker pull {container.image}",
        )
    request = _with_volumes(session, request, container, dry)
    if not dry:
        if request.userns != AUTO_RANGES:
            _settle(container)
        session.store.containers.make_ready(container)
    wanted = request.mode or container.mode or session.config.execution_mode
    spec = make_spec(session, request, container, wanted)
    emulation = _emulation(session, spec, container)
    features = spec.features | (emulation.features if emulation else frozenset())
    devices = _devices(session, request, container)
    if devices is not None:
        from udocker.ops.inject import features_of

        features |= features_of(session, devices)
    verdict = choose(session, wanted, features, is_foreign(container), failed)
    if verdict.union and container.form == UNION and not dry and os.listdir(container.root):
        from udocker.ops.create import settled

        container = settled(session, container)
    if not verdict.union and not dry:
        _settle(container)
        from udocker.ops.create import private_copy

        _fit_early(session, request, container, verdict.mode)
        container = private_copy(session, container, verdict.mode)
    mode = table.find(verdict.mode)
    spec = make_spec(session, request, container, verdict.mode)
    if devices is not None:
        from udocker.ops.inject import with_devices

        view = View(layers(container))
        spec = with_devices(session, spec, container, mode, options=devices, view=view, dry=dry)
    _check_mounts(spec, container)
    program = check_command(session, spec, container, emulation.machine if emulation else "")
    spec = _settled(spec, container, program)
    if emulation is not None:
        spec = replace(spec, emulators=emulation.emulators)
    if not verdict.union:
        spec = replace(spec, root=Root(os.path.realpath(container.root)))
    if request.userns == AUTO_RANGES:
        from udocker.ops.ranges import with_ids

        spec = with_ids(session, spec, container, mode, dry)
    if session.task is not None:
        from udocker.ops.batch import with_ranks

        spec = with_ranks(session, request, spec, mode)
    spec = _with_needs(session, spec, container, mode, dry)
    launch = _launch(session, request, spec, mode, dry)
    return Planned(mode.name, wanted == table.AUTO, launch)


def _with_volumes(
    session: Session, request: RunRequest, container: Container, dry: bool
) -> RunRequest:
    """Of a run without named volumes nothing has to be loaded."""
    if not (request.volumes_from or any(volume.is_named for volume in request.volumes)):
        return request
    from udocker.ops.volumes import with_volumes

    return with_volumes(session, request, container, dry)


def _launch(session: Session, request: RunRequest, spec: RunSpec, mode: Mode, dry: bool) -> Launch:
    """What the engine does, with directories for what it cannot mount, and limits at the end."""
    undo: tuple[RemoveTree, ...] = ()
    if spec.tmpfs and TMPFS not in mode.engine.FEATURES:
        from udocker.ops.volumes import with_directories

        spec, undo = with_directories(session, spec, dry)
    launch = mode.engine.launch(spec, session.host, mode.name)
    if undo:
        launch = replace(launch, undo=(*launch.undo, *undo))
    if request.limits != Limits():
        from udocker.ops.resources import limited

        launch = replace(launch, steps=(*launch.steps, limited(session, request.limits, dry)))
    return launch


def _devices(session: Session, request: RunRequest, container: Container) -> DeviceOptions | None:
    """What of devices is asked for; None: nothing, and nothing of them has to be loaded."""
    nothing = DeviceOptions()
    if request.devices == container.devices == nothing and session.config.gpus == "none":
        return None
    from udocker.devices.request import merged

    return merged(container.devices, request.devices)


def _with_needs(
    session: Session, spec: RunSpec, container: Container, mode: Mode, dry: bool
) -> RunSpec:
    """What the mode needs to be made or found first."""
    by_proot = mode.is_traced and ptrace.is_by_proot(session.host)
    if mode.patches and not dry and not spec.emulators and not by_proot:
        from udocker.ops.patched import copies

        places = layers(container)
        spec = replace(spec, copies=copies(session, View(places), places[-1], spec.program))
    if mode.preloads:
        spec = replace(spec, preload=_preload(session, spec, container))
        spec = replace(spec, root=Root(os.path.realpath(spec.root.path)))
    if mode.has_runtime and spec.feigns:
        from udocker.engine.runc import runtime
        from udocker.ops.filters import can_filter

        can = session.host.seccomp and can_filter(session, runtime(session.host))
        spec = replace(spec, feigns=can)
    if mode.nests and by_proot:
        from udocker.ops.tracer import with_tracer

        spec = with_tracer(session, spec)
    if mode.owners and not dry:
        from udocker.ops import owners

        spec = replace(
            spec,
            owners=owners.shared(session, container),
            image_owners=owners.of_image(container),
        )
    return spec


def _settle(container: Container) -> None:
    """Of a container that ran with one id only, which is the usual, nothing has to be loaded."""
    if os.path.exists(container.ranges):
        from udocker.ops.ranges import settle

        settle(container)


def _fit_early(session: Session, request: RunRequest, container: Container, mode: str) -> None:
    """Nobody should wait for a copy to hear that the program does not fit the mode."""
    if table.find(mode).preloads:
        spec = make_spec(session, request, container, mode)
        spec = _settled(spec, container, check_command(session, spec, container))
        _preload(session, spec, container)


def _preload(session: Session, spec: RunSpec, container: Container) -> Preload:
    from udocker.ops.preload import preload

    library = session.host.program("libfakechroot") or ""
    view = _view(container, spec.mounts)
    return preload(spec, view, library, session.host.architecture)


def is_foreign(container: Container) -> bool:
    """Whether the container is over a tree of another user.

    In a user namespace of ours that owner is nobody, and what is nobody's cannot be changed.
    """
    return container.form == UNION and os.stat(container.tree).st_uid != os.getuid()


def _found(session: Session, container: Container) -> Container:
    """The container with its tree where that is now: a store may have been moved, or be gone."""
    if container.form != UNION or os.path.isdir(container.tree):
        return container
    tree = session.store.trees.root(container.config.chain_id)
    if not os.path.isdir(tree):
        return container
    with session.store.containers.lease(container):
        current = replace(session.store.containers.get(container.id), tree=tree)
        session.store.containers.update(current)
    return current


def _settled(spec: RunSpec, container: Container, program: str) -> RunSpec:
    """The program found, and mounts where the links of the image lead."""
    view = View(layers(container))
    led = (replace(mount, target=view.canonical(mount.target)) for mount in spec.mounts)
    files = tuple(replace(file, target=view.canonical(file.target)) for file in spec.files)
    empty = tuple(replace(each, target=view.canonical(each.target)) for each in spec.tmpfs)
    return replace(spec, mounts=mounts.ordered(led), files=files, tmpfs=empty, program=program)


def _emulation(session: Session, spec: RunSpec, container: Container) -> Emulation | None:
    """How the command runs, where it and its image are for another machine.

    Raises NotExecutable.
    """
    from udocker.model.oci import Platform

    here = Platform.of("linux", session.host.architecture)
    if container.config.platform.architecture == here.architecture:
        return None
    words = spec.argv[0], dict(spec.env).get("PATH", ""), spec.cwd
    view = _view(container, spec.mounts)
    program, head = command.foreign(*words, view, session.host.architecture)
    if not head:
        return None
    from udocker.ops.foreign import emulation

    return emulation(session, program, head)


def check_command(session: Session, spec: RunSpec, container: Container, emulated: str = "") -> str:
    """The guest path of the command; the same answer in every engine when there is none."""
    view = _view(container, spec.mounts)
    there = _is_directory(view, spec.cwd)
    if there is None and spec.cwd.startswith(("/proc/", "/sys/")):
        raise UdockerError(
            f"there is no {spec.cwd} to be the working directory", hint="--workdir=/"
        )
    if there is False:
        raise UdockerError(
            f"the working directory {spec.cwd} is not a directory", hint="--workdir=/"
        )
    path = dict(spec.env).get("PATH", "")
    here = session.host.architecture
    return command.check(spec.argv[0], path, spec.cwd, view, here, emulated=emulated)


def _check_mounts(spec: RunSpec, container: Container) -> None:
    """The same answer in every engine to a directory over a file, or a file over a directory."""
    # Below this directory each has its place made for it, and there may be a hundred.
    mounts = [each for each in spec.mounts if not each.target.startswith(f"{DEVICE_FILES}/")]
    for mount in mounts:
        others = [other for other in mounts if other is not mount]
        found = _is_directory(_view(container, others), mount.target)
        if found is not None and found is not mount.is_dir:
            what = "a directory over a file" if mount.is_dir else "a file over a directory"
            raise UdockerError(
                f"volume {mount.source}:{mount.target} would put {what}",
                hint="choose another path in the container",
            )


def _view(container: Container, mounts: Iterable[Mount]) -> View:
    host_files = (("/dev", "/dev"), ("/proc", "/proc"), ("/sys", "/sys"))
    volumes = ((mount.target, mount.source) for mount in mounts)
    return View(layers(container), (*host_files, *volumes))


def _is_directory(view: View, path: str) -> bool | None:
    """None: nothing is there."""
    try:
        return os.path.isdir(view.locate(path))
    except NotADirectoryError:
        return False
    except OSError:
        return None


def _container(
    session: Session, request: RunRequest, trial: bool = False
) -> tuple[Container, bool]:
    """The container to run, and whether it was made for this run."""
    if request.location:
        from udocker.ops.location import at_location

        return at_location(session, request.location), True
    existing = session.store.containers.find(request.target, least=_LEAST_ID)
    if existing is None and request.pull == REUSE and request.name is not None:
        existing = session.store.containers.find(request.name)
        request = replace(request, name=None if existing is not None else request.name)
    if existing is not None:
        if request.name is not None:
            raise UsageError(
                f"{request.target} is a container and has its name",
                hint=f"udocker rename {request.target} {request.name}",
            )
        return existing, False
    from udocker.ops.create import create, in_file

    place = Place.parse(request.target)
    if place is None:
        reference = _reference(session, request)
    check_early(session, request)
    pull = "missing" if request.pull == REUSE else request.pull
    if place is not None:
        reference, pull = in_file(session, place, pull, _platform(request))
    container = create(
        session,
        reference,
        name=request.name,
        pull=pull,
        platform=_platform(request),
        remove=request.remove,
        trial=trial,
        asked={} if trial else as_asked(request),
    )
    return container, True


def _in_job(session: Session, request: RunRequest) -> tuple[Session, RunRequest]:
    """In a job, a new container that nobody is to find later is in the job's space of this host."""
    if request.mpi != "auto" or session.task is not None:
        from udocker.ops import batch

        batch.check_mpi(session, request)
        request = batch.with_own_id(session, request)
    if session.task is None or request.name is not None or request.detach:
        return session, request
    if session.store.containers.find(request.target, least=_LEAST_ID) is not None:
        return session, request
    from udocker.ops.create import NEVER, ensure_image, in_file

    if request.location:
        return batch.in_scratch(session, session.task), request
    place, pull, platform = Place.parse(request.target), request.pull, _platform(request)
    check_early(session, request)
    if place is None:
        reference = _reference(session, request)
    else:
        reference, pull = in_file(session, place, pull, platform)
    from udocker.ops import staged

    brought = staged.find(session.task) if pull != "always" else ""
    if not brought or not staged.has(session, brought, reference, platform):
        brought = ""
        ensure_image(session, reference, pull, platform)
    found = batch.in_scratch(session, session.task, brought)
    return found, replace(request, target=reference.canonical, pull=NEVER)


def _reference(session: Session, request: RunRequest) -> Reference:
    try:
        return Reference.parse(request.target, request.registry or session.config.registry)
    except UsageError as error:
        raise ContainerNotFound(
            f"no such container, and not an image name: {request.target}", hint=error.hint
        ) from error


def check_early(session: Session, request: RunRequest) -> None:
    """What is looked at again for the run; nobody should wait for a pull to hear of it."""
    mode = request.mode or session.config.execution_mode
    if mode != table.AUTO:
        table.find(mode)
    for volume in request.volumes:
        if not volume.is_named:
            mounts.to_mount(volume)
    env_files(request)


def _platform(request: RunRequest) -> Platform | None:
    from udocker.model.oci import Platform

    return None if request.platform is None else Platform.parse(request.platform)
