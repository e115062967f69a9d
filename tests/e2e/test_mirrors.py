"""Pulls by registries.conf: the command, with Debian's docker-registry for a mirror."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e import checks
from fakes.registry import FakeRegistry, make_image

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.conftest import Result, Udocker

pytestmark = pytest.mark.e2e


class Configured:
    """The command with a registries.conf of the user's."""

    def __init__(self, udocker: Udocker, home: Path) -> None:
        self._udocker = udocker
        self.file = home / ".config" / "containers" / "registries.conf"
        self.file.parent.mkdir(parents=True)

    def write(self, *lines: str) -> None:
        self.file.write_text("\n".join(("[[registry]]", *lines)))

    def __call__(self, *words: str, code: int = 0) -> Result:
        result = self._udocker(*words, check=False, env={"UDOCKER_CONNECT_TIMEOUT": "2"})
        assert result.code == code, result
        return result


@pytest.fixture
def configured(udocker: Udocker, tmp_path: Path) -> Configured:
    return Configured(udocker, tmp_path / "home")


def test_docker_hub_by_a_mirror(configured: Configured, registry: str, udocker: Udocker) -> None:
    mirrors = ['[[registry.mirror]]\nlocation = "127.0.0.3:1"']
    mirrors.append(f'[[registry.mirror]]\nlocation = "{registry}"')
    configured.write('prefix = "docker.io/library"', *mirrors)
    result = configured("pull", "busybox")
    assert "udocker: warning: mirror 127.0.0.3:1: cannot reach 127.0.0.3:1" in result.err
    assert f"busybox comes from {registry}/busybox" in result.err
    assert checks.images(udocker) == ["busybox:latest"]
    assert "is up to date" in configured("pull", "busybox:latest").err


def test_a_mirror_that_lacks_the_image(configured: Configured, registry: str) -> None:
    with FakeRegistry("127.0.0.2") as own:
        make_image(own, "corp/app", "latest", [checks.file_layer("one")])
        configured.write(f'location = "{own.host}"', f'[[registry.mirror]]\nlocation="{registry}"')
        result = configured("pull", f"{own.host}/corp/app")
    assert (
        f"mirror {registry}: {own.host}/corp/app: no such image or tag in {registry}" in result.err
    )


def test_what_is_blocked(configured: Configured, registry: str) -> None:
    configured.write(f'location = "{registry}"', "blocked = true")
    result = configured("run", f"{registry}/busybox", "true", code=125)
    checks.is_told(result, 125, f"is blocked by {configured.file}")


def test_a_broken_file(configured: Configured, registry: str) -> None:
    configured.file.write_text("[[registry]\n")
    result = configured("pull", f"{registry}/busybox", code=2)
    checks.is_told(result, 2, f"{configured.file}: it is not TOML", "CONTAINERS_REGISTRIES_CONF")


def test_a_file_that_cannot_be_read(configured: Configured, registry: str) -> None:
    configured.file.mkdir()
    result = configured("pull", f"{registry}/busybox", code=2)
    checks.is_told(result, 2, f"cannot read {configured.file}: Is a directory")


def test_another_file_is_named(udocker: Udocker, configured: Configured, registry: str) -> None:
    configured.file.write_text("broken")
    env = {"CONTAINERS_REGISTRIES_CONF": "/dev/null"}
    udocker("pull", f"{registry}/busybox", env=env)
