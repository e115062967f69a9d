"""``login`` and ``logout``, and pulls with logins: the command, with real registries."""

from __future__ import annotations

import base64
import json
import stat
from typing import TYPE_CHECKING

import pexpect
import pytest

from e2e import checks
from e2e.conftest import command
from fakes.registry import FakeRegistry, Fault, make_image
from image_maker.registry import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from e2e.conftest import Result, Udocker

pytestmark = pytest.mark.e2e

_USER, _PASSWORD = checks.USER, checks.PASSWORD
_PATIENCE = 60
_SECRETS = (_PASSWORD, base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode())


class Logins:
    """The command, with a user's own files of logins."""

    def __init__(self, udocker: Udocker, home: Path, store: Path) -> None:
        self._udocker = udocker
        self.home = home
        self.store = store
        self.file = home / ".udocker" / "auth.json"
        self.env: dict[str, str] = {}

    def __call__(self, *words: str, code: int = 0, input: str | None = None) -> Result:
        result = self._udocker(*words, check=False, input=input, env=self.env)
        assert result.code == code, result
        for secret in _SECRETS:
            assert secret not in result.out + result.err
        return result

    def log_in(self, *words: str, password: str = _PASSWORD, code: int = 0) -> Result:
        words = ("--debug", "login", "-u", _USER, "--password-stdin", *words)
        return self(*words, code=code, input=f"{password}\n")

    def fails(self, code: int, words: list[str], *parts: str, input: str = "") -> None:
        result = self(*words, code=code, input=input)
        checks.is_told(result, code, *parts)

    def kept(self) -> Mapping[str, Mapping[str, str]]:
        """The logins in udocker's own file."""
        auths: Mapping[str, Mapping[str, str]] = json.loads(self.file.read_text())["auths"]
        return auths


@pytest.fixture
def logins(udocker: Udocker, tmp_path: Path, store_path: Path) -> Logins:
    return Logins(udocker, tmp_path / "home", store_path)


@pytest.fixture(params=["basic", "bearer"])
def private(request: pytest.FixtureRequest) -> Iterator[FakeRegistry]:
    """A registry with an image for one user only."""
    with FakeRegistry(auth=request.param, users={_USER: _PASSWORD}, private=["a/b"]) as registry:
        make_image(registry, "a/b", "latest", [checks.file_layer("one")])
        yield registry


@pytest.fixture(scope="module")
def guarded(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry with the images and an htpasswd file."""
    users = tmp_path_factory.mktemp("htpasswd") / "users"
    users.write_text(checks.HTPASSWD)
    auth = {"htpasswd": {"realm": "guarded", "path": str(users)}}
    with serving(images / "registry", readonly=True, auth=auth) as address:
        yield address


# Against both kinds of registries


def test_in_pull_and_out(logins: Logins, private: FakeRegistry) -> None:
    logins.fails(125, ["pull", f"{private.host}/a/b"], "wants a login", "need a login")
    result = logins.log_in(private.host)
    assert result.out == "Login Succeeded\n"
    assert stat.S_IMODE(logins.file.stat().st_mode) == 0o600
    assert logins.kept() == {private.host: {"auth": _SECRETS[1]}}
    logins("--debug", "pull", f"{private.host}/a/b")
    assert logins("logout", private.host).out == f"Removed the login for {private.host}\n"
    logins.fails(1, ["logout", private.host], f"not logged in to {private.host}", "kept in")
    logins.fails(125, ["pull", f"{private.host}/a/b"], "wants a login")


def test_a_wrong_password_is_not_kept(logins: Logins, private: FakeRegistry) -> None:
    result = logins.log_in(private.host, password="wröng", code=125)
    assert private.host in result.err
    assert "check both" in result.err
    assert "wröng" not in result.err
    assert not logins.file.exists()


def test_a_wrong_password_leaves_the_right_one(logins: Logins, private: FakeRegistry) -> None:
    logins.log_in(private.host)
    before = logins.file.read_bytes()
    logins.log_in(private.host, password="other", code=125)
    assert logins.file.read_bytes() == before


def test_the_options_of_1_3(logins: Logins, private: FakeRegistry) -> None:
    words = [f"--username={_USER}", f"--password={_PASSWORD}", f"--registry=http://{private.host}"]
    result = logins("login", *words)
    assert "use --password-stdin" in result.err
    assert list(logins.kept()) == [private.host]
    logins("logout", f"--registry={private.host}")
    assert logins.kept() == {}


def test_at_a_terminal(logins: Logins, private: FakeRegistry) -> None:
    child = pexpect.spawn(
        command()[0],
        [*command()[1:], "login", private.host],
        env={"PATH": "/usr/bin:/bin", "HOME": str(logins.home), "LANG": "C.UTF-8", "TERM": "dumb"},
        timeout=_PATIENCE,
        encoding="utf-8",
    )
    child.expect_exact(f"Username for {private.host}: ")
    child.sendline(_USER)
    child.expect_exact(f"Password of {_USER} for {private.host}: ")
    child.sendline(_PASSWORD)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "Login Succeeded" in child.before
    assert _PASSWORD not in child.before
    assert list(logins.kept()) == [private.host]


def test_all_out(logins: Logins, private: FakeRegistry) -> None:
    logins.log_in(private.host)
    logins.log_in(f"{private.host}/team")
    assert logins("logout", "-a").out.splitlines() == [
        f"Removed the login for {private.host}",
        f"Removed the login for {private.host}/team",
    ]
    logins.fails(1, ["logout", "--all"], "no logins in", "names another")


# Debian's docker-registry


def test_a_real_registry(logins: Logins, guarded: str) -> None:
    logins.fails(125, ["pull", f"{guarded}/busybox"], "wants a login")
    logins.log_in(guarded, password="wrong", code=125)
    logins.log_in(guarded)
    logins("pull", f"{guarded}/busybox")


def test_podman_has_logged_in(logins: Logins, guarded: str, tmp_path: Path) -> None:
    file = tmp_path / "podman.json"
    entry = {"auth": _SECRETS[1]}
    file.write_text(json.dumps({"auths": {f"{guarded}/busybox": entry}}))
    logins.env = {"REGISTRY_AUTH_FILE": str(file)}
    logins("pull", f"{guarded}/busybox")
    file.write_text(json.dumps({"auths": {f"{guarded}/other": entry}}))
    logins.fails(125, ["pull", f"{guarded}/debian"], "wants a login")


def test_a_helper_program(logins: Logins, guarded: str, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "docker-credential-keep"
    program.parent.mkdir()
    kept = tmp_path / "kept"
    program.write_text(
        "#!/bin/sh\n"
        f"case $1 in store) cat >{kept};; erase) rm {kept};;\n"
        f'get) cat {kept} 2>/dev/null || {{ echo "credentials not found in it"; exit 1; }};; esac\n'
    )
    program.chmod(0o755)
    logins.file.parent.mkdir(parents=True)
    logins.file.write_text('{"credsStore": "keep", "more": 1}')
    logins.env = {"PATH": f"{program.parent}:/usr/bin:/bin"}
    result = logins.log_in(guarded)
    assert "is kept by docker-credential-keep" in result.err
    assert json.loads(logins.file.read_text()) == {
        "credsStore": "keep",
        "more": 1,
        "auths": {guarded: {}},
    }
    logins("pull", f"{guarded}/busybox")
    logins("logout", guarded)
    assert not kept.exists()
    logins.fails(125, ["pull", f"{guarded}/debian"], "wants a login")


# Files


def test_docker_has_logged_in(logins: Logins, private: FakeRegistry) -> None:
    folder = logins.home / ".docker"
    folder.mkdir()
    config = folder / "config.json"
    config.write_text(json.dumps({"auths": {private.host: {"auth": _SECRETS[1]}}}))
    before = config.read_bytes()
    logins("pull", f"{private.host}/a/b")
    logins.fails(1, ["logout", private.host], "not logged in", f"the login in {config} is another")
    assert config.read_bytes() == before


def test_a_helper_that_is_missing_is_no_obstacle(logins: Logins) -> None:
    folder = logins.home / ".docker"
    folder.mkdir()
    (folder / "config.json").write_text('{"credsStore": "desktop"}')
    with FakeRegistry(auth="bearer") as registry:
        make_image(registry, "a/b", "latest", [checks.file_layer("one")])
        result = logins("pull", f"{registry.host}/a/b")
    assert "docker-credential-desktop is not in PATH: going on without its login" in result.err


def test_a_broken_file_is_told_and_kept(logins: Logins, private: FakeRegistry) -> None:
    logins.file.parent.mkdir()
    logins.file.write_text("{ mine")
    asked = len(private.log)
    logins.log_in(private.host, code=2)
    assert len(private.log) == asked
    assert logins.file.read_text() == "{ mine"
    logins.fails(2, ["logout", private.host], "broken file of logins", "mend the file")


def test_a_file_that_cannot_be_written(logins: Logins, private: FakeRegistry) -> None:
    logins.file.parent.write_text("a file, and no directory")
    result = logins.log_in(private.host, code=125)
    assert "keeping the login" in result.err


def test_registry_auth_file(logins: Logins, private: FakeRegistry, tmp_path: Path) -> None:
    named = tmp_path / "named.json"
    logins.env = {"REGISTRY_AUTH_FILE": str(named)}
    logins.fails(2, ["pull", f"{private.host}/a/b"], f"cannot read {named}")
    logins.log_in(private.host)
    assert not logins.file.exists()
    logins("pull", f"{private.host}/a/b")


# Registries that do not check, and those that are none


def test_a_registry_that_asks_nobody(logins: Logins) -> None:
    with FakeRegistry() as registry:
        result = logins.log_in(registry.host)
        assert "asks for no login: the password is not checked" in result.err


def test_a_token_service_of_another_site_gets_no_password(logins: Logins) -> None:
    users = {_USER: _PASSWORD}
    one = FakeRegistry(auth="bearer", users=users)
    with one as registry, FakeRegistry("127.0.0.2", auth="bearer", users=users) as other:
        registry.challenge = f'Bearer realm="{other.url}/token",service="x"'
        registry.tokens = other.tokens  # what is given to anyone is accepted
        result = logins.log_in(registry.host, code=125)
        assert f"wants its login sent to {other.host}" in result.err
        assert all(each.authorization is None for each in other.log)
    assert not logins.file.exists()


def test_a_token_for_the_login_alone_is_for_no_repository(logins: Logins) -> None:
    with FakeRegistry(auth="bearer", users={_USER: _PASSWORD}) as registry:
        registry.challenge = 'Bearer realm="{url}/token",service="fake"'
        logins.log_in(registry.host)
        (asked,) = registry.requests("/token")
        assert asked.query == {"service": ["fake"]}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=404), "does not answer as a registry"),
        (Fault(status=200, body=b"<html>", headers={"Content-Type": "text/html"}), "HTML page"),
        (Fault(status=503), "failed with status 503"),
        (Fault(drop=True), "closed the connection"),
        (Fault(status=429, headers={"Retry-After": "3600"}), "in 60 min"),
        (Fault(status=401), "wants a login"),
        (Fault(status=401, headers={"WWW-Authenticate": "Negotiate"}), "negotiate"),
    ],
)
def test_a_server_that_is_no_help(logins: Logins, fault: Fault, words: str) -> None:
    with FakeRegistry() as registry:
        registry.fault("/v2/", fault)
        assert words in logins.log_in(registry.host, code=125).err
    assert not logins.file.exists()


# Command lines


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["login"], ["no terminal", "--password-stdin"]),
        (["login", "-u", "a"], ["no terminal", "--password-stdin"]),
        (["login", "--password-stdin"], ["needs --username"]),
        (["login", "-u", "a", "-p", "b", "--password-stdin"], ["at once"]),
        (["login", "-u", "a", "--password-stdin", "q.io"], ["password is empty"]),
        (["login", "-u", "a", "-p", "", "q.io"], ["password is empty"]),
        (["login", "-u", "", "-p", "b", "q.io"], ["user name is empty"]),
        (["login", "-u", "a:b", "-p", "b", "q.io"], ["no colon"]),
        (["login", "-u", "a\nb", "-p", "b", "q.io"], ["no control characters"]),
        (["login", "-u", "a", "-p", "b\nc", "q.io"], ["one line"]),
        (["login", "-u", "a", "-p", "b", "q.io", "r.io"], ["unexpected argument 'r.io'"]),
        (["login", "-u", "a", "-p", "b", "q.io", "--registry=r.io"], ["name two registries"]),
        (["login", "-u", "a", "-p", "b", "quay"], ["not a registry host"]),
        (["login", "-u", "a", "-p", "b", ""], ["not a registry host"]),
        (["login", "-u", "a", "-p", "b", "q.io/Team"], ["not a registry, or a namespace"]),
        (["login", "-u", "a", "-p", "b", "q.io/team:1"], ["not a registry, or a namespace"]),
        (["login", "-u", "a", "-p", "b", "https://u:p@q.io"], ["not a registry host"]),
        (["login", "-u", "a", "-p", "b", "q.io:99999"], ["not a registry host"]),
        (["logout", "-a", "q.io"], ["at once"]),
        (["logout", "quay"], ["not a registry host"]),
    ],
)
def test_a_bad_command_line(logins: Logins, words: list[str], parts: list[str]) -> None:
    result = logins(*words, code=2)
    for part in parts:
        assert part in result.err
    assert not logins.file.exists()


def test_a_password_that_is_too_long(logins: Logins) -> None:
    words = ["login", "-u", "a", "--password-stdin", "q.io"]
    assert "longer than" in logins(*words, code=2, input="x" * 100_000).err


def test_docker_hub_is_the_default(logins: Logins) -> None:
    assert "not logged in to docker.io" in logins("logout", code=1).err
    logins.file.parent.mkdir()
    entry = {"auth": _SECRETS[1]}
    logins.file.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": entry}}))
    assert logins("logout").out == "Removed the login for docker.io\n"
    assert logins.kept() == {}
