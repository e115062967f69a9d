"""Filters, formats, groups of commands, protection and pruning, as scripts see them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from builders.commands import Udocker
from builders.trees import File
from udocker.cli import commands
from udocker.errors import UsageError
from udocker.store import said


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    made = Udocker(tmp_path)
    made.add("test", {"file": File(b"x")}, run={"Cmd": ["/x", "y"], "Labels": {"of": "image"}})
    made.add("other/one:2", {"file": File(b"y")}, layer=b"2")
    return made


def make(udocker: Udocker, name: str, image: str, **labels: str) -> str:
    identity = udocker("create", f"--name={name}", "--pull=never", image).out.strip()
    path = udocker.store.containers.path(identity)
    said.write(path, said.Said(labels=tuple(labels.items())))
    return identity


def test_containers(udocker: Udocker) -> None:
    one = make(udocker, "one", "test", a="b")
    two = make(udocker, "two", "other/one:2")

    def named(*words: str) -> list[str]:
        ended = udocker("ps", "--format={{.Names}}", *words)
        assert ended.code == 0, ended
        return ended.out.split()

    assert named() == ["two", "one"]
    assert named("--filter", "name=on") == ["one"]
    assert named("-f", "name=one", "-f", "name=two") == ["two", "one"]
    assert named("-f", "label=a") == named("-f", "label=a=b") == named("-f", "label=of=image")
    assert named("-f", "label=a=c") == named("-f", "label=a", "-f", "name=two") == []
    assert named("-f", f"id={one[:6]}") == ["one"]
    assert named("-f", "ancestor=test") == ["one"]
    assert named("-f", "status=created") == ["two", "one"]
    assert named("-f", "status=exited") == named("-f", "exited=0") == []
    assert udocker("inspect", "-f", "{{.State.Status}} {{.State.Pid}}", "one").out == "created 0\n"
    assert named("-f", "since=one") == named("-l") == named("-n", "1") == ["two"]
    assert named("-f", "before=two") == ["one"]
    assert udocker("ps", "-q", "--no-trunc", "-f", "name=one").out == f"{one}\n"
    ended = udocker("ps", "--format", 'table {{.ID}}\\t{{.Command}}\\t{{.Label "a"}}')
    lines = [re.split(r" {3,}", line) for line in ended.out.splitlines()]
    assert [line[0] for line in lines] == ["CONTAINER ID", two[:12], one[:12]]
    assert lines[2][1:] == ['"/x y"', "b"]
    rows = [json.loads(line) for line in udocker("ps", "--format=json").out.splitlines()]
    assert {row["Names"]: row["State"] for row in rows} == {"one": "created", "two": "created"}
    assert udocker("ps", "-s", "-p", "-m").out.splitlines()[0].split()[5:7] == ["SIZE", "PLATFORM"]
    for words, part in (
        (["-f", "colour=red"], "KEY=VALUE; KEY: id, name"),
        (["-f", "name"], "KEY=VALUE"),
        (["--format={{.Nope}}"], "there is no Nope here"),
        (["-n", "x"], "--last 'x': not a whole number"),
    ):
        ended = udocker("ps", *words)
        assert (ended.code, ended.out) == (2, "")
        assert part in ended.err
    assert udocker("ps", "-f", "since=none").code == 125
    assert udocker("inspect", "-f", "{{.Name}} {{.Config.Labels}}", "one").out == (
        "/one map[a:b of:image]\n"
    )


def test_images(udocker: Udocker) -> None:
    form = "--format={{.Repository}}:{{.Tag}}"

    def named(*words: str) -> list[str]:
        ended = udocker("images", form, *words)
        assert ended.code == 0, ended
        return sorted(ended.out.split())

    assert named() == ["other/one:2", "test:latest"]
    assert named("test") == named("-f", "reference=te*") == ["test:latest"]
    assert named("other/one:2") == named("-f", "reference=*/*") == ["other/one:2"]
    assert named("-f", "label=of=image") == ["test:latest"]
    assert named("-f", "dangling=true") == []
    assert len(named("-f", "dangling=false", "-a")) == 2
    assert udocker("images", "--digests").out.splitlines()[0].split()[1] == "DIGEST"
    assert "sha256:" in udocker("images", "-l").out.splitlines()[-1]
    ended = udocker("image", "ls", "--format", "table {{.Tag}}\\t{{.ID}}")
    assert ended.out.splitlines()[0].split() == ["TAG", "IMAGE", "ID"]
    shown = udocker("image", "inspect", "-f", "{{.RepoTags}} {{.Os}} {{.Config.Cmd}}", "test").out
    assert shown == "[docker.io/library/test:latest] linux [/x y]\n"


@pytest.mark.parametrize(
    "template",
    [
        "{{.Foo}}",
        "table {{.Foo}}",
        "{{if false}}{{.Foo}}{{end}}",
        "{{range .Labels}}{{$.Foo}}{{else}}{{.Names}}{{end}}",
        "{{.Size.x}}",
        "{{foo .ID}}",
        "{{.ID",
    ],
)
def test_a_template_is_checked_where_nothing_is_listed(tmp_path: Path, template: str) -> None:
    udocker = Udocker(tmp_path)
    for words in (
        *(("ps",), ("ps", "-q"), ("ps", "--json"), ("ps", "-f", "name=x")),
        *(("images",), ("images", "-q"), ("volume", "ls"), ("volume", "ls", "-q")),
    ):
        ended = udocker(*words, f"--format={template}")
        assert (ended.code, ended.out) == (2, ""), words
        assert template.removeprefix("table ") in ended.err


def test_a_template_is_read_before_what_it_is_for(udocker: Udocker) -> None:
    for words in (("inspect", "nobody"), ("volume", "inspect", "nobody")):
        ended = udocker(*words, "--format={{.ID")
        assert ended.code == 2
        assert "{{ without }}" in ended.err
    make(udocker, "one", "test")
    assert udocker("ps", "--format={{.Label.of}}").out == "image\n"
    for template in ("{{.Label}}", '{{.Label "a" "b"}}', "{{with .Label}}{{.of}}{{end}}"):
        ended = udocker("ps", f"--format={template}")
        assert (ended.code, ended.out) == (2, "")
        assert "takes one argument" in ended.err


def test_what_is_protected_stays(udocker: Udocker) -> None:
    make(udocker, "one", "test")
    for name in ("one", "test"):
        assert udocker("protect", name).code == 0
    for words in (
        ("rm", "-f", "one"),
        ("setup", "--execmode=P1", "one"),
        ("rmi", "test"),
        ("tag", "test", "more"),
        ("tag", "other/one:2", "test"),
    ):
        ended = udocker(*words)
        assert ended.code == 125, words
        assert "is protected" in ended.err
        assert "udocker unprotect" in ended.err
    assert udocker("ps").out.count("(protected)") == udocker("images").out.count("(protected)") == 1
    ended = udocker("container", "prune", "-f")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert udocker("image", "prune", "-a").out.count("Untagged") == 1  # not test
    for name in ("one", "test"):
        assert udocker("unprotect", name).code == 0
    assert udocker("protect", "nothing").code == 125
    assert udocker("rm", "one").code == 0
    assert udocker("rmi", "test").code == 0


def test_pruning(udocker: Udocker) -> None:
    make(udocker, "one", "test", a="b")
    make(udocker, "two", "test")
    assert udocker("container", "prune", "--filter", "until=1h").out == ""
    assert udocker("container", "prune", "--filter=label=a").out == "Removed: container one\n"
    ended = udocker("image", "prune")
    assert "--all" in ended.err
    assert len(udocker("images", "-q").out.split()) == 2
    ended = udocker("system", "prune", "-af", "--volumes")
    assert "Removed: container two" in ended.out
    assert ended.out.count("Untagged") == 2
    assert "Freed: " in ended.out
    assert udocker.store.containers.ids() == []
    for text in ("until=x", "until=", "colour=red", "until=99999999999999999h"):
        assert udocker("container", "prune", "--filter", text).code == 2


def test_old_commands(udocker: Udocker, tmp_path: Path) -> None:
    ended = udocker("install", "--force", "--purge")
    assert ended.code == 0
    assert ended.out.startswith("Nothing has to be installed")
    assert udocker("mkrepo", str(tmp_path / "repo")).code == 0
    assert os.path.isdir(tmp_path / "repo" / "containers")
    assert udocker(f"--repo={tmp_path}/repo", "ps").code == 0
    (tmp_path / "file").write_text("")
    assert udocker("mkrepo", str(tmp_path / "file")).code == 2
    assert udocker("mkrepo").code == 2
    ended = udocker("ps", env={"UDOCKER_CONTAINERS": "/x"})
    assert "UDOCKER_CONTAINERS means nothing here: UDOCKER_DIR" in ended.err
    make(udocker, "one", "test")
    assert udocker("setup", "--purge", "--fixperm", "--force", "one").code == 0


def test_import_mv_removes_the_archive_at_the_end(udocker: Udocker, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"no archive")
    assert udocker("import", "--mv", str(tmp_path / "bad.tar"), "new").code == 125
    assert (tmp_path / "bad.tar").exists()
    made = udocker("create", "--pull=never", "test").out.strip()
    assert udocker("export", "-o", str(tmp_path / "good.tar"), made).code == 0
    assert udocker("import", "--mv", str(tmp_path / "good.tar"), "new").code == 0
    assert not (tmp_path / "good.tar").exists()
    assert udocker("import", "--mv", "-", "new").code == 2


@pytest.mark.parametrize(
    ("words", "name", "rest"),
    [
        (["ps", "-a"], "ps", ["-a"]),
        (["container", "ls", "-a"], "ps", ["-a"]),
        (["container", "run", "x", "ls"], "run", ["x", "ls"]),
        (["image", "rm", "x"], "rmi", ["x"]),
        (["image", "pull", "x"], "pull", ["x"]),
        (["system", "df", "-v"], "df", ["-v"]),
        (["volume", "list"], "volume ls", []),
        (["info"], "doctor", []),
        (["nothing"], "nothing", []),
    ],
)
def test_groups(words: list[str], name: str, rest: list[str]) -> None:
    assert commands.split(words) == (name, rest)
    if name != "nothing":
        assert commands.find(name).name == name


@pytest.mark.parametrize("words", [["image"], ["image", "-q"], ["image", "ps"], ["volume", ""]])
def test_groups_without_a_command(words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        commands.split(words)
    assert "one of " in str(caught.value.hint)
