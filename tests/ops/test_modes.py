"""Which mode a run gets, what is remembered of a first try, and the refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import ALL_PROGRAMS, host
from builders.processes import needs_namespaces
from builders.sessions import session as make_session
from builders.sessions import trust
from udocker.engine import table
from udocker.errors import EngineUnavailable, UnsupportedFeature, UsageError
from udocker.model.features import (
    FILE_MOUNTS,
    HOSTNAME,
    MOVED_PORTS,
    PORT_ADDRESSES,
    READ_ONLY_MOUNTS,
    USER,
)
from udocker.model.host import Support
from udocker.ops import advice as advice_module
from udocker.ops import doctor, embedded
from udocker.ops import modes as modes_module
from udocker.ops.advice import advice
from udocker.ops.modes import Verdict, choose, examine, forget

if TYPE_CHECKING:
    from typing import Any

    from builders.sessions import TestSession

NONE: frozenset[str] = frozenset()
EVERYTHING = host(programs=ALL_PROGRAMS)
NOTHING = host(max_user_namespaces=0, ptrace_scope=3)
needs_embedded = pytest.mark.skipif(
    embedded.chain_id() is None, reason="the embedded image is not built: setup.py build_ext"
)


@pytest.fixture
def session(store_path: Path) -> TestSession:
    """On a host where every mode works."""
    made = make_session(store_path, EVERYTHING)
    trust(made, *table.names())
    return made


def memory(session: TestSession, mode: str) -> Path:
    return Path(session.store.topdir, f"cache/modes/{mode}.json")


# Choosing


def test_ports_of_other_numbers(session: TestSession) -> None:
    """By what rewrites addresses; a program that chooses its address is no reason to change."""
    both = frozenset((MOVED_PORTS, PORT_ADDRESSES))
    assert choose(session, "auto", both).mode == "F3"
    trust(session, "F3", reason="it failed")
    assert choose(session, "auto", both).mode == "P1"
    for mode in ("N1", "R1", "F1", "S1"):
        with pytest.raises(UnsupportedFeature, match=f"mode {mode} lacks ports by other") as told:
            choose(session, mode, both)
        assert told.value.hint == "--execmode=F3 or F2 or F4 or P1 or P2 or R2 or R3"
    assert session.report.warnings == []
    assert choose(session, "auto", frozenset((PORT_ADDRESSES,))).mode == "N1"
    [warning] = session.report.warnings
    assert "mode N1 lacks one address for a port (the program chooses" in warning


def test_auto_takes_the_first_that_works(session: TestSession) -> None:
    assert choose(session, "auto", NONE).mode == "N1"
    trust(session, "N1", reason="it failed")
    assert choose(session, "auto", NONE).mode == "R1"
    trust(session, "R1", reason="it failed")
    assert choose(session, "auto", NONE).mode == "F3"
    trust(session, "F3", reason="it failed")
    assert choose(session, "auto", NONE).mode == "P1"
    assert session.report.warnings == []


def test_auto_takes_the_first_that_has_what_is_needed(session: TestSession) -> None:
    trust(session, "N1", reason="it failed")
    needed = frozenset((USER, FILE_MOUNTS))
    first = next(m.name for m in table.MODES[1:] if needed <= m.engine.FEATURES)
    assert choose(session, "auto", needed).mode == first
    assert choose(session, "auto", frozenset((READ_ONLY_MOUNTS,))).mode == "R1"


def test_auto_over_the_tree_of_another_user(session: TestSession) -> None:
    """A mode that can show it goes before one for which it must be copied."""
    found = choose(session, "auto", NONE, foreign=True)
    assert (found.mode, found.union) == ("F3", True)
    trust(session, "F3", union=False)
    assert choose(session, "auto", NONE, foreign=True).mode == "P1"
    trust(session, "P1", "P2", union=False)
    found = choose(session, "auto", NONE, foreign=True)
    assert (found.mode, found.union) == ("N1", False)
    trust(session, "N1", "R1", "F3", "P1", "P2", reason="it failed")
    assert choose(session, "auto", NONE, foreign=True).mode == "S1"
    trust(session, "S1", reason="it failed")
    with pytest.raises(EngineUnavailable, match=r"N1: it failed.*P1: it failed"):
        choose(session, "auto", NONE, foreign=True)


def test_asked_modes_over_the_tree_of_another_user(session: TestSession) -> None:
    assert not choose(session, "N1", NONE, foreign=True).union
    assert choose(session, "F3", NONE, foreign=True).union
    assert choose(session, "N1", NONE).union


def test_auto_without_any(session: TestSession) -> None:
    trust(session, *table.names(), reason="a first run failed")
    with pytest.raises(EngineUnavailable) as caught:
        choose(session, "auto", NONE)
    assert caught.value.message == (
        "no execution mode works on this host "
        "(N1: a first run failed; R1: a first run failed; F3: a first run failed; "
        "P1: a first run failed; P2: a first run failed; S1: a first run failed)"
    )
    assert caught.value.hint == "udocker doctor"


def test_every_reason_is_told(store_path: Path) -> None:
    session = make_session(store_path, NOTHING)
    with pytest.raises(EngineUnavailable) as caught:
        choose(session, "auto", frozenset((READ_ONLY_MOUNTS,)))
    message = caught.value.message
    assert "N1: user namespaces are switched off here" in message
    assert "R1: runc and crun need user namespaces" in message
    assert "P1: ptrace is switched off here" in message
    assert "S1: neither apptainer nor singularity is in PATH" in message


@pytest.mark.parametrize("mode", table.names())
def test_a_mode_that_is_asked_for(session: TestSession, mode: str) -> None:
    assert choose(session, mode, NONE) == examine(session, table.find(mode))
    assert choose(session, mode, NONE).mode == mode


def test_unknown_modes(session: TestSession) -> None:
    with pytest.raises(UsageError, match="unknown execution mode 'Z1'"):
        choose(session, "Z1", NONE)


def test_a_mode_that_does_not_work(store_path: Path) -> None:
    session = make_session(store_path, NOTHING)
    with pytest.raises(EngineUnavailable) as caught:
        choose(session, "P1", NONE)
    assert caught.value.message == (
        "mode P1 does not work here: ptrace is switched off here (kernel.yama.ptrace_scope is 3)"
    )
    assert caught.value.hint.startswith("use a mode that does not trace")


def test_a_mode_that_failed_at_first(session: TestSession) -> None:
    trust(session, "N1", reason="a first run ended with status 1: oh")
    with pytest.raises(EngineUnavailable) as caught:
        choose(session, "N1", NONE)
    assert caught.value.message.endswith(": a first run ended with status 1: oh")
    assert caught.value.hint == "hint of a first run"


def test_what_an_asked_mode_lacks(session: TestSession) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        choose(session, "F1", frozenset((READ_ONLY_MOUNTS, USER)))
    assert caught.value.message == "mode F1 lacks another user than root, read-only volumes"
    able = [m.name for m in table.MODES if {READ_ONLY_MOUNTS, USER} <= m.engine.FEATURES]
    assert caught.value.hint == f"--execmode={' or '.join(able)}"


def test_a_host_name_can_be_done_without(session: TestSession) -> None:
    assert choose(session, "P1", frozenset((HOSTNAME,))).mode == "P1"
    [warning] = session.report.warnings
    assert warning == "mode P1 lacks a hostname of its own: going on without"
    trust(session, "N1", "R1", "F3", reason="it failed")
    assert choose(session, "auto", frozenset((HOSTNAME,))).mode == "P1"
    assert len(session.report.warnings) == 2
    trust(session, "N1")
    assert choose(session, "auto", frozenset((HOSTNAME,))).mode == "N1"
    assert len(session.report.warnings) == 2


# Remembering. What was remembered says that N1 fails for a reason that no try would give.

REMEMBERED = "so it was remembered"


@pytest.fixture
def real(store_path: Path) -> TestSession:
    """On this host, with a memory of N1."""
    made = make_session(store_path, None, {"PATH": "/nowhere"})
    if not table.find("N1").engine.probe(made.host, "N1").ok:
        pytest.skip("host: this user may not make user namespaces")
    trust(made, "N1", reason=REMEMBERED)
    return made


def is_remembered(session: TestSession) -> bool:
    return examine(session, table.find("N1")).support.reason == REMEMBERED


def change(session: TestSession, **data: object) -> None:
    place = memory(session, "N1")
    remembered = json.loads(place.read_bytes())
    place.write_bytes(json.dumps({**remembered, **data}).encode())


def test_a_verdict_is_remembered(real: TestSession) -> None:
    assert is_remembered(real)
    assert is_remembered(make_session(Path(real.store.topdir), None, {"PATH": "/nowhere"}))


def test_a_refusal_is_tried_again_after_an_hour(real: TestSession) -> None:
    remembered = json.loads(memory(real, "N1").read_bytes())
    change(real, time=remembered["time"] - 3000)
    assert is_remembered(real)
    change(real, time=remembered["time"] - 4000)
    assert not is_remembered(real)


def test_success_does_not_age(session: TestSession) -> None:
    change(session, time=0)
    assert examine(session, table.find("N1")).support.ok


_OF_THE_HOST = ["version", "boot", "kernel", "uid", "confinement", "device", "noexec"]
_OF_THE_HOST += ["chosen", "programs"]


@pytest.mark.parametrize("name", _OF_THE_HOST)
def test_another_host_or_store_is_tried_anew(real: TestSession, name: str) -> None:
    remembered = json.loads(memory(real, "N1").read_bytes())
    change(real, key={**remembered["key"], name: "another"})
    assert not is_remembered(real)


def test_a_program_that_was_replaced_is_tried_anew(store_path: Path, tmp_path: Path) -> None:
    proot = tmp_path / "proot"
    proot.write_text("#!/bin/sh\nexit 1\n")
    proot.chmod(0o755)
    given = {"PATH": str(tmp_path)}
    chosen = {"proot": str(proot)}
    session = make_session(store_path, None, given, **chosen)
    trust(session, "P1", reason=REMEMBERED)
    assert examine(session, table.find("P1")).support.reason == REMEMBERED
    os.utime(proot, ns=(1, 1))
    again = make_session(store_path, None, given, **chosen)
    assert examine(again, table.find("P1")).support.reason != REMEMBERED


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"key": 1}'])
def test_a_damaged_memory_is_no_memory(real: TestSession, content: bytes) -> None:
    memory(real, "N1").write_bytes(content)
    assert not is_remembered(real)


def test_facts_go_before_memory(store_path: Path) -> None:
    session = make_session(store_path, EVERYTHING)
    trust(session, "N1")
    session = make_session(store_path, NOTHING)
    assert "switched off" in examine(session, table.find("N1")).support.reason


def test_doctor_tries_anew(real: TestSession) -> None:
    assert examine(real, table.find("N1"), fresh=True).support.reason != REMEMBERED
    assert not is_remembered(real)


def test_a_store_that_may_not_be_written_is_no_error(store_path: Path) -> None:
    store_path.mkdir()
    session = make_session(store_path, NOTHING)
    store_path.chmod(0o500)
    assert not examine(session, table.find("P1")).support.ok
    session = make_session(store_path, EVERYTHING)
    assert "Permission denied" in examine(session, table.find("N1")).support.reason


# Trying


@needs_embedded
@needs_namespaces
def test_a_first_run_decides(store_path: Path) -> None:
    session = make_session(store_path, None, {"PATH": "/nowhere"})
    verdict = examine(session, table.find("N1"))
    assert verdict.support.ok, verdict
    assert "Hello from udocker" in verdict.output
    assert os.listdir(store_path / "tmp") == []
    assert list(session.store.containers.all()) == []
    again = examine(session, table.find("N1"))
    assert again == Verdict("N1", verdict.support, verdict.union)


@needs_embedded
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "a first run ended with status 3: no output"),
        ("echo some; echo words >&2; exit 1", "a first run ended with status 1: words"),
        ("kill -9 $$", "a first run ended with status 137: no output"),
        (
            r"printf '\033[31mFATAL: \033[0mwords\n\033[0m\n'; exit 1",
            "a first run ended with status 1: FATAL: words",
        ),
    ],
)
def test_an_engine_that_fails_says_how(
    store_path: Path, tmp_path: Path, script: str, reason: str
) -> None:
    proot = tmp_path / "proot"
    proot.write_text(f"#!/bin/sh\n{script}\n")
    proot.chmod(0o755)
    on = host(programs=(("proot", str(proot)),), chosen=("proot",))
    session = make_session(store_path, on)
    verdict = examine(session, table.find("P1"))
    assert verdict.support.reason == reason
    assert verdict.support.hint.endswith("a security module or limit forbids ptrace(2)")
    assert os.listdir(store_path / "tmp") == []


@needs_embedded
def test_an_engine_that_is_no_program(store_path: Path, tmp_path: Path) -> None:
    on = host(programs=(("proot", f"{tmp_path}/none"),), chosen=("proot",))
    session = make_session(store_path, on)
    verdict = examine(session, table.find("P1"))
    assert f"cannot execute {tmp_path}/none" in verdict.support.reason


# doctor


def test_doctor_tells_of_every_mode(store_path: Path) -> None:
    session = make_session(store_path, NOTHING)
    findings = doctor.examine_host(session)
    assert [row.name for row in findings.modes] == list(table.names())
    assert not any(row.ok for row in findings.modes)
    assert all(row.reason and row.hint for row in findings.modes)
    assert findings.chosen == ""
    assert findings.as_json()["chosen"] == ""
    json.dumps(findings.as_json())
    assert any("ann (uid 1000, gid 1001)" in line for line in findings.host)
    assert any("user namespaces: 0" in line for line in findings.host)
    assert str(store_path) in findings.store[0]


@pytest.mark.skipif(os.getuid() == 0, reason="host: root's own directory is nobody else's")
def test_doctor_tells_of_stores_of_others(session: TestSession, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/trees").symlink_to("/usr")
    made = make_session(tmp_path / "own", EVERYTHING, repos=(str(tmp_path / "site"), "/none"))
    [_, line, absent] = doctor.examine_host(made).store
    assert absent.startswith("/none: no images are there (No such file or directory)")
    assert line.startswith(f"{tmp_path}/site: image trees of uid 0: ")
    assert line.endswith(", and N1 copies them")


def test_filesystems_are_named_as_the_kernel_does() -> None:
    assert doctor.filesystem("/proc") == "proc"
    assert doctor.filesystem("/not/there") == "unknown filesystem"


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "user namespaces: 10000"),
        ({"max_user_namespaces": -1}, "user namespaces: yes"),
        ({"max_user_namespaces": None}, "user namespaces: none in this kernel"),
        ({"apparmor_restricts_userns": True}, "user namespaces: 10000, restricted by AppArmor"),
        (
            {"userns_for_root_only": True},
            "user namespaces: 10000, for root only (kernel.unprivileged_userns_clone)",
        ),
        ({"seccomp": False}, "ptrace scope: 0; seccomp: no; cgroups: v2"),
        (
            {"seccomp": False, "forbids_filters": True},
            "ptrace scope: 0; seccomp: forbidden; cgroups: v2",
        ),
        ({"sandbox": "gVisor"}, "confined: gVisor"),
        (
            {"confinement": "NoNewPrivs: 1, Seccomp: 2", "no_new_privileges": True},
            "confined: a seccomp filter is in force, no_new_privs is set",
        ),
    ],
)
def test_facts_are_lines(store_path: Path, facts: dict[str, Any], line: str) -> None:
    lines = doctor._host(make_session(store_path, host(**facts)))
    assert line in lines
    assert any(text.startswith("confined") for text in lines) == line.startswith("confined")


@pytest.mark.parametrize(
    ("kind", "flags", "words"),
    [
        ("ext4", 0, "(ext4, "),
        ("nfs4", 0, "of several hosts"),
        ("lustre", 0, "of several hosts"),
        ("fuse.sshfs", 0, "each call goes to another process"),
        ("tmpfs", os.ST_NOEXEC, "noexec: only N1 runs what is here"),
    ],
)
def test_the_store_s_filesystem(
    store_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, flags: int, words: str
) -> None:
    store_path.mkdir()
    monkeypatch.setattr(doctor, "filesystem", lambda path: kind)
    monkeypatch.setattr(doctor, "is_noexec", lambda path: bool(flags))
    session = make_session(store_path, host())
    first, *more = doctor._store(session)
    assert words in first
    assert more == (["/tmp is mounted noexec"] if flags else [])


ADVICE = {
    "N1": "user namespaces and mounts",
    "R3": "user namespaces and mounts, and ptrace(2)",
    "F3": "seccomp filters and executable memory",
    "P1": "ptrace(2)",
}


@pytest.mark.parametrize("mode", table.names())
@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "the administrator can see whether a security module or limit forbids"),
        ({"confinement": "Seccomp: 2"}, "--security-opt seccomp=unconfined"),
        ({"sandbox": "gVisor"}, "not gVisor"),
    ],
)
def test_who_can_change_a_failure(mode: str, facts: dict[str, Any], words: str) -> None:
    text = advice(host(**facts), table.find(mode), "/")
    assert words in text
    assert ADVICE.get(mode, "") in text
    assert "\n" not in text


def test_a_store_that_may_not_be_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice_module, "is_noexec", lambda path: True)
    text = advice(host(), table.find("F3"), "/scratch")
    assert text == "a store elsewhere: UDOCKER_DIR=DIR: the store is mounted noexec (/scratch)"
    assert not advice_module.executable("/scratch").ok


def test_after_a_failure_memory_is_not_believed(
    session: TestSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What made one mode fail may be true of others; what is found then is not remembered."""
    tried = []

    def _try(session: TestSession, mode: table.Mode) -> Verdict:
        tried.append(mode.name)
        reason = "not here either" if mode.name == "R1" else ""
        return Verdict(mode.name, Support(reason, "a hint" if reason else ""), union=True)

    monkeypatch.setattr(modes_module, "_try", _try)
    found = choose(session, "auto", NONE, failed={"N1": "it failed"})
    assert (found.mode, tried) == ("F3", ["R1", "F3"])
    assert examine(session, table.find("R1")).support.ok  # as it was remembered
    with pytest.raises(EngineUnavailable, match=r"\(N1: so; R1: not here either; F3: so"):
        choose(session, "auto", NONE, failed=dict.fromkeys(["N1", "F3", "P1", "P2", "S1"], "so"))
    assert tried == ["R1", "F3", "R1"]


def test_what_was_remembered_is_forgotten(session: TestSession) -> None:
    """Of all modes: a refusal that another confinement has left would hold for an hour."""
    forget(session)
    assert not any(memory(session, name).exists() for name in ("N1", "R1", "F3"))
    forget(session)
