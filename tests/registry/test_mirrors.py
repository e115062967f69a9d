"""Where images are asked for: rules, the files they are from, and pulls with them."""

from __future__ import annotations

import base64
import json
import random

import pytest

from fakes.registry import FakeRegistry, Fault, make_image, make_layer
from registry.clients import Client, make_settings
from udocker.errors import (
    ConfigError,
    ForbiddenError,
    NotFoundError,
    UnauthorizedError,
    UnreachableError,
    VerificationError,
)
from udocker.model.reference import Reference
from udocker.registry.mirrors import Mirror, Mirrors, Place, Rule
from udocker.registry.registries_conf import load_rules, registries_files

LAYER = make_layer({"a": random.Random(1).randbytes(5000)})
OTHER_LAYER = make_layer({"b": random.Random(2).randbytes(5000)})
DIGEST = f"sha256:{'0' * 64}"


def places(rules, name):
    found = Mirrors(lambda: rules).places(Reference.parse(name))
    return [f"{place}{' insecure' if place.insecure else ''}" for place in found]


# Rules


def test_without_rules_there_is_the_registry():
    assert places([], "debian:12") == ["docker.io/library/debian"]


@pytest.mark.parametrize(
    ("prefix", "name", "expected"),
    [
        ("q.io", "q.io/team/app", "m.io/x/team/app"),
        ("q.io/team", "q.io/team/app:1", "m.io/x/app"),
        ("q.io/team/app", "q.io/team/app:1", "m.io/x"),
        ("q.io/team/app:1", "q.io/team/app:1", "m.io/x"),
        ("q.io/team/app:1", "q.io/team/app:12", None),
        ("q.io/team/ap", "q.io/team/app", None),
        ("q.io", "q.io:5000/app", "m.io/x:5000/app"),
        ("q.io", "cdn.q.io/app", None),
        ("q.io", "q.ion/app", None),
        ("*.q.io", "cdn.q.io/app", "m.io/x/app"),
        ("*.q.io", "a.b.q.io/app", "m.io/x/app"),
        ("*.q.io", "q.io/app", None),
        ("*.q.io", "evil.com/x.q.io/app", None),
        ("*.q.io", "a.q.io.evil.com/app", None),
        ("*.q.io", "a.q.io.b.q.io/app", "m.io/x/app"),
        ("*.q.io/team", "a.q.io/team/app", "m.io/x/app"),
        ("*.q.io/team", "a.q.io/teams/app", None),
        ("docker.io", "debian", "m.io/x/library/debian"),
        ("docker.io/library", "debian", "m.io/x/debian"),
    ],
)
def test_what_a_prefix_means(prefix, name, expected):
    found = Mirrors(lambda: [Rule(prefix, "m.io/x")]).places(Reference.parse(name))
    own = Reference.parse(name).name
    assert [str(place) for place in found] == [expected or own]


def test_the_longest_prefix_counts():
    rules = [Rule("q.io/a", "long.io"), Rule("q.io", "short.io"), Rule("q.io/a/b/c", "none.io")]
    assert places(rules, "q.io/a/b") == ["long.io/b"]


def test_mirrors_come_first():
    mirrors = (Mirror("one.io/hub", True), Mirror("two.io"), Mirror("one.io/hub", True))
    rules = [Rule("docker.io", mirrors=mirrors, insecure=True)]
    assert places(rules, "debian") == [
        "one.io/hub/library/debian insecure",
        "two.io/library/debian",
        "docker.io/library/debian insecure",
    ]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("q.io/a:1", ["all.io/a", "tags.io/a", "q.io/a"]),
        (f"q.io/a@{DIGEST}", ["all.io/a", "digests.io/a", "q.io/a"]),
        (f"q.io/a:1@{DIGEST}", ["all.io/a", "digests.io/a", "q.io/a"]),
    ],
)
def test_what_mirrors_are_for(name, asked):
    kinds = {"all": "all.io", "digest-only": "digests.io", "tag-only": "tags.io"}
    mirrors = tuple(Mirror(host, serves=kind) for kind, host in kinds.items())
    assert places([Rule("q.io", mirrors=mirrors)], name) == asked


def test_what_is_blocked_is_not_pulled():
    rules = [Rule("q.io", blocked=True, file="/the/file"), Rule("q.io/good")]
    with pytest.raises(ForbiddenError, match=r"q\.io is blocked by /the/file") as caught:
        places(rules, "q.io/bad/app")
    assert caught.value.hint
    assert places(rules, "q.io/good/app") == ["q.io/good/app"]


def test_a_location_that_names_no_image():
    with pytest.raises(ConfigError, match="names no image"):
        places([Rule("q.io/a", "m.io", file="/the/file")], "q.io/a:1")


def test_the_registry_to_log_in_to():
    mirrors = Mirrors(lambda: [Rule("q.io", "m.io", insecure=True)])
    assert mirrors.server("q.io") == Place("q.io", "", True)
    assert mirrors.server("r.io") == Place("r.io", "", False)


def test_rules_are_read_late_and_once():
    calls = []
    mirrors = Mirrors(lambda: calls.append(1) or ())
    assert not calls
    mirrors.server("q.io")
    mirrors.server("q.io")
    assert calls == [1]


# Files


def rules_of(tmp_path, text):
    path = tmp_path / "registries.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_rules((str(path),))


def test_a_whole_file(tmp_path):
    text = """
unqualified-search-registries = ["fedora.example", "docker.io"]
short-name-mode = "enforcing"
[aliases]
"debian" = "evil.example/debian"

[[registry]]
location = "index.docker.io"
[[registry.mirror]]
location = "127.0.0.1:5000/hub/"
insecure = true
[[registry.mirror]]
location = "m.io"
pull-from-mirror = "digest-only"

[[registry]]
prefix = "*.q.io"
location = "q.example:5000/all"
blocked = false
mirror-by-digest-only = true
unknown = 1
[[registry.mirror]]
location = "m.io"
[[registry.mirror]]
location = "n.io"
pull-from-mirror = "tag-only"
"""
    file = str(tmp_path / "registries.conf")
    hub = (Mirror("127.0.0.1:5000/hub", True), Mirror("m.io", False, "digest-only"))
    other = (Mirror("m.io", False, "digest-only"), Mirror("n.io", False, "tag-only"))
    assert rules_of(tmp_path, text) == (
        Rule("docker.io", "docker.io", mirrors=hub, file=file),
        Rule("*.q.io", "q.example:5000/all", mirrors=other, file=file),
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "[aliases]\na = 'b/c'\n", "[engine]\nx = 1"])
def test_files_without_rules(tmp_path, text):
    assert rules_of(tmp_path, text) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[registry]", "it is not TOML"),
        (b"\xff\xfe", "it is not TOML"),
        ("a = " + "[" * 100_000, "it is not TOML"),
        ("[registries.search]\nregistries = ['a']", "version 1"),
        ("registry = 3", "registry is not a list"),
        ("registry = [3]", "registry is not a list"),
        ("[[registry]]\nblocked = true", "neither prefix nor location"),
        ("[[registry]]\nlocation = 3", "location is not text"),
        ("[[registry]]\nlocation = 'q.io'\nblocked = 'yes'", "blocked is not true or false"),
        ("[[registry]]\nlocation = 'q.io'\ninsecure = 1", "insecure is not true or false"),
        ("[[registry]]\nlocation = 'http://q.io'", "'http://q.io' is not host"),
        ("[[registry]]\nprefix = 'quay'", "prefix 'quay' is not host"),
        ("[[registry]]\nlocation = 'q.io/A b'", "location 'q.io/A b' is not host|prefix"),
        ("[[registry]]\nprefix = 'q.io'\nlocation = 'm.io/a:1'", "has a tag or a digest"),
        ("[[registry]]\nlocation = 'q.io'\nmirror = 'm.io'", "mirrors of q.io are not a list"),
        ("[[registry]]\nlocation = 'q.io'\n[[registry.mirror]]\ninsecure = true", "no location"),
        (
            "[[registry]]\nlocation = 'q.io'\n[[registry.mirror]]\nlocation = 'm.io'\n"
            "pull-from-mirror = 'never'",
            "all, digest-only, tag-only, not 'never'",
        ),
        (b"#" * (2 << 20), "longer than"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        rules_of(tmp_path, text)
    assert caught.value.message.startswith(f"{tmp_path}/registries.conf: ")
    assert "\n" not in caught.value.message
    assert "CONTAINERS_REGISTRIES_CONF" in caught.value.hint


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*No such file"):
        load_rules((str(tmp_path / "absent"),))


def test_later_files_count_more(tmp_path):
    for name, text in {"a": "insecure = true", "b": "blocked = true"}.items():
        (tmp_path / name).write_text(f"[[registry]]\nlocation = 'q.io'\n{text}")
    (rule,) = load_rules((str(tmp_path / "a"), str(tmp_path / "b")))
    assert (rule.insecure, rule.blocked) == (False, True)


def test_which_files_are_read(tmp_path):
    user = tmp_path / ".config" / "containers"
    (user / "registries.conf.d").mkdir(parents=True)
    hosts = registries_files({}, "")
    assert not [path for path in hosts if not path.startswith("/etc/containers/registries.conf")]
    for name in ("registries.conf", "registries.conf.d/b.conf", "registries.conf.d/a.conf"):
        (user / name).write_text("")
    (user / "registries.conf.d" / "c.txt").write_text("")
    mine = [f"{user}/registries.conf.d/{name}" for name in ("a.conf", "b.conf")]
    fragments = [path for path in hosts if path != "/etc/containers/registries.conf"]
    assert list(registries_files({}, str(tmp_path))) == [
        f"{user}/registries.conf",
        *fragments,
        *mine,
    ]
    assert registries_files({"CONTAINERS_REGISTRIES_CONF": "x"}, str(tmp_path)) == ("x",)
    moved = registries_files({"XDG_CONFIG_HOME": f"{tmp_path}/.config"}, "")
    assert moved == registries_files({}, str(tmp_path))


# Pulls


@pytest.fixture
def mirror():
    with FakeRegistry("127.0.0.2") as registry:
        yield registry


class Pulls:
    """A registry, a mirror of all it has below ``hub/``, and a client that knows of both."""

    def __init__(self, config, fake, mirror, **changes):
        self.fake = fake
        self.mirror = mirror
        self.name = f"{fake.host}/a/b:1"
        self.image = make_image(fake, "a/b", "1", [LAYER, OTHER_LAYER])
        rules = [Rule(fake.host, mirrors=(Mirror(f"{mirror.host}/hub"),))]
        self.client = Client(config, make_settings(**changes), rules)

    def copy(self):
        """The mirror gets what the registry has."""
        make_image(self.mirror, "hub/a/b", "1", [LAYER, OTHER_LAYER])

    def pull(self):
        """Fetch the image; its layers."""
        found = self.client.resolve(self.name)
        assert str(found.manifest.digest) == self.image.digest
        layers = found.manifest.layers
        reference = Reference.parse(self.name)
        self.client.registry.download(reference, layers, self.client.sinks)
        return sorted(self.client.sinks.committed())

    def lines(self, part):
        return [line for line in self.client.reporter.lines if part in line]


@pytest.fixture
def pulls(docker_config, fake, mirror):
    return Pulls(docker_config, fake, mirror)


LAYERS = sorted((LAYER, OTHER_LAYER))


def test_a_mirror_is_enough(pulls):
    pulls.copy()
    assert pulls.pull() == LAYERS
    assert pulls.fake.log == []
    assert pulls.lines(f"{pulls.name} comes from {pulls.mirror.host}/hub/a/b")


def test_a_mirror_without_the_image(pulls):
    assert pulls.pull() == LAYERS
    assert pulls.lines(f"mirror {pulls.mirror.host}: {pulls.name}: no such image or tag")
    assert not pulls.lines("comes from")
    assert not [each for each in pulls.mirror.log if "blobs" in each.path]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=403),
        Fault(status=401),
        Fault(status=429, headers={"Retry-After": "3600"}),
        Fault(drop=True),
        Fault(status=200, body=b"<html>", headers={"Content-Type": "text/html"}),
        Fault(flip=3),
        Fault(truncate=10),
    ],
)
def test_a_mirror_that_fails_at_once(pulls, fault):
    pulls.copy()
    pulls.mirror.fault("/manifests/", fault)
    assert pulls.pull() == LAYERS
    assert pulls.lines(f"mirror {pulls.mirror.host}: ")


def test_a_mirror_that_is_not_there(docker_config, fake):
    with FakeRegistry("127.0.0.2") as gone:
        pass
    pulls = Pulls(docker_config, fake, gone)
    assert pulls.pull() == LAYERS
    assert pulls.lines("connection refused")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=404),
        Fault(status=500),
        Fault(status=403),
        Fault(drop=True),
        Fault(flip=100),
        Fault(truncate=100),
        Fault(append=b"more"),
        Fault(status=307, headers={"Location": "ftp://x"}),
        Fault(status=200, body=b"<html>", headers={"Content-Type": "text/html"}),
    ],
)
def test_a_mirror_whose_layers_are_bad(pulls, fault):
    pulls.copy()
    pulls.client.resolve(pulls.name)  # the configuration is a blob, too
    pulls.mirror.fault("/blobs/", fault)
    pulls.client.download(pulls.name, *json.loads(pulls.image.manifest)["layers"])
    assert sorted(pulls.client.sinks.committed()) == LAYERS
    assert [each for each in pulls.fake.log if "blobs" in each.path]


def test_a_mirror_that_is_silent(docker_config, fake, mirror):
    pulls = Pulls(docker_config, fake, mirror, stall_timeout=1, tries=1)
    pulls.copy()
    mirror.fault("/manifests/", Fault(stall=0))
    assert pulls.pull() == LAYERS


def test_when_all_fail_the_registry_has_the_last_word(pulls):
    pulls.mirror.fault("/manifests/", Fault(status=403))
    pulls.fake.manifests.clear()
    with pytest.raises(NotFoundError, match=f"in {pulls.fake.host}"):
        pulls.pull()


def test_when_all_layers_are_bad(pulls):
    pulls.copy()
    pulls.client.resolve(pulls.name)
    for registry in (pulls.mirror, pulls.fake):
        registry.fault("/blobs/", Fault(flip=100))
    with pytest.raises(VerificationError):
        pulls.client.download(pulls.name, json.loads(pulls.image.manifest)["layers"][0])
    assert pulls.client.sinks.committed() == []


# Logins


def log_in(config, **users):
    encoded = {u: base64.b64encode(f"{u}:pass".encode()).decode() for u in users}
    config.write_text(json.dumps({"auths": {users[u]: {"auth": encoded[u]} for u in users}}))


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_each_place_has_its_own_login(docker_config, kind):
    one = FakeRegistry(auth=kind, users={"own": "pass"}, private=["a/b"])
    two = FakeRegistry("127.0.0.2", auth=kind, users={"hub": "pass"}, private=["hub/a/b"])
    with one as fake, two as mirror:
        pulls = Pulls(docker_config, fake, mirror)
        pulls.copy()
        log_in(docker_config, own=fake.host, hub=f"{mirror.host}/hub")
        mirror.fault("/blobs/", Fault(status=404))
        assert pulls.pull() == LAYERS
        for registry, stranger in ((fake, "hub:pass"), (mirror, "own:pass")):
            sent = "".join(each.authorization or "" for each in registry.log)
            assert sent
            assert base64.b64encode(stranger.encode()).decode() not in sent


def test_a_mirror_without_a_login_gets_none(docker_config, fake):
    with FakeRegistry("127.0.0.2", auth="basic", users={"own": "pass"}) as mirror:
        pulls = Pulls(docker_config, fake, mirror)
        pulls.copy()
        log_in(docker_config, own=fake.host)
        assert pulls.pull() == LAYERS
        assert all(each.authorization is None for each in mirror.log)
        pulls.fake.manifests.clear()
        with pytest.raises(NotFoundError):
            pulls.client.resolve(pulls.name)


def test_a_location_in_place_of_a_registry(docker_config, mirror):
    image = make_image(mirror, "copies/app", "1", [LAYER])
    rules = [Rule("corp.invalid/team", f"{mirror.host}/copies")]
    client = Client(docker_config, make_settings(), rules)
    found = client.resolve("corp.invalid/team/app:1")
    assert str(found.manifest.digest) == image.digest


def test_insecure_is_for_that_place_only(docker_config, secure):
    make_image(secure, "a/b", "1", [LAYER])
    rules = [Rule(f"{secure.host}/a", insecure=True)]
    client = Client(docker_config, make_settings(), rules)
    client.resolve(f"{secure.host}/a/b:1")
    with pytest.raises(UnreachableError, match="speaks https, not http"):
        client.resolve(f"{secure.host}/b/c:1")


def test_unauthorized_everywhere(docker_config):
    with FakeRegistry(auth="basic") as fake, FakeRegistry("127.0.0.2", auth="basic") as mirror:
        pulls = Pulls(docker_config, fake, mirror)
        with pytest.raises(UnauthorizedError, match=f"{fake.host} wants a login"):
            pulls.pull()
