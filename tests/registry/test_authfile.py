"""A file of logins: what is found in it, what is written to it; no program is run here."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading

import pytest

from udocker.errors import ConfigError
from udocker.registry.authfile import AuthFile, scope_of
from udocker.registry.credential import Credential

ANA = Credential("ana", "geheim")


def encoded(pair):
    return base64.b64encode(pair.encode()).decode()


def login(path, registry, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return AuthFile(str(path)).login(registry)


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("quay.io", "quay.io"),
        ("https://quay.io", "quay.io"),
        ("https://quay.io/v2/", "quay.io"),
        ("quay.io/v1/", "quay.io"),
        ("http://localhost:5000", "localhost:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("Quay.io", "QUAY.IO"),
    ],
)
def test_keys_of_logins(docker_config, key, registry):
    found = login(docker_config, registry, {"auths": {key: {"auth": encoded("ana:geheim")}}})
    assert (found.user, found.password) == ("ana", "geheim")


@pytest.mark.parametrize("registry", ["quay.io:5000", "io", "cdn.quay.io", "docker.io"])
def test_a_login_is_for_its_registry_only(docker_config, registry):
    data = {"auths": {"quay.io": {"auth": encoded("ana:geheim")}}}
    assert login(docker_config, registry, data) is None


def test_the_exact_key_comes_first(docker_config):
    auths = {"https://q.io/v1/": {"auth": encoded("old:x")}, "q.io": {"auth": encoded("new:x")}}
    assert login(docker_config, "q.io", {"auths": auths}).user == "new"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": encoded("ana:pass:word")}, ("ana", "pass:word", "")),
        ({"auth": encoded("ana:geheim\0\0")}, ("ana", "geheim", "")),
        ({"auth": encoded("ana:gehäim")}, ("ana", "gehäim", "")),
        ({"username": "ana", "password": "geheim"}, ("ana", "geheim", "")),
        ({"identitytoken": "idt"}, ("", "", "idt")),
        ({"auth": encoded("ana:"), "identitytoken": "idt"}, ("ana", "", "idt")),
    ],
)
def test_kinds_of_logins(docker_config, entry, expected):
    found = login(docker_config, "q.io", {"auths": {"q.io": entry}})
    assert (found.user, found.password, found.identity_token) == expected


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"auths": {}},
        {"auths": None},
        {"auths": {"other.io": {"auth": "broken, and of no interest"}}},
        {"auths": {"q.io": {}}, "credsStore": "desktop"},
        {"auths": {"q.io": {"auth": ""}}, "credHelpers": {"q.io": "gcloud"}},
        {"credHelpers": {"q.io": "gcloud"}},
        {"auths": {"q.io": {"username": "ana"}}},
        "",
        "  \n",
    ],
)
def test_no_login(docker_config, data):
    assert login(docker_config, "q.io", data) is None


@pytest.mark.parametrize("name", ["missing.json", "a-file/config.json"])
def test_no_file_is_no_login(tmp_path, name):
    (tmp_path / "a-file").write_text("x")
    assert AuthFile(str(tmp_path / name)).login("q.io") is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\xff\xfe", "not JSON"),
        ("[]", "does not hold an object"),
        ("3", "does not hold an object"),
        ({"auths": ["q.io"]}, "not an object"),
        ({"auths": {"q.io": "geheim"}}, "q.io is not an object"),
        ({"auths": {"q.io": {"auth": 3}}}, "something else than text"),
        ({"auths": {"q.io": {"auth": "geheim"}}}, "q.io is not user:password"),
        ({"auths": {"q.io": {"auth": "!!!!"}}}, "q.io is not user:password"),
        ({"auths": {"q.io": {"auth": encoded("geheim")}}}, "q.io is not user:password"),
    ],
)
def test_a_broken_file_is_named(docker_config, data, words):
    with pytest.raises(ConfigError, match=words) as caught:
        login(docker_config, "q.io", data)
    assert str(docker_config) in caught.value.message
    assert "geheim" not in caught.value.message
    assert caught.value.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*Is a directory"):
        AuthFile(str(tmp_path)).login("q.io")


def test_the_file_is_read_late_and_once(docker_config):
    file = AuthFile(str(docker_config))
    docker_config.write_text(json.dumps({"auths": {"q.io": {"auth": encoded("ana:x")}}}))
    assert file.login("q.io").user == "ana"
    docker_config.unlink()
    assert file.login("q.io").user == "ana"


# Namespaces


@pytest.mark.parametrize(
    ("repository", "user"),
    [
        ("team/app", "app"),
        ("team/app/part", "app"),
        ("team/application", "team"),
        ("team/other", "team"),
        ("team", "team"),
        ("teams/app", "all"),
        ("", "all"),
    ],
)
def test_the_longest_part_of_a_name_counts(docker_config, repository, user):
    names = {"q.io/team": "team", "q.io": "all", "q.io/team/app": "app", "q.io/x": "x"}
    auths = {key: {"auth": encoded(f"{name}:p")} for key, name in names.items()}
    docker_config.write_text(json.dumps({"auths": auths}))
    assert AuthFile(str(docker_config)).login("q.io", repository).user == user


def test_a_login_for_a_namespace_is_for_nothing_else(docker_config):
    docker_config.write_text(json.dumps({"auths": {"docker.io/corp": {"auth": encoded("a:b")}}}))
    file = AuthFile(str(docker_config))
    assert file.login("docker.io", "library/debian") is None
    assert file.login("docker.io") is None
    assert file.login("other.io", "corp/app") is None
    assert file.login("docker.io", "corp/app").user == "a"


@pytest.mark.parametrize(
    ("key", "scope"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("https://q.io/any/path", "q.io"),
        ("q.io/Team/", "q.io/team"),
        ("q.io:5000/v2", "q.io:5000"),
        ("[::1]:5000", "[::1]:5000"),
        ("", ""),
    ],
)
def test_what_a_key_is_for(key, scope):
    assert scope_of(key) == scope


# Helpers


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({}, ""),
        ({"credsStore": "desktop"}, "desktop"),
        ({"credsStore": "desktop", "credHelpers": {"q.io": "ecr-login"}}, "ecr-login"),
        ({"credHelpers": {"https://Q.io": "ecr-login"}}, "ecr-login"),
        ({"credHelpers": {"r.io": "ecr-login"}}, ""),
        ({"credsStore": None, "credHelpers": None}, ""),
    ],
)
def test_the_helper_of_a_registry(docker_config, data, name):
    docker_config.write_text(json.dumps(data))
    assert AuthFile(str(docker_config)).helper("q.io") == name


@pytest.mark.parametrize(
    "data", [{"credsStore": 3}, {"credHelpers": ["q.io"]}, {"credHelpers": {"q.io": {}}, "a": 1}]
)
def test_a_helper_that_is_no_name(docker_config, data):
    docker_config.write_text(json.dumps(data))
    if data.get("credHelpers") == {"q.io": {}}:
        assert AuthFile(str(docker_config)).helper("q.io") == ""
        return
    with pytest.raises(ConfigError, match="broken file of logins"):
        AuthFile(str(docker_config)).helper("q.io")


# Writing


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_new_file_is_for_its_owner_only(tmp_path):
    path = tmp_path / "new" / "auth.json"
    before = os.umask(0)
    try:
        AuthFile(str(path)).put("q.io", ANA)
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert json.loads(path.read_text()) == {"auths": {"q.io": {"auth": encoded("ana:geheim")}}}


@pytest.mark.parametrize(("old", "new"), [(0o644, 0o600), (0o400, 0o400), (0o660, 0o600)])
def test_an_old_file_gets_no_more_readable(docker_config, old, new):
    docker_config.write_text("{}")
    docker_config.chmod(old)
    AuthFile(str(docker_config)).put("q.io", ANA)
    assert mode(docker_config) == new


def test_what_is_not_known_stays(docker_config):
    data = {"HttpHeaders": {"a": "ü"}, "auths": {"r.io": {"auth": "x", "email": "y"}}, "n": [1]}
    docker_config.write_text(json.dumps(data))
    AuthFile(str(docker_config)).put("q.io", ANA)
    found = json.loads(docker_config.read_text())
    assert found.pop("auths").pop("r.io") == data["auths"]["r.io"]
    assert found == {"HttpHeaders": {"a": "ü"}, "n": [1]}
    assert AuthFile(str(docker_config)).remove("r.io")
    assert AuthFile(str(docker_config)).login("q.io") == ANA


def test_another_spelling_is_replaced(docker_config):
    docker_config.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": "x"}}}))
    AuthFile(str(docker_config)).put("docker.io", ANA)
    assert list(json.loads(docker_config.read_text())["auths"]) == ["docker.io"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "auth.json", tmp_path / "auth.json"
    target.write_text("{}")
    link.symlink_to(target)
    AuthFile(str(link)).put("q.io", ANA)
    assert link.is_symlink()
    assert AuthFile(str(target)).login("q.io") == ANA


def test_removing(docker_config):
    file = AuthFile(str(docker_config))
    assert not file.remove("q.io")
    assert not docker_config.exists()
    file.put("q.io", ANA)
    assert not file.remove("q.io/team")
    assert file.remove("q.io")
    assert file.login("q.io") is None
    assert json.loads(docker_config.read_text()) == {"auths": {}}


def test_a_broken_file_is_not_overwritten(docker_config):
    docker_config.write_text("{ mine")
    with pytest.raises(ConfigError):
        AuthFile(str(docker_config)).put("q.io", ANA)
    assert docker_config.read_text() == "{ mine"


def test_a_directory_that_cannot_be_written_changes_nothing(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "auth.json").write_text("{}")
    folder.chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("host: root may write everywhere")
        with pytest.raises(OSError, match="Permission denied"):
            AuthFile(str(folder / "auth.json")).put("q.io", ANA)
        assert (folder / "auth.json").read_text() == "{}"
    finally:
        folder.chmod(0o700)


def test_logins_at_once_are_all_kept(docker_config):
    names = [f"r{number}.io" for number in range(8)]
    threads = [
        threading.Thread(target=AuthFile(str(docker_config)).put, args=(name, ANA))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(AuthFile(str(docker_config)).names()) == names


def test_a_required_file_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*absent"):
        AuthFile(str(tmp_path / "absent"), required=True).login("q.io")
