"""Which modes work here: the engines' facts, then a run of the embedded image in each."""

from __future__ import annotations

import contextlib
import json
import os
import time
from types import MappingProxyType

from udocker import __version__, files
from udocker.engine import ptrace, table
from udocker.errors import (
    EngineUnavailable,
    StoreError,
    UdockerError,
    UnsupportedFeature,
    UsageError,
)
from udocker.model.container import PLAIN, UNION, Container
from udocker.model.features import FEATURE_TEXT, FOREIGN_TREE, HOSTNAME, PORT_ADDRESSES, UNION_ROOT
from udocker.model.host import Support
from udocker.model.request import RunRequest
from udocker.model.value import replace, value
from udocker.ops.advice import advice, executable, is_noexec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from udocker.engine.table import Mode
    from udocker.ops.session import Session

_PATIENCE = 20.0  # seconds for a run that takes hundredths
_NOT_IN_TIME = 124  # of ``capture``
_LONGEST_OF_MANY = 80  # characters
_REFUSAL_AGE = 3600.0  # seconds: what did not work may be repaired
# What a run can do without, with a warning; a read-only volume that is not is another matter.
_DISPENSABLE = frozenset((HOSTNAME, PORT_ADDRESSES))


@value
class Verdict:
    """What came of trying a mode here. ``union``: it runs on shared trees, without a copy."""

    mode: str
    support: Support
    union: bool = False
    output: str = ""


def choose(
    session: Session,
    wanted: str,
    features: frozenset[str],
    foreign: bool = False,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> Verdict:
    """The mode to run in; of ``auto``, the first of the table that works and has ``features``.

    ``foreign``: the image's tree is another user's. ``auto`` then takes a mode that can show it
    as it lies before one for which it must be copied. ``failed``: why modes could not start this
    very run; what is remembered of the others is not believed then. Raises UsageError,
    UnsupportedFeature, EngineUnavailable with every reason.
    """
    if wanted != table.AUTO:
        return _over(_explicit(session, table.find(wanted), features), foreign)
    refusals = []
    copying: Verdict | None = None
    for mode in table.automatic():
        if mode.name in failed:
            refusals.append(f"{mode.name}: {_short(failed[mode.name])}")
            continue
        missing = features - mode.engine.FEATURES - _DISPENSABLE
        if missing:
            refusals.append(f"{mode.name}: it lacks {_texts(missing)}")
            continue
        found = _tried(session, mode) if failed else examine(session, mode)
        verdict = _over(found, foreign)
        if not verdict.support.ok:
            refusals.append(f"{mode.name}: {_short(verdict.support.reason)}")
        elif verdict.union or not foreign:
            _warn_missing(session, mode, features)
            return verdict
        else:
            copying = copying or verdict
    if copying is not None:
        _warn_missing(session, table.find(copying.mode), features)
        return copying
    raise EngineUnavailable(
        f"no execution mode works on this host ({'; '.join(refusals)})", hint="udocker doctor"
    )


def _short(reason: str) -> str:
    """As one of many in a line."""
    return reason if len(reason) <= _LONGEST_OF_MANY else f"{reason[: _LONGEST_OF_MANY - 1]}…"


def _explicit(session: Session, mode: Mode, features: frozenset[str]) -> Verdict:
    missing = features - mode.engine.FEATURES - _DISPENSABLE
    if missing:
        able = [m.name for m in table.MODES if not missing - m.engine.FEATURES]
        raise UnsupportedFeature(
            f"mode {mode.name} lacks {_texts(missing)}",
            hint=f"--execmode={' or '.join(able)}" if able else None,
        )
    verdict = examine(session, mode)
    if not verdict.support.ok:
        raise EngineUnavailable(
            f"mode {mode.name} does not work here: {verdict.support.reason}",
            hint=verdict.support.hint or "--execmode=auto takes one that works",
        )
    _warn_missing(session, mode, features)
    return verdict


def _over(verdict: Verdict, foreign: bool) -> Verdict:
    """What the verdict is for a tree that is another user's, or not."""
    is_shown = not foreign or FOREIGN_TREE in table.find(verdict.mode).engine.FEATURES
    return replace(verdict, union=verdict.union and is_shown)


def _warn_missing(session: Session, mode: Mode, features: frozenset[str]) -> None:
    missing = features - mode.engine.FEATURES
    if missing:
        session.report.warn(f"mode {mode.name} lacks {_texts(missing)}: going on without")


def _texts(features: frozenset[str]) -> str:
    return ", ".join(sorted(FEATURE_TEXT[feature] for feature in features))


def examine(session: Session, mode: Mode, fresh: bool = False) -> Verdict:
    """What a mode can do here: remembered for this boot and store, or (``fresh``) tried anew."""
    refused = _by_facts(session, mode)
    if refused is not None:
        return refused
    memory = _memory(session, mode.name)
    key = _key(session)
    if not fresh:
        known = _recall(memory, key, mode.name)
        if known is not None:
            return known
    try:
        verdict = _try(session, mode)
    except StoreError as error:  # of that the mode is innocent: nothing to remember
        return Verdict(mode.name, Support(error.message, error.hint or ""))
    _remember(memory, key, verdict)
    return verdict


def forget(session: Session) -> None:
    """The next run tries modes anew: where what is remembered of one has not come true, something
    else confines this process, and what is remembered of the others was found elsewhere."""
    for mode in table.MODES:
        with contextlib.suppress(OSError):
            os.unlink(_memory(session, mode.name))


def _tried(session: Session, mode: Mode) -> Verdict:
    """As ``examine``, but nothing is read from memory, and nothing written: where a run has failed
    this process may be confined in a way that no other is."""
    refused = _by_facts(session, mode)
    if refused is not None:
        return refused
    try:
        return _try(session, mode)
    except StoreError as error:
        return Verdict(mode.name, Support(error.message, error.hint or ""))


def _by_facts(session: Session, mode: Mode) -> Verdict | None:
    """None: only a run can tell."""
    support = mode.engine.probe(session.host, mode.name)
    if support.ok and mode.preloads:
        # The embedded image is of static programs, which cannot try it.
        return Verdict(mode.name, executable(session.store.topdir))
    return None if support.ok else Verdict(mode.name, support)


def _memory(session: Session, mode: str) -> str:
    return f"{session.cache}/modes/{mode}.json"


def _try(session: Session, mode: Mode) -> Verdict:
    forms = (UNION, PLAIN) if UNION_ROOT in mode.engine.FEATURES else (PLAIN,)
    failed = ""  # of the last form: it asks least
    for form in forms:
        try:
            code, output = run_embedded(session, mode, form)
        except (UsageError, StoreError):
            raise
        except UdockerError as error:
            failed = error.message
            continue
        if code == 0:
            return Verdict(mode.name, Support(), form == UNION, output)
        failed = _failure(code, output)
    return Verdict(mode.name, Support(failed, advice(session.host, mode, session.store.topdir)))


def _failure(code: int, output: str) -> str:
    if code == _NOT_IN_TIME:
        return f"a first run did not end within {_PATIENCE:.0f} seconds"
    import re

    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)  # Apptainer's messages have colours
    lines = plain.strip().splitlines() or ["no output"]
    return f"a first run ended with status {code}: {lines[-1][:200]}"


def run_embedded(session: Session, mode: Mode, form: str) -> tuple[int, str]:
    """Run the embedded image in ``mode``: exit code and output. Raises UdockerError."""
    from udocker.engine.capture import capture
    from udocker.ops.embedded import NAME, unpack
    from udocker.ops.specify import make_spec
    from udocker.store.copy import copy_container

    image = unpack(session)
    with files.store_errors("trying an engine"), session.store.temporary() as path:
        container = Container(
            id=os.path.basename(path),
            path=path,
            image=NAME,
            manifest=image.manifest,
            tree=image.tree,
            config=image.config,
            created="",
            form=UNION,
        )
        for folder in ("upper", "work", "ROOT"):
            os.mkdir(f"{path}/{folder}")
        if form == PLAIN:
            copy_container(container, session.store.temporary)
            container = replace(container, form=PLAIN)
        spec = make_spec(session, RunRequest(target=NAME), container, mode.name)
        if mode.nests and ptrace.is_by_proot(session.host):
            from udocker.ops.tracer import with_tracer

            spec = with_tracer(session, spec)
        launch = mode.engine.launch(spec, session.host, mode.name)
        return capture(launch, _PATIENCE)


def _key(session: Session) -> dict[str, object]:
    """What a verdict depends on."""
    host = session.host
    with contextlib.suppress(OSError):
        os.makedirs(session.store.topdir, exist_ok=True)
    try:
        device = os.stat(session.store.topdir).st_dev
    except OSError:
        device = 0
    programs = [*host.programs, ("inprocess", host.inprocess)]
    return {
        "version": __version__,
        "boot": host.boot_id,
        "kernel": os.uname().release,
        "uid": host.uid,
        "confinement": host.confinement,
        "device": device,
        "chosen": list(host.chosen),
        "noexec": is_noexec(session.store.topdir),
        "programs": [[name, path, _changed(path)] for name, path in programs],
    }


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _recall(path: str, key: dict[str, object], mode: str) -> Verdict | None:
    try:
        with open(path, "rb") as stream:
            data = json.loads(stream.read())
        support = Support(data["reason"], data["hint"])
        if data["key"] != key or (not support.ok and time.time() - data["time"] > _REFUSAL_AGE):
            return None
        return Verdict(mode, support, bool(data["union"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(path: str, key: dict[str, object], verdict: Verdict) -> None:
    data = {
        "key": key,
        "reason": verdict.support.reason,
        "hint": verdict.support.hint,
        "union": verdict.union,
        "time": time.time(),
    }
    with contextlib.suppress(OSError):
        files.write_atomic(path, json.dumps(data).encode())
