"""What all tests share: no real home, a store of one's own, and a list of what was skipped.

Where CI is ``true`` a skipped test fails the run, unless its reason starts with ``host:`` — a fact
about the machine that no code can change.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# What users and their jobs set. A test that wants one of these sets it.
_PREFIXES = ("UDOCKER_", "DOCKER_", "SLURM_", "PBS_", "PMI", "OMPI_", "XDG_")
_NAMES = (
    "CURL_CA_BUNDLE",
    "REGISTRY_AUTH_FILE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
)
_KEPT = ("UDOCKER_TEST_", "UDOCKER_STRESS_")
_HOME = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Take the user's home and settings away before anything can read them."""
    for name in list(os.environ):
        ours = name.startswith(_KEPT)
        if not ours and (name.startswith(_PREFIXES) or name in _NAMES or _is_proxy(name)):
            del os.environ[name]
    os.environ["PATH"] = _with_apptainer(os.environ["PATH"])
    config.stash[_HOME] = os.environ["HOME"] = tempfile.mkdtemp(prefix="udocker-test-home-")


def _with_apptainer(path: str) -> str:
    """``path`` and the place of what ``tools/images --apptainer`` made."""
    images = os.environ.get("UDOCKER_TEST_IMAGES")
    place = os.path.join(os.path.abspath(images or ""), "apptainer", "bin")
    return path if images is None or place in path.split(":") else f"{path}:{place}"


def _is_proxy(name: str) -> bool:
    return name.lower().endswith("_proxy")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_HOME], ignore_errors=True)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Where a store may be made; nothing is there yet."""
    return tmp_path / "store"


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.exitstatus == 0 and reporter is not None and _refused(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(_reasons(terminalreporter))
    terminalreporter.section("skipped tests")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count} x {reason}")
    if not reasons:
        terminalreporter.line("no test was skipped")
    for reason in sorted(_refused(terminalreporter)):
        terminalreporter.line(f"FAILED: in CI a test is not skipped because of: {reason}", red=True)


def _reasons(reporter: pytest.TerminalReporter) -> Iterable[str]:
    for report in reporter.stats.get("skipped", ()):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        yield text.removeprefix("Skipped: ") or "no reason given"


def _refused(reporter: pytest.TerminalReporter) -> set[str]:
    if os.environ.get("CI") != "true":
        return set()
    return {reason for reason in _reasons(reporter) if not reason.startswith("host:")}
