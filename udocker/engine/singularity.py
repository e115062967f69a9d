"""S1: Apptainer or Singularity as found on the host, with the container's directory as a sandbox.

https://apptainer.org/docs/user/latest/cli/apptainer_exec.html
"""

from __future__ import annotations

from udocker.engine.base import guest_file, mount_points, need_namespaces, working_directory
from udocker.errors import UnsupportedFeature
from udocker.model.features import (
    BY_KERNEL,
    FILE_MOUNTS,
    HOST_DEVICES,
    HOSTNAME,
    MOVED_MOUNTS,
    OTHER_MACHINES,
    READ_ONLY_MOUNTS,
)
from udocker.model.host import Support
from udocker.model.launch import Launch, MakeDirectory, WriteFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.host import Host
    from udocker.model.launch import Step
    from udocker.model.run import RunSpec

MODES = ("S1",)
# No other user than root, of whom --fakeroot makes one with the only id that it may map.
FEATURES = frozenset(
    (
        HOSTNAME,
        READ_ONLY_MOUNTS,
        FILE_MOUNTS,
        HOST_DEVICES,
        MOVED_MOUNTS,
        OTHER_MACHINES,
        BY_KERNEL,
    )
)
_SYSTEM = ("/dev", "/proc", "/sys")
# What the administrator has shown in every container is not shown here, as in no other mode.
_NOT_MOUNTED = "home,tmp,cwd,bind-paths"
_SHELL_S = ("PWD", "OLDPWD", "HOME")
# With ids of /etc/subuid files of the container would belong to ids that udocker cannot remove;
# the host's `fakeroot` would have its library loaded into programs of another C library. As
# variables, because an Apptainer that knows them not takes no offence.
_ONE_ID = (("APPTAINER_IGNORE_SUBUID", "1"), ("APPTAINER_IGNORE_FAKEROOT_COMMAND", "1"))
_NO_RIGHTS = "no_new_privs is set, and they have no effect"
_LEAVE = "run it outside of this container or sandbox, or use a mode that needs neither"


def probe(host: Host, mode: str) -> Support:
    """Apptainer or Singularity must be there: whether it may do its work, a first run shows."""
    if _runtime(host) is None:
        return Support(
            "neither apptainer nor singularity is in PATH",
            "install one, or name it: UDOCKER_USE_SINGULARITY_EXECUTABLE",
        )
    namespaces = need_namespaces(host, "apptainer and singularity need")
    if host.no_new_privileges and host.uid != 0 and not namespaces.ok:
        # Else its setuid part may do without.
        return Support(f"{namespaces.reason}, or set-user-ID rights ({_NO_RIGHTS})", _LEAVE)
    return Support()


def launch(spec: RunSpec, host: Host, mode: str) -> Launch:
    """The runtime with nothing of the host's but what is asked for. Raises UnsupportedFeature."""
    name, runtime = _runtime(host) or ("apptainer", "apptainer")
    steps: list[Step] = [
        WriteFile(guest_file(spec, file), file.content, file.mode) for file in spec.files
    ]
    # In a directory that may be written the runtime makes nothing to mount on.
    steps += mount_points(spec, _SYSTEM)
    steps.append(working_directory(spec, _SYSTEM))
    steps.append(MakeDirectory("/tmp", 0o1777, root=spec.root.path, is_point=True))
    launch = Launch(
        argv=(runtime, "--silent", "exec", *_options(spec, host, name), spec.root.path, *spec.argv),
        env=_env(spec, host, name),
        cwd="/",
        steps=tuple(steps),
        go_betweens=_go_betweens(host, name),
    )
    return _checked(launch)


def _runtime(host: Host) -> tuple[str, str] | None:
    for name in ("apptainer", "singularity"):
        path = host.program(name)
        if path:
            return name, path
    return None


def _is_fake_root(host: Host, name: str) -> bool:
    """Whether the command is root by --fakeroot: Singularity's needs /etc/subuid."""
    return name == "apptainer" and need_namespaces(host).ok


def _go_betweens(host: Host, name: str) -> int:
    """What it calls the runtime parent; for --fakeroot Apptainer stays before that, too."""
    return 2 if _is_fake_root(host, name) else 1


def _options(spec: RunSpec, host: Host, name: str) -> list[str]:
    options = ["--cleanenv", "--writable", "--no-mount", _NOT_MOUNTED]
    if need_namespaces(host).ok:
        options.append("--fakeroot" if _is_fake_root(host, name) else "--userns")
    if name == "apptainer":
        options.append("--no-eval")
    options += ["--home", dict(spec.env).get("HOME") or "/", "--pwd", spec.cwd]
    if spec.hostname is not None:
        options += ["--hostname", spec.hostname]
    for file in spec.files:
        options += _bind(guest_file(spec, file), file.target)
    for mount in spec.mounts:
        if mount.target == "/etc":
            raise UnsupportedFeature(
                "mode S1 cannot show a volume at /etc, where Apptainer mounts files of its own",
                hint="--execmode=auto or another mode",
            )
        options += _bind(mount.source, mount.target, mount.readonly)
    return options


def _bind(source: str, target: str, readonly: bool = False) -> list[str]:
    fields = ["type=bind", f"source={source}", f"destination={target}", *["ro"] * readonly]
    return ["--mount", ",".join(map(_field, fields))]


def _field(text: str) -> str:
    """Of comma-separated values: RFC 4180."""
    special = any(character in text for character in ',"\n\r')
    return '"' + text.replace('"', '""') + '"' if special else text


def _env(spec: RunSpec, host: Host, name: str) -> tuple[tuple[str, str], ...]:
    """What the runtime is given to pass on: one name that no shell takes, and it passes on none."""
    prefix = f"{name.upper()}ENV_"
    own = (("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),)
    given = []
    for variable, text in spec.env:
        if not (variable.isidentifier() and variable.isascii()):
            raise UnsupportedFeature(
                f"mode S1 passes on variables that a shell can have, and not {variable!r}",
                hint="--execmode=auto or another mode",
            )
        if variable not in _SHELL_S:
            given.append((f"{prefix}{variable}", text))
    one_id = _ONE_ID if _is_fake_root(host, name) else ()
    return (*own, ("HOME", host.home), *one_id, *given)


def _checked(launch: Launch) -> Launch:
    try:
        "".join((*launch.argv, *(text for _, text in launch.env))).encode()
    except UnicodeEncodeError as error:
        # Its shell would change the bytes without a word.
        raise UnsupportedFeature(
            "mode S1 passes on UTF-8 only, and a word, variable or path of this run is not",
            hint="--execmode=auto or another mode",
        ) from error
    return launch
