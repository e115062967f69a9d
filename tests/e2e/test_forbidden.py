"""Where namespaces, mounts and tracing are forbidden: ``auto`` runs F3, and programs work there.

``programs/forbid.c`` forbids them as container hosts do. What N1 says without it is right.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.engines import SCI, Inside, Shared, command, need

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_SOURCE = Path(__file__).parent / "programs" / "forbid.c"
_CONTAINER = "forbidden"

_POOLS = """
import multiprocessing, sys
def square(number):
    return number * number
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, sum(pool.map(square, range(50))))
"""
_LOOP = """
import asyncio, os, socket
async def main():
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
    path = "/tmp/" + "long" * 22
    if os.path.exists(path):
        os.unlink(path)
    server = await asyncio.start_unix_server(serve, path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"hello\\n")
    print(await reader.read(), writer.get_extra_info("peername") == path)
    server.close()
    words = ("sh", "-c", "cat; echo $0 >&2; exit 3", "said")
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe)
    print(await child.communicate(b"in"), child.returncode)
asyncio.run(main())
"""
_TREE = """
rm -rf a b c.tar && mkdir -p a/deep/er && cd a && echo one >one && ln one two && ln -s one link
ln -s /etc/passwd outside && mkfifo pipe && truncate -s 100000 hole && chmod 4711 deep && cd ..
cp -a a b && tar cf c.tar --sort=name --mtime=@0 a && sha256sum <c.tar && tar df c.tar && ls -1R b
find a b -newer c.tar | wc -l; stat -c '%n %a %h %s' b/* ; cat b/link; rm -r a b c.tar
"""
_PROGRAMS = {
    "pools": f"cat >/tmp/pools.py <<'E'\n{_POOLS}\nE\npython3 /tmp/pools.py",
    "loop": f"python3 - <<'E'\n{_LOOP}\nE",
    "tree": f"cd /tmp{_TREE}",
    "numpy": "python3 -c 'import numpy; print(numpy.linalg.det(numpy.eye(50)) ** 2)'",
    "compiler": (
        "cd /tmp && echo 'int puts(const char *); int main(void) { return puts(\"made\") < 0; }'"
        " >x.c && gcc -pipe x.c -o x && ./x && gcc -static x.c -o x && ./x && rm x x.c"
    ),
    "modules": 'python3 -c \'import sqlite3; print(sqlite3.connect("/tmp/d").execute("pragma'
    " journal_mode=wal\").fetchall())'; rm /tmp/d*",
}


@pytest.fixture(scope="module")
def forbid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("forbid") / "forbid"
    subprocess.run(["cc", "-O1", "-o", program, str(_SOURCE)], check=True)
    return program


@pytest.fixture
def forbidden(
    forbid: Path, shared: Shared, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run udocker where they are forbidden; with ``own`` in a store that is only this test's."""

    def call(*words: str, own: bool = False) -> subprocess.CompletedProcess[str]:
        environment = shared.environment()
        if own:  # what is found not to work there is remembered
            environment["UDOCKER_DIR"] = str(tmp_path / "store")
        return subprocess.run(
            [str(forbid), *command(), *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return call


@pytest.fixture(autouse=True)
def _works(refusals: dict[str, str]) -> None:
    need(refusals, "F3", "N1")


def test_only_the_modes_that_need_nothing_are_left(
    forbidden: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    rows = json.loads(forbidden("doctor", "--json", own=True).stdout)["modes"]
    # F1 needs a library and nothing else; a host of the tests may lack it.
    left = [row["name"] for row in rows if not row["reason"] and row["name"] != "F1"]
    assert left == ["F3", "F2", "F4"]


def test_auto_runs_a_program_where_another_mode_was_known_to_work(
    forbidden: Callable[..., subprocess.CompletedProcess[str]], shared: Shared, tmp_path: Path
) -> None:
    own = {"UDOCKER_DIR": str(tmp_path / "store")}
    assert "auto runs N1" in shared("doctor", env=own).out
    image = shared.image(SCI)
    script = "id -u; unshare -U true; echo $?"
    done = forbidden("--insecure", "run", "-q", image, "sh", "-c", script, own=True)
    assert done.stdout == "0\n1\n", done


@pytest.mark.parametrize("program", _PROGRAMS.values(), ids=list(_PROGRAMS))
@pytest.mark.parametrize("mode", ["F3", "F2"])
def test_programs_do_the_same(
    mode: str,
    program: str,
    forbidden: Callable[..., subprocess.CompletedProcess[str]],
    shared: Shared,
) -> None:
    if _CONTAINER not in {each for row in shared.containers() for each in row["names"]}:
        shared("create", "-q", f"--name={_CONTAINER}", shared.image(SCI))
    right = Inside(shared, "N1").large(SCI, "sh", "-c", program)
    words = ("run", "-q", f"--execmode={mode}", _CONTAINER, "sh", "-c", program)
    done = forbidden(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == right.out
    assert right.out != ""
