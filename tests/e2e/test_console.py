"""A web server in Java: served, clicked through in a browser, stopped, started, under load."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from e2e.engines import need
from e2e.living import wait_until
from e2e.pages import Page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.browser import Browser
    from e2e.engines import Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines", "e2e.browser"]

_SESSIONS = "/examples/servlets/servlet/SessionExample"
_HELLO = "/examples/servlets/servlet/HelloWorldExample"


@pytest.fixture(scope="module")
def tomcat(shared: Shared, images: Path) -> None:
    """The image of the page is in the store."""
    layout = images.parent / "console" / "oci"
    if not layout.is_dir():
        pytest.skip("there is no image of a console: tools/images --console makes it")
    shared("pull", "-q", f"oci:{layout}:tomcat:10")


@pytest.fixture(params=["N1", "F3", "P1"])
def mode(request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str]) -> Iterator[str]:
    need(refusals, request.param)
    yield request.param
    shared("rm", "-f", "console", check=False)


@pytest.mark.usefixtures("tomcat")
def test_the_page(shared: Shared, browser: Browser, mode: str, tmp_path: Path) -> None:
    port = _free_port()
    more = {"UDOCKER_DEFAULT_EXECUTION_MODE": mode}
    page = Page("scenes/console.md", shared, tmp_path, {"8181": str(port)}, more)
    url = f"http://127.0.0.1:{port}"

    *_, served = page.type("Open it")
    assert "Servlets examples" in served.out
    browser.open(f"{url}/examples/")
    browser.follow("Servlets examples")
    browser.go(f"a[href='{_SESSIONS.partition('servlets/')[2]}']")
    form = "form[method=POST]"
    browser.type(f"{form} input[name=dataname]", "model")
    browser.type(f"{form} input[name=datavalue]", mode)
    browser.go(f"{form} input[type=submit]")
    assert f"model = {mode}" in browser.text()
    browser.screenshot(tmp_path / "sessions.png")

    _, status, *_ = page.type("Stop it, and go on")
    assert status.out == "143\n"
    logged = shared("logs", "console").err
    for step in ("Pausing", "Stopping", "Destroying"):  # nothing of it after a kill
        assert f'{step} ProtocolHandler ["http-nio-{port}"]' in logged
    browser.open(url + _SESSIONS)
    assert f"model = {mode}" in browser.text()

    _under_load(url + _HELLO)
    listed, _, processes, files, *_ = page.type("Look inside")
    assert "Up " in listed.out
    assert "java" in processes.out
    assert files.out == "examples\n"
    wait_until(lambda: "JNI global refs" in shared("logs", "console").out)  # the dump ends so
    dump = shared("logs", "console").out
    assert "Full thread dump OpenJDK" in dump
    assert len(set(re.findall(rf'"http-nio-{port}-exec-\d+"', dump))) >= 10
    browser.open(url + _SESSIONS)
    assert f"model = {mode}" in browser.text()
    assert "SEVERE" not in shared("logs", "console").err

    page.type("Remove it")
    assert page.left == {}
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


def _under_load(url: str) -> None:
    """More clients than there are threads at first; each request is answered."""
    if shutil.which("wrk") is None:
        pytest.skip("there is no wrk: tools/check installs it")
    done = subprocess.run(
        ["wrk", "-t1", "-c32", "-d2s", url], capture_output=True, text=True, check=True
    )
    [count] = re.findall(r"(\d+) requests in", done.stdout)
    assert int(count) > 32
    assert "Non-2xx" not in done.stdout
    assert "Socket errors" not in done.stdout


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
