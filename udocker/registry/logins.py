"""Where logins are kept, and which one counts for an image."""

from __future__ import annotations

from udocker.errors import ConfigError, HelperError
from udocker.registry.authfile import AuthFile
from udocker.registry.helper import Helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from udocker.registry.credential import Credential
    from udocker.report import Reporter


class Logins:
    """The logins of some files, the first that has one for an image counts.

    In each file a helper program goes before what is written there, as it does for podman. One
    that fails is a warning: the image may need no login.
    """

    def __init__(
        self, files: Sequence[AuthFile], environ: Mapping[str, str], report: Reporter
    ) -> None:
        self._files = files
        self._environ = environ
        self._report = report
        self._found: dict[tuple[str, str], Credential | None] = {}
        self._helped: dict[tuple[str, str], Credential | None] = {}

    def credential(self, registry: str, repository: str = "") -> Credential | None:
        """The login for ``repository`` of ``registry``, None without one. Raises ConfigError."""
        key = registry, repository
        if key not in self._found:
            self._found[key] = self._find(registry, repository)
        return self._found[key]

    def _find(self, registry: str, repository: str) -> Credential | None:
        for file in self._files:
            program = file.helper(registry)
            found = self._ask(program, registry) if program else None
            found = found or file.login(registry, repository)
            if found is not None:
                self._report.debug(f"the login for {registry} is from {file.path}")
                return found
        return None

    def _ask(self, program: str, registry: str) -> Credential | None:
        key = program, registry
        if key not in self._helped:
            self._helped[key] = None
            try:
                self._helped[key] = Helper(program, self._environ).get(registry)
            except HelperError as error:
                self._report.warn(f"{error.message}: going on without its login")
        return self._helped[key]


def login_files(environ: Mapping[str, str], home: str) -> tuple[AuthFile, ...]:
    """The files that logins are read from, in order. ``home`` may be empty: there is none.

    REGISTRY_AUTH_FILE alone, where it is set; else udocker's own, the one in DOCKER_CONFIG,
    podman's two, and Docker's.
    """
    named = environ.get("REGISTRY_AUTH_FILE")
    if named:
        return (AuthFile(named, required=True),)
    docker = environ.get("DOCKER_CONFIG")
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    paths = (
        f"{home}/.udocker/auth.json" if home else "",
        f"{docker}/config.json" if docker else "",
        f"{runtime}/containers/auth.json" if runtime.startswith("/") else "",
        f"{config}/containers/auth.json" if config.startswith("/") else "",
        f"{home}/.docker/config.json" if home and not docker else "",
    )
    return tuple(AuthFile(path) for path in paths if path)


def own_file(environ: Mapping[str, str], home: str) -> AuthFile:
    """What ``login`` writes: REGISTRY_AUTH_FILE, else udocker's own file. Raises ConfigError."""
    named = environ.get("REGISTRY_AUTH_FILE")
    if not named and not home:
        raise ConfigError(
            "there is no home directory to keep logins in",
            hint="REGISTRY_AUTH_FILE=FILE names the file of logins",
        )
    return AuthFile(named or f"{home}/.udocker/auth.json")
