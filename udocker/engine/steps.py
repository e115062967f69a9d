"""The set-up steps of a Launch, carried out in this process."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from udocker import files
from udocker.engine import namespaces, overlay, workdirs
from udocker.engine.describing import describe_briefly
from udocker.engine.inside import make_inside, make_point, mark, open_inside
from udocker.engine.kernel import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REC,
    Kernel,
)
from udocker.engine.retreat import Retreat
from udocker.engine.workdirs import WorkDirectory
from udocker.errors import EngineError, EngineFailed
from udocker.model.launch import (
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
    SetHostname,
    SetLimits,
    ShareUnion,
    Unshare,
    WriteFile,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from udocker.model.launch import Launch, Step

# What another engine may do where this one cannot.
_ENGINES_OWN = (EnterRoot, MountUnion, RefuseCalls, SetHostname, Unshare)
_SYSTEM = ("/dev", "/proc", "/sys")
_STORES_OWN = (errno.ENOSPC, errno.EDQUOT, errno.ENOENT)


class Steps:
    """One pass over the steps: where the old root is, is remembered between them."""

    def __init__(self, warn: Callable[[str], None] = lambda text: None) -> None:
        self._kernel = Kernel()
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
            ShareUnion: overlay.share_union,
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
        return self._retreat.go_back(self._kernel.lib, self._old_root)

    @contextlib.contextmanager
    def _union(self, launch: Launch) -> Iterator[None]:
        """Until the union is all that the root is, no other run of the container looks for it."""
        with contextlib.ExitStack() as stack:
            for step in launch.steps:
                if isinstance(step, MountUnion):
                    with _told(step):
                        self._work = stack.enter_context(workdirs.free(step.work))
                        overlay.take_from_inprocess(step.work)
            for step in launch.steps:
                if isinstance(step, Unshare):
                    overlay.check_ids(self._work, step.ids)
                if isinstance(step, GiveOwners):
                    from udocker import away

                    with _told(step):
                        self._goes_out = away.note(step.top, step.ids)
            yield

    def _unshare(self, step: Unshare) -> None:
        self.is_apart = not namespaces.unshare(self._kernel, step, self._warn)

    def _mount_union(self, step: MountUnion) -> None:
        self._written = step.upper
        overlay.mount_union(self._kernel, step, self._work, self._warn)

    def _join(self, step: Join) -> None:
        from udocker.engine import joining

        joining.join(self._kernel.lib, self._kernel.ffi, step)

    def _give_owners(self, step: GiveOwners) -> None:
        from udocker import away

        if self._goes_out:
            away.go_out(step.upper)

    def _enter_root(self, step: EnterRoot) -> None:
        self._written = self._written or step.path
        self._kernel.mount(step.path, step.path, None, MS_BIND | MS_REC)
        self._old_root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.chdir(step.path)
        # From here on "/usr/lib/python3" is the container's: no code may come from there.
        sys.meta_path.clear()
        self._kernel.check(self._kernel.lib.udocker_pivot_here(), step.path)

    def _bind(self, step: Bind) -> None:
        # With the old root as working directory its files have relative paths, and absolute
        # ones mean the container: symbolic links of the image cannot lead out. No ".." may be
        # left to the kernel: the old root lies over the new one, and is what it would find.
        os.fchdir(self._old_root)
        target = os.path.realpath(step.target)
        is_mounted = False
        try:
            make_point(target, step.is_dir, self._written)
            self._kernel.mount(step.source.lstrip("/") or ".", target, None, MS_BIND | MS_REC)
            is_mounted = True
            if step.readonly:
                self._kernel.make_readonly(target, step.shallow)
        except OSError:
            if step.required:
                raise
            if is_mounted:  # better not there than writable
                self._kernel.lib.udocker_unmount(os.fsencode(target))

    def _mount_tmpfs(self, step: MountTmpfs) -> None:
        os.fchdir(self._old_root)
        target = os.path.realpath(step.target)
        make_point(target, True, self._written)
        flags = MS_NOSUID | MS_NODEV | (0 if step.executable else MS_NOEXEC)
        options = ",".join(step.options) or "mode=1777"
        self._kernel.mount("tmpfs", target, "tmpfs", flags, options)
        if step.readonly:
            self._kernel.make_readonly(target, shallow=True)

    def _make_root_readonly(self, step: ReadOnlyRoot) -> None:
        os.fchdir(self._old_root)
        self._kernel.remount_readonly("/")

    def _set_limits(self, step: SetLimits) -> None:
        from udocker.engine.limits import set_limits

        set_limits(step)

    def _leave_old_root(self) -> None:
        if self._old_root >= 0:
            os.fchdir(self._old_root)
            self._kernel.check(self._kernel.lib.udocker_unmount(b"."), "the old root")
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
            make_point(path, True, self._written, step.mode)
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
                mark(descriptor, step.root)
                os.close(descriptor)
        finally:
            os.close(parent)

    def _set_hostname(self, step: SetHostname) -> None:
        name = step.name.encode()
        self._kernel.check(self._kernel.lib.udocker_set_hostname(name, len(name)), step.name)

    def _refuse_calls(self, step: RefuseCalls) -> None:
        from udocker.engine.callfilter import INSTRUCTION, refusing

        program = refusing()
        result = self._kernel.lib.udocker_filter_calls(program, len(program) // INSTRUCTION.size)
        self._kernel.check(result, "seccomp")

    def _feign_ids(self, step: FeignIds) -> None:
        # That there are no filters here is no reason to fail: the run is what it is without.
        self._kernel.lib.udocker_feign_ids(step.gid)

    def _write_file(self, step: WriteFile) -> None:
        with contextlib.suppress(OSError), open(step.path, "rb") as stream:
            if stream.read() == step.content:
                return
        files.write_atomic(step.path, step.content, step.mode)


@contextlib.contextmanager
def _told(step: Step) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        in_store = isinstance(step, (GiveOwners, MountUnion, ShareUnion, WriteFile))
        raise (EngineFailed if _is_engines(step, error) else EngineError)(
            f"cannot {describe_briefly(step)}: {error.strerror or error}{where}",
            hint=files.translate(error, "").hint if in_store else None,
        ) from error


def _is_engines(step: Step, error: OSError) -> bool:
    """Whether it is the engine that failed: volumes and what the container holds are the same in
    all of them, and so is a store that is full."""
    if isinstance(step, MountUnion):  # and not what was to be made in the store for it
        return error.filename == step.target and error.errno not in _STORES_OWN
    is_system = isinstance(step, Bind) and step.source == step.target and step.target in _SYSTEM
    return is_system or isinstance(step, _ENGINES_OWN)


def _make_relative(step: RelativeLinks) -> None:
    from udocker.engine.links import make_relative

    make_relative(step.root, step.outside)
