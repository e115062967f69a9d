"""Runs in a batch job as they are planned: scratch space, directories, ids, and the tasks' MPI."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from builders.hosts import host
from builders.sessions import session as make_session
from builders.sessions import trust
from builders.stores import add_image
from builders.trees import Directory, program
from udocker.engine import table
from udocker.errors import UdockerError, UsageError
from udocker.model.launch import Unshare
from udocker.model.reference import Reference
from udocker.model.request import KEEP_ID, SINGLE, RunRequest
from udocker.model.value import replace
from udocker.ops import batch, job_facts
from udocker.ops.preparing import plan, prepare
from udocker.ops.target import find_or_make, in_job

if TYPE_CHECKING:
    from pathlib import Path

    from builders.sessions import TestSession

STEP = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}
REQUEST = RunRequest(target="test", pull="never")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The job's, and in place of what a host has for all users."""
    for name in ("job", "node"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(batch, "NODE_PLACES", (f"{tmp_path}/node",))
    return tmp_path / "job"


@pytest.fixture
def make(store_path: Path, scratch: Path) -> Any:
    def session(**environ: str) -> TestSession:
        made = make_session(store_path, host(home=""))
        made.environ = {**STEP, "TMPDIR": str(scratch), **environ}
        trust(made, "N1")
        return made

    files = {"bin/prog": program("#!/bin/sh\n"), "bin/sh": b"", "opt/app": b"", "mnt": Directory()}
    add_image(session().store, "test", files, {"Cmd": ["prog"], "Env": ["PATH=/bin"]})
    return session


def test_a_new_container_is_in_the_jobs_own_space(make: Any, scratch: Path) -> None:
    session = make()
    other, request = in_job(session, REQUEST)
    top = f"{scratch}/udocker-{os.getuid()}"
    assert other.store.topdir.startswith(f"{top}/17.0.0.0-")
    assert other.store.images.get(Reference.parse("test"))
    assert (request.target, request.pull) == ("docker.io/library/test:latest", "never")
    assert other.kept == session.store.topdir
    assert other.cache.startswith(str(scratch.parent / "node"))
    assert in_job(make(), replace(REQUEST, name="kept"))[0].store.topdir == session.store.topdir


def test_without_scratch_space_it_is_in_the_store(make: Any, scratch: Path) -> None:
    session = make()
    task = replace(session.task, scratch=(f"{scratch}/gone", "/proc"))
    assert batch.in_scratch(session, task) is session


@pytest.mark.parametrize("what", ["link", "file", "open"])
def test_what_others_may_have_made_is_not_used(make: Any, scratch: Path, what: str) -> None:
    place = scratch / f"udocker-{os.getuid()}"
    if what == "link":
        (scratch / "elsewhere").mkdir()
        place.symlink_to("elsewhere")
    elif what == "file":
        place.write_text("")
    else:
        place.mkdir()
        place.chmod(0o777)
    session = make()
    assert batch.in_scratch(session, replace(session.task, scratch=(str(scratch),))) is session


def test_what_other_jobs_left_goes(make: Any, scratch: Path) -> None:
    from udocker import makers

    top = scratch / f"udocker-{os.getuid()}"
    gone = makers.mark().rsplit("-", 2)[0] + "-4194303-1"
    for name in (f"16.0.0.0-{gone}", f"17.0.0.1-{gone}", f"15.0.0.0-{makers.mark()}", "other"):
        (top / name).mkdir(parents=True)
    top.chmod(0o700)
    in_job(make(), REQUEST)
    left = sorted(os.listdir(top))
    assert f"16.0.0.0-{gone}" not in left
    assert len(left) == 4


def test_directories_of_the_job_hide_nothing_of_the_image(make: Any, tmp_path: Path) -> None:
    from udocker.store.view import View

    image = tmp_path / "image"
    (image / "opt").mkdir(parents=True)
    (image / "opt/app").write_text("")
    (image / "mnt").mkdir()
    (image / "etc").write_text("")
    view = View([str(image)])

    def bound(path: str) -> list[str]:
        session = make(SLURM_SUBMIT_DIR=path)
        return [mount.target for mount in batch.mounts(session, view)]

    work = tmp_path / "work"
    work.mkdir()
    assert str(work) in bound(str(work))
    assert "/opt" not in bound("/opt")
    assert "/etc" not in bound("/etc")
    assert "/" not in bound("/")
    assert not any("gone" in target for target in bound(f"{tmp_path}/gone"))
    assert all(not mount.required for mount in batch.mounts(make(), view))


def test_outside_of_a_job_nothing_changes(make: Any) -> None:
    session = make()
    session.environ = {"HOME": "/home/me", "OMP_NUM_THREADS": "2"}
    assert session.task is None
    assert in_job(session, REQUEST) == (session, REQUEST)
    off = make()
    off.config = replace(off.config, job=False)
    assert off.task is None


def test_whom_pmix_waits_for_has_the_users_ids(make: Any) -> None:
    session = make(PMIX_RANK="0")
    assert batch.with_own_id(session, REQUEST).userns == KEEP_ID
    for asked in (replace(REQUEST, user="0"), replace(REQUEST, mpi="none")):
        assert batch.with_own_id(session, asked).userns == SINGLE
    assert batch.with_own_id(make(PMI_FD="11"), REQUEST).userns == SINGLE


def test_a_server_that_is_not_there(make: Any) -> None:
    with pytest.raises(UsageError, match="--mpi=pmix: the job offers neither"):
        batch.check_mpi(make(), replace(REQUEST, mpi="pmix"))
    with pytest.raises(UsageError, match="--mpi=pmi2: the job offers pmix"):
        batch.check_mpi(make(PMIX_RANK="0"), replace(REQUEST, mpi="pmi2"))
    batch.check_mpi(make(PMI_FD="11"), replace(REQUEST, mpi="pmi2"))


@pytest.mark.parametrize(
    ("environ", "mpi", "told"),
    [
        ({}, "auto", 1),
        ({"SLURM_PROCID": "1"}, "auto", 0),
        ({"PMI_FD": "3"}, "auto", 0),
        ({}, "none", 0),
        ({"SLURM_STEP_NUM_TASKS": "1"}, "auto", 0),
    ],
)
def test_tasks_that_cannot_find_each_other(make: Any, environ: Any, mpi: str, told: int) -> None:
    session = make(**environ)
    batch.check_mpi(session, replace(REQUEST, mpi=mpi))
    assert sum("neither PMI nor PMIx" in text for text in session.report.warnings) == told


def test_tasks_of_a_host_come_into_one_namespace(make: Any, scratch: Path) -> None:
    def unshare(**environ: str) -> Unshare:
        session, request = in_job(make(**environ), replace(REQUEST, name=None, mode="N1"))
        node = f"{scratch.parent}/node/udocker-{os.getuid()}"
        assert session.cache == f"{node}/cache"
        session.cache = f"{session.store.topdir}/cache"
        trust(session, "N1")
        container, is_new = find_or_make(session, request)
        launch = prepare(session, request, container, is_new).launch
        return next(step for step in launch.steps if isinstance(step, Unshare))

    step = unshare()
    assert step.group == f"{scratch.parent}/node/udocker-{os.getuid()}/step-17.0.0-0-0"
    assert step.tells
    assert not unshare(SLURM_PROCID="1", SLURM_LOCALID="1").tells
    assert unshare(SLURM_RESTART_COUNT="2").group.endswith("/step-17.0.2-0-0")
    assert unshare(SLURM_STEP_TASKS_PER_NODE="1(x2)").group == ""


def test_modes_that_cannot_join_have_the_variables(make: Any) -> None:
    session = make(UCX_TLS="tcp")
    spec = _spec(session)
    found = batch.with_ranks(session, REQUEST, spec, table.find("R1"))
    assert dict(found.env)["OMPI_MCA_btl_vader_single_copy_mechanism"] == "none"
    assert dict(found.env)["UCX_TLS"] == "tcp"
    for mode in ("F3", "P1"):
        assert batch.with_ranks(session, REQUEST, spec, table.find(mode)) == spec


def _spec(session: Any) -> Any:
    from udocker.ops.specify import make_spec

    container, _ = find_or_make(session, REQUEST)
    return make_spec(session, REQUEST, container, "N1")


def test_a_plan_shows_it_and_leaves_nothing(make: Any, scratch: Path) -> None:
    session = make()
    lines = plan(session, replace(REQUEST, name="kept"))
    assert any("the user namespace with the other tasks here" in line for line in lines)
    assert session.store.containers.all() == []
    with pytest.raises(UdockerError):
        plan(session, replace(REQUEST, mode="S1"))
    assert os.listdir(scratch / f"udocker-{os.getuid()}") == []


def test_facts_of_the_job(make: Any) -> None:
    lines = job_facts.facts(make(), lambda path: "testfs")
    assert lines[0] == "Slurm job 17, step 0, task 0 of 2"
    assert lines[2] == "one user namespace for several tasks: yes"
    assert "testfs" in lines[4]
    outside = make()
    outside.environ = {}
    assert job_facts.facts(outside, lambda path: "") == ()
