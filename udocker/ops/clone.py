"""Another container with the same files: what the first one changed is copied, not its image."""

from __future__ import annotations

import os

from udocker.errors import StoreError
from udocker.files import beating, unique_name
from udocker.model.container import PLAIN
from udocker.model.moment import now
from udocker.model.value import replace
from udocker.ops.ranges import settle
from udocker.store.closed import restore
from udocker.store.copy import copy_as_it_is

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.container import Container
    from udocker.ops.session import Session


def clone(session: Session, text: str, name: str | None = None) -> Container:
    """A new container with the files, image, mode and settings of the one that ``text`` means.

    Raises ContainerNotFound, NameInUse, UsageError, StoreError; then there is no new container.
    """
    from udocker.ops.containers import is_used

    store = session.store
    source = store.containers.get(text)
    if name is not None:
        store.containers.check_name(name)
    if is_used(session, source.id):
        session.report.warn(
            f"container {source.short_id} is in use: what it writes meanwhile may be missing"
        )
    settle(source)
    identity = unique_name()
    made = replace(
        source,
        id=identity,
        path=store.containers.path(identity),
        created=now(),
        names=(),
    )
    part = "ROOT" if source.form == PLAIN else "upper"
    has_run = source.form == PLAIN or os.path.isdir(source.upper)
    with store.temporary() as directory:
        with beating(directory), store.containers.lease(source):
            if has_run:
                restore(source.path, leased=True)
                copy_as_it_is(f"{source.path}/{part}", f"{directory}/{part}")
        with store.references():
            # Where that has gone meanwhile, so has its tree, perhaps.
            if source.form != PLAIN and not os.path.isdir(source.tree):
                raise StoreError(
                    f"the files of {source.image} are gone from the store: {source.tree}",
                    hint=f"udocker pull {source.image}",
                )
            return store.containers.create(directory, made, name)
