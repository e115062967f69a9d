"""What every use case is given: the store, the settings, the reporter, the environment."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from udocker.errors import UdockerError
    from udocker.model.config import Config
    from udocker.model.host import Host
    from udocker.report import Reporter
    from udocker.store.store import Store


class Session:
    """One invocation of udocker."""

    def __init__(
        self, store: Store, config: Config, report: Reporter, environ: Mapping[str, str]
    ) -> None:
        self.store = store
        self.config = config
        self.report = report
        self.environ = environ
        self._host: Host | None = None

    @property
    def host(self) -> Host:
        """Facts about this host, gathered at the first question."""
        if self._host is None:
            from udocker import host

            settings = self.config
            chosen = {
                "libfakechroot": settings.fakechroot,
                "proot": settings.proot,
                "singularity": settings.singularity,
            }
            self._host = host.probe(self.environ, chosen, runc=settings.runc)
        return self._host

    def warn_of(self, error: UdockerError) -> None:
        """Tell in one line of an error that ends nothing."""
        self.report.warn(f"{error.message}; {error.hint}" if error.hint else error.message)

    @property
    def terminal(self) -> bool:
        """Whether standard input and output are terminals."""
        return os.isatty(0) and os.isatty(1)

    @property
    def cwd(self) -> str:
        """The directory udocker was called in; ``/`` when it is gone."""
        try:
            return os.getcwd()
        except OSError:
            return "/"


def begin(
    environ: Mapping[str, str],
    overrides: Mapping[str, Any],
    file: str | None,
    reporter: Callable[[Config], Reporter],
) -> Session:
    """A session with the settings of files and ``environ``; ``overrides`` count more.

    ``file`` is the only file to read, None: the usual ones. ``reporter`` is asked for one that
    suits the settings. Raises UsageError.
    """
    from udocker import config
    from udocker.store.store import Store

    settings = config.load(environ, overrides, file)
    store = Store(settings.topdir, settings.repos)
    return Session(store, settings, reporter(settings), environ)
