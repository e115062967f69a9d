"""What the command line of run and create asks for."""

from __future__ import annotations

import os

from udocker.errors import UsageError
from udocker.model.request import SINGLE, DeviceOptions, RunRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def asked(context: Context, parsed: Parsed) -> RunRequest:
    """Words that are wrong by themselves are told now. Raises UsageError."""
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
        mpi=parsed.text("mpi") or "auto",
        detach=parsed.flag("detach"),
        tty=parsed.flag("tty"),
        interactive=parsed.flag("interactive"),
        init=parsed.flag("init"),
        stop_signal=_signal(parsed.text("stop-signal")),
        stop_timeout=_seconds(parsed.text("stop-timeout")),
        cidfile=_path(parsed.text("cidfile"), cwd),
        detach_keys=_keys(parsed.text("detach-keys")),
    )


def _signal(text: str | None) -> str | None:
    if text is not None:
        from udocker.model.signals import number

        number(text)
    return text


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"not a number of seconds: {text!r}", hint="--stop-timeout=10") from None


def _keys(text: str | None) -> str | None:
    if text is not None:
        from udocker.model.signals import keys

        keys(text)
    return text


def _path(text: str | None, cwd: str) -> str | None:
    return None if text is None else os.path.join(cwd, text)


def _devices(parsed: Parsed, cwd: str) -> DeviceOptions:
    """What is asked of GPUs and devices; wrong words are told now. Raises UsageError."""
    options = DeviceOptions(
        gpus=parsed.list("gpus"),
        nv=parsed.flag("nv"),
        rocm=parsed.flag("rocm"),
        devices=parsed.list("device"),
        cdi_dirs=tuple(_directory(text, cwd) for text in parsed.list("cdi-dir")),
        skip_hooks=_skips_hooks(parsed.text("allow-cdi-hooks")),
        host_libc=parsed.flag("host-libc"),
        mpi_host=(parsed.text("mpi-host") or "full") if parsed.has("mpi-host") else "",
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


def _skips_hooks(text: str | None) -> bool:
    if text not in (None, "skip"):
        hint = "--allow-cdi-hooks=skip passes over those that are not known; none is ever run"
        raise UsageError(f"--allow-cdi-hooks {text!r} is not known", hint=hint)
    return text == "skip"


def _host(registry: str | None) -> str | None:
    return None if registry is None else registry.partition("://")[2] or registry
