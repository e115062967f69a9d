"""``search``: an index like Docker Hub's, catalogues, tags; the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from fakes.registry import FakeRegistry, Fault, make_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from e2e.conftest import Udocker

pytestmark = pytest.mark.e2e

_JSON = {"Content-Type": "application/json"}


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


def answer(
    fake: FakeRegistry, part: str, data: object, times: int | None = None, link: str = ""
) -> None:
    """Requests whose paths hold ``part`` are answered so."""
    headers = {**_JSON, "Link": link}
    fault = Fault(times, status=200, body=json.dumps(data).encode(), headers=headers)
    fake.fault(part, fault)


def hub_entry(name: str, **more: object) -> dict[str, object]:
    return {"repo_name": name, "short_description": f"all of\n{name}", "star_count": 3, **more}


def as_json(udocker: Udocker, *words: str) -> Any:
    return json.loads(udocker("search", "--json", *words).out)


def test_an_index_like_docker_hubs(udocker: Udocker, fake: FakeRegistry) -> None:
    entries = [hub_entry("debian", is_official=True), hub_entry("x/\x1b[31mred"), hub_entry("x/b")]
    answer(fake, "/v2/search/repositories/", {"count": 3, "next": None, "results": entries})
    lines = udocker("search", f"--index={fake.url}/below/", "a b&c").out.splitlines()
    assert lines[0].split() == ["NAME", "OFFICIAL", "STARS", "DESCRIPTION"]
    assert lines[1].split() == ["debian", "[OK]", "3", "all", "of", "debian"]
    assert lines[2].split() == ["x/b", "3", "all", "of", "x/b"]
    assert len(lines) == 3
    (asked,) = fake.log
    assert asked.path.startswith("/below/v2/search/repositories/?")
    assert asked.query == {"query": ["a b&c"], "page_size": ["25"], "page": ["1"]}


def test_pages_of_an_index(udocker: Udocker, fake: FakeRegistry) -> None:
    for number in (1, 2, 3):
        results = [hub_entry(f"p{number}/{each}") for each in range(100)]
        answer(fake, f"page={number}", {"next": "more", "results": results})
    found = as_json(udocker, "--limit=150", f"--index={fake.url}", "x")
    assert len(found) == 150
    assert found[149] == {
        "name": "p2/49",
        "description": "all of p2/49",
        "stars": 3,
        "official": False,
    }
    assert len(fake.log) == 2


def test_a_search_of_the_registrys_own(udocker: Udocker, fake: FakeRegistry) -> None:
    entries = [{"name": "team/app", "description": "ü" * 100}, {"name": 3}, "x", {}]
    answer(fake, "/v1/search", {"results": entries})
    assert as_json(udocker, f"{fake.host}/app")[0]["name"] == "team/app"
    assert fake.log[0].query == {"q": ["app"], "n": ["25"]}
    row = udocker("search", f"--registry=http://{fake.host}", "app").out.splitlines()[1]
    assert row.endswith("ü…")
    assert "ü" * 100 in udocker("search", "--no-trunc", f"{fake.host}/app").out


def test_a_real_catalogue(udocker: Udocker, registry: str) -> None:
    assert [each["name"] for each in as_json(udocker, f"{registry}/BUSY")] == ["busybox"]
    assert as_json(udocker, "--registry", registry, "no-such-image") == []
    assert "latest" in udocker("search", "--list-tags", f"{registry}/busybox").out.splitlines()


def test_pages_of_a_catalogue_and_of_tags(udocker: Udocker, fake: FakeRegistry) -> None:
    for path, key in (("/v2/_catalog", "repositories"), ("/v2/a/b/tags/list", "tags")):
        answer(fake, f"{path}?last=one", {key: ["two", 3, "\x1b"]})
        answer(fake, path, {key: ["one"]}, link=f'<{path}?last=one&n=1000>; rel="next"')
    assert udocker("search", "--list-tags", f"{fake.host}/a/b").out == "one\ntwo\n"
    found = as_json(udocker, f"{fake.host}/o")
    assert [each["name"] for each in found] == ["one", "two"]
    assert as_json(udocker, "--limit", "1", f"{fake.host}/o")[0]["name"] == "one"


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("</v2/a/b/tags/list?n=1000>; rel=next", "does not come to an end"),
        ('<http://127.0.0.2:1/v2/x>; rel="next"', "continues its list at 127.0.0.2:1"),
        ('<ftp://x/v2/x>; rel="next"', "no http URL"),
    ],
)
def test_pages_that_lead_astray(
    udocker: Udocker, fake: FakeRegistry, link: str, words: str
) -> None:
    answer(fake, "/tags/list", {"tags": ["one"]}, link=link)
    result = udocker("search", "--list-tags", f"{fake.host}/a/b", check=False)
    checks.is_told(result, 125, words, hint=False)


def test_tags_with_a_login(udocker: Udocker) -> None:
    users = {"jane": "pass"}
    with FakeRegistry(auth="bearer", users=users, private=["a/b"]) as fake:
        make_image(fake, "a/b", "1", [checks.file_layer("one")])
        words = ["search", "--list-tags", f"{fake.host}/a/b"]
        checks.is_told(udocker(*words, check=False), 125, "wants a login")
        udocker("login", "-u", "jane", "--password-stdin", fake.host, input="pass")
        assert udocker(*words).out == "1\n"
        assert fake.requests("/tags/list")[-1].authorization


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(times=0), "no such image or tag"),
        (Fault(status=500), "failed with status 500"),
        (Fault(status=200, body=b"<html>", headers={"Content-Type": "text/html"}), "HTML page"),
        (Fault(status=200, body=b"{", headers=_JSON), "does not answer with a JSON object"),
        (Fault(status=200, body=b"[]", headers=_JSON), "does not answer with a JSON object"),
        (Fault(drop=True), "closed the connection"),
    ],
)
def test_registries_that_fail(
    udocker: Udocker, fake: FakeRegistry, fault: Fault, words: str
) -> None:
    fake.fault("/tags/list", fault)
    result = udocker("search", "--list-tags", f"{fake.host}/a/b", check=False)
    checks.is_told(result, 125, words, hint=False)


def test_an_index_without_results(udocker: Udocker, fake: FakeRegistry) -> None:
    answer(fake, "/search/", {"results": None})
    result = udocker("search", f"--index={fake.url}", "x", check=False)
    checks.is_told(result, 125, "answers without results", hint=False)


def test_a_registry_that_shows_no_catalogue(udocker: Udocker, fake: FakeRegistry) -> None:
    result = udocker("search", f"{fake.host}/x", check=False)
    checks.is_told(result, 125, "has no search and no catalogue")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["search"], "an argument is missing"),
        (["search", "a", "b"], "unexpected argument"),
        (["search", ""], "nothing to search for"),
        (["search", "quay.io/"], "nothing to search for"),
        (["search", "--limit=0", "x"], "from 1 to 1000"),
        (["search", "--limit=-1", "x"], "from 1 to 1000"),
        (["search", "--limit=1001", "x"], "from 1 to 1000"),
        (["search", "--limit=ten", "x"], "from 1 to 1000"),
        (["search", "--index=", "--registry=quay", "x"], "not a registry host"),
        (["search", "--index=ftp", "x"], "not the URL of an index"),
        (["search", "--list-tags", "A"], "image names are lower case"),
        (["search", "a_b.io:x/y"], "not a registry host"),
    ],
)
def test_bad_command_lines(udocker: Udocker, words: list[str], part: str) -> None:
    checks.is_told(udocker(*words, check=False), 2, part, hint=False)
