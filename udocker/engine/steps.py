"""The set-up steps of a Launch, carried out in this process."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys

from udocker import files
from udocker.engine import group, union, workdirs
from udocker.engine.retreat import Retreat
from udocker.engine.workdirs import WorkDirectory
from udocker.errors import EngineError, EngineFailed
from udocker.model.container import POINT
from udocker.model.run import (
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
    WriteFile,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from udocker.model.run import IdMap, Launch, RunProgram, Step

# <linux/sched.h>
_NEWNS = 0x00020000
_NEWUTS = 0x04000000
_NEWNET = 0x40000000
_NEWUSER = 0x10000000
# <linux/mount.h>
_MS_RDONLY = 1
_MS_NOSUID = 2
_MS_NODEV = 4
_MS_NOEXEC = 8
_MS_REMOUNT = 32
_MS_BIND = 4096
_MS_REC = 16384
_MS_SLAVE = 1 << 19
_MS_RELATIME = 1 << 21
# A remount in a user namespace must keep these (mount_namespaces(7)); ST_ and MS_ agree in value.
_MS_KEPT = 2 | 4 | 8 | 1024 | 2048
_ST_RELATIME = 4096
# What another engine may do where this one cannot.
_ENGINES_OWN = (EnterRoot, MountUnion, RefuseCalls, SetHostname, Unshare)
_SYSTEM = ("/dev", "/proc", "/sys")
_STORES_OWN = (errno.ENOSPC, errno.EDQUOT, errno.ENOENT)


class Steps:
    """One pass over the steps: where the old root is, is remembered between them."""

    def __init__(self, warn: Callable[[str], None] = lambda text: None) -> None:
        from udocker._native import ffi, lib

        self._lib = lib
        self._ffi = ffi
        self._warn = warn
        self._old_root = -1
        self._written = ""  # where on the host what is made in the root comes to lie
        self._work = WorkDirectory("", "")
        self._retreat = Retreat()
        self.is_apart = False  # there was a group to come to, and this process is not in it
        self._goes_out = False  # owners that are kept for files are to be given to them
        self._carry_out: dict[type, Callable[..., None]] = {
            Unshare: self._unshare,
            Join: self._join,
            GiveOwners: self._give_owners,
            Become: self._become,
            MountUnion: self._mount_union,
            ShareUnion: self._share_union,
            EnterRoot: self._enter_root,
            Bind: self._bind,
            MountTmpfs: self._mount_tmpfs,
            ReadOnlyRoot: self._make_root_readonly,
            SetLimits: self._set_limits,
            MakeDirectory: self._make_directory,
            MakeFile: self._make_file,
            SetHostname: self._set_hostname,
            RefuseCalls: self._refuse_calls,
            FeignIds: self._feign_ids,
            RelativeLinks: _make_relative,
            WriteFile: self._write_file,
        }

    def run(self, launch: Launch) -> None:
        """All steps in order, then the working directory.

        Raises EngineFailed where the engine cannot do what it has to, else EngineError.
        """
        if any(isinstance(step, SetLimits) for step in launch.steps):
            import udocker.engine.limits  # noqa: F401 - later nothing can be imported
        with self._union(launch):
            for step in launch.steps:
                with _told(step), self._retreat.over(step):
                    self._carry_out[type(step)](step)
            self._leave_old_root()
        try:
            os.chdir(launch.cwd)
        except OSError as error:
            raise EngineError(
                f"cannot enter the working directory {launch.cwd}: {error.strerror}",
                hint="choose another one: --workdir=/",
            ) from error

    def go_back(self) -> bool:
        """After EngineFailed: whether this process can begin once more, with another engine."""
        return self._retreat.go_back(self._lib, self._old_root)

    @contextlib.contextmanager
    def _union(self, launch: Launch) -> Iterator[None]:
        """Until the union is all that the root is, no other run of the container looks for it."""
        with contextlib.ExitStack() as stack:
            for step in launch.steps:
                if isinstance(step, MountUnion):
                    with _told(step):
                        self._work = stack.enter_context(workdirs.free(step.work))
                        _take_from_inprocess(step.work)
            for step in launch.steps:
                if isinstance(step, Unshare):
                    _check_ids(self._work, step.ids)
                if isinstance(step, GiveOwners):
                    from udocker import away

                    with _told(step):
                        self._goes_out = away.note(step.top, step.ids)
            yield

    def _unshare(self, step: Unshare) -> None:
        flags = _NEWNS | (_NEWUTS if step.uts else 0) | (_NEWNET if step.net else 0)
        if step.ids is not None:
            from udocker import idmaps

            idmaps.enter(_NEWUSER | flags, step.ids)
        elif step.group:
            self._come_together(step, flags)
        else:
            self._make_namespaces(step, flags)
        # What the host mounts later (automounters) shows up here, and nothing goes back.
        self._mount(None, "/", None, _MS_REC | _MS_SLAVE)
        if step.net:
            from udocker.engine.limits import raise_loopback

            raise_loopback()

    def _make_namespaces(self, step: Unshare, flags: int) -> None:
        self._check(self._lib.udocker_unshare(_NEWUSER | flags), "user namespace")
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{step.uid} {step.host_uid} 1")
        _write("/proc/self/gid_map", f"{step.gid} {step.host_gid} 1")

    def _come_together(self, step: Unshare, flags: int) -> None:
        """A namespace of the group's, or one that the group comes to; else one's own."""
        with contextlib.ExitStack() as stack:
            try:
                stream = stack.enter_context(group.opened(step.group))
                is_inside = self._enter_group(stream)
            except OSError as error:
                self.is_apart = True
                if step.tells:
                    self._warn(
                        f"each task of this host has a user namespace of its own ({error.strerror})"
                        ": MPI is told not to read the memory of others"
                    )
                self._make_namespaces(step, flags)
                return
            if is_inside:
                self._check(self._lib.udocker_unshare(flags), "mount namespace")
            else:
                self._make_namespaces(step, flags)
            with contextlib.suppress(OSError):  # on a full disk those who come later are alone
                group.join(stream)

    def _enter_group(self, stream: BinaryIO) -> bool:
        """False: there is no namespace yet. Raises OSError where this process cannot come in."""
        refusal = group.refusal(self._lib, self._ffi)
        for descriptor in group.namespaces(stream) if not refusal else ():
            if self._lib.udocker_setns(descriptor, _NEWUSER) == 0:
                return True
            refusal = self._ffi.errno
        if refusal:
            raise OSError(refusal, os.strerror(refusal))
        return False

    def _join(self, step: Join) -> None:
        from udocker.engine import joining

        joining.join(self._lib, self._ffi, step)

    def _give_owners(self, step: GiveOwners) -> None:
        from udocker import away

        if self._goes_out:
            away.go_out(step.upper)

    def _mount_union(self, step: MountUnion) -> None:
        self._written = step.upper
        _check_is_union(step.target)
        refusal = self._work.refusal
        if self._work.tree >= 0:
            if self._lib.udocker_attach(self._work.tree, os.fsencode(step.target)) == 0:
                return
            refusal = os.strerror(self._ffi.errno)
        if refusal:
            self._warn(
                "the container is running, and its mount cannot be shared "
                f"({refusal}): files may differ between the runs"
            )
        workdirs.make(self._work)
        self._mount_overlay(step)

    def _mount_overlay(self, step: MountUnion) -> None:
        # Paths by descriptor: overlayfs splits its options at commas and colons, and the
        # escapes for them changed between kernels.
        folders = (step.lower, step.upper, self._work.path)
        opened = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in folders]
        try:
            lower, upper, work = (f"/proc/self/fd/{descriptor}" for descriptor in opened)
            options = f"lowerdir={lower},upperdir={upper},workdir={work},userxattr"
            self._mount(self._work.label, step.target, "overlay", 0, options)
            workdirs.claim(self._work)
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _share_union(self, step: ShareUnion) -> None:
        _check_is_union(step.root)
        if os.path.exists(step.state):
            return
        with workdirs.unused(step.work) as unused:
            pid = 0 if unused else workdirs.holder(step.work)
            if pid:
                raise EngineError(
                    f"process {pid} ({_program(pid)}) runs in the container on kernel overlayfs, "
                    "and nothing else may write to that meanwhile",
                    hint="wait until it has ended, or run in the same mode: --execmode=N1",
                )
            union.share(step.state, step.upper, step.tree)

    def _enter_root(self, step: EnterRoot) -> None:
        self._written = self._written or step.path
        self._mount(step.path, step.path, None, _MS_BIND | _MS_REC)
        self._old_root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.chdir(step.path)
        # From here on "/usr/lib/python3" is the container's: no code may come from there.
        sys.meta_path.clear()
        self._check(self._lib.udocker_pivot_here(), step.path)

    def _bind(self, step: Bind) -> None:
        # With the old root as working directory its files have relative paths, and absolute
        # ones mean the container: symbolic links of the image cannot lead out. No ".." may be
        # left to the kernel: the old root lies over the new one, and is what it would find.
        os.fchdir(self._old_root)
        target = os.path.realpath(step.target)
        is_mounted = False
        try:
            self._make_point(target, step.is_dir)
            self._mount(step.source.lstrip("/") or ".", target, None, _MS_BIND | _MS_REC)
            is_mounted = True
            if step.readonly:
                self._make_readonly(target, step.shallow)
        except OSError:
            if step.required:
                raise
            if is_mounted:  # better not there than writable
                self._lib.udocker_unmount(os.fsencode(target))

    def _mount_tmpfs(self, step: MountTmpfs) -> None:
        os.fchdir(self._old_root)
        target = os.path.realpath(step.target)
        self._make_point(target, is_dir=True)
        flags = _MS_NOSUID | _MS_NODEV | (0 if step.executable else _MS_NOEXEC)
        options = ",".join(step.options) or "mode=1777"
        self._mount("tmpfs", target, "tmpfs", flags, options)
        if step.readonly:
            self._make_readonly(target, shallow=True)

    def _make_root_readonly(self, step: ReadOnlyRoot) -> None:
        os.fchdir(self._old_root)
        self._remount_readonly("/")

    def _set_limits(self, step: SetLimits) -> None:
        from udocker.engine.limits import set_limits

        set_limits(step)

    def _make_point(self, target: str, is_dir: bool, mode: int | None = None) -> None:
        """A file or directory to mount on, made and marked if it is missing; no part is a link."""
        if os.path.exists(target):
            return
        parts = _parts(target)
        for number in range(1, len(parts) + 1):
            path = "/" + "/".join(parts[:number])
            try:
                if is_dir or number < len(parts):
                    os.mkdir(path)
                else:
                    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
                    os.close(os.open(path, flags, 0o644))
            except FileExistsError:
                continue
            if mode is not None and path == target:
                os.chmod(path, mode)
            # overlayfs lets nobody see or set it: in the upper, that is, by the old root.
            with contextlib.suppress(OSError):
                os.setxattr(f"{self._written}{path}".lstrip("/"), POINT, os.fsencode(path))

    def _make_readonly(self, target: str, shallow: bool) -> None:
        if not shallow:
            if self._lib.udocker_mount_readonly(os.fsencode(target)) == 0:
                return
            if self._ffi.errno not in (errno.ENOSYS, errno.EPERM):
                self._check(-1, target)
        for point in [target] if shallow else _mounts_below(target):
            self._remount_readonly(point)

    def _remount_readonly(self, target: str) -> None:
        try:
            flags = os.statvfs(target).f_flag
        except PermissionError:
            return  # who cannot get there cannot write there
        kept = flags & _MS_KEPT | (_MS_RELATIME if flags & _ST_RELATIME else 0)
        self._mount(None, target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)

    def _leave_old_root(self) -> None:
        if self._old_root >= 0:
            os.fchdir(self._old_root)
            self._check(self._lib.udocker_unmount(b"."), "the old root")
            os.close(self._old_root)
            self._old_root = -1

    def _become(self, step: Become) -> None:
        self._leave_old_root()  # which only root can
        os.setgroups(step.groups)
        os.setresgid(step.gid, step.gid, step.gid)
        os.setresuid(step.uid, step.uid, step.uid)

    def _make_directory(self, step: MakeDirectory) -> None:
        if step.root:
            make_inside(step.root, step.path, step.mode, step.is_point)
            return
        path = os.path.realpath(step.path)  # as for binds
        if step.is_point:
            os.fchdir(self._old_root)
            self._make_point(path, True, step.mode)
        elif not os.path.isdir(path):
            os.makedirs(path, exist_ok=True)
            os.chmod(path, step.mode)

    def _make_file(self, step: MakeFile) -> None:
        folder, _, name = step.path.rpartition("/")
        parent = open_inside(step.root, folder, 0o755, is_point=True)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(name, flags, 0o644, dir_fd=parent)
                _mark(descriptor, step.root)
                os.close(descriptor)
        finally:
            os.close(parent)

    def _set_hostname(self, step: SetHostname) -> None:
        name = step.name.encode()
        self._check(self._lib.udocker_set_hostname(name, len(name)), step.name)

    def _refuse_calls(self, step: RefuseCalls) -> None:
        from udocker.engine.callfilter import INSTRUCTION, refusing

        program = refusing()
        result = self._lib.udocker_filter_calls(program, len(program) // INSTRUCTION.size)
        self._check(result, "seccomp")

    def _feign_ids(self, step: FeignIds) -> None:
        # That there are no filters here is no reason to fail: the run is what it is without.
        self._lib.udocker_feign_ids(step.gid)

    def _write_file(self, step: WriteFile) -> None:
        with contextlib.suppress(OSError), open(step.path, "rb") as stream:
            if stream.read() == step.content:
                return
        files.write_atomic(step.path, step.content, step.mode)

    def _mount(
        self,
        source: str | None,
        target: str,
        kind: str | None,
        flags: int,
        options: str | None = None,
    ) -> None:
        null = self._ffi.NULL
        encoded = [null if text is None else os.fsencode(text) for text in (source, kind, options)]
        result = self._lib.udocker_mount(
            encoded[0], os.fsencode(target), encoded[1], flags, encoded[2]
        )
        self._check(result, target)

    def _check(self, result: int, what: str) -> None:
        if result != 0:
            number = self._ffi.errno
            raise OSError(number, os.strerror(number), what)


def _check_is_union(root: str) -> None:
    """What would be written to a union that nobody looks at any more would be lost."""
    if os.listdir(root):
        raise EngineError(
            "the container was given a root directory of its own at this very moment",
            hint="run it once more",
        )


@contextlib.contextmanager
def _told(step: Step) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        in_store = isinstance(step, (GiveOwners, MountUnion, ShareUnion, WriteFile))
        raise (EngineFailed if _is_engines(step, error) else EngineError)(
            f"cannot {_brief(step)}: {error.strerror or error}{where}",
            hint=files.translate(error, "").hint if in_store else None,
        ) from error


def _is_engines(step: Step, error: OSError) -> bool:
    """Whether it is the engine that failed: volumes and what the container holds are the same in
    all of them, and so is a store that is full."""
    if isinstance(step, MountUnion):  # and not what was to be made in the store for it
        return error.filename == step.target and error.errno not in _STORES_OWN
    is_system = isinstance(step, Bind) and step.source == step.target and step.target in _SYSTEM
    return is_system or isinstance(step, _ENGINES_OWN)


def _brief(step: Step) -> str:
    """As ``describe``, without the long paths that an error need not tell."""
    if isinstance(step, MountUnion):
        return f"mount overlayfs on {step.target}"
    return describe(step)


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return "it has ended since"


def _check_ids(work: WorkDirectory, ids: IdMap | None) -> None:
    """Raise EngineError where the other run of the container has ids of another kind."""
    if not work.ids or not all(work.ids):
        return  # nobody, or a process that has gone into a namespace without ids
    has_one = all(len(rows) == 1 and rows[0][2] == 1 for rows in work.ids)
    if has_one if ids is None else work.ids == (ids.uids, ids.gids):
        return
    raise EngineError(
        "the container is running with other ids, and its files cannot belong to both kinds",
        hint="wait until that has ended, or give the same --userns",
    )


def _take_from_inprocess(work: str) -> None:
    """To be called before unshare(2): afterwards other user namespaces cannot be looked into."""
    pid = union.user(work)
    if pid:
        raise EngineError(
            f"process {pid} ({_program(pid)}) runs in the container in an F mode, and kernel "
            "overlayfs may not be mounted over what that writes",
            hint="wait until it has ended, or run in the same mode: --execmode=F3",
        )
    union.forget(work)


def _make_relative(step: RelativeLinks) -> None:
    from udocker.engine.links import make_relative

    make_relative(step.root, step.outside)


def describe(step: Step) -> str:
    """The step in words, as an order: for ``--dry-run`` and for errors."""
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


def _write(path: str, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        # Kernels before 3.19 have no setgroups file, and need none.
        if error.errno != errno.ENOENT:
            error.filename = path
            raise


def make_inside(root: str, path: str, mode: int, is_point: bool = False) -> None:
    """Make directory ``path`` and its parents under ``root``; links stay inside the root.

    ``is_point``: mark what is made. Raises OSError.
    """
    os.close(open_inside(root, path, mode, is_point))


def open_inside(root: str, path: str, mode: int, is_point: bool = False) -> int:
    """As ``make_inside``; a descriptor (O_PATH) of the directory."""
    marked = root if is_point else ""
    pending = _parts(path)[::-1]
    trail = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    links = 0
    try:
        while pending:
            name = pending.pop()
            if name == "..":
                if len(trail) > 1:
                    os.close(trail.pop())
                continue
            target = _link_or_none(name, trail[-1])
            if target is None:
                trail.append(_enter(name, trail[-1], mode if not pending else 0o755, marked))
                continue
            links += 1
            if links > 40:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                while len(trail) > 1:
                    os.close(trail.pop())
            pending += _parts(target)[::-1]
        return os.dup(trail[-1])
    finally:
        for descriptor in trail:
            os.close(descriptor)


def _link_or_none(name: str, folder: int) -> str | None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return os.readlink(name, dir_fd=folder) if stat.S_ISLNK(status.st_mode) else None


def _mark(descriptor: int, root: str) -> None:
    """Where it cannot be marked it is taken for the user's."""
    with contextlib.suppress(OSError):
        place = f"/proc/self/fd/{descriptor}"
        path = os.readlink(place)[len(os.path.realpath(root)) :]
        os.setxattr(place, POINT, os.fsencode(path))


def _enter(name: str, folder: int, mode: int, marked: str) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        is_made = False
        with contextlib.suppress(FileExistsError):  # another run of the container was faster
            os.mkdir(name, mode, dir_fd=folder)
            is_made = True
        descriptor = os.open(name, flags, dir_fd=folder)
        os.chmod(f"/proc/self/fd/{descriptor}", mode)
        if is_made and marked:
            _mark(descriptor, marked)
        return descriptor


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _mounts_below(target: str) -> list[str]:
    """Mount points at and below ``target``, from the old root's /proc (the working directory)."""
    with open("proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        points = [_unescaped(line.split(" ")[4]) for line in stream]
    return [p for p in points if p == target or p.startswith(target.rstrip("/") + "/")]


def _unescaped(point: str) -> str:
    """A field of mountinfo: the kernel writes blanks and backslashes as octal numbers."""
    first, *rest = point.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
