"""The Python interface: what its page says, on a real registry, and what else may be asked."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import udocker
from e2e.engines import BUSYBOX, Shared
from udocker.errors import ImageNotFound, UsageError

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

PAGE = Path(__file__).parents[2] / "docs/python.md"


@pytest.fixture
def environ(registry: str, tmp_path: Path) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "UDOCKER_REGISTRY": registry,
        "UDOCKER_DIR": str(tmp_path / "store"),
    }


@pytest.fixture
def client(shared: Shared) -> udocker.Client:
    """Of a store that has busybox."""
    shared.image(BUSYBOX)
    return udocker.Client(environ={**shared.environment(), "UDOCKER_REGISTRY": shared.registry})


def test_the_page(
    environ: dict[str, str], registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    monkeypatch.chdir(tmp_path)
    # Names of Docker's own registry are shown without it; here it is not to be had.
    text = re.sub("'(busybox|mine):", rf"'{registry}/\1:", PAGE.read_text(encoding="utf-8"))
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == text.count("```") // 2 > 5
    script = doctest.DocTestParser().get_doctest("".join(blocks), {}, "python.md", str(PAGE), 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(script, out=said.append).failed == 0, "".join(said)


def test_a_wrong_call_has_an_error_of_its_own(client: udocker.Client) -> None:
    with pytest.raises(ImageNotFound):
        client.image("nowhere")
    with pytest.raises(UsageError, match="no such form"):
        client.save("busybox", "x", form="zip")
    for options in ({"no_such_option": True}, {"env": {"": "x"}}):
        with pytest.raises(udocker.CommandFailed) as caught:
            client.run("busybox", "true", **options)
        assert caught.value.finished.code == 2
        assert "udocker" in caught.value.message
    with pytest.raises(udocker.CommandFailed, match="not in the store"):
        client.run("nowhere", "true", pull="never")


def test_what_takes_too_long_is_ended(client: udocker.Client) -> None:
    before = {container.id for container in client.containers()}
    with pytest.raises(TimeoutError, match=r"more than 0\.5 seconds"):
        client.run("busybox", "sleep", "1000", rm=True, timeout=0.5)
    assert {container.id for container in client.containers()} == before


def test_signals_are_codes_as_in_a_shell(client: udocker.Client) -> None:
    ended = client.run("busybox", "sh", "-c", "kill -9 $$", rm=True, check=False)
    assert ended.code == 137


def test_from_threads(client: udocker.Client) -> None:
    found: list[str] = []

    def ask(number: int) -> None:
        found.append(client.run("busybox", "echo", str(number), rm=True).text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [f"{number}\n" for number in range(6)]


def test_nothing_is_taken_from_the_current_directory(
    client: udocker.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signal.py").write_text("raise SystemExit('taken')\n")
    (tmp_path / "udocker").mkdir()
    (tmp_path / "udocker/__init__.py").write_text("raise SystemExit('taken')\n")
    monkeypatch.chdir(tmp_path)
    assert client.run("busybox", "echo", "fine", rm=True).text == "fine\n"


def test_the_command_line_does_not_load_it() -> None:
    code = "import sys, udocker.cli.main; print('udocker.client' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
