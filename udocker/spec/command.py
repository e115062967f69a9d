"""The command line of the container, and whether it can be executed."""

from __future__ import annotations

import os
import shlex
import stat

from udocker.errors import CommandNotFound, NotExecutable, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from udocker.model.oci import ImageConfig

    class Files(Protocol):
        """The container's files."""

        def locate(self, path: str) -> str:
            """The host path of a guest path. Raises OSError."""
            ...


# e_machine of the ELF header (elf(5)) and what uname -m calls the machine.
_MACHINES = {
    3: "i686",
    8: "mips",
    21: "ppc64le",
    22: "s390x",
    40: "armv7l",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
_SHELLS = ("ash", "bash", "csh", "dash", "fish", "ksh", "zsh")
_MAX_SCRIPTS = 5  # that the kernel follows from one to the next: execve(2)


def build(config: ImageConfig, entrypoint: str | None, command: tuple[str, ...]) -> tuple[str, ...]:
    """Entrypoint and Cmd as Docker joins them; ``entrypoint`` given drops the image's Cmd.

    An ``entrypoint`` of several words is split as a shell does, as udocker 1.3 has it. Raises
    UsageError when nothing is left to run.
    """
    if entrypoint is None:
        argv = config.entrypoint + (command or config.cmd)
    else:
        try:
            argv = (*shlex.split(entrypoint), *command)
        except ValueError as error:
            raise UsageError(f"--entrypoint {entrypoint!r}: {error}") from error
    if not argv:
        raise UsageError(
            "the image says no command to run", hint="give one: udocker run IMAGE COMMAND"
        )
    return argv


def check(
    argv0: str, path: str, cwd: str, files: Files, architecture: str, *, emulated: str = ""
) -> str:
    """The guest path of the program that ``argv0`` names; one for a machine ``emulated`` will do.

    Raises CommandNotFound or NotExecutable as a shell would, with the cause.
    """
    program = _find(argv0, path, cwd, files)
    place, head = _end_of_scripts(program, cwd, files)
    found = machine(head)
    if found is not None and found[1] not in (*_run_by(architecture), emulated):
        raise NotExecutable(
            f"cannot execute {place}: it is made for {found[1]}, this host is {architecture}",
            hint=f"pull the image for this host: --platform=linux/{_go_name(architecture)}",
        )
    return program


def foreign(argv0: str, path: str, cwd: str, files: Files, architecture: str) -> tuple[str, bytes]:
    """Guest path and head of the program that runs in the end, if it is not for ``architecture``.

    Otherwise the head is empty. Raises CommandNotFound or NotExecutable.
    """
    place, head = _end_of_scripts(_find(argv0, path, cwd, files), cwd, files)
    found = machine(head)
    is_foreign = found is not None and found[1] not in _run_by(architecture)
    return place, head if is_foreign else b""


def machine(head: bytes) -> tuple[int, str] | None:
    """The machine of an ELF file: its number of elf(5), and how ``uname -m`` calls it."""
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return None
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return number, _MACHINES.get(number, f"machine {number}")


def _run_by(architecture: str) -> tuple[str, ...]:
    return (architecture, {"x86_64": "i686", "aarch64": "armv7l"}.get(architecture, ""))


def _find(argv0: str, path: str, cwd: str, files: Files) -> str:
    if not argv0:
        raise CommandNotFound("the command is an empty string")
    if "/" in argv0:
        candidates = [argv0 if argv0.startswith("/") else f"{cwd}/{argv0}"]
    else:
        candidates = [f"{folder or cwd}/{argv0}" for folder in path.split(":")]
    refused: NotExecutable | None = None
    for candidate in candidates:
        try:
            _check_mode(candidate, files)
        except NotExecutable as error:
            refused = refused or error
        except OSError:
            continue
        else:
            return candidate
    if refused is not None:
        raise refused
    where = "in the container" if "/" in argv0 else f"in the container's PATH ({path})"
    raise CommandNotFound(f"command not found {where}: {argv0}", hint=_advice(argv0, files))


def _advice(argv0: str, files: Files) -> str:
    """What to try: the mistakes that are usual, then a look around."""
    if argv0.startswith("-"):
        return "options of udocker stand before the name of the image"
    if len(argv0.split()) > 1:
        return f"give each word by itself, without quotes around all of them: {argv0}"
    try:
        _check_mode("/bin/sh", files)
    except (OSError, NotExecutable):
        return "there is no shell either: udocker inspect shows the image's own command"
    if argv0.rpartition("/")[2] in _SHELLS:
        return "another shell is there: sh"
    return "look what is there with the command sh"


def _check_mode(candidate: str, files: Files) -> None:
    mode = os.stat(files.locate(candidate)).st_mode
    if stat.S_ISDIR(mode):
        raise NotExecutable(f"cannot execute {candidate}: it is a directory")
    if not stat.S_ISREG(mode) or not mode & 0o111:
        raise NotExecutable(
            f"cannot execute {candidate}: permission denied", hint="its file mode has no x bit"
        )


def _end_of_scripts(program: str, cwd: str, files: Files) -> tuple[str, bytes]:
    """The program that is started for ``program``, and its first bytes."""
    place = program
    for _ in range(_MAX_SCRIPTS + 1):
        head = _head(files.locate(place))
        if not head.startswith(b"#!"):
            return place, head
        # Blanks and tabs end the name, nothing else: a carriage return is a part of it.
        words = head[2:].split(b"\n")[0].replace(b"\t", b" ").split(b" ")
        interpreter = next((os.fsdecode(word) for word in words if word), "")
        if not interpreter:
            return place, head
        following = interpreter if interpreter.startswith("/") else f"{cwd}/{interpreter}"
        try:
            files.locate(following)
        except OSError:
            raise CommandNotFound(
                f"cannot execute {place}: its interpreter {interpreter!r} is not in the container",
                hint="the script has line ends of Windows" if "\r" in interpreter else None,
            ) from None
        place = following
    raise NotExecutable(f"cannot execute {program}: too many interpreters")


def _head(place: str) -> bytes:
    try:
        with open(place, "rb") as stream:
            return stream.read(256)
    except OSError:
        return b""


def _go_name(architecture: str) -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(architecture, architecture)
