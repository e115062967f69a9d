"""Whether a library of the host's can stand before a program's own C library (mode F1)."""

from __future__ import annotations

import fnmatch
import os

from udocker import elf
from udocker.errors import NotExecutable, UnsupportedFeature
from udocker.model.run import Preload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.model.run import RunSpec
    from udocker.store.view import View

_HINT = "--execmode=auto or another mode"
_MOST_SCRIPTS = 5  # execve(2)
_MULTIARCH = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}
_LARGEST_CONF = 1 << 16
_SINCE_ARGV0 = (2, 33)  # ld.so(8) has --argv0


def preload(spec: RunSpec, view: View, library: str, architecture: str) -> Preload:
    """How the command of ``spec`` is started with ``library``.

    Raises UnsupportedFeature where it would not be loaded, or by another C library.
    """
    program, words = _without_scripts(spec.program or spec.argv[0], view)
    found = elf.read(_head(view.locate(program)))
    if found is None:
        raise NotExecutable(
            f"cannot execute {program}: not a program of this machine, and no #! line",
            hint="a script needs a first line like #!/bin/sh",
        )
    if not found.interpreter:
        raise UnsupportedFeature(f"mode F1 cannot run static programs: {program}", hint=_HINT)
    if os.path.basename(found.interpreter).startswith("ld-musl"):
        raise UnsupportedFeature(
            f"mode F1 takes programs of glibc, and {program} is one of musl", hint=_HINT
        )
    directories = tuple(dict.fromkeys(library_directories(view, architecture)))
    version = _fitting(program, found, library, directories, view)
    return Preload(
        loader=view.resolve(found.interpreter),
        program=view.resolve(program),
        name=program if words else spec.argv[0],
        words=words,
        directories=directories,
        has_argv0=version >= _SINCE_ARGV0,
    )


def _without_scripts(program: str, view: View) -> tuple[str, tuple[str, ...]]:
    """The program that the kernel would start, and the words it puts before the arguments."""
    words: tuple[str, ...] = ()
    for _ in range(_MOST_SCRIPTS + 1):
        head = _head(view.locate(program))
        if not head.startswith(b"#!"):
            break
        line = head[2:].split(b"\n")[0].strip(b" \t").replace(b"\t", b" ")
        name, _, argument = os.fsdecode(line).partition(" ")
        words = (*filter(None, (argument.strip(" "),)), program, *words)
        program = name
    return program, words


def _fitting(
    program: str, found: elf.Elf, library: str, directories: tuple[str, ...], view: View
) -> tuple[int, int]:
    """The version of the container's glibc. Raises UnsupportedFeature."""
    own = elf.read(_head(library))
    if own is None or (own.bits, own.machine) != (found.bits, found.machine):
        raise UnsupportedFeature(
            f"{library} is not made for the machine of {program}",
            hint="name a library that is: UDOCKER_FAKECHROOT_SO",
        )
    version = None
    for folder in directories:
        content = view.read(f"{folder}/libc.so.6")
        version = version or (elf.glibc(content) if content else None)
    if version is None:
        raise UnsupportedFeature(
            "mode F1 needs glibc, and libc.so.6 is not in the container's directories of libraries",
            hint=_HINT,
        )
    with open(library, "rb") as stream:
        needed = elf.glibc(stream.read()) or (0, 0)
    if version < needed:
        raise UnsupportedFeature(
            f"{library} needs glibc {_text(needed)}, and the container has {_text(version)}",
            hint="name a library made for an older one, UDOCKER_FAKECHROOT_SO, or --execmode=auto",
        )
    return version


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def library_directories(view: View, architecture: str) -> Iterator[str]:
    """Guest directories in which ld.so(8) looks, links followed; those that are there."""
    triplet = _MULTIARCH.get(architecture, architecture)
    usual = [f"{top}/{name}" for name in (triplet, "") for top in ("/lib", "/usr/lib")]
    for path in (*_configured(view), *usual, "/lib64", "/usr/lib64"):
        try:
            if os.path.isdir(view.locate(path)):
                yield view.resolve(path)
        except OSError:
            continue


def _configured(view: View) -> Iterator[str]:
    """What ld.so.conf says, ldconfig(8), and the files that it includes."""
    for line in _lines(view, "/etc/ld.so.conf"):
        kind, _, pattern = line.partition(" ")
        if kind != "include":
            yield line
            continue
        folder, name = os.path.split(os.path.join("/etc", pattern.strip()))
        try:
            names = sorted(fnmatch.filter(os.listdir(view.locate(folder)), name))
        except OSError:
            continue
        for each in names:
            yield from _lines(view, f"{folder}/{each}")


def _lines(view: View, path: str) -> list[str]:
    content = (view.read(path) or b"")[:_LARGEST_CONF].decode("utf-8", "surrogateescape")
    lines = (line.partition("#")[0].replace("\t", " ").strip() for line in content.split("\n"))
    return [line for line in lines if line.startswith(("/", "include "))]


def _head(path: str) -> bytes:
    """Raises UnsupportedFeature where it cannot be read: it cannot be looked at then."""
    try:
        with open(path, "rb") as stream:
            return stream.read(elf.HEAD)
    except OSError as error:
        raise UnsupportedFeature(
            f"mode F1 has to read {path}: {error.strerror}", hint=_HINT
        ) from error
