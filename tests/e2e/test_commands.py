"""The other commands on real images: what they print, what they change, and what they leave."""

from __future__ import annotations

import json
import os
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from e2e.checks import is_told
from udocker.engine import table

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.conftest import Udocker
    from e2e.engines import Inside, Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_ID = re.compile("[0-9a-f]{32}\n")


@pytest.fixture
def busybox(udocker: Udocker, registry: str) -> str:
    """An image in the test's own store."""
    reference = f"{registry}/busybox:latest"
    udocker("pull", "-q", reference)
    return reference


def images(udocker: Udocker) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(udocker("images", "--json").out)
    return listed


def containers(udocker: Udocker) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(udocker("ps", "--json").out)
    return listed


def everything(store: Path) -> dict[str, tuple[int, int]]:
    """The files of a store but its locks, and what tells that one was written."""
    found = {}
    for top, folders, names in os.walk(store):
        if top == str(store):
            folders.remove("locks")  # the time of a lock is that of its last use
        for name in names:
            status = os.lstat(os.path.join(top, name))
            found[os.path.join(top, name)] = (status.st_ino, status.st_mtime_ns)
    return found


# Images


def test_images_lists_what_is_there(udocker: Udocker, registry: str, busybox: str) -> None:
    udocker("pull", "-q", f"{registry}/musl")
    head, *lines = udocker("images").out.splitlines()
    assert head.split() == ["REPOSITORY:TAG", "IMAGE", "ID", "PULLED", "SIZE", "PLATFORM"]
    assert [line.split()[0] for line in lines] == [busybox, f"{registry}/musl:latest"]
    [first, second] = images(udocker)
    assert first["name"] == busybox
    assert first["id"].startswith("sha256:")
    assert 0 < first["size"] < 10_000_000
    assert udocker("images", "-q").out.split() == [first["id"][7:19], second["id"][7:19]]
    assert second["id"][7:] in udocker("images", "--no-trunc").out


def test_a_new_store_is_empty_and_is_not_made_by_looking(
    udocker: Udocker, store_path: Path
) -> None:
    assert udocker("images", "-q").out == ""
    assert udocker("ps", "-q").out == ""
    assert json.loads(udocker("images", "--json").out) == []
    assert json.loads(udocker("ps", "--json").out) == []
    assert not store_path.exists()


def test_rmi_frees_the_space(udocker: Udocker, store_path: Path, busybox: str) -> None:
    assert "Untagged" in udocker("rmi", busybox).out
    assert images(udocker) == []
    left = [name for name in everything(store_path) if "/locks/" not in name]
    assert [name for name in left if "/blobs/" in name or "/trees/" in name] == []


def test_rmi_by_the_beginning_of_an_id(udocker: Udocker, busybox: str) -> None:
    [image] = images(udocker)
    udocker("rmi", image["id"][7:19])
    assert images(udocker) == []


def test_rmi_of_one_name_leaves_the_other(udocker: Udocker, registry: str, busybox: str) -> None:
    other = f"{registry}/busybox:docker"
    udocker("pull", "-q", other)
    udocker("rmi", busybox)
    assert [image["name"] for image in images(udocker)] == [other]
    assert udocker("run", "-q", "--rm", "--pull=never", other, "echo", "runs").out == "runs\n"


def test_a_container_outlives_its_image(udocker: Udocker, busybox: str) -> None:
    udocker("create", "--name=made", busybox)
    udocker("run", "-q", "made", "sh", "-c", "echo mine >/mine")
    udocker("rmi", busybox)
    assert images(udocker) == []
    assert udocker("run", "-q", "made", "cat", "/mine", "/etc/os-release").out.startswith(
        "mine\nID="
    )
    assert json.loads(udocker("inspect", "made").out)[0]["image"] == busybox
    udocker("rm", "made")
    assert containers(udocker) == []


def test_what_is_not_there_is_told(udocker: Udocker, busybox: str) -> None:
    for words in (["rmi", "nowhere"], ["rm", "nowhere"], ["inspect", "nowhere"]):
        is_told(udocker(*words, check=False), 125, "nowhere")
    assert udocker("rmi", "-f", "nowhere").out == ""
    assert udocker("rm", "-f", "nowhere").out == ""
    assert [image["name"] for image in images(udocker)] == [busybox]


# --pull


def test_pull_never_takes_only_what_is_there(udocker: Udocker, registry: str) -> None:
    words = ("run", "-q", "--rm", "--pull=never", f"{registry}/busybox", "true")
    is_told(udocker(*words, check=False), 125, "not in the store", "udocker pull")
    assert images(udocker) == []
    udocker("pull", "-q", f"{registry}/busybox")
    udocker(*words)


def test_pull_missing_asks_nobody_when_it_is_there(
    udocker: Udocker, registry: str, store_path: Path
) -> None:
    words = ("run", "-q", "--rm", "--pull", "missing", f"{registry}/busybox", "true")
    udocker(*words)
    before = {name for name in everything(store_path) if "/images/" in name}
    nobody = {"http_proxy": "http://127.0.0.1:9", "UDOCKER_CONNECT_TIMEOUT": "1"}
    udocker(*words, env=nobody)
    assert {name for name in everything(store_path) if "/images/" in name} == before


def test_pull_always_asks_the_registry(udocker: Udocker, registry: str, busybox: str) -> None:
    result = udocker("run", "--rm", "--pull=always", busybox, "echo", "ran")
    assert result.out == "ran\n"
    assert "up to date" in result.err


def test_pull_of_another_word_is_a_wrong_command_line(udocker: Udocker) -> None:
    is_told(udocker("run", "--pull=sometimes", "x", check=False), 2, "sometimes", "never")


# Containers


def test_create_ps_and_names(udocker: Udocker, busybox: str) -> None:
    first = udocker("create", "--name=one", busybox).out
    second = udocker("create", busybox).out
    assert _ID.fullmatch(first)
    assert _ID.fullmatch(second)
    listed = {each["id"]: each["names"] for each in containers(udocker)}
    assert listed == {first.strip(): ["one"], second.strip(): []}
    udocker("name", second.strip()[:12], "two")
    udocker("name", "two", "zwei")
    udocker("rename", "one", "first")
    udocker("rmname", "two")
    listed = {each["id"]: each["names"] for each in containers(udocker)}
    assert listed == {first.strip(): ["first"], second.strip(): ["zwei"]}
    head, *lines = udocker("ps").out.splitlines()
    assert head.split() == ["CONTAINER", "ID", "MODE", "CREATED", "STATUS", "NAMES", "IMAGE"]
    assert sorted(line.split()[0] for line in lines) == sorted(each[:12] for each in listed)
    assert sorted(udocker("ps", "-q").out.split()) == sorted(each[:12] for each in listed)
    assert first.strip() in udocker("ps", "--no-trunc").out
    assert udocker("run", "-q", "zwei", "sh", "-c", "echo $container_uuid").out == second
    assert udocker("rm", "first", second.strip()).out == f"first\n{second}"
    assert containers(udocker) == []


def test_a_name_is_one_container_s(udocker: Udocker, busybox: str) -> None:
    udocker("create", "--name=mine", busybox)
    udocker("create", "--name=other", busybox)
    before = containers(udocker)
    for words in (
        ["create", "--name=mine", busybox],
        ["run", "--name=mine", busybox, "true"],
        ["run", "--rm", "--name=mine", busybox, "true"],
        ["name", "other", "mine"],
        ["rename", "other", "mine"],
    ):
        is_told(udocker(*words, check=False), 125, "'mine' is taken")
    assert containers(udocker) == before


@pytest.mark.parametrize("name", ["", "a b", "-x", ".x", "a/b", "ä", "a\nb", "0" * 32])
def test_an_impossible_name_is_told_before_a_pull(
    udocker: Udocker, registry: str, name: str
) -> None:
    result = udocker("create", "--name", name, f"{registry}/busybox", check=False)
    is_told(result, 2, "not a container name")
    assert images(udocker) == []


def test_run_with_a_name_keeps_the_container(udocker: Udocker, busybox: str) -> None:
    udocker("run", "-q", "--name=kept", busybox, "sh", "-c", "echo x >/x")
    assert udocker("run", "-q", "kept", "cat", "/x").out == "x\n"
    assert len(containers(udocker)) == 1
    is_told(udocker("run", "--name=new", "kept", "true", check=False), 2, "rename")


def test_rm_removes_what_it_wrote_whatever_its_permissions(
    udocker: Udocker, store_path: Path, busybox: str
) -> None:
    script = "mkdir -p /a/b/c; echo x >/a/b/c/x; chmod 0 /a/b/c/x /a/b/c /a/b /a; chmod 0 /etc"
    udocker("run", "-q", "--name=gone", busybox, "sh", "-c", script)
    udocker("rm", "gone")
    assert os.listdir(store_path / "containers") == []
    assert os.listdir(store_path / "tmp") == []
    assert udocker("run", "-q", "--rm", busybox, "ls", "/etc/passwd").out == "/etc/passwd\n"


def test_a_container_without_a_command_runs_the_image_s(udocker: Udocker, busybox: str) -> None:
    udocker("create", "--name=shell", busybox)
    assert udocker(
        "run", "-q", "shell", input="echo from the shell\nexit 7\n", check=False
    ).out == ("from the shell\n")
    assert udocker("run", "-q", "shell", input="exit 7\n", check=False).code == 7


# inspect and setup


def test_inspect_of_a_container_and_of_an_image(udocker: Udocker, registry: str) -> None:
    udocker("create", "-q", "--name=it", f"{registry}/musl")
    container, image = json.loads(udocker("inspect", "it", f"{registry}/musl").out)
    for shown in (container, image):
        assert shown["config"]["config"]["Entrypoint"] == ["/usr/bin/probe"]
        assert shown["config"]["config"]["User"] == "1000:1000"
        assert os.path.isfile(os.path.join(shown["tree"], "usr/bin/probe"))
    assert container["names"] == ["it"]
    assert container["mode"] == "auto"
    assert container["image"] == image["reference"] == f"{registry}/musl:latest"


def test_inspect_p_gives_the_files_of_the_container(udocker: Udocker, busybox: str) -> None:
    udocker("run", "-q", "--name=it", busybox, "sh", "-c", "echo mine >/etc/mine; rm /etc/group")
    root = udocker("inspect", "-p", "it").out.strip()
    assert "mine" in os.listdir(f"{root}/etc")
    assert "group" not in os.listdir(f"{root}/etc")
    with open(f"{root}/etc/mine", encoding="utf-8") as stream:
        assert stream.read() == "mine\n"
    with open(f"{root}/etc/by-hand", "w", encoding="utf-8") as stream:
        stream.write("by hand\n")
    assert udocker("run", "-q", "it", "cat", "/etc/mine", "/etc/by-hand").out == "mine\nby hand\n"
    assert udocker("inspect", "-p", "it").out.strip() == root


def test_setup_chooses_the_mode_of_later_runs(inside: Inside, shared: Shared) -> None:
    name = f"set-{inside.mode.lower()}"
    show = ("run", "-q", name, "sh", "-c", "echo $container_execmode")
    shared("create", f"--name={name}", shared.image("busybox:latest"))
    try:
        assert shared("setup", name).out == "execmode: auto\nnvidiamode: False\n"
        before = shared(*show).out
        shared("setup", f"--execmode={inside.mode}", name)
        assert shared("setup", name).out == f"execmode: {inside.mode}\nnvidiamode: False\n"
        assert shared(*show).out == f"{inside.mode}\n"
        [mode] = [each["mode"] for each in shared.containers() if name in each["names"]]
        assert mode == inside.mode
        shared("setup", "--execmode=auto", name)
        assert shared(*show).out == before
    finally:
        shared("rm", name)


def test_the_mode_of_the_command_line_wins(inside: Inside, shared: Shared) -> None:
    settings = {"UDOCKER_DEFAULT_EXECUTION_MODE": inside.mode}
    show = ("sh", "-c", "echo $container_execmode")
    words = ("run", "-q", "--rm", shared.image("busybox:latest"), *show)
    assert shared(*words, env=settings).out == f"{inside.mode}\n"
    settings["UDOCKER_DEFAULT_EXECUTION_MODE"] = "auto"
    assert inside(*show, env=settings).out == f"{inside.mode}\n"


def test_an_unknown_mode_is_told(udocker: Udocker, busybox: str) -> None:
    udocker("create", "--name=it", busybox)
    for words in (
        ["run", "--execmode=Z9", "it", "true"],
        ["setup", "--execmode=Z9", "it"],
        ["run", "--execmode=n1", "it", "true"],
    ):
        is_told(udocker(*words, check=False), 2, "unknown execution mode", *table.names())
    assert udocker("setup", "it").out == "execmode: auto\nnvidiamode: False\n"


# --dry-run


def test_dry_run_changes_nothing(inside: Inside, shared: Shared, tmp_path: Path) -> None:
    shared.image("busybox:latest")
    inside("true")
    before = everything(shared.store), shared.containers()
    options = ["--dry-run", "-e", "WORD=two words", "-v", f"{tmp_path}:/made/for/it"]
    shown = inside("touch", "/made/for/it/x", "it's", options=options).out.splitlines()
    assert (everything(shared.store), shared.containers()) == before
    assert os.listdir(tmp_path) == []
    line = next(line for line in shown if line.startswith("env -i "))
    if inside.mode not in ("R1", "R2", "R3"):  # which read them from a file
        words = [word.removeprefix("APPTAINERENV_") for word in shlex.split(line)]
        assert "WORD=two words" in words
        assert shlex.split(line)[-3:] == ["touch", "/made/for/it/x", "it's"]


def test_dry_run_of_an_image_that_is_not_here(udocker: Udocker, registry: str) -> None:
    result = udocker("run", "--dry-run", f"{registry}/busybox", "true", check=False)
    is_told(result, 125, "not in the store", "udocker pull")
    assert images(udocker) == []


def test_dry_run_says_what_a_run_would(udocker: Udocker, busybox: str) -> None:
    for words, code in ((["nowhere"], 127), (["/etc"], 126)):
        result = udocker("run", "-q", "--dry-run", busybox, *words, check=False)
        assert result.code == code, result
        assert result.err == udocker("run", "-q", "--rm", busybox, *words, check=False).err
    assert containers(udocker) == []


def test_dry_run_of_a_container(inside: Inside, shared: Shared) -> None:
    name = f"dry-{inside.mode.lower()}"
    shared("create", f"--name={name}", shared.image("busybox:latest"))
    try:
        before = everything(shared.store), shared.containers()
        shared("run", "-q", "--dry-run", f"--execmode={inside.mode}", name, "touch", "/x")
        assert (everything(shared.store), shared.containers()) == before
    finally:
        shared("rm", name)


# Help and facts


def test_doctor_tells_of_every_mode(udocker: Udocker, modes: tuple[str, ...]) -> None:
    shown = udocker("doctor").out
    lines = shown.splitlines()
    for mode in table.names():
        [line] = [line for line in lines if line.startswith(f"{mode} ")]
        if not table.find(mode).preloads:
            assert line.split()[1] == ("ok" if mode in modes else "no")
    assert f"auto runs {modes[0]}" in lines[-1]
    findings = json.loads(udocker("doctor", "--json").out)
    assert [row["name"] for row in findings["modes"]] == list(table.names())
    assert all(row["ok"] or row["reason"] for row in findings["modes"])
    assert findings["chosen"] == modes[0]


def test_auto_is_what_doctor_says(udocker: Udocker, busybox: str) -> None:
    chosen = json.loads(udocker("doctor", "--json").out)["chosen"]
    show = ("sh", "-c", "echo $container_execmode")
    assert udocker("run", "-q", "--rm", busybox, *show).out == f"{chosen}\n"


def test_version_and_help(udocker: Udocker) -> None:
    assert re.fullmatch(r"version: \d+\.\d+\S*\n", udocker("version").out)
    assert udocker("--version").out == udocker("version").out
    shown = udocker("help").out
    assert udocker("--help").out == udocker("-h").out == udocker().out == shown
    for line in shown.partition("Commands:\n")[2].splitlines():
        if not line:
            break
        command = re.split("  +", line.strip())[0].split()
        helped = udocker(*command, "--help").out
        assert helped.startswith(f"usage: udocker {' '.join(command)}")
        assert udocker("help", *command).out == helped
        assert max(map(len, helped.splitlines())) <= 100
    assert udocker("volume", "--help").out == udocker("help", "volume").out
    assert "  prune     Remove" in udocker("volume", "--help").out


def test_a_wrong_command_line_is_told(udocker: Udocker) -> None:
    for words in (["nonsense"], ["run"], ["ps", "more"], ["rm"], ["run", "--nonsense", "x"]):
        is_told(udocker(*words, check=False), 2)
    assert "did you mean images?" in udocker("imagse", check=False).err


def test_showconf_can_be_read_back(udocker: Udocker, tmp_path: Path, store_path: Path) -> None:
    shown = udocker("showconf").out
    assert f"topdir = {store_path}\n" in shown
    (tmp_path / "conf").write_text(shown.replace("jobs = 6", "jobs = 2"))
    again = udocker("--config", str(tmp_path / "conf"), "showconf").out
    assert again == shown.replace("jobs = 6", "jobs = 2")


def test_repo_takes_another_store(shared: Shared, tmp_path: Path) -> None:
    image = shared.image("busybox:latest")
    assert shared("--repo", str(tmp_path / "two"), "images", "-q").out == ""
    shared("--repo=two", "create", "-q", "--name=there", image, cwd=tmp_path)
    assert [each.name for each in (tmp_path / "two" / "names").iterdir()] == ["there"]
    assert "there" not in {name for each in shared.containers() for name in each["names"]}
