"""Containers of runs without a name, which in a batch job are in the job's scratch space.

They are those of this host and this job. A store of each run's own holds them: see ``ops.batch``.
"""

from __future__ import annotations

import contextlib
import os
import re

from udocker.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from udocker.model.container import Container
    from udocker.ops.session import Session

# What may be the beginning of a container's id, with a path for ``cp``. Names are of the store.
_ID = re.compile(r"([0-9a-f]{8,64})(?::.*)?", re.ASCII | re.DOTALL)


def containers(session: Session) -> list[Container]:
    """Of the job's runs on this host, the newest first; none outside of a job."""
    found = [container for store in _stores(session) for container in store.containers.sound()]
    return sorted(found, key=lambda container: container.created, reverse=True)


def session_of(session: Session, words: Sequence[str]) -> Session:
    """The session for the first container among ``words`` that is not in the user's store.

    ``session`` itself where there is none. Raises StoreError.
    """
    for word in words:
        found = _ID.fullmatch(word)
        if found is None or session.store.containers.find(found[1]) is not None:
            continue
        for store in _stores(session):
            if store.containers.find(found[1]) is not None:
                from udocker.ops.batch import session_on

                return session_on(session, store.topdir, os.path.dirname(store.topdir))
    return session


def _stores(session: Session) -> Iterator[Store]:
    task = session.task
    if task is None or not task.job:
        return
    from udocker.ops.batch import own_directory, stores_of

    others = (session.store.topdir, *session.config.repos)
    for scratch in task.scratch:
        # Nothing is made only to be looked into.
        if os.path.isdir(f"{scratch}/udocker-{os.getuid()}"):
            top = own_directory(scratch)
            with contextlib.suppress(OSError):
                yield from (Store(path, others) for path in (stores_of(top, task) if top else ()))
