"""A deep-learning module with its API and page: asked by curl and in a browser, in the background.

Each test begins with an empty store, as a newcomer does.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from e2e.browser import lines_of
from e2e.engines import PATIENCE, Shared, need
from e2e.pages import DOCS, Page
from image_maker.registry import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.browser import Browser

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines", "e2e.browser"]

_TWO = {"status": "OK", "predictions": {"label": 2, "probability": 1.0}}
_FORM = ".opblock-post[id*=predict]"


@pytest.fixture(scope="module")
def digits(images: Path) -> Iterator[str]:
    """The address of a registry that has the image."""
    storage = images.parent / "scene" / "registry"
    if not storage.is_dir():
        pytest.skip("there is no image of a module: tools/images --scene makes it")
    with serving(storage, readonly=True) as address:
        yield address


@pytest.fixture(params=["N1", "F3", "P1"])
def mode(request: pytest.FixtureRequest, refusals: dict[str, str]) -> str:
    need(refusals, request.param)
    return str(request.param)


@pytest.fixture
def own(digits: str, tmp_path: Path) -> Iterator[Shared]:
    """An empty store, which goes at the end: the image is large."""
    place = tmp_path / "own"
    place.mkdir()
    own = Shared(digits, place)
    yield own
    own("rm", "-f", "digits", check=False)
    subprocess.run(["chmod", "-R", "u+w", place], check=False)
    shutil.rmtree(place, ignore_errors=True)


def test_the_page(own: Shared, browser: Browser, mode: str, tmp_path: Path) -> None:
    port = _free_port()
    given = {
        "digits:1": f"{own.registry}/digits:1",
        # As the page tells of another port.
        "-p 5000:5000": f"-p {port}:{port} -e OS_DEFAULT__LISTEN_PORT={port}",
        "127.0.0.1:5000": f"127.0.0.1:{port}",
    }
    shutil.copy(DOCS / "scenes/digits/two.pgm", tmp_path)
    more = {"UDOCKER_DEFAULT_EXECUTION_MODE": mode}
    page = Page("scenes/predict.md", own, tmp_path, given, more)

    with page.start("Serve it") as server:
        [answer] = page.type("Ask it")
        assert json.loads(answer.out) == _TWO
        _click(browser, f"http://127.0.0.1:{port}/api", tmp_path)
        server.send_signal(signal.SIGINT)
        out, _ = server.communicate(timeout=PATIENCE)
        assert out.count("POST /v2/models/digits/predict/") == 2
        assert server.returncode in (0, 130), out
    assert _is_free(port)

    _, answer, logged, listed = page.type("In the background")
    assert json.loads(answer.out) == _TWO
    assert "Running on" in logged.out
    assert "Up " in listed.out
    with page.start("Follow its log") as follower:
        page.type("Stop it")
        out, _ = follower.communicate(timeout=PATIENCE)
        assert "POST /v2/models/digits/predict/" in out
        assert follower.returncode == 0
    assert _is_free(port)

    trained, answer = page.type("A model of your own")
    results = json.loads((tmp_path / "results.json").read_text())
    assert results == json.loads(trained.out.splitlines()[-1])
    assert results["accuracy"] > 0.9
    assert "'label': 2" in answer.out
    assert page.left == {}


def _click(browser: Browser, url: str, tmp_path: Path) -> None:
    """Ask through the page of Swagger, as a person does."""
    browser.open(url)
    browser.click(f"{_FORM} .opblock-summary")
    browser.click(f"{_FORM} .try-out__btn")
    browser.type(f"{_FORM} input[type=file]", str(tmp_path / "two.pgm"))
    browser.click(f"{_FORM} .execute")
    end = time.monotonic() + PATIENCE
    while "Server response" not in browser.text() and time.monotonic() < end:
        time.sleep(0.1)
    text = browser.text()
    begin = text.index("Response body", text.index("Server response"))
    answer = text[text.index("{", begin) : text.index("Response headers", begin)]
    assert json.loads(answer.rpartition("}")[0] + "}") == _TWO
    browser.click(f"{_FORM} .live-responses-table pre")  # comes into view
    picture = tmp_path / "swagger.png"
    browser.screenshot(picture)
    assert lines_of(picture) > 100  # it is not blank


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0
