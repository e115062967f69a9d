"""The client of registries, as the settings and the environment want it."""

from __future__ import annotations

from udocker.config import home_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from udocker.ops.session import Session
    from udocker.registry.http import Settings
    from udocker.registry.remote import Registry

# What names the file of authorities for OpenSSL and Go, for requests, and for curl.
_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def open_registry(session: Session) -> Registry:
    """A client; nothing is read or asked before it is used."""
    from udocker.registry.logins import Logins, login_files
    from udocker.registry.mirrors import Mirrors
    from udocker.registry.registries_conf import load_rules, registries_files
    from udocker.registry.remote import Registry

    environ = session.environ
    home = home_directory(environ)
    return Registry(
        _settings(session),
        Logins(login_files(environ, home), environ, session.report),
        Mirrors(lambda: load_rules(registries_files(environ, home))),
        session.report,
    )


def _settings(session: Session) -> Settings:
    from udocker import __version__
    from udocker.registry.certificates import certificate_folders
    from udocker.registry.http import Settings

    environ = session.environ
    config = session.config
    home = home_directory(environ)
    return Settings(
        insecure=config.insecure,
        insecure_registries=config.insecure_registries,
        token_services=config.token_services,
        jobs=config.jobs,
        connect_timeout=config.connect_timeout,
        stall_timeout=config.stall_timeout,
        user_agent=f"udocker/{__version__}",
        proxy=config.proxy or _first(environ, "https_proxy", "all_proxy"),
        http_proxy=config.proxy or _first(environ, "http_proxy", "all_proxy"),
        no_proxy=_first(environ, "no_proxy"),
        ca_bundle=_first(environ, *_BUNDLES),
        certificate_folders=certificate_folders(home, environ.get("XDG_CONFIG_HOME", "")),
    )


def _first(environ: Mapping[str, str], *names: str) -> str:
    """The first of these variables that is set, in small letters or in capitals."""
    spelled = [each for name in names for each in (name, name.upper())]
    return next(filter(None, map(environ.get, spelled)), "")
