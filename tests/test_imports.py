"""The layers of the package, read from its source; each rule is shown to catch a planted breach."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import udocker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE = Path(udocker.__file__).parent

MIDDLE = ("registry", "archive", "store", "unpack", "spec", "devices", "batch", "engine")
# What each layer may import of the package, besides itself and the package's version.
_LOW = (
    *("errors", "model", "makers", "files", "leases", "verified", "wording", "_native"),
    *("idmaps", "away", "elf"),
)
ALLOWED: dict[str, tuple[str, ...]] = {
    "__init__": ("client", "errors"),
    "__main__": ("cli",),
    "_native": (),
    "errors": (),
    "model": ("errors",),
    "elf": ("model",),
    "makers": (),
    "wording": (),
    "files": ("model", "errors", "makers"),
    "leases": ("model", "files", "makers"),
    "verified": ("model", "errors", "files", "wording"),
    "idmaps": ("model", "errors", "_native"),
    "away": ("model", "errors", "files", "idmaps"),
    "report": ("model", "errors"),
    "config": ("model", "errors", "files"),
    "host": _LOW,
    **dict.fromkeys(MIDDLE, _LOW),
    "ops": (*_LOW, *MIDDLE, "host", "config", "report"),
    "client": ("model", "errors", "ops", "report"),
    "cli": (*_LOW, *MIDDLE, "host", "config", "report", "ops"),
}
# What a layer may name in type checks besides: it is handed a Reporter, and makes none.
NAMED = dict.fromkeys(MIDDLE, ("report",))
HEAVY = ("requests", "pycurl", "zstandard", "isal", "rich", "urllib3")
ENVIRONMENT = ("environ", "environb", "getenv", "getenvb", "putenv", "unsetenv")
PROCESS_MODULES = ("subprocess", "multiprocessing", "pty")
PROCESS_CALLS = ("system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp")
PROCESS_PREFIXES = ("exec", "spawn")  # of os.execve, os.spawnl…

MAY_READ_ENVIRONMENT = ("cli/main.py", "client.py")
MAY_START_PROCESSES = (
    "batch/slurm.py",
    "client.py",
    "engine/apart.py",
    "engine/beside.py",
    "engine/capture.py",
    "engine/detached.py",
    "engine/execute.py",
    "engine/later.py",
    "engine/porter.py",
    "engine/supervisor.py",
    "host.py",
    "idmaps.py",
    "registry/helper.py",
)


def breaches(path: str, source: str) -> list[str]:
    """The rules that the module at ``path`` (relative to the package) breaks, one line each."""
    tree = ast.parse(source)
    found = [
        *_layers(path, tree),
        *_heavy(tree.body),
        *_environment(path, tree),
        *_processes(path, tree),
    ]
    return [f"udocker/{path}: {text}" for text in found]


def _layer(path: str) -> str:
    return path.partition("/")[0].removesuffix(".py")


def _layers(path: str, tree: ast.Module) -> Iterator[str]:
    own = _layer(path)
    named = {name for block in _type_checks(tree) for name in _imported(block)}
    for name in _imported(tree):
        if name.startswith("."):
            yield "imports by a relative name"
        if name.partition(".")[0] != "udocker":
            continue
        layer = f"{name}.__init__".split(".")[1]
        allowed = (own, "__init__", "__version__", *ALLOWED[own])
        if layer not in allowed and not (name in named and layer in NAMED.get(own, ())):
            yield f"{own} imports {layer}"


def _type_checks(tree: ast.Module) -> Iterator[ast.If]:
    """The blocks at the module's top that only type checkers read."""
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield node


def _imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in ``tree``; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _heavy(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Heavy imports that happen when the module is imported: outside functions and type checks."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
            yield from _heavy(statement.orelse)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            names = {name.partition(".")[0] for name in _imported(statement)}
            yield from (f"imports {name} outside a function" for name in names.intersection(HEAVY))
        else:
            yield from _heavy(n for n in ast.iter_child_nodes(statement) if isinstance(n, ast.stmt))


def _environment(path: str, tree: ast.AST) -> Iterator[str]:
    if path not in MAY_READ_ENVIRONMENT:
        used = _used_of_os(tree)
        yield from (f"uses os.{name}" for name in used if name in ENVIRONMENT)


def _processes(path: str, tree: ast.AST) -> Iterator[str]:
    if path in MAY_START_PROCESSES:
        return
    for name in _imported(tree):
        if name.partition(".")[0] in PROCESS_MODULES:
            yield f"imports {name}"
    for name in _used_of_os(tree):
        if name in PROCESS_CALLS or name.startswith(PROCESS_PREFIXES):
            yield f"uses os.{name}"


def _used_of_os(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os":
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            # Under another name its use would not be seen.
            yield from ("environ" for alias in node.names if alias.name == "os" and alias.asname)


def modules() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules())
def test_module_keeps_to_its_layer(path: str) -> None:
    assert breaches(path, (PACKAGE / path).read_text(encoding="utf-8")) == []


def test_every_layer_is_known() -> None:
    assert {_layer(path) for path in modules()} <= set(ALLOWED)


@pytest.mark.parametrize(
    ("path", "source", "breach"),
    [
        ("store/blobs.py", "from udocker.registry import http", "store imports registry"),
        ("store/blobs.py", "import udocker.unpack.plan", "store imports unpack"),
        ("store/blobs.py", "from udocker import report", "store imports report"),
        ("store/blobs.py", "if TYPE_CHECKING:\n    from udocker import host", "store imports host"),
        ("registry/auth.py", "def f():\n    import udocker.host", "registry imports host"),
        ("engine/base.py", "if T:\n    from udocker.spec import env", "engine imports spec"),
        ("spec/build.py", "from udocker.ops.run import run", "spec imports ops"),
        ("model/oci.py", "from udocker.files import lease", "model imports files"),
        ("errors.py", "from udocker.model import value", "errors imports model"),
        ("files.py", "from udocker.store import store", "files imports store"),
        ("host.py", "from udocker.engine import table", "host imports engine"),
        ("ops/pull.py", "from udocker.cli import main", "ops imports cli"),
        ("ops/pull.py", "from .session import Session", "imports by a relative name"),
        ("ops/pull.py", "import requests", "imports requests outside a function"),
        ("ops/pull.py", "class A:\n    import pycurl", "imports pycurl outside a function"),
        ("report.py", "try:\n    from rich import x\nfinally:\n    pass", "imports rich outside a"),
        ("config.py", "import os\nos.environ['HOME']", "uses os.environ"),
        ("config.py", "import os\ndef f():\n    return os.getenv('A')", "uses os.getenv"),
        ("cli/host.py", "from os import environ", "uses os.environ"),
        ("cli/host.py", "import os as system", "uses os.environ"),
        ("ops/run.py", "def f():\n    import subprocess", "imports subprocess"),
        ("engine/runc.py", "from subprocess import run", "imports subprocess.run"),
        ("cli/main.py", "import os\nos.execve('a', [], {})", "uses os.execve"),
        ("unpack/apply.py", "import os\nos.fork()", "uses os.fork"),
        ("unpack/apply.py", "from os import posix_spawn", "uses os.posix_spawn"),
    ],
)
def test_a_breach_is_seen(path: str, source: str, breach: str) -> None:
    found = breaches(path, source)
    assert len(found) == 1, found
    assert found[0].startswith(f"udocker/{path}: {breach}")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ops/run.py", "from udocker.engine import table\nfrom udocker.store import blobs"),
        ("store/blobs.py", "from udocker.errors import StoreError\nimport udocker.files"),
        (
            "store/blobs.py",
            "from udocker.store.trees import Trees\nfrom udocker import __version__",
        ),
        ("registry/http.py", "def f():\n    import requests"),
        ("registry/http.py", "if TYPE_CHECKING:\n    from udocker.report import Reporter"),
        ("registry/http.py", "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import requests"),
        ("cli/main.py", "import os\nos.environ"),
        ("host.py", "import subprocess"),
        ("engine/execute.py", "import os\nos.execve('a', [], {})"),
        ("ops/run.py", "import os\nos.path.exists('executable')"),
    ],
)
def test_what_is_allowed_is_not_a_breach(path: str, source: str) -> None:
    assert breaches(path, source) == []


def test_run_of_a_ready_image_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "import udocker.cli.main, udocker.cli.run, udocker.ops.run\n"
        "print(*sorted(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    loaded = set(result.stdout.split())
    assert "udocker.ops.run" in loaded
    assert loaded.isdisjoint({*HEAVY, "tarfile", "ssl"})
    # Of supervised runs nothing: a run in the foreground has none of it.
    living = ("engine.detached", "engine.switchboard", "engine.attach", "ops.living", "store.runs")
    assert loaded.isdisjoint({"socket", "selectors", *(f"udocker.{name}" for name in living)})
