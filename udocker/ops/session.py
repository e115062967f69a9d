"""What every use case is given: the store, the settings, the reporter, the environment."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from udocker.batch.job import Task
    from udocker.errors import UdockerError
    from udocker.model.config import Config
    from udocker.model.host import Host
    from udocker.report import Reporter
    from udocker.store.store import Store


# Outside a batch job nothing of it is loaded: as ``batch.job.SIGNS``.
_SIGNS = frozenset(("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"))


class Session:
    """One invocation of udocker."""

    def __init__(
        self, store: Store, config: Config, report: Reporter, environ: Mapping[str, str]
    ) -> None:
        self.store = store
        self.config = config
        self.report = report
        self.environ = environ
        self.cache = f"{store.topdir}/cache"  # what is remembered of this host
        self.kept = store.topdir  # the store for what is made once, for all runs
        self.scratch = ""  # the store, where it is this task's alone; "": it is not
        self._host: Host | None = None
        self._task: Task | None = None
        self._is_asked = False

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

    @property
    def task(self) -> Task | None:
        """The task of a batch job that this process is; None: of none, or it is not to count."""
        if not self._is_asked:
            self._is_asked = True
            if self.config.job and not _SIGNS.isdisjoint(self.environ):
                from udocker.batch.job import recognise

                self._task = recognise(self.environ)
        return self._task

    def over(self, store: Store) -> Session:
        """The same invocation with another store; what is known of the host stays."""
        other = Session(store, self.config, self.report, self.environ)
        other._host = self._host
        other._task, other._is_asked = self.task, True
        return other

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
