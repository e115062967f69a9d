"""docs/tosca, as an orchestrator carries it out: opera deploys on this host, as this user."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from e2e.engines import BUSYBOX
from e2e.pages import DOCS, Page

if TYPE_CHECKING:
    from e2e.engines import Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

# Beside this Python: opera itself, and ansible-playbook, which it calls by name.
_PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the directory, as the page wants it."""
    if not (_PROGRAMS / "opera").exists():
        pytest.skip("there is no opera: tools/check installs it beside what setup.cfg names")
    return Path(shutil.copytree(DOCS / "tosca", tmp_path / "tosca"))


def _page(shared: Shared, cwd: Path, given: dict[str, str]) -> Page:
    return Page("tosca/README.md", shared, cwd, given, programs=_PROGRAMS)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_the_page(shared: Shared, copy: Path) -> None:
    port = str(_free_port())
    served = copy / "served"
    served.mkdir()
    (served / "index.html").write_text("a prediction\n")
    inputs = {
        "image": shared.image(BUSYBOX),
        "name": "predict",
        "command": ["sh", "-c", f'echo "for $WHOM"; exec httpd -f -p 127.0.0.1:{port} -h /www'],
        "port": port,
        "env": {"WHOM": "you & me", "EMPTY": ""},
        "volumes": [f"{served}:/www:ro"],
    }
    (copy / "inputs.yaml").write_text(yaml.safe_dump(inputs))
    page = _page(shared, copy, {"5000": port})

    _, _, outputs, answer = page.type("Deploy it")
    assert answer.out == "a prediction\n"
    found = {name: each["value"] for name, each in yaml.safe_load(outputs.out).items()}
    [made] = json.loads(shared("inspect", "predict").out)
    assert found == {"container_id": made["id"], "url": f"http://localhost:{port}/"}
    assert made["state"]["running"]
    assert shared("logs", "predict").out == "for you & me\n"
    assert shared("exec", "predict", "sh", "-c", "echo ${EMPTY-unset}").out == "\n"
    assert shared("exec", "predict", "touch", "/www/x", check=False).code == 1

    page.type("Take it down")
    assert page.left == {}
    assert "predict" not in shared("ps").out
    with pytest.raises(ConnectionError):
        http.client.HTTPConnection("127.0.0.1", int(port)).request("GET", "/")


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"image": "REGISTRY/no-such-image:1"}, "udocker: .*no-such-image"),
        ({"image": "REGISTRY/busybox:latest", "udocker": "/no/such/udocker"}, "/no/such/udocker: "),
        ({"image": "REGISTRY/busybox:latest", "command": ["true"]}, "http://.* does not answer"),
    ],
)
def test_what_fails_is_told_and_can_be_taken_down(
    shared: Shared, copy: Path, inputs: dict[str, str], told: str
) -> None:
    """Why it failed is in the output, and nothing has to be cleared by hand."""
    given = {**inputs, "image": inputs["image"].replace("REGISTRY", shared.registry)}
    given.update({"name": "predict", "port": str(_free_port())})
    (copy / "inputs.yaml").write_text(yaml.safe_dump(given))
    hasty = (copy / "udocker.yaml").read_text().replace("default: 300", "default: 1")
    (copy / "udocker.yaml").write_text(hasty)
    page = _page(shared, copy, {})
    done = page.run("opera deploy -i inputs.yaml prediction.yaml", check=False)
    assert done.code != 0
    assert re.search(f'"error": \\[\\s*"[^"]*{told}', done.out), done.out
    page.run("opera undeploy --resume --force", check="udocker" not in inputs)
    assert "predict" not in shared("ps").out
