"""The environment of the command: what is always there < host < image < job < files < ``-e``."""

from __future__ import annotations

from udocker.errors import UdockerError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from udocker.model.run import User

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of the host's environment: never what describes the host's files or its user.
_HOST_ONLY = ("PATH", "HOME", "PWD", "OLDPWD", "SHELL", "USER", "LOGNAME", "SHLVL", "_", "TMPDIR")
_HOST_ONLY_PREFIXES = ("LD_", "UDOCKER_", "PYTHON")


def build(
    always: Mapping[str, str],
    *,
    image: Iterable[str],
    job: Iterable[tuple[str, str]] = (),
    files: Iterable[tuple[str, str | None]],
    options: Iterable[tuple[str, str | None]],
    host: Mapping[str, str],
    hostenv: bool,
) -> tuple[tuple[str, str], ...]:
    """All variables, by name. A value of None takes the host's, or nothing if it has none."""
    merged = dict(always)
    if hostenv:
        merged.update((name, text) for name, text in host.items() if _may_enter(name))
    for entry in image:
        name, equals, text = entry.partition("=")
        if name and equals:
            merged[name] = text
    merged.update(job)
    for name, given in (*files, *options):
        if given is not None:
            merged[name] = given
        elif name in host:
            merged[name] = host[name]
    return tuple(sorted(merged.items()))


def always(user: User, hostname: str, term: str | None, facts: Mapping[str, str]) -> dict[str, str]:
    """The variables that every command has, before the image's own; ``facts`` as udocker 1.3."""
    variables = {
        "PATH": DEFAULT_PATH,
        "HOME": user.home,
        "USER": user.name,
        "LOGNAME": user.name,
        "HOSTNAME": hostname,
        **facts,
    }
    if term:
        variables["TERM"] = term
    return variables


def parse_option(text: str) -> tuple[str, str | None]:
    """Read the value of ``-e``: ``NAME=value``, or ``NAME`` for the host's. Raises UsageError."""
    name, equals, given = text.partition("=")
    if not name or "\0" in text:
        raise UsageError(f"not an environment variable: {text!r}", hint="-e NAME=value or -e NAME")
    return name, given if equals else None


def parse_file(content: bytes, path: str) -> list[tuple[str, str | None]]:
    """Read a file of ``--env-file``, as Docker does: no quotes, no expansion.

    Raises UdockerError, naming the line.
    """
    found = []
    lines = content.decode("utf-8-sig", "surrogateescape").split("\n")
    for number, line in enumerate(lines, 1):
        stripped = line.removesuffix("\r").lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, given = stripped.partition("=")
        if not name or any(character.isspace() for character in name):
            raise UdockerError(
                f"{path}, line {number}: not an environment variable: {name!r}",
                hint="lines look like NAME=value",
            )
        if "\0" in stripped:
            raise UdockerError(f"{path}, line {number}: a null character")
        found.append((name, given if equals else None))
    return found


def _may_enter(name: str) -> bool:
    return name not in _HOST_ONLY and not name.startswith(_HOST_ONLY_PREFIXES)
