"""login, logout."""

from __future__ import annotations

import sys

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, TEXT, Option, Syntax
from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed
    from udocker.ops.login import Server
    from udocker.ops.session import Session

_REGISTRY = Option(("--registry",), TEXT, "the same as SERVER, as udocker 1.3 has it", "HOST")
_PASSWORD_LIMIT = 64 << 10  # bytes


def _server(session: Session, parsed: Parsed) -> Server:
    from udocker.ops.login import Server

    option = parsed.text("registry")
    given = {Server.parse(text) for text in (option, *parsed.words) if text is not None}
    if len(given) > 1:
        raise UsageError("--registry and SERVER name two registries", hint="give one of them")
    return given.pop() if given else Server.parse(session.config.registry)


def _login(context: Context, parsed: Parsed) -> int:
    from udocker.ops.login import log_in

    session = context.session
    server = _server(session, parsed)
    user, password = parsed.text("username"), parsed.text("password")
    piped = parsed.flag("password-stdin")
    if piped and password is not None:
        raise UsageError("--password and --password-stdin at once", hint="give one of them")
    if piped and user is None:
        raise UsageError("--password-stdin needs --username", hint="--username USER")
    if password is not None:
        session.report.warn("all users of this machine can see --password: use --password-stdin")
    if user is None:
        user = _ask_user(server)
    if password is None:
        password = _piped_password() if piped else _ask_password(user, server)
    log_in(session, server, user, password)
    context.print("Login Succeeded")
    return 0


def _ask_user(server: Server) -> str:
    _need_terminal("--username USER and --password-stdin")
    sys.stderr.write(f"Username for {server}: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def _ask_password(user: str, server: Server) -> str:
    import getpass

    _need_terminal("--password-stdin, with the password on standard input")
    try:
        return getpass.getpass(f"Password of {user} for {server}: ")
    except EOFError:
        return ""


def _need_terminal(instead: str) -> None:
    if not sys.stdin or not sys.stdin.isatty():
        raise UsageError("login: there is no terminal to ask at", hint=instead)


def _piped_password() -> str:
    """All of standard input, without the end of its line."""
    raw = sys.stdin.buffer.read(_PASSWORD_LIMIT + 1) if sys.stdin else b""
    if len(raw) > _PASSWORD_LIMIT:
        raise UsageError(f"the password on standard input is longer than {_PASSWORD_LIMIT} bytes")
    text = raw.decode("utf-8", "surrogateescape")
    return text.removesuffix("\n").removesuffix("\r")


def _logout(context: Context, parsed: Parsed) -> int:
    from udocker.ops.login import log_out, log_out_everywhere

    session = context.session
    if parsed.flag("all"):
        if parsed.words or parsed.text("registry") is not None:
            raise UsageError("logout: -a and a registry at once", hint="give one of them")
        for scope in log_out_everywhere(session):
            context.print(f"Removed the login for {scope}")
        return 0
    server = _server(session, parsed)
    log_out(session, server)
    context.print(f"Removed the login for {server}")
    return 0


_LOGIN = Syntax(
    usage="[OPTIONS] [SERVER]",
    summary="Log in to a registry, which is asked whether user and password are right.",
    options=(
        Option(("--username", "-u"), TEXT, "the user; asked for when not given", "USER"),
        Option(("--password", "-p"), TEXT, "the password, for everybody to see", "PASSWORD"),
        Option(("--password-stdin",), FLAG, "take the password from standard input"),
        _REGISTRY,
    ),
    at_most=1,
    details="""
SERVER is a registry (quay.io, localhost:5000), or a namespace of one (quay.io/team) that has a
login of its own; without it the default registry is meant.

The login is kept in REGISTRY_AUTH_FILE where that is set, else in ~/.udocker/auth.json: Docker's
format, not encrypted, readable to you only. If the file has a "credsStore" or "credHelpers", that
program keeps the login. pull looks for logins in REGISTRY_AUTH_FILE alone where it is set, else
in this order: ~/.udocker/auth.json, $DOCKER_CONFIG/config.json, podman's
$XDG_RUNTIME_DIR/containers/auth.json and ~/.config/containers/auth.json, ~/.docker/config.json.
""",
)
_LOGOUT = Syntax(
    usage="[OPTIONS] [SERVER]",
    summary="Forget the login for a registry.",
    options=(
        Option(("--all", "-a"), FLAG, "forget all logins"),
        _REGISTRY,
    ),
    at_most=1,
    details="""
What login has kept is forgotten; logins of Docker and podman stay. Exit code 1: there was none.
""",
)
COMMANDS = (
    Command("login", _LOGIN, _login),
    Command("logout", _LOGOUT, _logout),
)
