"""What a run will do: its mode, and the launch that this makes of it."""

from __future__ import annotations

import os
from types import MappingProxyType

from udocker.engine import ptrace, table
from udocker.errors import StoreError
from udocker.model.container import UNION
from udocker.model.features import TMPFS
from udocker.model.request import AUTO_RANGES, DeviceOptions, Limits
from udocker.model.run import Root
from udocker.model.value import replace, value
from udocker.ops import fitting, target
from udocker.ops.specify import layers, make_spec
from udocker.spec import mounts
from udocker.store.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from udocker.engine.table import Mode
    from udocker.model.container import Container
    from udocker.model.launch import Launch, RemoveTree
    from udocker.model.request import RunRequest
    from udocker.model.run import Preload, RunSpec
    from udocker.ops.foreign import Emulation
    from udocker.ops.modes import Verdict
    from udocker.ops.session import Session


@value
class Planned:
    """A run that is ready: its mode, whether another may take its place, and what to do."""

    mode: str
    is_automatic: bool
    launch: Launch


def plan(session: Session, request: RunRequest) -> list[str]:
    """What ``run`` would do, line by line, for --dry-run.

    Nothing changes: a new container is removed again, none is given a copy of its image, and no
    image is pulled. Raises as ``run``, and ImageNotFound.
    """
    import shlex

    from udocker.engine.describing import describe, describe_undo

    session, request = target.in_job(session, replace(request, pull="never"))
    container, is_new = target.find_or_make(session, request, trial=True)
    try:
        if request.ports or request.publish_all:
            from udocker.ops.published import with_ports

            request = with_ports(session, request, container)
        launch = _prepare(session, request, container, dry=True).launch
    finally:
        if is_new:
            session.store.containers.delete(container.id)
        target.leave_scratch(session)
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
    goes = is_new or bool(failed and request.remove)
    with target.gone_unless_done(session, container, goes):
        return _prepare(session, request, container, failed)


def _prepare(
    session: Session,
    request: RunRequest,
    container: Container,
    failed: Mapping[str, str] = MappingProxyType({}),
    dry: bool = False,
) -> Planned:
    container = _with_files(session, container)
    request = _with_volumes(session, request, container, dry)
    if not dry:
        if request.userns != AUTO_RANGES:
            _settle(container)
        session.store.containers.make_ready(container)
    wanted = request.mode or container.mode or session.config.execution_mode
    emulation, devices, verdict = _chosen(session, request, container, wanted, failed)
    if not dry:
        container = _in_form(session, request, container, verdict)
    mode = table.find(verdict.mode)
    spec = make_spec(session, request, container, mode.name)
    if devices is not None:
        from udocker.ops.inject import with_devices

        view = View(layers(container))
        spec = with_devices(session, spec, container, mode, options=devices, view=view, dry=dry)
    spec = _checked(session, spec, container, emulation)
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


def _with_files(session: Session, container: Container) -> Container:
    """Raises StoreError where its image's are gone."""
    container = target.with_tree(session, container)
    if container.form == UNION and not os.path.isdir(container.tree):
        raise StoreError(
            f"the files of {container.image} are gone from the store: {container.tree}",
            hint=f"udocker pull {container.image}",
        )
    return container


def _chosen(
    session: Session,
    request: RunRequest,
    container: Container,
    wanted: str,
    failed: Mapping[str, str],
) -> tuple[Emulation | None, DeviceOptions | None, Verdict]:
    """The mode that has what the run needs; an emulation and devices are among that."""
    from udocker.ops.modes import choose

    spec = make_spec(session, request, container, wanted)
    emulation = fitting.emulation(session, spec, container)
    features = spec.features | (emulation.features if emulation else frozenset())
    devices = _devices(session, request, container)
    if devices is not None:
        from udocker.ops.inject import features_of

        features |= features_of(session, devices)
    verdict = choose(session, wanted, features, is_foreign(container), failed)
    return emulation, devices, verdict


def _in_form(
    session: Session, request: RunRequest, container: Container, verdict: Verdict
) -> Container:
    """The container as the mode takes it: a union, or a directory of its own."""
    if verdict.union and container.form == UNION and os.listdir(container.root):
        from udocker.ops.create import settled

        container = settled(session, container)
    if not verdict.union:
        _settle(container)
        from udocker.ops.create import private_copy

        _fit_early(session, request, container, verdict.mode)
        container = private_copy(session, container, verdict.mode)
    return container


def _checked(
    session: Session, spec: RunSpec, container: Container, emulation: Emulation | None
) -> RunSpec:
    """Mounts fit, and the program is found. Raises UdockerError."""
    fitting.check_mounts(spec, container)
    machine = emulation.machine if emulation else ""
    program = fitting.check_command(session, spec, container, machine)
    spec = _settled(spec, container, program)
    return spec if emulation is None else replace(spec, emulators=emulation.emulators)


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
        spec = _settled(spec, container, fitting.check_command(session, spec, container))
        _preload(session, spec, container)


def _preload(session: Session, spec: RunSpec, container: Container) -> Preload:
    from udocker.ops.preload import preload

    library = session.host.program("libfakechroot") or ""
    view = fitting.view_of(container, spec.mounts)
    return preload(spec, view, library, session.host.architecture)


def is_foreign(container: Container) -> bool:
    """Whether the container is over a tree of another user.

    In a user namespace of ours that owner is nobody, and what is nobody's cannot be changed.
    """
    return container.form == UNION and os.stat(container.tree).st_uid != os.getuid()


def _settled(spec: RunSpec, container: Container, program: str) -> RunSpec:
    """The program found, and mounts where the links of the image lead."""
    view = View(layers(container))
    led = (replace(mount, target=view.canonical(mount.target)) for mount in spec.mounts)
    files = tuple(replace(file, target=view.canonical(file.target)) for file in spec.files)
    empty = tuple(replace(each, target=view.canonical(each.target)) for each in spec.tmpfs)
    return replace(spec, mounts=mounts.ordered(led), files=files, tmpfs=empty, program=program)
