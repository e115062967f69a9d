"""Which of several files of logins counts, and what helper programs answer."""

from __future__ import annotations

import base64
import json
import time

import pytest

from registry.clients import RecordingReporter
from udocker.errors import ConfigError, HelperError
from udocker.registry.authfile import AuthFile
from udocker.registry.credential import Credential
from udocker.registry.helper import Helper
from udocker.registry.logins import Logins, login_files, own_file

ANSWER = '{"ServerURL":"q.io","Username":"ana","Secret":"geheim"}'


def paths(environ, home="/h"):
    return [file.path for file in login_files(environ, home)]


def test_the_order_of_files():
    environ = {"XDG_RUNTIME_DIR": "/run/u", "XDG_CONFIG_HOME": "", "DOCKER_CONFIG": ""}
    assert paths(environ) == [
        "/h/.udocker/auth.json",
        "/run/u/containers/auth.json",
        "/h/.config/containers/auth.json",
        "/h/.docker/config.json",
    ]


def test_variables_name_other_files():
    assert paths({"DOCKER_CONFIG": "/d", "XDG_CONFIG_HOME": "/c"}) == [
        "/h/.udocker/auth.json",
        "/d/config.json",
        "/c/containers/auth.json",
    ]
    assert paths({"REGISTRY_AUTH_FILE": "a.json", "DOCKER_CONFIG": "/d"}) == ["a.json"]
    assert paths({}, home="") == []


def test_the_file_that_is_written():
    assert own_file({}, "/h").path == "/h/.udocker/auth.json"
    assert own_file({"REGISTRY_AUTH_FILE": "/a"}, "").path == "/a"
    with pytest.raises(ConfigError, match="no home directory"):
        own_file({}, "")


class Files:
    """Files of logins, and helper programs, in a directory."""

    def __init__(self, folder):
        self.folder = folder
        self.reporter = RecordingReporter()
        self.files = []
        self.environ = {
            "PATH": f"relative::{folder}/bin:/usr/bin:/bin",
            "MARK": "from the environment",
        }
        (folder / "bin").mkdir()

    def add(self, **data):
        path = self.folder / f"{len(self.files)}.json"
        path.write_text(json.dumps(data))
        self.files.append(AuthFile(str(path)))

    def auths(self, **users):
        encoded = {u: base64.b64encode(f"{u}:p".encode()).decode() for u in users.values()}
        self.add(auths={key.replace("_", "."): {"auth": encoded[u]} for key, u in users.items()})

    def program(self, name, script):
        path = self.folder / "bin" / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def answering(self, name, text, code=0):
        """A program that notes what it is asked, and always says ``text``."""
        (self.folder / f"{name}.answer").write_text(text)
        log = self.folder / f"{name}.log"
        self.program(name, f'echo "$@" >>{log}\ncat >>{log}\ncat {self.folder}/{name}.answer')
        with (self.folder / "bin" / f"docker-credential-{name}").open("a") as stream:
            stream.write(f"exit {code}\n")
        return log

    def logins(self):
        return Logins(self.files, self.environ, self.reporter)

    def helper(self, name, seconds=10.0):
        return Helper(name, self.environ, seconds)


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def test_the_first_file_that_has_a_login_counts(files):
    files.auths(r_io="one")
    files.auths(q_io="two", r_io="two")
    logins = files.logins()
    assert logins.credential("r.io", "a/b").user == "one"
    assert logins.credential("q.io", "a/b").user == "two"
    assert logins.credential("s.io", "a/b") is None
    assert f"the login for q.io is from {files.files[1].path}" in files.reporter.lines


def test_no_files_no_login(files):
    assert files.logins().credential("q.io") is None


def test_a_helper_is_asked_once(files):
    log = files.answering("keep", ANSWER)
    files.add(credsStore="keep")
    logins = files.logins()
    assert logins.credential("q.io", "a") == Credential("ana", "geheim")
    assert logins.credential("q.io", "b") == Credential("ana", "geheim")
    assert log.read_text() == "get\nq.io"


def test_docker_hub_has_its_own_name(files):
    log = files.answering("keep", ANSWER)
    files.add(credHelpers={"https://index.docker.io/v1/": "keep"})
    assert files.logins().credential("docker.io", "library/debian").user == "ana"
    assert log.read_text() == "get\nhttps://index.docker.io/v1/"


def test_an_identity_token_of_a_helper(files):
    files.answering("keep", '{"Username":"<token>","Secret":"idt"}')
    assert files.helper("keep").get("q.io") == Credential(identity_token="idt")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("credentials not found in native keychain\n", 1),
        ('{"Username":"","Secret":""}', 0),
        ('{"Username":"<token>","Secret":""}', 0),
        ("{}", 0),
    ],
)
def test_a_helper_without_a_login(files, answer, code):
    files.answering("keep", answer, code)
    assert files.helper("keep").get("q.io") is None


def test_what_is_written_counts_where_the_helper_has_nothing(files):
    files.answering("keep", "credentials not found in native keychain\n", 1)
    files.auths(q_io="written")
    files.files[0] = AuthFile(files.files[0].path)
    data = json.loads((files.folder / "0.json").read_text())
    (files.folder / "0.json").write_text(json.dumps({**data, "credsStore": "keep"}))
    assert files.logins().credential("q.io").user == "written"
    assert not [line for line in files.reporter.lines if "keep" in line]


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("", 0, "does not answer with a user name and a secret"),
        ("geheim", 0, "does not answer with"),
        ("[1]", 0, "does not answer with"),
        ('{"Username":3,"Secret":"geheim"}', 0, "does not answer with"),
        ("[" * 100_000, 0, "does not answer with"),
        ("the keychain is locked\nmore", 1, "failed: the keychain is locked$"),
        ("", 3, "failed with status 3$"),
        ('{"Username":"ana","Secret":"geheim"}', 1, "failed with status 1$"),
    ],
)
def test_a_helper_that_fails(files, answer, code, words):
    files.answering("keep", answer, code)
    with pytest.raises(HelperError, match=words) as caught:
        files.helper("keep").get("q.io")
    assert "docker-credential-keep" in caught.value.message
    assert "geheim" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["absent", "../keep", "", "a b", "-x", "n" * 65])
def test_a_helper_that_is_not_there(files, name):
    with pytest.raises(HelperError, match=r"not in PATH|not the name of a credential helper"):
        files.helper(name).get("q.io")


def test_a_helper_is_not_taken_from_here(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relative").mkdir()
    files.answering("keep", ANSWER)
    program = tmp_path / "bin" / "docker-credential-keep"
    program.rename(tmp_path / "relative" / program.name)
    with pytest.raises(HelperError, match="not in PATH"):
        files.helper("keep").get("q.io")


def test_a_helper_that_does_not_answer_is_ended(files):
    files.program("slow", f"sleep 61 & echo $! >{files.folder}/pid; wait")
    begin = time.monotonic()
    with pytest.raises(HelperError, match="does not answer within 1 s"):
        files.helper("slow", 1.0).get("q.io")
    assert time.monotonic() - begin < 20
    child = int((files.folder / "pid").read_text())
    end = time.monotonic() + 10
    while running(child) and time.monotonic() < end:
        time.sleep(0.02)
    assert not running(child)


def running(process):
    try:
        with open(f"/proc/{process}/stat", encoding="ascii") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_helper_that_fails_is_a_warning_once(files):
    files.add(credsStore="absent")
    files.auths(q_io="written")
    logins = files.logins()
    assert logins.credential("q.io", "a").user == "written"
    assert logins.credential("q.io", "b").user == "written"
    warned = [line for line in files.reporter.lines if "docker-credential-absent" in line]
    assert len(warned) == 1


def test_what_helpers_are_given(files):
    log = files.folder / "log"
    files.program("keep", f'echo "$@ $MARK" >>{log}; cat >>{log}; tr "\\0" " " </proc/$$/cmdline')
    helper = files.helper("keep")
    helper.store("q.io", Credential("ana", "geheim"))
    helper.erase("q.io")
    entry = '{"ServerURL": "q.io", "Username": "ana", "Secret": "geheim"}'
    mark = "from the environment"
    assert log.read_text() == f"store {mark}\n{entry}erase {mark}\nq.io"


def test_a_helper_that_cannot_store_says_no_secret(files):
    files.program("keep", 'echo "no place for $(cat)"; exit 1')
    with pytest.raises(HelperError, match="failed: no place for") as caught:
        files.helper("keep").store("q.io", Credential("ana", "geheim"))
    assert "geheim" not in str(caught.value)


def test_erasing_what_is_not_there(files):
    files.answering("keep", "credentials not found in native keychain", 1)
    files.helper("keep").erase("q.io")
