"""Log in to registries, and out."""

from __future__ import annotations

from udocker.config import home_directory
from udocker.errors import (
    BadReference,
    ConfigError,
    HelperError,
    NotLoggedIn,
    UnauthorizedError,
    UsageError,
)
from udocker.files import store_errors
from udocker.model.reference import Reference
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.ops.session import Session
    from udocker.registry.authfile import AuthFile

_API_PATHS = ("v1", "v2")


@value
class Server:
    """What a login is for: a registry, or a namespace of it."""

    registry: str
    namespace: str = ""

    @classmethod
    def parse(cls, text: str) -> Server:
        """Read ``[https://]host[:port][/namespace]``. Raises BadReference."""
        host, slash, path = text.rpartition("://")[2].rstrip("/").partition("/")
        registry = Reference.parse("name", host).registry
        if not slash or path in _API_PATHS:
            return cls(registry)
        try:
            # Below another name, so that it means what it says at Docker Hub as well.
            namespace = Reference.parse(f"{host}/n/{path}").repository.partition("/")[2]
        except BadReference:
            namespace = ""
        if namespace != path:
            raise BadReference(
                f"not a registry, or a namespace of one: {text!r}",
                hint="they look like quay.io, localhost:5000 or quay.io/team",
            )
        return cls(registry, namespace)

    def __str__(self) -> str:
        return f"{self.registry}/{self.namespace}" if self.namespace else self.registry


def log_in(session: Session, server: Server, user: str, password: str) -> None:
    """Have the registry check user and password, then keep them. Raises UdockerError.

    They are kept by the helper program that the file of logins names, else in that file.
    """
    from udocker.ops.registries import open_registry
    from udocker.registry.credential import Credential
    from udocker.registry.helper import Helper

    _check(user, password)
    file = _own_file(session)
    helper = file.helper(server.registry)  # a broken file is told before anybody is asked
    credential = Credential(user, password)
    try:
        checked = open_registry(session).check_login(server.registry, credential)
    except UnauthorizedError as error:
        hint = "check both; where log-ins need a second factor, a token takes the password's place"
        raise UnauthorizedError(error.message, hint=hint) from None
    if not checked:
        session.report.warn(f"{server.registry} asks for no login: the password is not checked")
    if helper:
        Helper(helper, session.environ).store(server.registry, credential)
    with store_errors("keeping the login"):
        file.put(str(server), None if helper else credential)
    where = f"by docker-credential-{helper}" if helper else f"in {file.path}, not encrypted"
    session.report.info(f"the login of {user} for {server} is kept {where}")


def log_out(session: Session, server: Server) -> None:
    """Forget the login for ``server``. Raises NotLoggedIn, HelperError, StoreError."""
    file = _own_file(session)
    _erase(session, file, server)
    with store_errors("forgetting the login"):
        if not file.remove(str(server)):
            raise NotLoggedIn(f"not logged in to {server}", hint=_elsewhere(session, file, server))


def log_out_everywhere(session: Session) -> tuple[str, ...]:
    """Forget all logins; what they were for. Raises NotLoggedIn, HelperError, StoreError."""
    from udocker.registry.authfile import scope_of

    file = _own_file(session)
    scopes = tuple(dict.fromkeys(map(scope_of, file.names())))
    if not scopes:
        raise NotLoggedIn(f"no logins in {file.path}", hint="REGISTRY_AUTH_FILE names another file")
    for scope in scopes:
        registry, _, namespace = scope.partition("/")
        _erase(session, file, Server(registry, namespace))
        with store_errors("forgetting the login"):
            file.remove(scope)
    return scopes


def _own_file(session: Session) -> AuthFile:
    from udocker.registry.logins import own_file

    return own_file(session.environ, home_directory(session.environ))


def _erase(session: Session, file: AuthFile, server: Server) -> None:
    """Have the helper forget it, if there is one; one that is gone has nothing to forget."""
    from udocker.registry.helper import Helper

    helper = file.helper(server.registry)
    if helper and not server.namespace:
        try:
            Helper(helper, session.environ).erase(server.registry)
        except HelperError as error:
            session.report.warn(error.message)


def _elsewhere(session: Session, own: AuthFile, server: Server) -> str:
    """A hint where logins are kept, and another tool's for ``server`` if there is one."""
    from udocker.registry.logins import login_files

    for file in login_files(session.environ, home_directory(session.environ)):
        try:
            known = file.path != own.path and file.login(server.registry, server.namespace)
        except ConfigError:
            continue
        if known:
            return f"the login in {file.path} is another tool's: docker logout or podman logout"
    return f"logins are kept in {own.path}; logout -a forgets all"


def _check(user: str, password: str) -> None:
    """Raise UsageError for what HTTP has no way to say (RFC 7617, 2)."""
    if not user:
        raise UsageError("the user name is empty")
    if ":" in user or not user.isprintable():
        raise UsageError("a user name has no colon and no control characters")
    if not password:
        raise UsageError("the password is empty")
    if any(character in password for character in "\0\r\n"):
        raise UsageError("a password is one line")
