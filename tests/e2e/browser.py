"""A headless Chromium that looks at pages and clicks, by WebDriver (w3.org/TR/webdriver2).

PYTEST_DONT_REWRITE: what the modules import from here is imported before they load it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import struct
import subprocess
import time
import urllib.error
import urllib.request
import zlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DRIVER = "chromedriver"
_PATIENCE = 60.0  # seconds that a page may take to load, or an answer of the driver
_PAUSE = 0.05  # seconds between two looks
# Two documents of a window have not begun at one moment.
_DOCUMENT = "return [performance.timeOrigin, document.readyState]"
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key that the standard gives it
# No sandbox: it sees nothing but the tests' own pages, and not every host lets a user have one.
_ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1000,700")


class Browser:
    """One window. Elements are named by CSS selectors, links by their text.

    What leads to another page returns when that has been loaded.
    """

    def __init__(self, driver: str, profile: Path) -> None:
        self._session = driver
        arguments = [*_ARGUMENTS, f"--user-data-dir={profile}"]
        wanted = {
            "goog:chromeOptions": {"args": arguments},
            "timeouts": {"implicit": _PATIENCE * 500, "pageLoad": _PATIENCE * 1000},
        }
        made = self._ask("POST", "/session", capabilities={"alwaysMatch": wanted})
        self._session = f"{driver}/session/{made['sessionId']}"

    def open(self, url: str) -> None:
        self._ask("POST", "/url", url=url)

    def click(self, selector: str) -> None:
        """Click what leads to no other page."""
        self._click("css selector", selector)

    def go(self, selector: str) -> None:
        """Click a link, or the button of a form, that leads to another page."""
        with self._leaving():
            self._click("css selector", selector)

    def follow(self, text: str) -> None:
        """Click the first link with this in its text."""
        with self._leaving():
            self._click("partial link text", text)

    def type(self, selector: str, text: str) -> None:
        self._ask("POST", f"/element/{self._find('css selector', selector)}/value", text=text)

    def text(self) -> str:
        """What a reader sees of the page."""
        found: str = self._ask("GET", f"/element/{self._find('css selector', 'body')}/text")
        return found

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def close(self) -> None:
        self._ask("DELETE", "")

    @contextlib.contextmanager
    def _leaving(self) -> Iterator[None]:
        """What is done meanwhile leads to another document: wait for it.

        A click returns before a server that is slow has answered: the old document is there still.
        """
        before, _ = self._document()
        yield
        end = time.monotonic() + _PATIENCE
        now, state = self._document()
        while now == before or state != "complete":
            assert time.monotonic() < end, f"no other page after {_PATIENCE:.0f} s"
            time.sleep(_PAUSE)
            now, state = self._document()

    def _document(self) -> tuple[float, str]:
        """When the document that is shown began, in ms since 1970, and how far it has been loaded.

        The times are of w3.org/TR/hr-time.
        """
        began, state = self._ask("POST", "/execute/sync", script=_DOCUMENT, args=[])
        return float(began), str(state)

    def _click(self, using: str, value: str) -> None:
        self._ask("POST", f"/element/{self._find(using, value)}/click")

    def _find(self, using: str, value: str) -> str:
        """The element, waited for: the driver's own name of it."""
        found: str = self._ask("POST", "/element", using=using, value=value)[_ELEMENT]
        return found

    def _ask(self, method: str, path: str, **body: object) -> Any:
        request = urllib.request.Request(self._session + path, method=method)
        if method == "POST":
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=2 * _PATIENCE) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as error:
            with error:
                told = json.load(error)["value"]
            raise AssertionError(f"{method} {path}: {told['error']}: {told['message']}") from error


def lines_of(picture: Path) -> int:
    """How many different lines of pixels a screenshot has; a blank one has one (RFC 2083)."""
    data, at, packed = picture.read_bytes(), 8, b""
    width, bits = 0, 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IHDR":
            width, _, depth, colours = struct.unpack_from(">IIBB", data, at + 8)
            bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
        packed += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += length + 12
    pixels, size = zlib.decompress(packed), 1 + (width * bits + 7) // 8
    return len({pixels[start : start + size] for start in range(0, len(pixels), size)})


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A window with a profile of its own."""
    if shutil.which(_DRIVER) is None:
        pytest.skip("there is no chromedriver: tools/check installs Debian's chromium-driver")
    top = tmp_path_factory.mktemp("browser")
    with _driving(top) as address:
        window = Browser(address, top / "profile")
        try:
            yield window
        finally:
            window.close()


@contextlib.contextmanager
def _driving(home: Path) -> Iterator[str]:
    """The address of a driver that runs meanwhile, on a port that it chooses."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}
    with subprocess.Popen(
        [_DRIVER, "--port=0"], env=environment, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                _, found, port = line.rpartition("started successfully on port ")
                if found:
                    yield f"http://127.0.0.1:{port.strip(' .' + chr(10))}"
                    break
        finally:
            child.terminate()
